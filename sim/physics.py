"""Robots as rigid bodies in PyBullet. The only file that imports it."""

import weakref
from collections.abc import Sequence
from math import ceil
from tempfile import NamedTemporaryFile

import numpy as np
import pybullet
from numpy.typing import NDArray

from marl_core.errors import SimulationError
from marl_core.types import RobotModel
from sim.urdf import CASTERS, LEFT_WHEEL, RIGHT_WHEEL, disc_urdf, wheeled_urdf
from sim.worlds.boxes import faces
from sim.worlds.world import World

BODIES = ('cylinder', 'wheeled')

RATE_HZ = 60.0
"""Physics steps per second. Wheeled robots then drive within 1 % and turn within 5 % of what they are told (0.5 % at
120 Hz), and what is pushed at a wall sinks into it by some millimetres."""

RAMPS = 4
"""Pieces of a control period in which motors are told a new velocity."""

SOLVER_ITERATIONS = 10
FACES_PER_MESH = 8192
"""A mesh holds at most 131072 corners."""

WALL_HEIGHT_M = 4.0
TOUCH_M = 0.001
"""Bodies touch when they are nearer than this (the engine begins to look at a pair at 0.02 m)."""

CASTER_TOUCH_M = 2e-4
"""Casters are solved for when they are nearer to the ground than this. At rest they hang within the distance at which
the engine solves for contacts to come, but they rarely touch; sooner costs time, later a way shorter by 0.2 %."""

LEVEL_M = 1e-4
"""Discs that are higher or lower are put back: pushed spheres would pass over each other."""

MOTOR_RESERVE = 2.0
"""Torque of a wheel's motor over what the model's accelerations need."""

CHASSIS, ROLLING, GROUND, WALL = 1, 2, 4, 8
"""Collision groups. Wheels and casters only meet the ground; chassis meet walls and each other."""


