"""Occupied cells as few simple solids: what physics engines and other simulators take for walls."""

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def rectangles(occupied: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Cover all occupied cells with rectangles that do not overlap, greedily: each as wide, then as high as it goes.

    Args:
        occupied: Shape: (rows, cols).

    Returns:
        First row, first column, end row, end column (both ends excluded). Shape: (B, 4).
    """
    rows, cols = occupied.shape
    left = occupied.copy()
    found = np.empty((max(1, occupied.sum()), 4), np.int32)
    count = 0
    for row in range(rows):
        for col in range(cols):
            if not left[row, col]:
                continue
            end_col = col + 1
            while end_col < cols and left[row, end_col]:
                end_col += 1
            end_row = row + 1
            while end_row < rows and left[end_row, col:end_col].all():
                end_row += 1
            left[row:end_row, col:end_col] = False
            found[count] = (row, col, end_row, end_col)
            count += 1
    return found[:count].copy()


def faces(occupied: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Straight pieces of the border between free and occupied cells, each as long as it goes.

    Args:
        occupied: Shape: (rows, cols).

    Returns:
        Row, column of both ends, counted in corners of cells: corner (0, 0) is where cell (0, 0) begins. A wall
        around the grid is not added. Shape: (F, 4).
    """
    across = _runs(occupied[1:] != occupied[:-1])
    upright = _runs((occupied[:, 1:] != occupied[:, :-1]).T)
    return np.concatenate([
        np.column_stack([across[:, 0] + 1, across[:, 1], across[:, 0] + 1, across[:, 2]]),
        np.column_stack([upright[:, 1], upright[:, 0] + 1, upright[:, 2], upright[:, 0] + 1])]).astype(np.int32)


def _runs(marked: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Row, first and end column of all runs of marked cells in rows. Shape: (R, 3)."""
    change = np.diff(np.pad(marked, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    first, end = np.argwhere(change == 1), np.argwhere(change == -1)
    return np.column_stack([first, end[:, 1]])
