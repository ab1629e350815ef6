"""Conformance checks of what exists only off the robot: every entry of a registry must pass them, own ones and yours.

Each raises AssertionError saying what broke which promise.
"""

import numpy as np
from scipy import ndimage

from sim.worlds import Generator, World, WorldSize

SIZES = (WorldSize(), WorldSize(12.0, 9.0, 0.1), WorldSize(31.0, 23.0))
TEAM = 4
ROBOT_RADIUS_M = 0.25
VISITED_FRACTION = 0.85


def check_world(generator: Generator, name: str, seeds: int = 3) -> None:
    """Check what tasks and simulations rely on, for worlds of several seeds and sizes.

    A seed says everything and another one gives another world; the world is as large as asked, closed all round and
    centred on the map frame's origin; all its free space hangs together; a team of TEAM has room to start; and a
    robot of ROBOT_RADIUS_M can get near at least VISITED_FRACTION of the free space.

    Args:
        generator: to check.
        name: under which it is registered.
        seeds: how many per size.
    """
    for size in SIZES:
        worlds = [generator(seed, size) for seed in range(seeds)]
        for seed, world in enumerate(worlds):
            described = f'{name}:{seed}@{size.width_m:g}x{size.height_m:g}'
            assert world.name == f'{name}:{seed}', f'{described}: calls itself {world.name!r}'
            again = generator(seed, size)
            assert np.array_equal(world.occupied, again.occupied), f'{described}: the seed does not say everything'
            assert (world.anchor_x_m, world.anchor_y_m) == (again.anchor_x_m, again.anchor_y_m), \
                f'{described}: the seed does not say where it starts'
            _check_shape(world, size, described)
            _check_free_space(world, described)
            _check_starts(world, described)
        assert not np.array_equal(worlds[0].occupied, worlds[1].occupied), f'{name}: ignores its seed'


def _check_shape(world: World, size: WorldSize, described: str) -> None:
    assert world.resolution_m == size.resolution_m, f'{described}: has cells of {world.resolution_m} m'
    for axis, extent_m, wanted_m, origin_m in (('wide', world.width_m, size.width_m, world.origin_x_m),
                                               ('high', world.height_m, size.height_m, world.origin_y_m)):
        assert abs(extent_m - wanted_m) <= size.resolution_m, f'{described}: is {extent_m} m {axis}'
        assert abs(origin_m + extent_m / 2) < 1e-9, f'{described}: is not centred on the origin'
    for edge in (world.occupied[0], world.occupied[-1], world.occupied[:, 0], world.occupied[:, -1]):
        assert edge.all(), f'{described}: is not closed all round'


def _check_free_space(world: World, described: str) -> None:
    free = ~world.occupied
    assert 0.2 < free.mean() < 0.95, f'{described}: {free.mean():.0%} of it is free'
    assert np.array_equal(world.reachable, free), f'{described}: has free space that the start cannot reach'
    centres, _ = ndimage.label(world.clearance_m > ROBOT_RADIUS_M + world.resolution_m)
    start = centres[world.cell_of(world.anchor_x_m, world.anchor_y_m)]
    assert start, f'{described}: a robot of {ROBOT_RADIUS_M} m does not fit the middle of the start'
    # Near: from the next place where the robot fits, it is no farther than its own width.
    away_m = ndimage.distance_transform_edt(centres != start) * world.resolution_m
    visited = float((away_m[free] <= 2 * ROBOT_RADIUS_M).mean())
    assert visited >= VISITED_FRACTION, f'{described}: a robot gets near only {visited:.0%} of the free space'


def _check_starts(world: World, described: str) -> None:
    poses = world.start_poses(TEAM, ROBOT_RADIUS_M)
    assert poses.shape == (TEAM, 3), f'{described}: gave starts of shape {poses.shape}'
    for index, (x_m, y_m, _) in enumerate(poses):
        assert world.fits(x_m, y_m, ROBOT_RADIUS_M), f'{described}: start {index} is not free'
        apart_m = np.hypot(*(poses[:index, :2] - (x_m, y_m)).T)
        assert (apart_m >= 2 * ROBOT_RADIUS_M).all(), f'{described}: start {index} overlaps another one'
