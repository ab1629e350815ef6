"""PyBullet bodies with lidar and mapping: control steps of one robot per second of one core."""

from collections.abc import Callable
from math import pi

import numpy as np
import pybullet
from numpy.typing import NDArray

from benchmarks.rows import CLOCK, Row
from marl_core.mapping.bounds import MapBounds, MapConfig
from marl_core.mapping.grid import OccupancyMap
from marl_core.types import Pose, RobotModel
from sim.physics import PhysicsBodies
from sim.sensors.lidar import Lidar
from sim.simulation import STEP_S
from sim.worlds import World, load_world
from sim.worlds.boxes import rectangles

MODEL = RobotModel()
SETTLE, STEPS = 100, 300
PEER_ROBOTS, PEER_STEPS = 8, 20


def measure() -> list[Row]:
    """Robots with 360 beams at 10 Hz roam an office; each maps at 0.05 m. The peer does not map."""
    world = load_world('office:1@40x30')
    naive = NaivePyBullet(world, world.start_poses(PEER_ROBOTS, MODEL.radius_m))
    peer_per_s = PEER_ROBOTS / _seconds_per_step(naive.step, PEER_STEPS)
    naive.close()
    rows = []
    for body, robots, target, ratio_target in (('cylinder', 32, 10_000.0, 20.0), ('wheeled', 8, 4_000.0, 8.0)):
        fleet = MappingFleet(world, robots, body)
        per_s = robots / _seconds_per_step(fleet.step, STEPS)
        fleet.close()
        rows.append(Row(f'physics, lidar and mapping, {robots} {body} robots, robot-steps', per_s, '1/s', target,
                        peer='cylinders among boxes at 240 Hz with rayTestBatch, no map', ratio=per_s / peer_per_s,
                        ratio_target=ratio_target))
    return rows


class MappingFleet:
    """What a simulated fleet costs without its decisions."""

    def __init__(self, world: World, robots: int, body: str) -> None:
        config = MapConfig()
        self._bodies = PhysicsBodies(world, [MODEL] * robots, world.start_poses(robots, MODEL.radius_m), body)
        self._lidar = Lidar(world, MODEL.lidar)
        self._maps = [OccupancyMap(MapBounds.from_config(config), config) for _ in range(robots)]
        self._own = np.arange(robots)
        self._roamers = Roamers(robots)
        self._ranges_m = np.full((robots, MODEL.lidar.beams), np.inf, np.float32)
        self._time_s = 0.0

    def step(self) -> None:
        """One control period of all robots."""
        self._time_s += STEP_S
        self._bodies.step(self._roamers.commands(self._ranges_m), STEP_S)
        poses = self._bodies.poses
        discs = np.column_stack((poses[:, :2], np.full(len(poses), MODEL.radius_m)))
        scans = self._lidar.scans(self._time_s, poses, discs, self._own)
        apart_m = np.hypot(*(poses[:, None, :2] - poses[:, :2]).transpose(2, 0, 1))
        near = (apart_m < MODEL.lidar.range_max_m) & (apart_m > 0.0)
        for occupancy, scan, pose, others in zip(self._maps, scans, poses.tolist(), near, strict=True):
            occupancy.integrate(scan, Pose(*pose), discs.compress(others, axis=0))
        self._ranges_m = np.stack([scan.ranges_m for scan in scans])

    def close(self) -> None:
        """Free the physics engine."""
        self._bodies.close()


class NaivePyBullet:
    """The same work as PyBullet offers it: a box per wall, 240 Hz, 50 iterations, its own rays."""

    def __init__(self, world: World, poses: NDArray[np.float64]) -> None:
        self._client = pybullet.connect(pybullet.DIRECT)
        cell_m = world.resolution_m
        for row, col, end_row, end_col in rectangles(world.occupied).tolist():
            half_m = ((end_col - col) * cell_m / 2, (end_row - row) * cell_m / 2, 0.5)
            shape = pybullet.createCollisionShape(pybullet.GEOM_BOX, halfExtents=half_m, physicsClientId=self._client)
            place = (world.origin_x_m + col * cell_m + half_m[0], world.origin_y_m + row * cell_m + half_m[1], 0.5)
            pybullet.createMultiBody(0.0, shape, basePosition=place, physicsClientId=self._client)
        disc = pybullet.createCollisionShape(pybullet.GEOM_CYLINDER, radius=MODEL.radius_m, height=0.3,
                                             physicsClientId=self._client)
        self._bodies = [pybullet.createMultiBody(
            MODEL.mass_kg, disc, basePosition=(x_m, y_m, 0.5), physicsClientId=self._client,
            baseOrientation=pybullet.getQuaternionFromEuler((0.0, 0.0, turn))) for x_m, y_m, turn in poses.tolist()]
        self._angles = np.linspace(-pi, pi, MODEL.lidar.beams, endpoint=False)
        self._roamers = Roamers(len(poses))
        self._poses = poses.copy()
        self._ranges_m = np.full((len(poses), MODEL.lidar.beams), np.inf, np.float32)

    def step(self) -> None:
        """One control period of all robots."""
        commands = self._roamers.commands(self._ranges_m)
        for _ in range(24):
            for body, (_, _, heading), (linear, angular) in zip(self._bodies, self._poses.tolist(), commands.tolist()):
                pybullet.resetBaseVelocity(body, (linear * np.cos(heading), linear * np.sin(heading), 0.0),
                                           (0.0, 0.0, angular), physicsClientId=self._client)
            pybullet.stepSimulation(physicsClientId=self._client)
        for index, body in enumerate(self._bodies):
            place, turn = pybullet.getBasePositionAndOrientation(body, physicsClientId=self._client)
            heading = pybullet.getEulerFromQuaternion(turn)[2]
            self._poses[index] = *place[:2], heading
            rays = np.column_stack((np.cos(heading + self._angles), np.sin(heading + self._angles),
                                    np.zeros(len(self._angles))))
            begin = np.array((*place[:2], 0.5)) + (MODEL.radius_m + 0.01) * rays
            hits = pybullet.rayTestBatch(begin, begin + MODEL.lidar.range_max_m * rays, physicsClientId=self._client)
            self._ranges_m[index] = np.array([hit[2] for hit in hits]) * MODEL.lidar.range_max_m

    def close(self) -> None:
        """Disconnect."""
        pybullet.disconnect(self._client)


class Roamers:
    """Drive ahead, and turn where something is near ahead."""

    def __init__(self, robots: int) -> None:
        self._side = np.where(np.arange(robots) % 2, 1.0, -1.0)
        self._ahead = slice(MODEL.lidar.beams // 2 - 40, MODEL.lidar.beams // 2 + 40)

    def commands(self, ranges_m: NDArray[np.float32]) -> NDArray[np.float64]:
        """Forward and turning velocity. Shape: (N, 2)."""
        blocked = np.fmin.reduce(ranges_m[:, self._ahead], axis=1) < 0.5  # fmin: NaN says nothing
        return np.column_stack((np.where(blocked, 0.0, 0.5), np.where(blocked, self._side, 0.1 * self._side)))


def _seconds_per_step(step: Callable[[], None], steps: int) -> float:
    """CPU time of one step after some to settle [s]."""
    for _ in range(min(SETTLE, steps)):
        step()
    started = CLOCK()
    for _ in range(steps):
        step()
    return (CLOCK() - started) / steps
