"""The coarse grid that decisions and paths are made on, kept up to date tile by tile."""

from math import ceil
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from marl_core.errors import MapError
from marl_core.mapping.bounds import TILE, MapBounds
from marl_core.types import FREE, OCCUPIED, UNKNOWN


class DiscTable(NamedTuple):
    """Which planning cells an occupied cell blocks, for each place (row, col) it can have in its planning cell.

    Attributes:
        first: entries ``first[i]`` to ``first[i + 1]`` of ``offsets`` belong to place i = row * factor + col.
            Shape: (factor**2 + 1,), int32.
        offsets: rows and columns from its own planning cell. Shape: (n, 2), int32.
    """

    first: NDArray[np.int32]
    offsets: NDArray[np.int32]


class PlanningGrid:
    """Coarse state of the map, and where the centre of the robot may be.

    Attributes:
        bounds: where the cells lie.
        state: OCCUPIED if any of its cells is; else FREE if at least half of them are; else UNKNOWN.
            Shape: bounds.planning_shape, int8.
        traversable: 1 where the state is FREE and no occupied cell touches the disc of robot radius and clearance
            round the planning cell's centre. Shape: bounds.planning_shape, uint8.
    """

    def __init__(self, bounds: MapBounds, robot_radius_m: float, clearance_m: float) -> None:
        """Start with an unknown map.

        Raises:
            MapError: the disc has no extent, or is larger than a tile.
        """
        radius_m = robot_radius_m + clearance_m
        if not 0.0 <= radius_m <= TILE * bounds.resolution_m:
            raise MapError(f'radius and clearance must lie within 0 to {TILE * bounds.resolution_m} m, got {radius_m}')
        self.bounds = bounds
        self.state = np.zeros(bounds.planning_shape, np.int8)
        self.traversable = np.zeros(bounds.planning_shape, np.uint8)
        self._table = disc_table(bounds.planning_factor, radius_m / bounds.resolution_m)
        self._occupied = np.zeros(bounds.shape, np.uint8)
        self._blocking = np.zeros(bounds.planning_shape, np.int32)
        self._window: tuple[int, int, int, int] | None = None

    @classmethod
    def from_state(cls, bounds: MapBounds, state: NDArray[np.int8],
                   traversable: NDArray[np.uint8] | None = None) -> 'PlanningGrid':
        """A finished grid for tests; traversable where the state is FREE unless given. Not to be updated.

        Raises:
            MapError: the shape is not bounds.planning_shape.
        """
        if state.shape != bounds.planning_shape:
            raise MapError(f'expected a state of shape {bounds.planning_shape}, got {state.shape}')
        grid = cls(bounds, 0.0, 0.0)
        grid.state[:] = state
        grid.traversable[:] = (state == FREE) if traversable is None else traversable
        grid._window = 0, state.shape[0], 0, state.shape[1]
        return grid

    @property
    def known_window(self) -> tuple[int, int, int, int]:
        """Bounding box (row0, row1, col0, col1; ends excluded) of all planning cells ever updated; all 0 if none."""
        return self._window or (0, 0, 0, 0)

    def update(self, classes: NDArray[np.int8], tiles: NDArray[np.int32]) -> None:
        """Take over the cells of tiles that changed; planning cells beside them are corrected too.

        Args:
            classes: the fused map. Shape: bounds.shape, int8.
            tiles: tile indices (ty, tx). Shape: (n, 2).

        Raises:
            MapError: a tile lies outside the map, or the array has another shape.
        """
        if classes.shape != self.bounds.shape:
            raise MapError(f'expected classes of shape {self.bounds.shape}, got {classes.shape}')
        tiles = np.asarray(tiles, np.int32).reshape(-1, 2)
        if len(tiles) == 0:
            return
        low, high = tiles.min(axis=0), tiles.max(axis=0)
        if (low < 0).any() or (high >= self.bounds.tiles_shape).any():
            raise MapError(f'tiles {low} to {high} lie outside the map of {self.bounds.tiles_shape} tiles')
        _update_tiles(classes, tiles, self.bounds.planning_factor, self._table, self._occupied, self._blocking,
                      self.state, self.traversable)
        edge = TILE // self.bounds.planning_factor
        window = int(low[0]) * edge, (int(high[0]) + 1) * edge, int(low[1]) * edge, (int(high[1]) + 1) * edge
        known = self._window or window
        self._window = (min(known[0], window[0]), max(known[1], window[1]),
                        min(known[2], window[2]), max(known[3], window[3]))


