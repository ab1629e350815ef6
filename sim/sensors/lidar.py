"""A planar lidar in a grid world, exact to the cell: far from walls it jumps, near them it walks cell by cell.

The jump length is the chessboard distance to the nearest wall, which no ray can cross within that many cells. All
beams first jump together, some times without a branch, so that memory and SIMD units work on many of them at once.
Walking is Amanatides & Woo, "A Fast Voxel Traversal Algorithm for Ray Tracing", Eurographics 1987.
"""

from math import asin, atan2, cos, floor, inf, pi, sin, sqrt

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import ndimage

from marl_core.types import LaserScan, LidarModel
from sim.worlds.world import World

BORDER = 2
"""Solid cells around the world, so that a ray ends before the array does."""

JUMPS = 8
"""Jumps of all beams together. Most have then come near a wall, and each goes on alone."""

WALK = 8
"""Cells walked one by one before another jump is tried."""


class Lidar:
    """Casts the beams of robots of one lidar model in one world.

    Attributes:
        model: geometry and noise.
        angle_min_rad, angle_increment_rad: as in the scans [rad; lidar frame].
    """

    def __init__(self, world: World, model: LidarModel, seed: int = 0) -> None:
        self.model = model
        full_turn = model.field_of_view_rad > 2.0 * pi - 1e-6
        steps = model.beams if full_turn else max(1, model.beams - 1)
        # Messages carry single precision; what is measured must be what is told.
        self.angle_min_rad = float(np.float32(-0.5 * model.field_of_view_rad))
        self.angle_increment_rad = float(np.float32(model.field_of_view_rad / steps))
        self._range_min_m = float(np.float32(model.range_min_m))
        self._range_max_m = float(np.float32(model.range_max_m))
        angles = self.angle_min_rad + self.angle_increment_rad * np.arange(model.beams)
        self._directions = np.column_stack((np.cos(angles), np.sin(angles)))
        self._field = distance_field(world.occupied)
        self._resolution_m = world.resolution_m
        self._origin = np.array([world.origin_x_m, world.origin_y_m]) - BORDER * world.resolution_m
        self._random = np.random.default_rng([seed, 0x11DA])

    def ranges_m(self, poses: NDArray[np.float64], discs: NDArray[np.float64],
                 own: NDArray[np.int64]) -> NDArray[np.float32]:
        """Noise-free ranges, inf where nothing is within reach.

        Args:
            poses: of the lidars [m, m, rad; map frame]. Shape: (N, 3).
            discs: bodies that the beams meet: x, y, radius [m; map frame]. Shape: (D, 3).
            own: index of the disc that carries each lidar, -1 for none. Shape: (N,).

        Returns:
            Shape: (N, beams).
        """
        ranges = np.empty((len(poses), self.model.beams), np.float32)
        cast(self._field, poses, self._origin, self._resolution_m, self._directions, self._range_max_m, ranges)
        meet_discs(poses, discs, own, self.angle_min_rad, self.angle_increment_rad, self._directions,
                   self._range_max_m, ranges)
        ranges[ranges >= self._range_max_m] = inf
        return ranges

    def scans(self, stamp_s: float, poses: NDArray[np.float64], discs: NDArray[np.float64],
              own: NDArray[np.int64]) -> list[LaserScan]:
        """Sweeps with range noise, dropouts (NaN) and the limits of REP 117; arguments as in ``ranges_m``."""
        model, ranges = self.model, self.ranges_m(poses, discs, own)
        if model.noise_std_m:
            ranges += self._random.standard_normal(ranges.shape, np.float32) * np.float32(model.noise_std_m)
            far = (ranges >= self._range_max_m) & np.isfinite(ranges)
            ranges[far] = np.nextafter(np.float32(self._range_max_m), np.float32(0.0))
        ranges[ranges < self._range_min_m] = -inf
        if model.dropout_probability:
            ranges[self._random.random(ranges.shape, np.float32) < model.dropout_probability] = np.nan
        return [LaserScan(stamp_s, self.angle_min_rad, self.angle_increment_rad, self._range_min_m,
                          self._range_max_m, row) for row in ranges]


