"""The map that one robot makes from its own scans."""

from math import isfinite, pi

import numpy as np
from numba import njit
from numpy.typing import NDArray

from marl_core.errors import MapError
from marl_core.mapping.bounds import EVIDENCE, TILE, MapBounds, MapConfig
from marl_core.mapping.classes import classify_pieces, classify_window
from marl_core.mapping.insertion import (
    JUMP_M,
    NOTHING,
    Evidence,
    ScanScratch,
    insert_scan,
    read_ranges,
    scan_scratch,
    stop_at_discs,
    turn_beams,
)
from marl_core.types import LaserScan, Pose

NO_DISCS = np.empty((0, 3))
REFUSED = (-1, -1, -1, -1)
"""Window of a scan with discs that are not finite."""


class OccupancyMap:
    """Evidence of one robot's scans, its classes, and what of them changed.

    Attributes:
        bounds: where the cells lie.
        log_odds: evidence, positive for occupied. Shape: (rows, cols), int8.
        classes: FREE, UNKNOWN, OCCUPIED or, with graded evidence, FAINT. Shape: (rows, cols), int8.
        ignored_scans: scans that could not touch the map (no reading that says anything, or wholly outside).
    """

    def __init__(self, bounds: MapBounds, config: MapConfig) -> None:
        self.bounds = bounds
        self.log_odds = np.zeros(bounds.shape, np.int8)
        self.classes = np.zeros(bounds.shape, np.int8)
        self.ignored_scans = 0
        self._config = config
        self._evidence = Evidence(config.hit, config.miss, config.maximum, config.minimum)
        self._entering = EVIDENCE[config.evidence]
        self._levels = np.array((*self._evidence, config.occupied_at, config.free_at, self._entering))
        self._changed = np.zeros(bounds.tiles_shape, np.uint8)
        self._window: tuple[int, int, int, int] | None = None
        self._form: tuple[tuple[float, float], tuple[float, float], tuple[int, ...]] | None = None
        self._cosines, self._sines = np.empty(0), np.empty(0)
        self._scratch = self._scratch_for(0)

    @property
    def known_window(self) -> tuple[int, int, int, int]:
        """Bounding box (row0, row1, col0, col1; ends excluded) of all cells ever touched; all 0 if none."""
        return self._window or (0, 0, 0, 0)

    def integrate(self, scan: LaserScan, lidar_pose: Pose, ignore: NDArray[np.float64] = NO_DISCS) -> None:
        """Add a scan to the map.

        Beams without a reading (NaN, -inf, below range_min_m or above range_max_m) say nothing; +inf is free space
        up to range_max_m. What lies outside the bounds is cut off; a scan wholly outside, or one whose beams all
        say nothing, only counts in ``ignored_scans``. Beams beyond one full turn are not used.

        Args:
            scan: one sweep.
            lidar_pose: of the lidar when the scan was taken [map frame].
            ignore: discs x, y, radius [m; map frame], such as teammates: beams that end in one see free space up
                to it and hit nothing. Shape: (n, 3).

        Raises:
            MapError: the pose, the angles, the limits or the discs are not finite numbers of the right shape.
        """
        beams = self._use_beams_of(scan)
        discs = np.asarray(ignore, np.float64)
        if not all(map(isfinite, lidar_pose)):
            raise MapError(f'a scan needs a finite pose, got {lidar_pose}')
        if discs.ndim != 2 or discs.shape[1] != 3:
            raise MapError(f'discs to ignore must be rows x, y, radius, got an array of shape {discs.shape}')
        bounds = self.bounds
        window = _integrate(
            self.log_odds, self.classes, np.asarray(scan.ranges_m[:beams], np.float32), self._cosines, self._sines,
            lidar_pose.x_m, lidar_pose.y_m, lidar_pose.heading_rad, scan.angle_increment_rad, scan.range_min_m,
            scan.range_max_m, self._config.known_range_m, bounds.origin_x_m, bounds.origin_y_m, bounds.resolution_m,
            discs, self._levels, *self._scratch, self._changed)
        if window[0] < 0:
            raise MapError('discs to ignore must be finite')
        if window[0] >= window[1]:
            self.ignored_scans += 1
        else:
            self._touch(window)

    def clear_disc(self, x_m: float, y_m: float, radius_m: float) -> None:
        """Make all cells with their centre in a disc free beyond doubt, such as those under the robot itself.

        Raises:
            MapError: a value is not finite.
        """
        if not isfinite(radius_m):
            raise MapError(f'a disc needs a finite radius, got {radius_m}')
        row, col = self.bounds.cell_of(x_m, y_m)
        reach = int(radius_m / self.bounds.resolution_m) + 1
        rows, cols = self.bounds.shape
        row0, row1, col0, col1 = max(row - reach, 0), min(row + reach + 1, rows), max(col - reach, 0), min(
            col + reach + 1, cols)
        if row0 >= row1 or col0 >= col1:
            return
        window = row0, row1, col0, col1
        _clear_disc(self.log_odds, self.classes, window, (y_m - self.bounds.origin_y_m) / self.bounds.resolution_m,
                    (x_m - self.bounds.origin_x_m) / self.bounds.resolution_m, radius_m / self.bounds.resolution_m,
                    self._evidence, self._config.occupied_at, self._config.free_at, self._entering, self._changed)
        self._touch(window)

    def take_changed(self) -> NDArray[np.int32]:
        """Tiles (ty, tx) with cells whose class changed since the last call. Shape: (n, 2)."""
        if self._window is None:
            return np.empty((0, 2), np.int32)
        row0, row1, col0, col1 = self._window
        top, left = row0 // TILE, col0 // TILE
        flags = self._changed[top:(row1 + TILE - 1) // TILE, left:(col1 + TILE - 1) // TILE]
        tiles = np.argwhere(flags).astype(np.int32) + np.array((top, left), np.int32)
        flags[:] = 0
        return tiles

    def _touch(self, window: tuple[int, int, int, int]) -> None:
        known = self._window or window
        self._window = (min(known[0], window[0]), max(known[1], window[1]),
                        min(known[2], window[2]), max(known[3], window[3]))

    def _use_beams_of(self, scan: LaserScan) -> int:
        """Check a scan's form and prepare its beams' directions. Returns how many beams are used."""
        angles, limits = (scan.angle_min_rad, scan.angle_increment_rad), (scan.range_min_m, scan.range_max_m)
        form = angles, limits, scan.ranges_m.shape
        if form != self._form:
            if scan.ranges_m.ndim != 1 or not all(map(isfinite, angles)) or not all(value >= 0.0 for value in limits):
                raise MapError(f'a scan needs finite angles, limits of 0 or more and one row of ranges, got angles '
                               f'{angles}, limits {limits} and ranges of shape {scan.ranges_m.shape}')
            turn = 2.0 * pi / max(abs(scan.angle_increment_rad), 1e-9)
            beams = min(len(scan.ranges_m), int(turn * (1.0 + 1e-9) + 0.5) or 1)
            angles_rad = scan.angle_min_rad + scan.angle_increment_rad * np.arange(beams)
            self._cosines, self._sines = np.cos(angles_rad), np.sin(angles_rad)
            self._scratch = self._scratch_for(beams)
            self._form = form
        return len(self._cosines)

    def _scratch_for(self, beams: int) -> ScanScratch:
        return scan_scratch(beams, self._config.known_range_m / self.bounds.resolution_m, self.bounds.shape)


@njit(cache=True, nogil=True)
def _integrate(log_odds: NDArray[np.int8], classes: NDArray[np.int8], ranges_m: NDArray[np.float32],
               cosines: NDArray[np.float64], sines: NDArray[np.float64], x_m: float, y_m: float, heading_rad: float,
               increment_rad: float, range_min_m: float, range_max_m: float, longest_m: float, origin_x_m: float,
               origin_y_m: float, resolution_m: float, discs: NDArray[np.float64], levels: NDArray[np.int64],
               reach: NDArray[np.float64], is_hit: NDArray[np.uint8], direction: NDArray[np.float64],
               vertices: NDArray[np.float64], hits: NDArray[np.int32], crossings: NDArray[np.uint64],
               touched: NDArray[np.int32], changed: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    """One scan from ranges to classes in one compiled call. Returns the touched window, REFUSED for wrong discs.

    Numbers come as one array and buffers one by one: of a tuple, numba works out the type anew in each call.
    """
    for disc in range(discs.shape[0]):
        if not (isfinite(discs[disc, 0]) and isfinite(discs[disc, 1]) and isfinite(discs[disc, 2])):
            return REFUSED
    scratch = ScanScratch(reach, is_hit, direction, vertices, hits, crossings, touched)
    evidence = Evidence(levels[0], levels[1], levels[2], levels[3])
    if read_ranges(ranges_m, range_min_m, range_max_m, longest_m, resolution_m, scratch) == 0:
        return NOTHING
    turn_beams(cosines, sines, heading_rad, scratch)
    stop_at_discs(ranges_m.size, x_m, y_m, discs, scratch, resolution_m)
    window = insert_scan(log_odds, ranges_m.size, (x_m - origin_x_m) / resolution_m, (y_m - origin_y_m) / resolution_m,
                         increment_rad, JUMP_M / resolution_m, evidence, scratch)
    classify_pieces(log_odds, classes, touched, levels[4], levels[5], evidence.maximum, evidence.minimum, changed,
                    levels[6])
    return window


@njit(cache=True, nogil=True)
def _clear_disc(log_odds: NDArray[np.int8], classes: NDArray[np.int8], window: tuple[int, int, int, int], y: float,
                x: float, radius: float, evidence: Evidence, occupied_at: int, free_at: int, entering: int,
                changed: NDArray[np.uint8]) -> None:
    """Set the evidence in a disc [cells] to its minimum and classify the window."""
    row0, row1, col0, col1 = window
    for row in range(row0, row1):
        for col in range(col0, col1):
            if (row + 0.5 - y)**2 + (col + 0.5 - x)**2 <= radius * radius:
                log_odds[row, col] = evidence.minimum
    classify_window(log_odds, classes, row0, row1, col0, col1, occupied_at, free_at, evidence.maximum,
                    evidence.minimum, changed, entering)