class PhysicsBodies:
    """The bodies of a fleet in a PyBullet client of their own; see ``sim.bodies.Bodies``."""

    def __init__(self, world: World, models: Sequence[RobotModel], poses: NDArray[np.float64], body: str = 'cylinder',
                 rate_hz: float | None = None) -> None:
        """Build walls and bodies.

        Args:
            world: gives the walls.
            models: one per robot.
            poses: starts [m, m, rad; map frame]. Shape: (N, 3).
            body: ``cylinder`` (a disc, moved by velocity) or ``wheeled`` (two driven wheels, two casters).
            rate_hz: physics steps per second, None: RATE_HZ.

        Raises:
            SimulationError: unknown body, or PyBullet has no client left.
        """
        if body not in BODIES:
            raise SimulationError(f'unknown body {body!r}; valid: {", ".join(BODIES)}')
        self._client = pybullet.connect(pybullet.DIRECT)
        if self._client < 0:
            raise SimulationError('PyBullet gave no client; close simulations that are no longer used')
        self._close = weakref.finalize(self, pybullet.disconnect, self._client)
        self._models, self._wheeled, self._rate_hz = list(models), body == 'wheeled', rate_hz or RATE_HZ
        self._limits = np.array([(model.max_linear_mps, model.max_angular_radps) for model in models])
        self._rates = np.array([(model.max_linear_acceleration_mps2, model.max_angular_acceleration_radps2)
                                for model in models])
        self._radii_m = np.array([model.radius_m for model in models])
        self._step_s = 0.0
        # Iterations and cone friction are set here because a client starts with 50 and with the dear kind of friction.
        pybullet.setPhysicsEngineParameter(numSolverIterations=SOLVER_ITERATIONS, numSubSteps=0, enableConeFriction=0,
                                           physicsClientId=self._client)
        pybullet.setGravity(0.0, 0.0, -9.81 if self._wheeled else 0.0, physicsClientId=self._client)
        self._walls = _build_walls(world, self._client)
        if self._wheeled:
            _build_ground(self._client)
        self._bodies: list[int | None] = [None] * len(models)
        self.reset(poses)

    def reset(self, poses: NDArray[np.float64]) -> None:
        """See Bodies. A body that was removed comes back."""
        self.poses = np.array(poses, np.float64)
        self.twists = np.zeros((len(poses), 2))
        self.collisions = np.zeros(len(poses), np.int64)
        self._told = np.zeros((len(poses), 2))
        for index, body in enumerate(self._bodies):
            if body is not None:
                pybullet.removeBody(body, physicsClientId=self._client)
            # A new body instead of a moved one: contacts and motors carry nothing over.
            self._bodies[index] = self._spawn(self._models[index], self.poses[index])

    def step(self, commands: NDArray[np.float64], elapsed_s: float) -> None:
        """See Bodies."""
        steps = max(1, ceil(elapsed_s * self._rate_hz - 1e-9))
        if elapsed_s / steps != self._step_s:
            self._step_s = elapsed_s / steps
            pybullet.setTimeStep(self._step_s, physicsClientId=self._client)
        wanted = np.where(np.isfinite(commands), commands, 0.0).clip(-self._limits, self._limits)
        every = ceil(steps / RAMPS) if self._wheeled else 1
        change = self._rates * (every * self._step_s)
        headings = self.poses[:, 2].copy()
        near = self._find_near(elapsed_s) if self._wheeled else []
        touched: set[int] = set()
        for step in range(steps):
            if step % every == 0:
                self._told = wanted.clip(self._told - change, self._told + change)
                if self._wheeled:
                    self._turn_wheels()
            if not self._wheeled:
                self._push_cylinders(headings)
            pybullet.stepSimulation(physicsClientId=self._client)
            touched |= self._touched(near)
        self._read(elapsed_s)
        self.collisions[[index for index, body in enumerate(self._bodies) if body in touched]] += 1

    def remove(self, index: int) -> None:
        """See Bodies."""
        body = self._bodies[index]
        if body is not None:
            pybullet.removeBody(body, physicsClientId=self._client)
        self._bodies[index] = None
        self.poses[index] = np.nan
        self.twists[index] = self._told[index] = 0.0

    def close(self) -> None:
        """See Bodies."""
        self._close()

    def _spawn(self, model: RobotModel, pose: NDArray[np.float64]) -> int:
        z_m = model.wheel_radius_m if self._wheeled else 0.0
        with NamedTemporaryFile('w', suffix='.urdf', encoding='utf-8') as file:
            file.write(wheeled_urdf(model) if self._wheeled else disc_urdf(model))
            file.flush()
            body = pybullet.loadURDF(file.name, (float(pose[0]), float(pose[1]), z_m),
                                     pybullet.getQuaternionFromEuler((0.0, 0.0, float(pose[2]))),
                                     flags=pybullet.URDF_USE_INERTIA_FROM_FILE,
                                     physicsClientId=self._client)
        for link in range(-1, pybullet.getNumJoints(body, physicsClientId=self._client)):
            pybullet.changeDynamics(body, link, linearDamping=0.0, angularDamping=0.0, jointDamping=0.0,
                                    physicsClientId=self._client)
            group, partners = (CHASSIS, CHASSIS | WALL) if link < 0 else (ROLLING, GROUND)
            pybullet.setCollisionFilterGroupMask(body, link, group, partners, physicsClientId=self._client)
        if self._wheeled:
            pybullet.changeDynamics(body, CASTERS, contactProcessingThreshold=CASTER_TOUCH_M,
                                    physicsClientId=self._client)
        return body

    def _push_cylinders(self, headings: NDArray[np.float64]) -> None:
        """Give all cylinders their velocity for one physics step; ``headings`` is advanced by it."""
        middle = headings + 0.5 * self._step_s * self._told[:, 1]
        x = (self._told[:, 0] * np.cos(middle)).tolist()
        y = (self._told[:, 0] * np.sin(middle)).tolist()
        turn = self._told[:, 1].tolist()
        for index, body in enumerate(self._bodies):
            if body is not None:
                pybullet.resetBaseVelocity(body, (x[index], y[index], 0.0), (0.0, 0.0, turn[index]), self._client)
        headings += self._step_s * self._told[:, 1]

    def _turn_wheels(self) -> None:
        for index, (body, model) in enumerate(zip(self._bodies, self._models)):
            if body is None:
                continue
            linear, angular = self._told[index] / model.wheel_radius_m
            aside = 0.5 * model.wheel_separation_m * angular
            torque = MOTOR_RESERVE * model.mass_kg * model.wheel_radius_m * (
                model.max_linear_acceleration_mps2 + model.radius_m * model.max_angular_acceleration_radps2)
            pybullet.setJointMotorControlArray(body, (LEFT_WHEEL, RIGHT_WHEEL), pybullet.VELOCITY_CONTROL,
                                               targetVelocities=(linear - aside, linear + aside),
                                               forces=(torque, torque), physicsClientId=self._client)

    def _touched(self, near: list[tuple[int, int]]) -> set[int]:
        """Bodies in contact with a wall or another chassis. Cylinders touch nothing else; wheels touch the ground."""
        if not self._wheeled:
            contacts = pybullet.getContactPoints(physicsClientId=self._client)
        else:
            contacts = [contact for wall in self._walls
                        for contact in pybullet.getContactPoints(bodyA=wall, physicsClientId=self._client)]
            # Asking for all contacts would list those of every wheel with the ground.
            contacts += [contact for one, other in near
                         for contact in pybullet.getContactPoints(one, other, physicsClientId=self._client)]
        return {body for contact in contacts if contact[8] < TOUCH_M for body in contact[1:3]}

    def _find_near(self, elapsed_s: float) -> list[tuple[int, int]]:
        """Pairs of bodies that may meet within a control period."""
        reach_m = self._radii_m + elapsed_s * self._limits[:, 0]
        apart_m = np.abs(self.poses[:, None, :2] - self.poses[:, :2]).max(axis=2)
        near = np.argwhere(np.triu(apart_m < reach_m[:, None] + reach_m, 1))
        return [(self._bodies[one], self._bodies[other]) for one, other in near]

    def _read(self, elapsed_s: float) -> None:
        """Fetch poses; velocities are what the wheels' encoders would say: the way of this period by its length."""
        nowhere = (np.nan, np.nan, 0.0), (0.0, 0.0, 0.0, 1.0)
        state = [nowhere if body is None else pybullet.getBasePositionAndOrientation(body, self._client)
                 for body in self._bodies]
        places = np.array([place for place, _ in state])
        if not self._wheeled:
            for index in np.flatnonzero(abs(places[:, 2]) > LEVEL_M):
                (x_m, y_m, _), turn = state[index]
                pybullet.resetBasePositionAndOrientation(self._bodies[index], (x_m, y_m, 0.0), turn, self._client)
        qx, qy, qz, qw = np.array([turn for _, turn in state]).T
        heading = np.arctan2(2.0 * (qw * qz + qx * qy), 1.0 - 2.0 * (qy * qy + qz * qz))
        turned = (heading - self.poses[:, 2] + np.pi) % (2.0 * np.pi) - np.pi
        way, middle = places[:, :2] - self.poses[:, :2], self.poses[:, 2] + 0.5 * turned
        self.twists[:, 0] = (way[:, 0] * np.cos(middle) + way[:, 1] * np.sin(middle)) / elapsed_s
        self.twists[:, 1] = turned / elapsed_s
        self.poses[:, :2] = places[:, :2]
        self.poses[:, 2] = heading
        gone = np.isnan(places[:, 0])
        self.poses[gone], self.twists[gone] = np.nan, 0.0


