"""Where robots believe to be: the true way, measured with wheels and a gyroscope that are slightly off."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class OdometryNoise:
    """Standard deviations of the errors, each drawn once per robot and run (all 0: no error at all).

    Attributes:
        distance: relative error of distances: 0.02 is 2 cm on a metre.
        turn: relative error of turns: 0.02 is 1.1 degrees on a quarter turn.
        heading_radpm: turn that is not noticed while driving [rad/m].

    Raises:
        ValueError: one is negative.
    """

    distance: float = 0.0
    turn: float = 0.0
    heading_radpm: float = 0.0

    def __post_init__(self) -> None:
        if min(self.distance, self.turn, self.heading_radpm) < 0.0:
            raise ValueError(f'standard deviations of odometry must not be negative, got {self}')


class Odometry:
    """Dead reckoning of a fleet.

    Attributes:
        poses: estimates [m, m, rad; map frame]; that of a removed robot stays as it was. Shape: (N, 3).
    """

    def __init__(self, poses: NDArray[np.float64], noise: OdometryNoise | None = None, seed: int = 0) -> None:
        """Begin at known poses.

        Args:
            poses: [m, m, rad; map frame]. Shape: (N, 3).
            noise: how wrong the robots measure; None: perfect.
            seed: of the draw of errors.
        """
        noise = noise or OdometryNoise()
        drawn = np.random.default_rng([seed, 0x0D0]).standard_normal((len(poses), 3))
        self._errors = drawn * (noise.distance, noise.turn, noise.heading_radpm)
        self._perfect = not self._errors.any()
        self.reset(poses)

    def reset(self, poses: NDArray[np.float64]) -> None:
        """Tell robots where they are. Shape: (N, 3)."""
        self.poses = np.array(poses, np.float64)
        self._true_poses = self.poses.copy()

    def update(self, true_poses: NDArray[np.float64]) -> None:
        """Measure the way since the last call; between two calls a robot drives an arc. Shape: (N, 3)."""
        here = ~np.isnan(true_poses[:, 0])
        if self._perfect:
            self.poses[here] = true_poses[here]
            return
        before, after, errors = self._true_poses[here], true_poses[here], self._errors[here]
        turn = _wrapped(after[:, 2] - before[:, 2])
        way = (after[:, :2] - before[:, :2]) @ np.array([1.0, 1j])
        way *= np.exp(-1j * (before[:, 2] + 0.5 * turn))  # ahead and to the left of the mean heading
        measured = turn * (1.0 + errors[:, 1]) + np.abs(way) * errors[:, 2]
        step = way * (1.0 + errors[:, 0]) * np.exp(1j * (self.poses[here, 2] + 0.5 * measured))
        self.poses[here] += np.column_stack([step.real, step.imag, measured])
        self.poses[here, 2] = _wrapped(self.poses[here, 2])
        self._true_poses[here] = after


def _wrapped(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Angles in [-pi, pi)."""
    return (angles + np.pi) % (2.0 * np.pi) - np.pi
