"""Lidar rays against PyBullet's own ray test, in the same world from the same poses."""

import numpy as np

from benchmarks.rows import Row, seconds_per_call
from marl_core.types import LidarModel
from sim.sensors.lidar import Lidar, cast
from sim.worlds import World, load_world

POSES, BEAMS, RANGE_M = 64, 360, 12.0


def measure() -> list[Row]:
    """360 rays from 64 poses in a furnished building of 30 x 30 m."""
    world = load_world('office:5@30x30')
    lidar = Lidar(world, LidarModel(beams=BEAMS, range_max_m=RANGE_M, noise_std_m=0.0))
    poses = _poses(world)
    ranges = np.empty((POSES, BEAMS), np.float32)
    arguments = lidar._field, poses, lidar._origin, world.resolution_m, lidar._directions, RANGE_M, ranges
    ours_s = seconds_per_call(lambda: cast(*arguments)) / (POSES * BEAMS)
    theirs_s = seconds_per_call(_pybullet_call(world, poses)) / (POSES * BEAMS)
    return [Row(f'lidar, {BEAMS} rays, 0.05 m cells', 1e-6 / ours_s, 'M rays/s', 10.0, peer='pybullet rayTestBatch',
                ratio=theirs_s / ours_s, ratio_target=40.0)]


def _poses(world: World) -> np.ndarray:
    rows, cols = np.nonzero(world.clearance_m > 0.3)
    chosen = np.random.default_rng(0).choice(len(rows), POSES, replace=False)
    return np.column_stack((world.origin_x_m + (cols[chosen] + 0.5) * world.resolution_m,
                            world.origin_y_m + (rows[chosen] + 0.5) * world.resolution_m, np.zeros(POSES)))


def _pybullet_call(world: World, poses: np.ndarray):  # noqa: ANN202 (a closure)
    from sim.physics import PhysicsBodies
    from sim.robots import robot_model
    bodies = PhysicsBodies(world, [robot_model('turtlebot3_burger')], world.start_poses(1))
    angles = np.linspace(-np.pi, np.pi, BEAMS, endpoint=False)
    starts = np.repeat(np.column_stack((poses[:, :2], np.full(POSES, 0.1))), BEAMS, axis=0)
    ends = starts.copy()
    ends[:, 0] += RANGE_M * np.tile(np.cos(angles), POSES)
    ends[:, 1] += RANGE_M * np.tile(np.sin(angles), POSES)
    batches = [(starts[i:i + 8192].tolist(), ends[i:i + 8192].tolist()) for i in range(0, len(starts), 8192)]
    return lambda: [bodies.ray_test(*batch) for batch in batches]
