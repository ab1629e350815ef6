"""Lidar rays against PyBullet's own ray test, in the same world, among the same robots, from the same poses."""

from collections.abc import Callable

import numpy as np
import pybullet
from numpy.typing import NDArray

from benchmarks.physics import NaivePyBullet
from benchmarks.rows import Row, seconds_per_call
from marl_core.types import LidarModel
from sim.physics import PhysicsBodies
from sim.robots import robot_model
from sim.sensors.lidar import Lidar
from sim.worlds import World, load_world

POSES, BEAMS, RANGE_M, ROBOTS = 64, 360, 12.0, 32
MODEL = robot_model('turtlebot3_burger')


def measure() -> list[Row]:
    """360 rays from 64 poses in a furnished building of 30 x 30 m with 32 robots.

    PyBullet casts twice: among walls of boxes, the usual way to build a world in it, and among the one mesh that we
    give it, which is twice as fast.
    """
    world = load_world('office:5@30x30')
    places = _places(world, POSES + ROBOTS)
    poses, robots = places[:POSES], places[POSES:]
    lidar = Lidar(world, LidarModel(beams=BEAMS, range_max_m=RANGE_M, noise_std_m=0.0))
    discs = np.column_stack((robots[:, :2], np.full(ROBOTS, MODEL.radius_m)))
    nobody = np.full(POSES, -1)
    ours_s = seconds_per_call(lambda: lidar.ranges_m(poses, discs, nobody)) / (POSES * BEAMS)
    rows = []
    for peer, walls, ratio_target in (
            ('pybullet rayTestBatch, walls as boxes', NaivePyBullet(world, robots), 40.0),
            ('pybullet rayTestBatch, walls as one mesh', PhysicsBodies(world, [MODEL] * ROBOTS, robots), 15.0)):
        theirs_s = seconds_per_call(_ray_tests(walls._client, poses)) / (POSES * BEAMS)
        walls.close()
        rows.append(Row(f'lidar, {BEAMS} rays, 0.05 m cells, {ROBOTS} robots', 1e-6 / ours_s, 'M rays/s', 10.0,
                        peer=peer, ratio=theirs_s / ours_s, ratio_target=ratio_target))
    return rows


def _places(world: World, count: int) -> NDArray[np.float64]:
    rows, cols = np.nonzero(world.clearance_m > 0.3)
    chosen = np.random.default_rng(0).choice(len(rows), count, replace=False)
    return np.column_stack((world.origin_x_m + (cols[chosen] + 0.5) * world.resolution_m,
                            world.origin_y_m + (rows[chosen] + 0.5) * world.resolution_m, np.zeros(count)))


def _ray_tests(client: int, poses: NDArray[np.float64]) -> Callable[[], object]:
    angles = np.linspace(-np.pi, np.pi, BEAMS, endpoint=False)
    starts = np.repeat(np.column_stack((poses[:, :2], np.zeros(POSES))), BEAMS, axis=0)
    ends = starts.copy()
    ends[:, 0] += RANGE_M * np.tile(np.cos(angles), POSES)
    ends[:, 1] += RANGE_M * np.tile(np.sin(angles), POSES)
    batches = [(starts[i:i + 8192], ends[i:i + 8192]) for i in range(0, len(starts), 8192)]
    return lambda: [pybullet.rayTestBatch(*batch, physicsClientId=client) for batch in batches]