def _build_walls(world: World, client: int) -> list[int]:
    """All borders between free and solid cells as upright rectangles in one mesh (more if there are very many)."""
    found = faces(np.pad(world.occupied, 1, constant_values=True)) - 1
    walls = []
    for first in range(0, len(found), FACES_PER_MESH):
        ends = found[first:first + FACES_PER_MESH].reshape(-1, 2)
        x = world.origin_x_m + ends[:, 1] * world.resolution_m
        y = world.origin_y_m + ends[:, 0] * world.resolution_m
        low = np.column_stack([x, y, np.full(len(x), -0.5 * WALL_HEIGHT_M)])
        corners = np.concatenate([low, low + (0.0, 0.0, WALL_HEIGHT_M)])
        one = 2 * np.arange(len(x) // 2)[:, None]
        up = len(x)
        triangles = one + np.array([0, 1, up + 1, 0, up + 1, up])
        shape = pybullet.createCollisionShape(
            pybullet.GEOM_MESH, vertices=corners.tolist(), indices=triangles.ravel().tolist(),
            flags=pybullet.GEOM_FORCE_CONCAVE_TRIMESH, physicsClientId=client)
        walls.append(_fixed(shape, WALL, CHASSIS, client))
    return walls


def _build_ground(client: int) -> None:
    shape = pybullet.createCollisionShape(pybullet.GEOM_PLANE, physicsClientId=client)
    ground = _fixed(shape, GROUND, ROLLING, client)
    pybullet.changeDynamics(ground, -1, lateralFriction=1.0, physicsClientId=client)


def _fixed(shape: int, group: int, partners: int, client: int) -> int:
    body = pybullet.createMultiBody(0.0, shape, physicsClientId=client)
    pybullet.setCollisionFilterGroupMask(body, -1, group, partners, physicsClientId=client)
    return body
