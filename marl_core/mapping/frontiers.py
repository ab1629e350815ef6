"""Frontiers: reached free cells beside the unknown, gathered into a few places worth going to."""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from marl_core.errors import MapError
from marl_core.mapping.geodesics import UNREACHED
from marl_core.types import FREE, UNKNOWN

Window = tuple[int, int, int, int]
"""Part of an array: row0, row1, col0, col1 (ends excluded)."""


class Candidates(NamedTuple):
    """Places worth going to, nearest first.

    Attributes:
        cells: row and column of the frontier cell nearest the middle of its cluster. Shape: (K, 2), int32.
        sizes: frontier cells in the cluster. Shape: (K,), int32.
    """

    cells: NDArray[np.int32]
    sizes: NDArray[np.int32]


class FrontierScratch(NamedTuple):
    """Buffers of extract_candidates; their untouched pages cost nothing.

    Attributes:
        mark: 1 on frontier cells not yet clustered, shifted by (1, 1); all zero between calls. Its width is a power
            of two, so that no index needs a division. Shape: (rows + 2, at least cols + 2), uint8.
        found: frontier cells as flat indices into ``mark``. Shape: (rows * cols,), int32.
        cluster: those of one cluster. Shape: (rows * cols,), int32.
        piece_of_bin: which piece of a cluster lies in a bin, or -1. Shape: (rows * cols,), int32.
        sums: per piece: sum of rows, sum of columns, count, best squared distance, best cell.
            Shape: (rows * cols, 5), int64.
        line: frontier mask of one row. Shape: (cols rounded up to 8,), uint8.
    """

    mark: NDArray[np.uint8]
    found: NDArray[np.int32]
    cluster: NDArray[np.int32]
    piece_of_bin: NDArray[np.int32]
    sums: NDArray[np.int64]
    line: NDArray[np.uint8]


