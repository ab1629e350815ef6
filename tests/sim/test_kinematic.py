"""The batch moves, senses and maps as a Simulation and a robot's own map do, and its teams do not touch each other."""

from dataclasses import replace

import numpy as np
import pytest

from marl_core.errors import SimulationError, WorldError
from marl_core.mapping.bounds import MapBounds, MapConfig
from marl_core.mapping.grid import OccupancyMap
from marl_core.types import FREE, OCCUPIED, UNKNOWN, LidarModel, Pose, RobotModel
from sim.kinematic import BatchConfig, BatchedExploration
from sim.simulation import Simulation
from sim.worlds import WORLDS, WorldSize

SIZE = WorldSize(12.0, 9.0, 0.1)
ROOMS, MAZE = WORLDS['rooms'](1, SIZE), WORLDS['maze'](1, SIZE)
EXACT = RobotModel(lidar=LidarModel(beams=180, noise_std_m=0.0, x_m=0.05))
NOISY = replace(EXACT, lidar=replace(EXACT.lidar, noise_std_m=0.02))


def commands(teams: int, robots: int, steps: int = 30) -> np.ndarray:
    rng = np.random.default_rng(3)
    turns = np.repeat(rng.uniform(-1.0, 1.0, (1 + steps // 10, teams, robots)), 10, axis=0)[:steps]
    return np.stack([np.full(turns.shape, 0.4), turns], axis=-1)


def test_moves_and_senses_as_a_simulation() -> None:
    batch = BatchedExploration([ROOMS, MAZE], 2, EXACT, robots=3)
    for e, world in enumerate((ROOMS, MAZE)):
        simulation = Simulation(world, [(f'robot_{n}', EXACT) for n in range(3)])
        batch.reset()
        for command in commands(2, 3):
            batch.step(command)
            readings = simulation.step(command[e])
            np.testing.assert_allclose(batch.poses[e], simulation.true_poses, atol=1e-12)
            for n, reading in enumerate(readings):
                np.testing.assert_allclose(batch.ranges_m[e, n], reading.scan.ranges_m, atol=1e-5)
        assert batch.collisions[e].sum() == simulation.collisions


def test_maps_as_a_robot_does() -> None:
    batch = BatchedExploration([ROOMS], 1, EXACT, robots=1)
    # The same cells in a map of its own: its bounds are larger, but share the origin of the map frame.
    config = MapConfig(resolution_m=0.1, width_m=25.6, height_m=25.6, planning_resolution_m=0.2)
    bounds = MapBounds.from_config(config)
    own = OccupancyMap(bounds, config)
    simulation = Simulation(ROOMS, [('robot', EXACT)])
    steps = [simulation.readings(), *map(simulation.step, commands(1, 1, 20)[:, 0])]
    for readings in steps:
        x_m, y_m, heading = readings[0].pose
        lidar_pose = Pose(x_m + 0.05 * np.cos(heading), y_m + 0.05 * np.sin(heading), heading)
        own.integrate(readings[0].scan, lidar_pose)
    for command in commands(1, 1, 20):
        batch.step(command)
    row, col = bounds.cell_of(ROOMS.origin_x_m + 0.05, ROOMS.origin_y_m + 0.05)
    rows, cols = batch.classes.shape[1:]
    same = own.log_odds[row:row + rows, col:col + cols] == batch.log_odds[0]
    assert same.mean() > 0.999  # a beam on the border of a cell may round to either side
    assert np.count_nonzero(batch.log_odds) > 1000


def test_free_cells_are_free_and_frontiers_lie_beside_the_unknown() -> None:
    batch = BatchedExploration([ROOMS], 1, NOISY, robots=2)
    for command in commands(1, 2):
        batch.step(command)
    classes, solid = batch.classes[0], ROOMS.occupied
    assert (solid[classes == FREE]).mean() < 0.01
    near_solid = np.pad(solid, 1)
    near_solid = near_solid[:-2, 1:-1] | near_solid[2:, 1:-1] | near_solid[1:-1, :-2] | near_solid[1:-1, 2:] | solid
    assert near_solid[classes == OCCUPIED].mean() > 0.95
    count = batch.frontier_counts[0]
    assert count > 0
    for row, col in batch.frontier_cells[0, :count]:
        assert classes[row, col] == FREE
        assert UNKNOWN in (classes[row - 1, col], classes[row + 1, col], classes[row, col - 1], classes[row, col + 1])
    assert batch.explored[0] == np.count_nonzero(classes == FREE) / np.count_nonzero(~solid)


def test_frontiers_are_listed_every_so_many_steps() -> None:
    batch = BatchedExploration([ROOMS], 1, EXACT, robots=1, config=BatchConfig(frontier_every=4))
    known = []
    for command in commands(1, 1, 8):
        batch.step(command)
        known.append(np.count_nonzero(batch.classes))
    assert known[0] == known[2]
    assert known[3] > known[2]
    assert known[4] == known[6]


def test_teams_do_not_touch_each_other() -> None:
    alone, both = (BatchedExploration([ROOMS], count, EXACT, robots=2) for count in (1, 3))
    for command in commands(3, 2):
        both.step(command)
        alone.step(command[1:2])
    np.testing.assert_array_equal(alone.log_odds[0], both.log_odds[1])
    np.testing.assert_array_equal(alone.poses[0], both.poses[1])


def test_the_same_seed_gives_the_same_run() -> None:
    first, second, other = (BatchedExploration([ROOMS, MAZE], 3, NOISY, robots=2, seed=seed) for seed in (5, 5, 6))
    for command in commands(3, 2):
        for batch in (first, second, other):
            batch.step(command)
    np.testing.assert_array_equal(first.ranges_m, second.ranges_m)
    np.testing.assert_array_equal(first.log_odds, second.log_odds)
    assert not np.array_equal(first.ranges_m, other.ranges_m)


def test_reset_of_some_teams_leaves_the_others() -> None:
    batch = BatchedExploration([ROOMS], 2, EXACT, robots=2)
    fresh, start = batch.log_odds[0].copy(), batch.poses[0].copy()
    for command in commands(2, 2):
        batch.step(command)
    moved, mapped = batch.poses[1].copy(), batch.log_odds[1].copy()
    batch.reset(np.array([0]))
    np.testing.assert_array_equal(batch.log_odds[0], fresh)
    np.testing.assert_array_equal(batch.poses[0], start)
    np.testing.assert_array_equal(batch.poses[1], moved)
    np.testing.assert_array_equal(batch.log_odds[1], mapped)
    assert batch.steps.tolist() == [0, 30]
    assert batch.frontier_counts[0] > 0


def test_teammates_do_not_get_into_the_map() -> None:
    batch = BatchedExploration([ROOMS], 1, NOISY, robots=4)
    for _ in range(10):
        batch.step(np.zeros((1, 4, 2)))
    for x_m, y_m, _ in batch.poses[0]:
        row, col = (int((y_m - batch.map_origin_m[1]) / 0.1), int((x_m - batch.map_origin_m[0]) / 0.1))
        assert not (batch.classes[0, row - 3:row + 4, col - 3:col + 4] == OCCUPIED).any()


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(WorldError, match='resolution_m of rooms:1'):
        BatchedExploration([MAZE, WORLDS['rooms'](1, WorldSize(12.0, 9.0, 0.05))], 2, EXACT)
    with pytest.raises(SimulationError, match='at least one world'):
        BatchedExploration([], 1, EXACT)
    with pytest.raises(SimulationError, match=r'shape \(1, 2, 2\)'):
        BatchedExploration([ROOMS], 1, EXACT, robots=2).step(np.zeros((2, 2)))
    with pytest.raises(WorldError, match='has room for'):
        BatchedExploration([ROOMS], 1, EXACT, robots=1000)
    with pytest.raises(ValueError, match='frontier_every'):
        BatchConfig(frontier_every=0)
