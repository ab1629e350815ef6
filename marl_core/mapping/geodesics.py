"""Shortest distances over traversable cells, by Dijkstra's algorithm with Dial's buckets.

A straight step costs 5, a diagonal one 7 (at most 1 % off sqrt(2)); a diagonal step needs both cells beside it, so
that no path cuts a corner. Costs are integers: pending ones always lie within 8 of each other, hence 8 buckets.
"""

from math import inf

import numpy as np
from numba import njit
from numpy.typing import NDArray

from marl_core.errors import MapError

UNREACHED = 2**30
"""Cost of a cell that cannot be reached."""

STRAIGHT, DIAGONAL = 5, 7
BUCKETS = 8


class DistanceField:
    """Distances from one cell to all that can be reached from it.

    Attributes:
        cost: int32 path cost, STRAIGHT per cell edge, or UNREACHED. Shape: (rows, cols).
        reached: how many cells have a cost.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self.cost = np.full(shape, UNREACHED, np.int32)
        self.reached = 0
        self._queue, self._reached_cells = distance_scratch(shape)

    def compute(self, traversable: NDArray[np.uint8], row: int, col: int) -> None:
        """Fill ``cost`` with distances from a cell, which itself counts as traversable.

        Args:
            traversable: non-zero where a path may go. Shape: (rows, cols), C-contiguous.

        Raises:
            MapError: the cell lies outside, or the shape is another.
        """
        rows, cols = self.cost.shape
        if traversable.shape != self.cost.shape:
            raise MapError(f'expected traversable of shape {self.cost.shape}, got {traversable.shape}')
        if not (0 <= row < rows and 0 <= col < cols):
            raise MapError(f'start cell ({row}, {col}) lies outside the grid of {rows} x {cols} cells')
        clear_distance_field(self.cost, self._reached_cells, self.reached)
        self.reached = fill_distance_field(traversable, row, col, self.cost, self._queue, self._reached_cells)

    def distance_m(self, row: int, col: int, resolution_m: float) -> float:
        """Length of the shortest path to a cell [m]; inf where there is none (or outside the grid)."""
        rows, cols = self.cost.shape
        if not (0 <= row < rows and 0 <= col < cols):
            return inf
        cost = int(self.cost[row, col])
        return inf if cost == UNREACHED else cost * resolution_m / STRAIGHT

    def path_to(self, row: int, col: int) -> NDArray[np.int32]:
        """Cells of a shortest path from the start to a cell, see ``descend``."""
        return descend(self.cost, row, col)


def distance_scratch(shape: tuple[int, int]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Buffers ``queue`` and ``reached`` of fill_distance_field; their untouched pages cost nothing."""
    cells = shape[0] * shape[1]
    return np.empty((BUCKETS, cells), np.int32), np.empty(cells, np.int32)


@njit(cache=True, nogil=True)
def fill_distance_field(traversable: NDArray[np.uint8], row: int, col: int, cost: NDArray[np.int32],
                        queue: NDArray[np.int32], reached: NDArray[np.int32]) -> int:
    """Write distances from (row, col) into ``cost``, which must be UNREACHED everywhere.

    A bucket holds a cell at most once, so that buckets as long as the grid cannot overflow.

    Args:
        traversable: uint8, C-contiguous. Shape: (rows, cols).
        cost: int32, C-contiguous. Shape: (rows, cols).
        queue: scratch. Shape: (8, rows * cols).
        reached: receives the flat indices of all reached cells. Shape: (rows * cols,).

    Returns:
        Number of reached cells.
    """
    # one function, unsigned indices: helpers that take arrays cost 20 times the work itself
    passable, flat = traversable.reshape(-1), cost.reshape(-1)
    one, width, last_row = np.uint64(1), np.uint64(cost.shape[1]), np.uint64((cost.shape[0] - 1) * cost.shape[1])
    narrow_width, last_col = np.uint32(cost.shape[1]), np.uint32(cost.shape[1] - 1)
    length = np.zeros(BUCKETS, np.int64)
    flat[row * cost.shape[1] + col] = 0
    queue[0, 0] = row * cost.shape[1] + col
    length[0] = 1
    count, distance, empty = 0, 0, 0
    while empty < BUCKETS:
        current, straight, diagonal = (queue[distance & 7], queue[(distance + STRAIGHT) & 7],
                                       queue[(distance + DIAGONAL) & 7])
        pending, straights, diagonals = (length[distance & 7], length[(distance + STRAIGHT) & 7],
                                         length[(distance + DIAGONAL) & 7])
        empty = empty + 1 if pending == 0 else 0
        by_straight, by_diagonal = np.int32(distance + STRAIGHT), np.int32(distance + DIAGONAL)
        for i in range(pending):
            cell = np.uint64(current[i])
            if flat[cell] != distance:
                continue
            reached[count] = cell
            count += 1
            here_col = np.uint32(cell) % narrow_width
            south = cell >= width and passable[cell - width] != 0
            north = cell < last_row and passable[cell + width] != 0
            west = here_col != 0 and passable[cell - one] != 0
            east = here_col != last_col and passable[cell + one] != 0
            for is_open, beside in ((south, cell - width), (north, cell + width),
                                    (west, cell - one), (east, cell + one)):
                if is_open and flat[beside] > by_straight:
                    flat[beside], straight[straights] = by_straight, beside
                    straights += 1
            for is_open, beside in ((south and west, cell - width - one), (south and east, cell - width + one),
                                    (north and west, cell + width - one), (north and east, cell + width + one)):
                if is_open and flat[beside] > by_diagonal and passable[beside] != 0:
                    flat[beside], diagonal[diagonals] = by_diagonal, beside
                    diagonals += 1
        length[(distance + STRAIGHT) & 7], length[(distance + DIAGONAL) & 7] = straights, diagonals
        length[distance & 7] = 0
        distance += 1
    return count


