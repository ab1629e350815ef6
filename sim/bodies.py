"""Robots as bodies: what moves when wheels are told to turn."""

from collections.abc import Sequence
from math import cos, hypot, sin
from typing import Protocol

import numpy as np
from numba import njit
from numpy.typing import NDArray

from marl_core.types import RobotModel
from sim.worlds.world import World

SUBSTEPS = 4
"""Pieces in which a control period is driven: a body stops this much of it before a wall."""


class Bodies(Protocol):
    """All robots of a simulation.

    Attributes:
        poses: x, y, heading [m, m, rad; map frame], NaN for a body that was removed. Shape: (N, 3).
        twists: measured forward and turning velocity [m/s, rad/s]. Shape: (N, 2).
        collisions: control periods in which each body touched something. Shape: (N,).
    """

    poses: NDArray[np.float64]
    twists: NDArray[np.float64]
    collisions: NDArray[np.int64]

    def reset(self, poses: NDArray[np.float64]) -> None:
        """Put all bodies somewhere, at rest. Shape: (N, 3)."""

    def step(self, commands: NDArray[np.float64], elapsed_s: float) -> None:
        """Drive for one control period within the models' limits. Shape of commands: (N, 2)."""

    def remove(self, index: int) -> None:
        """Take a body away."""

    def close(self) -> None:
        """Free what is held."""


class KinematicBodies:
    """Discs that move exactly as told, within limits of velocity and acceleration, and stop at what is in the way."""

    def __init__(self, world: World, models: Sequence[RobotModel], poses: NDArray[np.float64]) -> None:
        self._clearance_m = np.ascontiguousarray(np.pad(world.clearance_m, 1), np.float32)
        self._resolution_m = world.resolution_m
        self._origin = np.array([world.origin_x_m, world.origin_y_m]) - world.resolution_m
        self._limits = np.array([(model.max_linear_mps, model.max_angular_radps, model.max_linear_acceleration_mps2,
                                  model.max_angular_acceleration_radps2, model.radius_m) for model in models])
        self.reset(poses)

    def reset(self, poses: NDArray[np.float64]) -> None:
        """See Bodies."""
        self.poses = np.array(poses, np.float64)
        self.twists = np.zeros((len(poses), 2))
        self.collisions = np.zeros(len(poses), np.int64)

    def step(self, commands: NDArray[np.float64], elapsed_s: float) -> None:
        """See Bodies."""
        drive(self.poses, self.twists, np.ascontiguousarray(commands, np.float64), self._limits, elapsed_s,
              self._clearance_m, self._origin, self._resolution_m, self.collisions)

    def remove(self, index: int) -> None:
        """See Bodies."""
        self.poses[index] = np.nan
        self.twists[index] = 0.0

    def close(self) -> None:
        """See Bodies."""


@njit(cache=True, nogil=True)
def drive(poses: NDArray[np.float64], twists: NDArray[np.float64], commands: NDArray[np.float64],
          limits: NDArray[np.float64], elapsed_s: float, clearance_m: NDArray[np.float32], origin: NDArray[np.float64],
          resolution_m: float, collisions: NDArray[np.int64]) -> None:
    """Move bodies for one control period.

    Args:
        poses: changed [m, m, rad; map frame]. Shape: (N, 3).
        twists: changed [m/s, rad/s]. Shape: (N, 2).
        commands: wanted velocities; what is not finite means stop. Shape: (N, 2).
        limits: velocities, accelerations and radius of each body. Shape: (N, 5).
        elapsed_s: length of the period [s].
        clearance_m: distance to the nearest solid cell, with a border of zeros [m]. Shape: (rows, cols).
        origin: corner of ``clearance_m[0, 0]`` [m; map frame]. Shape: (2,).
        resolution_m: edge of a cell [m].
        collisions: counts up where a body was stopped by something. Shape: (N,).
    """
    part_s = elapsed_s / SUBSTEPS
    touched = np.zeros(poses.shape[0], np.bool_)
    for _ in range(SUBSTEPS):
        for n in range(poses.shape[0]):
            if poses[n, 0] != poses[n, 0]:
                continue
            for axis in range(2):
                wanted = commands[n, axis] if np.isfinite(commands[n, axis]) else 0.0
                wanted = min(max(wanted, -limits[n, axis]), limits[n, axis])
                change = limits[n, 2 + axis] * part_s
                twists[n, axis] = min(max(wanted, twists[n, axis] - change), twists[n, axis] + change)
            heading = poses[n, 2] + 0.5 * twists[n, 1] * part_s
            x_m = poses[n, 0] + twists[n, 0] * cos(heading) * part_s
            y_m = poses[n, 1] + twists[n, 0] * sin(heading) * part_s
            poses[n, 2] = _wrapped(poses[n, 2] + twists[n, 1] * part_s)
            if twists[n, 0] == 0.0:
                continue
            if _is_free(n, x_m, y_m, poses, limits, clearance_m, origin, resolution_m):
                poses[n, 0], poses[n, 1] = x_m, y_m
            else:
                twists[n, 0] = 0.0
                touched[n] = True
    for n in range(poses.shape[0]):
        collisions[n] += touched[n]


@njit(cache=True, nogil=True, inline='always')
def _is_free(n: int, x_m: float, y_m: float, poses: NDArray[np.float64], limits: NDArray[np.float64],
             clearance_m: NDArray[np.float32], origin: NDArray[np.float64], resolution_m: float) -> bool:
    """Whether a body may be at a point: clear of walls and bodies, or at least farther from them than it is now."""
    radius_m = limits[n, 4]
    here_m = _clearance(poses[n, 0], poses[n, 1], clearance_m, origin, resolution_m)
    there_m = _clearance(x_m, y_m, clearance_m, origin, resolution_m)
    if there_m < radius_m and there_m <= here_m:
        return False
    for other in range(poses.shape[0]):
        if other != n and poses[other, 0] == poses[other, 0]:
            apart_m = hypot(poses[other, 0] - x_m, poses[other, 1] - y_m)
            now_m = hypot(poses[other, 0] - poses[n, 0], poses[other, 1] - poses[n, 1])
            if apart_m < radius_m + limits[other, 4] and apart_m < now_m:
                return False
    return True


@njit(cache=True, nogil=True, inline='always')
def _clearance(x_m: float, y_m: float, clearance_m: NDArray[np.float32], origin: NDArray[np.float64],
               resolution_m: float) -> float:
    """Distance from a point to the nearest solid cell [m], interpolated between the centres of free cells."""
    x, y = (x_m - origin[0]) / resolution_m - 0.5, (y_m - origin[1]) / resolution_m - 0.5
    col, row = int(x), int(y)
    if x < 0.0 or y < 0.0 or row >= clearance_m.shape[0] - 1 or col >= clearance_m.shape[1] - 1:
        return 0.0
    right, up = x - col, y - row
    lower = (1.0 - right) * clearance_m[row, col] + right * clearance_m[row, col + 1]
    upper = (1.0 - right) * clearance_m[row + 1, col] + right * clearance_m[row + 1, col + 1]
    return (1.0 - up) * lower + up * upper - 0.5 * resolution_m  # from the centre of the solid cell to its edge


@njit(cache=True, nogil=True, inline='always')
def _wrapped(angle_rad: float) -> float:
    """An angle in (-pi, pi]."""
    if angle_rad > np.pi:
        return angle_rad - 2.0 * np.pi
    return angle_rad + 2.0 * np.pi if angle_rad <= -np.pi else angle_rad