def distance_field(occupied: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Chessboard distance to the nearest occupied cell, at most 255, with a solid border. Shape: (rows + 4, cols + 4).

    Args:
        occupied: Shape: (rows, cols).
    """
    free = np.pad(~occupied, BORDER)
    return np.minimum(ndimage.distance_transform_cdt(free, 'chessboard'), 255).astype(np.uint8)


@njit(cache=True, nogil=True, fastmath={'nnan', 'nsz', 'arcp', 'contract', 'reassoc'})
def cast(field: NDArray[np.uint8], poses: NDArray[np.float64], origin: NDArray[np.float64], resolution_m: float,
         directions: NDArray[np.float64], range_m: float, ranges_m: NDArray[np.float32]) -> None:
    """Write the distance from each lidar to the first solid cell along each beam, ``range_m`` where none is nearer.

    Args:
        field: of ``distance_field``.
        poses: [m, m, rad; map frame]. Shape: (N, 3).
        origin: corner of ``field[0, 0]`` [m; map frame]. Shape: (2,).
        resolution_m: edge of a cell [m].
        directions: cosine and sine of the beams' angles [lidar frame]. Shape: (B, 2).
        range_m: farthest [m].
        ranges_m: written [m]. Shape: (N, B).
    """
    width = field.shape[1]
    cells = field.reshape(-1)
    longest = np.float32(range_m / resolution_m)
    beams = np.empty((4, directions.shape[0]), np.float32)  # once for all lidars
    for n in range(poses.shape[0]):
        x = np.float32((poses[n, 0] - origin[0]) / resolution_m)
        y = np.float32((poses[n, 1] - origin[1]) / resolution_m)
        if not (1.0 <= x < width - 1.0 and 1.0 <= y < field.shape[0] - 1.0):
            ranges_m[n, :] = range_m if x != x else 0.0
            continue
        _turn(directions, poses[n, 2], beams)
        lengths = ranges_m[n]
        lengths[:] = 0.0
        for _ in range(JUMPS):
            _jump(cells, width, x, y, beams, lengths)
        for k in range(lengths.size):
            lengths[k] = _walk(cells, width, x, y, beams[0, k], beams[1, k], beams[2, k], beams[3, k], lengths[k],
                               longest) * np.float32(resolution_m)


@njit(cache=True, nogil=True, fastmath={'nnan', 'nsz', 'arcp', 'contract', 'reassoc'})
def _turn(directions: NDArray[np.float64], heading_rad: float, beams: NDArray[np.float32]) -> None:
    """Write each beam's unit vector in the map, and the lengths at which it crosses one column and one row [cells]."""
    ahead, left = cos(heading_rad), sin(heading_rad)
    across, up, per_x, per_y = beams
    for k in range(directions.shape[0]):
        across[k] = ahead * directions[k, 0] - left * directions[k, 1]
        up[k] = left * directions[k, 0] + ahead * directions[k, 1]
        per_x[k] = np.float32(1.0) / max(abs(across[k]), np.float32(1e-9))
        per_y[k] = np.float32(1.0) / max(abs(up[k]), np.float32(1e-9))


@njit(cache=True, nogil=True, fastmath={'nnan', 'nsz', 'arcp', 'contract', 'reassoc'})
def _jump(cells: NDArray[np.uint8], width: int, x: np.float32, y: np.float32, beams: NDArray[np.float32],
          lengths: NDArray[np.float32]) -> None:
    """Let all beams jump once; who is beside a wall stays."""
    across, up, per_x, per_y = beams
    for k in range(lengths.size):
        cell = np.int32(y + up[k] * lengths[k]) * np.int32(width) + np.int32(x + across[k] * lengths[k])
        clear = np.int32(cells[np.uint32(cell)])
        lengths[k] += np.float32(max(clear - 1, 0)) * min(per_x[k], per_y[k])


@njit(cache=True, nogil=True, inline='always', fastmath={'nnan', 'nsz', 'arcp', 'contract', 'reassoc'})
def _walk(cells: NDArray[np.uint8], width: int, x: np.float32, y: np.float32, dx: np.float32, dy: np.float32,
          per_x: np.float32, per_y: np.float32, length: np.float32, longest: np.float32) -> np.float32:
    """Length of one beam [cells] that has come as far as ``length``; other arguments as ``_turn`` writes them."""
    border_x, border_y = np.float32(dx > 0), np.float32(dy > 0)
    step_x = 1 if dx > 0 else -1
    step_y = width if dy > 0 else -width
    while length < longest:
        at_x, at_y = x + dx * length, y + dy * length
        col, row = int(at_x), int(at_y)
        cell = row * width + col
        clear = cells[np.uint64(cell)]
        if clear == 0:
            return length
        if clear > 2:
            length += np.float32(clear - 1) * min(per_x, per_y)
            continue
        next_x = length + abs(np.float32(col) + border_x - at_x) * per_x
        next_y = length + abs(np.float32(row) + border_y - at_y) * per_y
        for _ in range(WALK):
            length = min(next_x, next_y)
            sideways = next_x < next_y  # used as a number: as a branch it would be guessed wrong every other time
            cell += step_y + (step_x - step_y) * np.int64(sideways)
            next_x += per_x * np.float32(sideways)
            next_y += per_y * (np.float32(1.0) - np.float32(sideways))
            if cells[np.uint64(cell)] == 0:
                return min(length, longest)
        length += np.float32(1e-3)  # past the border just met, so that rounding cannot fall back
    return longest


@njit(cache=True, nogil=True)
def meet_discs(poses: NDArray[np.float64], discs: NDArray[np.float64], own: NDArray[np.int64], angle_min_rad: float,
               increment_rad: float, directions: NDArray[np.float64], range_m: float,
               ranges_m: NDArray[np.float32]) -> None:
    """Shorten the beams that meet a disc; arguments as in ``Lidar.ranges_m`` and ``cast``."""
    turn = int(round(2.0 * pi / increment_rad))
    for n in range(poses.shape[0]):
        ahead, left = cos(poses[n, 2]), sin(poses[n, 2])
        for d in range(discs.shape[0]):
            dx, dy, radius = discs[d, 0] - poses[n, 0], discs[d, 1] - poses[n, 1], discs[d, 2]
            squared = dx * dx + dy * dy
            # Not one that is away (NaN), that the lidar is inside of, or that is out of reach.
            if d == own[n] or not radius * radius < squared < (range_m + radius) ** 2:
                continue
            x, y = ahead * dx + left * dy, ahead * dy - left * dx
            half = asin(radius / sqrt(squared))
            center = atan2(y, x) - angle_min_rad
            for index in range(int(floor((center - half) / increment_rad)),
                               int(floor((center + half) / increment_rad)) + 2):
                k = index + turn if index < 0 else (index - turn if index >= turn else index)
                if not 0 <= k < directions.shape[0]:  # outside of the field of view
                    continue
                along = x * directions[k, 0] + y * directions[k, 1]
                under = radius * radius - (squared - along * along)
                if along > 0.0 and under >= 0.0:
                    ranges_m[n, k] = min(ranges_m[n, k], along - sqrt(under))
