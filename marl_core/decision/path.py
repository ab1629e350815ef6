"""Paths: from the cells of a descent on the distance field to few waypoints."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

LONGEST_LEG_CELLS = 100
"""Legs are not drawn longer than this: a longer line is looked at again and again for nothing."""


def shortcut(cells: NDArray[np.int32], traversable: NDArray[np.uint8], resolution_m: float, origin_x_m: float,
             origin_y_m: float) -> NDArray[np.float64]:
    """Pull a path of cells straight, like a string between the walls.

    Args:
        cells: neighbouring cells from start to goal as (row, col). Shape: (n, 2), n may be 0.
        traversable: non-zero where the robot's centre may be. Shape: (rows, cols).
        resolution_m: edge of a cell [m].
        origin_x_m: x of the corner of cell (0, 0) [m; map frame].
        origin_y_m: y of it.

    Returns:
        Waypoints from the centre of the first cell to that of the last [m; map frame]; every leg runs over
        traversable cells only, except where ``cells`` did not. Shape: (m, 2).
    """
    kept = np.empty(len(cells), np.int64)
    corners = cells[kept[:_pull(cells, traversable, kept)]]
    return np.column_stack((origin_x_m + (corners[:, 1] + 0.5) * resolution_m,
                            origin_y_m + (corners[:, 0] + 0.5) * resolution_m))


@njit(cache=True, nogil=True)
def traversable_between(traversable: NDArray[np.uint8], row0: int, col0: int, row1: int, col1: int) -> bool:
    """Whether the line between two cells' centres touches traversable cells only.

    Where the line passes exactly through a corner, both cells beside it must be traversable: no squeezing
    between two diagonal obstacles.
    """
    if not traversable[row0, col0]:
        return False
    d_row, d_col = abs(row1 - row0), abs(col1 - col0)
    step_row, step_col = (1 if row1 > row0 else -1), (1 if col1 > col0 else -1)
    row, col, rows_done, cols_done = row0, col0, 0, 0
    while rows_done < d_row or cols_done < d_col:
        # Which border comes first: (1 + 2 n) / (2 d) is where the line crosses border n of that direction.
        ahead = (1 + 2 * cols_done) * d_row - (1 + 2 * rows_done) * d_col
        if ahead == 0:
            if not (traversable[row + step_row, col] and traversable[row, col + step_col]):
                return False
            row, col, rows_done, cols_done = row + step_row, col + step_col, rows_done + 1, cols_done + 1
        elif ahead < 0:
            col, cols_done = col + step_col, cols_done + 1
        else:
            row, rows_done = row + step_row, rows_done + 1
        if not traversable[row, col]:
            return False
    return True


@njit(cache=True, nogil=True)
def _pull(cells: NDArray[np.int32], traversable: NDArray[np.uint8], kept: NDArray[np.int64]) -> int:
    """Write the indices of cells to keep; from each, the next is the last that a straight leg reaches."""
    if cells.shape[0] == 0:
        return 0
    kept[0], used, at = 0, 1, 0
    while at < cells.shape[0] - 1:
        reached = at + 1  # the neighbour, whatever the map says now
        for further in range(at + 2, min(cells.shape[0], at + LONGEST_LEG_CELLS)):
            if not traversable_between(traversable, cells[at, 0], cells[at, 1], cells[further, 0], cells[further, 1]):
                break
            reached = further
        at = reached
        kept[used] = at
        used += 1
    return used