def disc_table(factor: int, radius_cells: float) -> DiscTable:
    """Offsets of all planning cells whose centre is nearer than the radius to the square of an occupied cell."""
    reach = ceil(radius_cells / factor) + 1
    centers = (np.arange(-reach, reach + 1) + 0.5) * factor
    first, offsets = [0], []
    for place in range(factor * factor):
        row, col = divmod(place, factor)
        beside_y = np.maximum(np.maximum(row - centers, centers - row - 1), 0.0)
        beside_x = np.maximum(np.maximum(col - centers, centers - col - 1), 0.0)
        blocked = beside_y[:, None]**2 + beside_x[None, :]**2 < max(radius_cells - 1e-6, 0.0)**2
        offsets.append(np.argwhere(blocked) - reach)
        first.append(first[-1] + len(offsets[-1]))
    return DiscTable(np.array(first, np.int32), np.concatenate(offsets).astype(np.int32))


@njit(cache=True, nogil=True)
def _update_tiles(classes: NDArray[np.int8], tiles: NDArray[np.int32], factor: int, table: DiscTable,
                  occupied: NDArray[np.uint8], blocking: NDArray[np.int32], state: NDArray[np.int8],
                  traversable: NDArray[np.uint8]) -> None:
    """Bring all planning cells of the tiles, and those that their occupied cells block, up to date.

    Args:
        occupied: which cells were occupied at the last update. Shape: (rows, cols).
        blocking: how many occupied cells touch the disc of a planning cell. Shape: planning shape.
    """
    edge = TILE // factor
    for i in range(tiles.shape[0]):
        top, left = tiles[i, 0] * edge, tiles[i, 1] * edge
        for row in range(top, top + edge):
            for col in range(left, left + edge):
                free_cells, occupied_cells = 0, 0
                for place in range(factor * factor):
                    cell_row, cell_col = row * factor + place // factor, col * factor + place % factor
                    value = classes[cell_row, cell_col]
                    free_cells += value == FREE
                    occupied_cells += value == OCCUPIED
                    if (value == OCCUPIED) != (occupied[cell_row, cell_col] != 0):
                        occupied[cell_row, cell_col] = value == OCCUPIED
                        _count_blocking(row, col, 1 if value == OCCUPIED else -1, table.first[place],
                                        table.first[place + 1], table.offsets, blocking, state, traversable)
                known_free = 2 * free_cells >= factor * factor
                state[row, col] = OCCUPIED if occupied_cells > 0 else (FREE if known_free else UNKNOWN)
                traversable[row, col] = state[row, col] == FREE and blocking[row, col] == 0


@njit(cache=True, nogil=True)
def _count_blocking(row: int, col: int, change: int, first: int, end: int, offsets: NDArray[np.int32],
                    blocking: NDArray[np.int32], state: NDArray[np.int8], traversable: NDArray[np.uint8]) -> None:
    """Enter or remove one occupied cell at all planning cells that it blocks."""
    for entry in range(first, end):
        at_row, at_col = row + offsets[entry, 0], col + offsets[entry, 1]
        if 0 <= at_row < state.shape[0] and 0 <= at_col < state.shape[1]:
            blocking[at_row, at_col] += change
            traversable[at_row, at_col] = state[at_row, at_col] == FREE and blocking[at_row, at_col] == 0
