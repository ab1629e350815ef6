"""Wheel odometry: exact by default, drifting on request."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class OdometryNoise:
    """Drift as a random walk: standard deviations that grow with the root of the way.

    The model of Thrun, Burgard & Fox, Probabilistic Robotics (2005), section 5.4, with two of its four terms.

    Attributes:
        along: of the travelled distance [m per root of m].
        turn_rad: of the heading [rad per root of m].
    """

    along: float = 0.0
    turn_rad: float = 0.0


class Odometry:
    """Where robots believe to be.

    Attributes:
        poses: estimates [m, m, rad; map frame]. Shape: (N, 3).
    """

    def __init__(self, starts: NDArray[np.float64], noise: OdometryNoise, seed: int = 0) -> None:
        """Start at true poses. Shape: (N, 3)."""
        self._noise = noise
        self._random = np.random.default_rng([seed, 0x0D0])
        self.reset(starts)

    def reset(self, starts: NDArray[np.float64]) -> None:
        """Start anew at true poses. Shape: (N, 3)."""
        self.poses = np.array(starts, np.float64)
        self._true = self.poses.copy()

    def update(self, true_poses: NDArray[np.float64]) -> None:
        """Take the motion since the last call, with its noise, as the robot's own. Shape: (N, 3)."""
        if self._noise == OdometryNoise():
            self.poses[:] = true_poses
            return
        moved = true_poses[:, :2] - self._true[:, :2]
        turned = true_poses[:, 2] - self._true[:, 2]
        away = self.poses[:, 2] - self._true[:, 2]
        way = np.hypot(moved[:, 0], moved[:, 1])
        along, turn = self._random.standard_normal((2, len(way)))
        scale = 1.0 + np.divide(along * self._noise.along * np.sqrt(way), way, out=np.zeros_like(way), where=way > 0.0)
        self.poses[:, 0] += scale * (np.cos(away) * moved[:, 0] - np.sin(away) * moved[:, 1])
        self.poses[:, 1] += scale * (np.sin(away) * moved[:, 0] + np.cos(away) * moved[:, 1])
        heading = self.poses[:, 2] + turned + turn * self._noise.turn_rad * np.sqrt(way)
        self.poses[:, 2] = np.arctan2(np.sin(heading), np.cos(heading))
        self._true = true_poses.copy()
