from collections.abc import Iterator
from math import pi

import numpy as np
import pytest

from marl_core.errors import SimulationError
from marl_core.types import RobotModel
from sim.physics import PhysicsBodies
from sim.robots import ROBOTS, robot_model
from sim.worlds import load_world
from sim.worlds.world import World

MODEL = RobotModel()
BODIES = ('cylinder', 'wheeled')


@pytest.fixture(scope='module')
def hall() -> World:
    """10 x 10 m, with a thin wall at x = 2 m."""
    occupied = np.zeros((200, 200), np.bool_)
    occupied[:2] = occupied[-2:] = True
    occupied[:, :2] = occupied[:, -2:] = True
    occupied[:, 140:142] = True
    return World('hall', occupied, 0.05, -5.0, -5.0, 0.0, 0.0)


@pytest.fixture(params=BODIES)
def body(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def one(hall: World, body: str) -> Iterator[PhysicsBodies]:
    bodies = PhysicsBodies(hall, [MODEL], np.array([[-4.0, 0.0, 0.0]]), body)
    yield bodies
    bodies.close()


def drive(bodies: PhysicsBodies, linear_mps: float, angular_radps: float, seconds: float) -> np.ndarray:
    """Turns and ways, step by step. Shape: (steps, N, 2)."""
    commands = np.tile((linear_mps, angular_radps), (len(bodies.poses), 1))
    twists = []
    for _ in range(round(seconds * 10)):
        bodies.step(commands, 0.1)
        twists.append(bodies.twists.copy())
    return np.array(twists)


def way_m(speed_mps: float, seconds: float, acceleration_mps2: float) -> float:
    """Way of a body that starts at rest."""
    return speed_mps * seconds - 0.5 * speed_mps ** 2 / acceleration_mps2


@pytest.mark.parametrize('name', ROBOTS)
def test_every_robot_drives_straight_and_turns_in_place(hall: World, body: str, name: str) -> None:
    model = robot_model(name)
    speed = min(0.5, model.max_linear_mps)
    bodies = PhysicsBodies(hall, [model], np.array([[-4.0, 0.0, 0.0]]), body)
    drive(bodies, speed, 0.0, 4.0)
    expected = way_m(speed, 4.0, model.max_linear_acceleration_mps2)
    assert bodies.poses[0, 0] + 4.0 == pytest.approx(expected, rel=0.05)
    assert abs(bodies.poses[0, 1]) < 0.02
    bodies.reset(np.array([[-4.0, 0.0, 0.0]]))
    turned = drive(bodies, 0.0, 1.0, 4.0)[:, 0, 1].sum() * 0.1
    assert turned == pytest.approx(way_m(1.0, 4.0, model.max_angular_acceleration_radps2), rel=0.1)
    assert np.hypot(bodies.poses[0, 0] + 4.0, bodies.poses[0, 1]) < 0.02
    assert not bodies.collisions.any()
    bodies.close()


def test_an_arc_ends_where_geometry_says(one: PhysicsBodies) -> None:
    drive(one, 0.5, 0.5, 1.0)  # up to speed
    x_m, y_m, heading = one.poses[0]
    drive(one, 0.5, 0.5, 2.0)
    assert one.poses[0, 2] - heading == pytest.approx(1.0, rel=0.05)
    radius_m = 1.0
    expected = (x_m + radius_m * (np.sin(heading + 1.0) - np.sin(heading)),
                y_m - radius_m * (np.cos(heading + 1.0) - np.cos(heading)))
    assert np.hypot(*(one.poses[0, :2] - expected)) < 0.05


def test_limits_of_velocity_and_acceleration(one: PhysicsBodies) -> None:
    twists = drive(one, 9.0, 0.0, 1.5)[:, 0, 0]
    assert twists[0] < 0.1 + 0.01  # 1 m/s^2 for 0.1 s
    assert twists.max() < MODEL.max_linear_mps * 1.05
    assert twists[-1] == pytest.approx(MODEL.max_linear_mps, rel=0.03)
    slowing = drive(one, np.nan, np.nan, 0.1)[0, 0, 0]
    assert MODEL.max_linear_mps - 0.12 < slowing < MODEL.max_linear_mps
    drive(one, np.nan, np.nan, 1.0)
    assert abs(one.twists).max() < 0.01


def test_a_wall_stops_and_counts(one: PhysicsBodies) -> None:
    one.reset(np.array([[1.0, 0.0, 0.0]]))
    drive(one, 0.5, 0.0, 1.0)
    assert one.collisions.tolist() == [0]
    drive(one, 0.5, 0.0, 4.0)
    assert one.poses[0, 0] == pytest.approx(2.0 - MODEL.radius_m, abs=0.015)
    assert one.twists[0, 0] < 0.05
    assert 20 < one.collisions[0] <= 40


@pytest.mark.parametrize('name', ['turtlebot3_burger', 'jackal'])
def test_nobody_crosses_a_wall(body: str, name: str) -> None:
    world, model, rng = load_world('office:1'), robot_model(name), np.random.default_rng(0)
    bodies = PhysicsBodies(world, [model] * 6, world.start_poses(6, model.radius_m), body)
    for _ in range(10):
        commands = np.column_stack([np.full(6, model.max_linear_mps), rng.uniform(-1.0, 1.0, 6)])
        for _ in range(20):
            bodies.step(commands, 0.1)
            # 30 mm: the engine's give, seen 8 mm at 2 m/s, and half a cell in which clearance is not known better.
            assert all(world.fits(x_m, y_m, model.radius_m - 0.03) for x_m, y_m, _ in bodies.poses)
    assert bodies.collisions.sum() > 20
    bodies.close()


def test_robots_stop_each_other(hall: World, body: str) -> None:
    bodies = PhysicsBodies(hall, [MODEL] * 3, np.array([[-1.0, 0.0, 0.0], [0.0, 0.0, pi], [0.0, 3.0, 0.0]]), body)
    commands = np.array([[0.4, 0.0], [0.4, 0.0], [0.0, 0.0]])
    for _ in range(30):
        bodies.step(commands, 0.1)
    assert np.hypot(*(bodies.poses[1, :2] - bodies.poses[0, :2])) == pytest.approx(2 * MODEL.radius_m, abs=0.03)
    assert min(bodies.collisions[:2]) > 10
    assert bodies.collisions[2] == 0
    np.testing.assert_allclose(bodies.poses[2], [0.0, 3.0, 0.0], atol=0.005)
    bodies.close()


def test_a_removed_body_is_gone_and_comes_back_with_reset(hall: World, body: str) -> None:
    starts = np.array([[-1.0, 0.0, 0.0], [0.0, 0.0, 3.0]])
    bodies = PhysicsBodies(hall, [MODEL] * 2, starts, body)
    bodies.remove(1)
    drive(bodies, 0.4, 0.0, 3.0)
    assert bodies.poses[0, 0] == pytest.approx(-1.0 + way_m(0.4, 3.0, 1.0), rel=0.05)
    assert np.isnan(bodies.poses[1]).all()
    assert not bodies.twists[1].any()
    bodies.reset(starts)
    drive(bodies, 0.0, 0.0, 0.2)
    np.testing.assert_allclose(bodies.poses, starts, atol=0.005)
    assert not bodies.collisions.any()
    bodies.close()


def test_the_same_commands_give_the_same_bits(hall: World, body: str) -> None:
    starts = np.array([[-1.0, 0.0, 0.3], [0.0, 0.0, pi]])
    bodies = PhysicsBodies(hall, [MODEL] * 2, starts, body)
    drive(bodies, 0.4, 0.3, 3.0)
    first = bodies.poses.copy()
    bodies.close()
    again = PhysicsBodies(hall, [MODEL] * 2, starts, body)
    drive(again, 0.4, 0.3, 3.0)
    assert np.array_equal(first, again.poses)
    again.close()


def test_two_clients_in_one_process_do_not_meet(hall: World, body: str) -> None:
    """Bodies at the same place, with another rate, in another client."""
    starts = np.array([[-1.0, 0.0, 0.0]])
    alone = PhysicsBodies(hall, [MODEL], starts, body)
    drive(alone, 0.4, 0.2, 2.0)
    one, other = PhysicsBodies(hall, [MODEL], starts, body), PhysicsBodies(hall, [MODEL], starts, body, rate_hz=240.0)
    for _ in range(20):
        one.step(np.array([[0.4, 0.2]]), 0.1)
        other.step(np.array([[0.0, 0.0]]), 0.1)
    assert np.array_equal(one.poses, alone.poses)
    np.testing.assert_allclose(other.poses, starts, atol=0.005)
    other.close()
    one.step(np.array([[0.4, 0.2]]), 0.1)
    one.close()
    one.close()  # twice is harmless


def test_an_unknown_body_is_refused(hall: World) -> None:
    with pytest.raises(SimulationError, match='cylinder, wheeled'):
        PhysicsBodies(hall, [MODEL], np.zeros((1, 3)), 'walking')