@njit(cache=True, nogil=True)
def clear_distance_field(cost: NDArray[np.int32], reached: NDArray[np.int32], count: int) -> None:
    """Reset the cells that the last fill reached; nothing else is touched."""
    flat = cost.reshape(-1)
    for i in range(count):
        flat[reached[i]] = UNREACHED


def descend(cost: NDArray[np.int32], row: int, col: int) -> NDArray[np.int32]:
    """Cells (row, col) of a shortest path from the field's start to a cell, both included.

    Returns:
        Shape: (n, 2); n = 0 if the cell is unreached or outside.
    """
    rows, cols = cost.shape
    if not (0 <= row < rows and 0 <= col < cols) or cost[row, col] >= UNREACHED:
        return np.empty((0, 2), np.int32)
    path = np.empty((int(cost[row, col]) // STRAIGHT + 1, 2), np.int32)
    count = descend_into(cost, row, col, path)
    return path[:count][::-1].copy()


@njit(cache=True, nogil=True)
def descend_into(cost: NDArray[np.int32], row: int, col: int, path: NDArray[np.int32]) -> int:
    """Write the path from a cell back to the field's start into ``path``, goal first, straight on where it can.

    Args:
        path: int32 buffer. Shape: (capacity, 2); the walk ends when it is full.

    Returns:
        Number of cells written, 0 if the cell is unreached.
    """
    if cost[row, col] >= UNREACHED or path.shape[0] == 0:
        return 0
    path[0, 0], path[0, 1] = row, col
    count, row_step, col_step = 1, 0, 0
    while cost[row, col] > 0 and count < path.shape[0]:
        if not ((row_step != 0 or col_step != 0) and _is_way_back(cost, row, col, row_step, col_step)):
            found = False
            for index in range(9):
                row_step, col_step = index // 3 - 1, index % 3 - 1
                if index != 4 and _is_way_back(cost, row, col, row_step, col_step):
                    found = True
                    break
            if not found:
                return count
        row += row_step
        col += col_step
        path[count, 0], path[count, 1] = row, col
        count += 1
    return count


@njit(cache=True, nogil=True)
def _is_way_back(cost: NDArray[np.int32], row: int, col: int, row_step: int, col_step: int) -> bool:
    """Whether a step leads along a shortest path towards the start without cutting a corner."""
    to_row, to_col = row + row_step, col + col_step
    if to_row < 0 or to_col < 0 or to_row >= cost.shape[0] or to_col >= cost.shape[1]:
        return False
    if row_step != 0 and col_step != 0:
        return (cost[to_row, to_col] + DIAGONAL == cost[row, col] and cost[row, to_col] < UNREACHED
                and cost[to_row, col] < UNREACHED)
    return cost[to_row, to_col] + STRAIGHT == cost[row, col]


@njit(cache=True, nogil=True)
def nearest_traversable(traversable: NDArray[np.uint8], row: int, col: int, max_cells: int) -> tuple[int, int]:
    """Traversable cell nearest (Euclidean) to a cell, itself included, within ``max_cells``; (-1, -1) if none."""
    rows, cols = traversable.shape
    best, best_row, best_col = max_cells * max_cells + 1, -1, -1
    for reach in range(max_cells + 1):
        if reach * reach >= best:
            break
        for row_step in range(-reach, reach + 1):
            # rows between the edges of the ring have only their two ends on it
            stride = 1 if abs(row_step) == reach else max(1, 2 * reach)
            for col_step in range(-reach, reach + 1, stride):
                squared = row_step * row_step + col_step * col_step
                near_row, near_col = row + row_step, col + col_step
                if (squared < best and 0 <= near_row < rows and 0 <= near_col < cols
                        and traversable[near_row, near_col] != 0):
                    best, best_row, best_col = squared, near_row, near_col
    return best_row, best_col