def frontier_scratch(shape: tuple[int, int]) -> FrontierScratch:
    """Buffers for grids of a shape."""
    rows, cols = shape
    cells = rows * cols
    return FrontierScratch(np.zeros((rows + 2, 1 << (cols + 1).bit_length()), np.uint8), np.empty(cells, np.int32),
                           np.empty(cells, np.int32), np.empty(cells, np.int32), np.empty((cells, 5), np.int64),
                           np.zeros((cols + 7) // 8 * 8, np.uint8))


class FrontierFinder:
    """Finds candidates on grids of one shape, with its own buffers."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self._shape = shape
        self._scratch = frontier_scratch(shape)
        self._nothing_ignored = np.zeros(shape, np.uint8)

    def find(self, state: NDArray[np.int8], cost: NDArray[np.int32], window: Window, split_cells: int,
             minimum_cells: int, maximum: int, ignored: NDArray[np.uint8] | None = None) -> Candidates:
        """See ``find_candidates``.

        Raises:
            MapError: an array has another shape, or a limit is not positive.
        """
        ignored = self._nothing_ignored if ignored is None else ignored
        for name, array in (('state', state), ('cost', cost), ('ignored', ignored)):
            if array.shape != self._shape:
                raise MapError(f'expected {name} of shape {self._shape}, got {array.shape}')
        if split_cells < 1 or maximum < 1:
            raise MapError(f'split_cells and maximum must be positive, got {split_cells} and {maximum}')
        cells, sizes = np.empty((maximum, 2), np.int32), np.empty(maximum, np.int32)
        row0, row1, col0, col1 = window
        count = extract_candidates(state, cost, ignored, row0, row1, col0, col1, split_cells, minimum_cells,
                                   self._scratch, cells, sizes)
        return Candidates(cells[:count], sizes[:count])


def find_candidates(state: NDArray[np.int8], cost: NDArray[np.int32], ignored: NDArray[np.uint8], window: Window,
                    split_cells: int, minimum_cells: int, maximum: int) -> Candidates:
    """Cluster the frontier inside a window and return the nearest places (FrontierFinder keeps the buffers).

    A frontier cell is free, reached, not ignored, and has an unknown 4-neighbour. 8-connected clusters of at least
    ``minimum_cells`` are cut evenly into pieces of at most ``split_cells`` along rows and columns.

    Args:
        state: classes. Shape: (rows, cols).
        cost: costs of a distance field. Shape: (rows, cols).
        ignored: non-zero where a frontier does not count. Shape: (rows, cols).
        window: part that is searched; clipped to the grid.
        split_cells: longest edge of a piece's bounding box [cells].
        minimum_cells: smaller clusters are dropped [cells].
        maximum: how many places are kept, nearest by ``cost``.

    Raises:
        MapError: shapes differ, or a limit is not positive.
    """
    return FrontierFinder(state.shape).find(state, cost, window, split_cells, minimum_cells, maximum, ignored)


@njit(cache=True, nogil=True)
def extract_candidates(state: NDArray[np.int8], cost: NDArray[np.int32], ignored: NDArray[np.uint8], row0: int,
                       row1: int, col0: int, col1: int, split_cells: int, minimum_cells: int,
                       scratch: FrontierScratch, cells: NDArray[np.int32], sizes: NDArray[np.int32]) -> int:
    """``find_candidates`` on given buffers; keeps the ``len(sizes)`` nearest, ordered by cost, row, column.

    Returns:
        Number of places written to ``cells`` and ``sizes``.
    """
    rows, cols = state.shape
    row0, row1, col0, col1 = max(row0, 0), min(row1, rows), max(col0, 0), min(col1, cols)
    total = _mark_frontier(state, cost, ignored, row0, row1, col0, col1, scratch)
    marks, found, cluster = scratch.mark.reshape(-1), scratch.found, scratch.cluster
    shift, kept = _shift(scratch.mark.shape[1]), 0
    for i in range(total):
        if marks[found[i]] != 0:
            size = _flood(marks, cluster, found[i], scratch.mark.shape[1])
            if size >= minimum_cells:
                kept = _keep_pieces(cluster[:size], shift, split_cells, scratch.piece_of_bin, scratch.sums, cost,
                                    cells, sizes, kept)
    return kept


@njit(cache=True, nogil=True)
def _shift(width: int) -> int:
    """Exponent of a power of two."""
    shift = 0
    while 1 << shift < width:
        shift += 1
    return shift


@njit(cache=True, nogil=True)
def _mark_frontier(state: NDArray[np.int8], cost: NDArray[np.int32], ignored: NDArray[np.uint8], row0: int,
                   row1: int, col0: int, col1: int, scratch: FrontierScratch) -> int:
    """Mark and list the frontier cells of a window. Returns their number."""
    rows, total, width = state.shape[0], 0, col1 - col0
    if width <= 0:
        return 0
    # taken out of the tuple once: every access would count references
    marks, stride, found, line = scratch.mark.reshape(-1), scratch.mark.shape[1], scratch.found, scratch.line
    words = line.view(np.uint64)
    for row in range(row0, row1):
        # a row beyond the edge is replaced by the row itself: a free cell is not unknown, so it adds nothing
        _frontier_line(state[max(row - 1, 0)], state[row], state[min(row + 1, rows - 1)], col0, col1, line)
        for word in range((width + 7) // 8):
            if words[word] == 0:
                continue
            for i in range(8 * word, min(8 * word + 8, width)):
                col = col0 + i
                if line[i] != 0 and cost[row, col] < UNREACHED and ignored[row, col] == 0:
                    index = (row + 1) * stride + col + 1
                    marks[index] = 1
                    found[total] = index
                    total += 1
    return total


@njit(cache=True, nogil=True)
def _frontier_line(below: NDArray[np.int8], here: NDArray[np.int8], above: NDArray[np.int8], col0: int, col1: int,
                   line: NDArray[np.uint8]) -> None:
    """Write 1 where a cell of a row is free beside an unknown one; plain int8 compares, so that it vectorises."""
    first, last = max(col0, 1), min(col1, here.size - 1)
    middle, left, right = here[first:last], here[first - 1:last - 1], here[first + 1:last + 1]
    under, over, out = below[first:last], above[first:last], line[first - col0:last - col0]
    for i in range(out.size):
        unknown = ((under[i] == UNKNOWN) | (over[i] == UNKNOWN) | (left[i] == UNKNOWN) | (right[i] == UNKNOWN))
        out[i] = (middle[i] == FREE) & unknown
    if col0 == 0:
        beside = here.size > 1 and here[1] == UNKNOWN
        line[0] = here[0] == FREE and (below[0] == UNKNOWN or above[0] == UNKNOWN or beside)
    if col1 == here.size and here.size > 1:
        end = here.size - 1
        beside = here[end - 1] == UNKNOWN
        line[end - col0] = here[end] == FREE and (below[end] == UNKNOWN or above[end] == UNKNOWN or beside)


@njit(cache=True, nogil=True)
def _flood(marks: NDArray[np.uint8], cluster: NDArray[np.int32], seed: int, stride: int) -> int:
    """Collect the 8-connected cluster of a marked cell in ``cluster`` and unmark it. Returns its size."""
    marks[seed] = 0
    cluster[0] = seed
    size, head = 1, 0
    while head < size:
        center = cluster[head]
        head += 1
        for row_step in range(-1, 2):
            for index in range(center + row_step * stride - 1, center + row_step * stride + 2):
                if marks[index] != 0:
                    marks[index] = 0
                    cluster[size] = index
                    size += 1
    return size


@njit(cache=True, nogil=True)
def _keep_pieces(cluster: NDArray[np.int32], shift: int, split_cells: int, piece_of_bin: NDArray[np.int32],
                 sums: NDArray[np.int64], cost: NDArray[np.int32], cells: NDArray[np.int32],
                 sizes: NDArray[np.int32], kept: int) -> int:
    """Cut a cluster evenly and enter its pieces among the nearest. Returns how many are kept now."""
    mask, top, left, bottom, right = (1 << shift) - 1, 1 << 40, 1 << 40, -1, -1
    for i in range(cluster.size):
        row, col = (cluster[i] >> shift) - 1, (cluster[i] & mask) - 1
        top, bottom, left, right = min(top, row), max(bottom, row), min(left, col), max(right, col)
    height, width = bottom - top + 1, right - left + 1
    bins_y, bins_x = (height + split_cells - 1) // split_cells, (width + split_cells - 1) // split_cells
    piece_of_bin[:bins_y * bins_x] = -1
    pieces, where, whole = 0, 0, bins_y * bins_x == 1
    for i in range(cluster.size):
        row, col = (cluster[i] >> shift) - 1, (cluster[i] & mask) - 1
        if not whole:
            where = (row - top) * bins_y // height * bins_x + (col - left) * bins_x // width
        piece = piece_of_bin[where]
        if piece < 0:
            piece = pieces
            pieces += 1
            piece_of_bin[where] = piece
            sums[piece, 0], sums[piece, 1], sums[piece, 2], sums[piece, 3], sums[piece, 4] = 0, 0, 0, 1 << 62, 0
        sums[piece, 0] += row
        sums[piece, 1] += col
        sums[piece, 2] += 1
    for i in range(cluster.size):
        row, col = (cluster[i] >> shift) - 1, (cluster[i] & mask) - 1
        if not whole:
            where = (row - top) * bins_y // height * bins_x + (col - left) * bins_x // width
        piece = piece_of_bin[where]
        # squared distance from the mean, times count squared: exact in integers; ties go to the first cell
        squared = (row * sums[piece, 2] - sums[piece, 0])**2 + (col * sums[piece, 2] - sums[piece, 1])**2
        index = row * cost.shape[1] + col
        if squared < sums[piece, 3] or (squared == sums[piece, 3] and index < sums[piece, 4]):
            sums[piece, 3], sums[piece, 4] = squared, index
    for piece in range(pieces):
        kept = _insert_by_cost(sums[piece, 4], sums[piece, 2], cost, cells, sizes, kept)
    return kept


@njit(cache=True, nogil=True)
def _insert_by_cost(cell: int, size: int, cost: NDArray[np.int32], cells: NDArray[np.int32],
                    sizes: NDArray[np.int32], kept: int) -> int:
    """Enter a place into the ordered list, dropping the farthest when it is full. Returns its new length."""
    cols, limit = cost.shape[1], sizes.size
    row, col = cell // cols, cell % cols
    at = kept
    while at > 0:
        before_row, before_col = cells[at - 1, 0], cells[at - 1, 1]
        before = cost[before_row, before_col]
        if before < cost[row, col] or (before == cost[row, col] and before_row * cols + before_col <= cell):
            break
        at -= 1
    if at >= limit:
        return kept
    for i in range(min(kept, limit - 1), at, -1):
        cells[i, 0], cells[i, 1], sizes[i] = cells[i - 1, 0], cells[i - 1, 1], sizes[i - 1]
    cells[at, 0], cells[at, 1], sizes[at] = row, col, size
    return min(kept + 1, limit)
