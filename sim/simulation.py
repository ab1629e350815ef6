"""Robots in a world: commands in, readings out, one control period at a time."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from marl_core.errors import SimulationError, WorldError
from marl_core.types import LidarModel, Pose, Readings, RobotModel, Twist
from sim.bodies import Bodies, KinematicBodies
from sim.sensors.lidar import Lidar
from sim.sensors.odometry import Odometry, OdometryNoise
from sim.worlds.world import World

PHYSICS = ('kinematic', 'pybullet')
BODIES = ('cylinder', 'wheeled')
STEP_S = 0.1
"""Control period of all robots [s]."""


class Simulation:
    """A fleet's bodies and sensors; who decides is somebody else.

    Attributes:
        names: of the robots, in the order of all arrays. models: their bodies.
        step_s: control period [s].
    """

    def __init__(self, world: World, robots: Sequence[tuple[str, RobotModel]],
                 starts: NDArray[np.float64] | None = None, *, physics: str = 'kinematic', body: str = 'cylinder',
                 seed: int = 0, odometry: OdometryNoise | None = None) -> None:
        """Put robots into a world.

        Args:
            world: where. robots: names and models.
            starts: poses [m, m, rad; map frame], None: the world's own. Shape: (N, 3).
            physics: one of PHYSICS. body: one of BODIES (kinematic bodies are always discs).
            seed: of all noise.
            odometry: drift; None: perfect.

        Raises:
            SimulationError: no robot, two of one name, or an unknown option.
            WorldError: a robot does not fit its start, or there is no room for all.
        """
        self.names, self.models = [name for name, _ in robots], [model for _, model in robots]
        _check_options(self.names, physics, body)
        self.world, self.step_s = world, STEP_S
        if starts is None:
            starts = world.start_poses(len(robots), max(model.radius_m for model in self.models))
        self._starts = np.array(starts, np.float64).reshape(-1, 3)
        self._check_starts()
        self._bodies = _make_bodies(world, self.models, self._starts, physics, body)
        self._lidars: dict[LidarModel, tuple[Lidar, NDArray[np.int64]]] = {}
        for model in dict.fromkeys(model.lidar for model in self.models):
            rows = np.array([row for row, robot in enumerate(self.models) if robot.lidar == model])
            self._lidars[model] = Lidar(world, model, seed), rows
        self._offsets_m = np.array([model.lidar.x_m for model in self.models])
        self._radii_m = np.array([model.radius_m for model in self.models])
        self._odometry = Odometry(self._starts, odometry or OdometryNoise(), seed)
        self._steps = 0

    @property
    def time_s(self) -> float:
        """Simulated time [s]."""
        return round(self._steps * self.step_s, 6)

    @property
    def true_poses(self) -> NDArray[np.float64]:
        """Where the robots really are [m, m, rad; map frame], NaN for removed ones. Shape: (N, 3)."""
        return self._bodies.poses

    @property
    def odometry(self) -> NDArray[np.float64]:
        """Where the robots believe to be [m, m, rad; map frame]. Shape: (N, 3)."""
        return self._odometry.poses

    @property
    def collisions(self) -> int:
        """Control periods in which a robot touched something, of all robots."""
        return int(self._bodies.collisions.sum())

    def reset(self) -> list[Readings]:
        """Put everything back to its start (noise goes on). Returns the first readings."""
        self._steps = 0
        self._bodies.reset(self._starts)
        self._odometry.reset(self._starts)
        return self.readings()

    def step(self, commands: NDArray[np.float64]) -> list[Readings]:
        """Drive for one control period, then look around.

        Args:
            commands: forward [m/s] and turning velocity [rad/s]. Shape: (N, 2).

        Raises:
            SimulationError: another shape.
        """
        if np.shape(commands) != (len(self.names), 2):
            raise SimulationError(f'{len(self.names)} robots need commands of shape ({len(self.names)}, 2), '
                                  f'got {np.shape(commands)}')
        self._bodies.step(np.asarray(commands, np.float64), self.step_s)
        self._steps += 1
        self._odometry.update(self._bodies.poses)
        return self.readings()

    def readings(self) -> list[Readings]:
        """What every robot senses now; no scan between two sweeps of its lidar, nothing from a removed robot."""
        poses = self._bodies.poses
        lidar_poses = poses.copy()
        lidar_poses[:, 0] += self._offsets_m * np.cos(poses[:, 2])
        lidar_poses[:, 1] += self._offsets_m * np.sin(poses[:, 2])
        discs = np.column_stack((poses[:, :2], self._radii_m))
        scans: dict[int, object] = {}
        for model, (lidar, rows) in self._lidars.items():
            if self._steps % max(1, round(1.0 / (model.rate_hz * self.step_s))) == 0:
                scans |= zip(rows.tolist(), lidar.scans(self.time_s, lidar_poses[rows], discs, rows))
        return [Readings() if np.isnan(poses[row, 0]) else
                Readings(scans.get(row), Pose(*map(float, self.odometry[row])), Twist(*map(float, twist)))
                for row, twist in enumerate(self._bodies.twists)]

    def remove(self, name: str) -> None:
        """Take a robot away; its rows stay and hold NaN.

        Raises:
            SimulationError: no such robot.
        """
        if name not in self.names:
            raise SimulationError(f'no robot {name!r}; there are {", ".join(self.names)}')
        self._bodies.remove(self.names.index(name))

    def close(self) -> None:
        """Free the physics engine."""
        self._bodies.close()

    def _check_starts(self) -> None:
        if len(self._starts) != len(self.names):
            raise SimulationError(f'{len(self.names)} robots need as many starts, got {len(self._starts)}')
        for row, (name, model) in enumerate(zip(self.names, self.models)):
            x_m, y_m = self._starts[row, :2]
            if not self.world.fits(x_m, y_m, model.radius_m):
                raise WorldError(f'robot {name} (radius {model.radius_m} m) does not fit its start ({x_m:.2f}, '
                                 f'{y_m:.2f}) in world {self.world.name}')
            for other in range(row):
                apart_m = float(np.hypot(*(self._starts[row, :2] - self._starts[other, :2])))
                if apart_m < model.radius_m + self.models[other].radius_m:
                    raise WorldError(f'robots {self.names[other]} and {name} overlap at their starts '
                                     f'({apart_m:.2f} m apart)')


def _check_options(names: list[str], physics: str, body: str) -> None:
    if not names:
        raise SimulationError('a simulation needs at least one robot')
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SimulationError(f'two robots have the name {", ".join(twice)}; names must differ')
    if physics not in PHYSICS:
        raise SimulationError(f'unknown physics {physics!r}; valid: {", ".join(PHYSICS)}')
    if body not in BODIES:
        raise SimulationError(f'unknown body {body!r}; valid: {", ".join(BODIES)}')


def _make_bodies(world: World, models: Sequence[RobotModel], starts: NDArray[np.float64], physics: str,
                 body: str) -> Bodies:
    if physics == 'kinematic':
        return KinematicBodies(world, models, starts)
    from sim.physics import PhysicsBodies  # the engine is loaded by those who use it
    return PhysicsBodies(world, models, starts, body=body)
