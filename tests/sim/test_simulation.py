"""Bodies that obey their limits, simulations that refuse what cannot be."""

from dataclasses import replace

import numpy as np
import pytest

from marl_core.errors import SimulationError, WorldError
from marl_core.types import LidarModel, RobotModel
from sim.sensors.odometry import OdometryNoise
from sim.simulation import Simulation
from sim.worlds import load_world

MODEL = RobotModel()
OFFICE = load_world('office:1')


def simulation(count: int = 1, **options) -> Simulation:
    return Simulation(OFFICE, [(f'robot_{n}', MODEL) for n in range(count)], **options)


def test_acceleration_and_speed_are_limited() -> None:
    one = simulation()
    for step in range(3):
        one.step(np.array([[5.0, 0.0]]))
        assert one.readings()[0].twist.linear_mps == pytest.approx(0.1 * (step + 1))
    for _ in range(10):
        one.step(np.array([[5.0, 9.0]]))
    assert one.readings()[0].twist == pytest.approx((MODEL.max_linear_mps, MODEL.max_angular_radps))


def test_an_arc_is_an_arc() -> None:
    one = simulation()
    x_m, y_m, heading = one.true_poses[0]
    for _ in range(300):
        one.step(np.array([[0.2, 1.0]]))  # a circle of 0.2 m radius, once the speed is reached
    center = np.array([x_m, y_m]) + 0.2 * np.array([-np.sin(heading), np.cos(heading)])
    assert np.hypot(*(one.true_poses[0, :2] - center)) == pytest.approx(0.2, abs=0.05)
    assert one.collisions == 0


def test_walls_and_robots_stop_a_robot_and_are_counted() -> None:
    two = simulation(2)
    gap = two.true_poses[1, :2] - two.true_poses[0, :2]
    towards = np.arctan2(gap[1], gap[0])
    aimed = Simulation(OFFICE, [('a', MODEL), ('b', MODEL)],
                       np.column_stack((two.true_poses[:, :2], [towards, towards])))
    for _ in range(100):
        aimed.step(np.array([[0.5, 0.0], [0.0, 0.0]]))
    apart_m = np.hypot(*(aimed.true_poses[1, :2] - aimed.true_poses[0, :2]))
    assert 2 * MODEL.radius_m <= apart_m < 2 * MODEL.radius_m + 0.03
    assert aimed.collisions > 10
    for _ in range(2000):
        aimed.step(np.array([[0.0, 0.0], [0.5, 0.0]]))
    assert OFFICE.fits(*aimed.true_poses[1, :2], MODEL.radius_m - 0.03)
    assert np.hypot(*(aimed.true_poses[1, :2] - two.true_poses[1, :2])) > 0.3


def test_the_same_seed_gives_the_same_run_and_reset_the_same_start() -> None:
    runs = [simulation(2, seed=5), simulation(2, seed=5), simulation(2, seed=6)]
    readings = [[run.step(np.full((2, 2), 0.3)) for _ in range(5)][-1] for run in runs]
    assert np.array_equal(readings[0][0].scan.ranges_m, readings[1][0].scan.ranges_m)
    assert not np.array_equal(readings[0][0].scan.ranges_m, readings[2][0].scan.ranges_m)
    start = simulation(2).true_poses
    runs[0].reset()
    assert np.array_equal(runs[0].true_poses, start)
    assert runs[0].time_s == 0.0


def test_a_slow_lidar_scans_every_other_step() -> None:
    slow = replace(MODEL, lidar=LidarModel(rate_hz=5.0))
    both = Simulation(OFFICE, [('slow', slow), ('fast', MODEL)])
    seen = [[reading.scan is not None for reading in both.step(np.zeros((2, 2)))] for _ in range(4)]
    assert seen == [[False, True], [True, True], [False, True], [True, True]]


def test_odometry_is_exact_unless_it_drifts() -> None:
    exact, drifting = simulation(), simulation(odometry=OdometryNoise(0.05, 0.02), seed=1)
    for _ in range(50):
        for run in (exact, drifting):
            run.step(np.array([[0.3, 0.1]]))
    assert exact.readings()[0].pose == pytest.approx(tuple(exact.true_poses[0]))
    off_m = np.hypot(*(drifting.odometry[0, :2] - drifting.true_poses[0, :2]))
    assert 0.001 < off_m < 0.5


def test_a_removed_robot_says_nothing_and_is_in_nobodys_way() -> None:
    two = simulation(2)
    two.remove('robot_1')
    readings = two.step(np.full((2, 2), 0.1))
    assert readings[1].scan is None
    assert readings[1].pose is None
    assert np.isnan(two.true_poses[1]).all()
    with pytest.raises(SimulationError, match='robot_9.*robot_0, robot_1'):
        two.remove('robot_9')


@pytest.mark.parametrize(('robots', 'options', 'named'), [
    ([], {}, 'at least one'),
    ([('a', MODEL), ('a', MODEL)], {}, 'two robots have the name a'),
    ([('a', MODEL)], {'physics': 'magic'}, 'kinematic, pybullet'),
    ([('a', MODEL)], {'body': 'legs'}, 'cylinder, wheeled'),
    ([('a', MODEL)], {'starts': np.zeros((2, 3))}, 'as many starts'),
])
def test_impossible_fleets_are_refused(robots: list, options: dict, named: str) -> None:
    with pytest.raises(SimulationError, match=named):
        Simulation(OFFICE, robots, **options)


def test_a_robot_that_does_not_fit_its_start_is_named() -> None:
    x_m, y_m, heading = OFFICE.start_poses(1)[0]
    with pytest.raises(WorldError, match=r'robot big \(radius 3.0 m\) does not fit'):
        Simulation(OFFICE, [('big', replace(MODEL, radius_m=3.0))], np.array([[x_m, y_m, heading]]))
    with pytest.raises(WorldError, match='a and b overlap'):
        Simulation(OFFICE, [('a', MODEL), ('b', MODEL)], np.array([[x_m, y_m, 0.0], [x_m + 0.1, y_m, 0.0]]))


def test_commands_of_another_shape_are_refused() -> None:
    with pytest.raises(SimulationError, match=r'\(1, 2\)'):
        simulation().step(np.zeros((2, 2)))


def test_commands_that_are_no_numbers_mean_stop() -> None:
    one = simulation()
    before = one.true_poses.copy()
    one.step(np.array([[np.nan, np.inf]]))
    assert np.array_equal(one.true_poses, before)
