"""Insertion of a lidar scan into int8 log-odds: each visible cell once, by filling the polygon that the beams span.

The free space that a scan sees is a polygon round the lidar. Its edges toggle one bit per row that they cross; the
set bits of a row, from left to right, are then the ends of its free spans. This covers the gaps between beams, needs
no sorting and no buffer that could overflow, and leaves contiguous spans. These are filled in pieces, the rows of
single tiles: one SIMD register each, and most hold nothing but cells that are free beyond doubt already. The others
are noted, so that only they are classified.
Coordinates are in cells: x is the column axis, y the row axis, cell (row, col) has its centre at (col + .5, row + .5).
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from marl_core.mapping.bounds import TILE

JUMP_M = 0.15
"""Ranges of neighbouring beams that differ by more may be two surfaces: between them only the nearer range is free."""

JOINED_RAD = 0.06
"""Beams farther apart say nothing about the space between them."""

SHORTENED_CELLS = 0.4
"""The polygon ends this far before a hit, so that noise and chords across corners do not wear walls down."""

PUSHED_CELLS = 0.4
"""Hits count this far behind where they were measured: noise scatters them to both sides of a surface, and those in
front of it would thicken walls into free space (by a factor of five more of them without the push)."""

NOTHING = (0, 0, 0, 0)
"""Window of a scan that touches no cell."""


class Evidence(NamedTuple):
    """What a scan adds to the log-odds of a cell, and where they saturate (all within -63..63)."""

    hit: int
    miss: int
    maximum: int
    minimum: int


class ScanScratch(NamedTuple):
    """Buffers for scans of up to ``len(reach)`` beams.

    Attributes:
        reach: free length of each beam [cells], 0 where it says nothing. Shape: (B,).
        is_hit: 1 where the beam ended in something. Shape: (B,), uint8.
        direction: unit vector of each beam in the map. Shape: (2, B).
        vertices: x and y of the visible polygon. Shape: (2, 3 * B).
        hits: row, column and earlier log-odds of the cells that were hit. Shape: (B, 3), int32.
        crossings: one bit per cell of a window, row by row; all zero between calls. Shape: (words,), uint64.
        touched: row and first column of the rows of tiles whose evidence changed, then -1. Shape: (n, 2), int32.
    """

    reach: NDArray[np.float64]
    is_hit: NDArray[np.uint8]
    direction: NDArray[np.float64]
    vertices: NDArray[np.float64]
    hits: NDArray[np.int32]
    crossings: NDArray[np.uint64]
    touched: NDArray[np.int32]


def scan_scratch(beams: int, longest_cells: float, shape: tuple[int, int]) -> ScanScratch:
    """Buffers for scans of so many beams that reach at most so far on a grid of a shape."""
    across = 2 * int(np.ceil(longest_cells)) + 4
    words = min(across, shape[0]) * (min(across, shape[1]) // 64 + 1)
    # n words in a row are at most 2 n + 1 pieces
    return ScanScratch(np.zeros(beams), np.zeros(beams, np.uint8), np.zeros((2, beams)), np.zeros((2, 3 * beams)),
                       np.zeros((beams, 3), np.int32), np.zeros(words, np.uint64),
                       np.zeros((3 * words + beams + 1, 2), np.int32))


@njit(cache=True, nogil=True)
def read_ranges(ranges_m: NDArray[np.float32], range_min_m: float, range_max_m: float, longest_m: float,
                resolution_m: float, scratch: ScanScratch) -> int:
    """Write ``reach`` and ``is_hit`` of each beam.

    +inf, and a finite reading of range_max_m, mean free space up to range_max_m. Readings below range_min_m, above
    range_max_m, -inf and NaN say nothing. Beyond ``longest_m`` nothing is taken from a beam.

    Returns:
        Number of beams that say something.
    """
    telling, reach, is_hit = 0, scratch.reach, scratch.is_hit
    farthest_m = min(range_max_m, longest_m)
    for k in range(ranges_m.size):
        range_m = ranges_m[k]
        reach[k], is_hit[k] = 0.0, 0
        if range_m == np.inf or abs(range_m - range_max_m) < 1e-3:
            reach[k] = farthest_m / resolution_m
        elif range_min_m <= range_m < range_max_m:  # False for NaN
            reach[k] = min(range_m, farthest_m) / resolution_m
            is_hit[k] = range_m <= longest_m
        telling += reach[k] > 0.0
    return telling


@njit(cache=True, nogil=True)
def turn_beams(cosines: NDArray[np.float64], sines: NDArray[np.float64], heading_rad: float,
               scratch: ScanScratch) -> None:
    """Write the beams' unit vectors in the map, from their cosines and sines in the lidar's frame."""
    cosine, sine = np.cos(heading_rad), np.sin(heading_rad)
    direction_x, direction_y = scratch.direction[0], scratch.direction[1]
    for k in range(cosines.size):
        direction_x[k] = cosines[k] * cosine - sines[k] * sine
        direction_y[k] = cosines[k] * sine + sines[k] * cosine


@njit(cache=True, nogil=True)
def stop_at_discs(beams: int, x: float, y: float, discs: NDArray[np.float64], scratch: ScanScratch,
                  cell: float = 1.0) -> None:
    """End beams that ended inside a disc where they enter it, without a hit.

    Args:
        beams: how many beams of the buffers are in use; at equal angles, within one turn.
        x, y: of the lidar.
        discs: x, y and radius, in the frame and unit of the lidar. Shape: (n, 3).
        cell: edge of a cell in that unit.
    """
    reach, is_hit, direction_x, direction_y = (scratch.reach, scratch.is_hit, scratch.direction[0],
                                               scratch.direction[1])
    first_x, first_y, increment_rad = direction_x[0], direction_y[0], 2.0 * np.pi
    if beams > 1:
        increment_rad = np.arctan2(first_x * direction_y[1] - first_y * direction_x[1],
                                   first_x * direction_x[1] + first_y * direction_y[1])
    side, per_rad = (1.0 if increment_rad > 0.0 else -1.0), 1.0 / max(abs(increment_rad), 1e-9)
    for disc in range(discs.shape[0]):
        to_x, to_y, radius = (discs[disc, 0] - x) / cell, (discs[disc, 1] - y) / cell, discs[disc, 2] / cell
        apart_squared, radius_squared = to_x * to_x + to_y * to_y, radius * radius
        # only the beams that point at it, counted from the first one, this turn and the next
        center_rad = side * np.arctan2(first_x * to_y - first_y * to_x, first_x * to_x + first_y * to_y)
        half_rad = 2.0 * np.pi
        if apart_squared > radius_squared:
            half_rad = np.arcsin(radius / np.sqrt(apart_squared))
        for turn in range(2):
            middle_rad = center_rad + turn * 2.0 * np.pi
            begin = max(int((middle_rad - half_rad) * per_rad) - 1, 0)
            for k in range(begin, min(int((middle_rad + half_rad) * per_rad) + 2, beams)):
                beyond_x, beyond_y = direction_x[k] * reach[k] - to_x, direction_y[k] * reach[k] - to_y
                if beyond_x * beyond_x + beyond_y * beyond_y <= radius_squared and is_hit[k] != 0:
                    along = direction_x[k] * to_x + direction_y[k] * to_y
                    half_chord_squared = max(radius_squared - (apart_squared - along * along), 0.0)
                    reach[k], is_hit[k] = max(along - np.sqrt(half_chord_squared), 0.0), 0


@njit(cache=True, nogil=True)
def insert_scan(log_odds: NDArray[np.int8], beams: int, x: float, y: float, increment_rad: float,
                jump_cells: float, evidence: Evidence, scratch: ScanScratch) -> tuple[int, int, int, int]:
    """Add the evidence of a scan whose ``reach``, ``is_hit`` and ``direction`` are in the scratch buffers.

    Every cell whose centre lies in the visible polygon counts one miss, every cell that stops a beam one hit (and
    no miss). What lies outside the grid is cut off.

    Args:
        log_odds: int8. Shape: (rows, cols).
        beams: how many beams of the buffers are in use; ordered by angle, within one turn.
        x: column coordinate of the lidar [cells]. y: row coordinate.
        increment_rad: angle between neighbouring beams, signed.
        jump_cells: JUMP_M in cells.

    Returns:
        Window (row0, row1, col0, col1) of all cells that may have changed; NOTHING if the scan touches none.
    """
    row0, row1, col0, col1 = _window(beams, x, y, log_odds.shape[0], log_odds.shape[1], scratch)
    # the buffers hold every window of the longest beams; should they not, the window is cut, never overrun
    words = (col1 - col0) // 64 + 1
    row1 = min(row1, row0 + scratch.crossings.size // words)
    scratch.touched[0, 0] = -1
    if row0 >= row1 or col0 >= col1:
        return NOTHING
    found = _note_hits(log_odds, beams, x, y, scratch)
    vertices = _outline(beams, x - col0, y - row0, increment_rad, jump_cells, scratch)
    _toggle_crossings(scratch.vertices[0, :vertices], scratch.vertices[1, :vertices], row1 - row0, col1 - col0,
                      words, scratch.crossings)
    touched = _fill_spans(log_odds, row0, row1, col0, words, evidence, scratch.crossings, scratch.touched)
    for i in range(found):
        row, col, before = scratch.hits[i, 0], scratch.hits[i, 1], scratch.hits[i, 2]
        log_odds[row, col] = min(before + evidence.hit, evidence.maximum)
        if before < evidence.maximum:
            scratch.touched[touched, 0], scratch.touched[touched, 1] = row, col & -TILE
            touched += 1
    scratch.touched[touched, 0] = -1
    return row0, row1, col0, col1


@njit(cache=True, nogil=True)
def _window(beams: int, x: float, y: float, rows: int, cols: int, scratch: ScanScratch) -> tuple[int, int, int, int]:
    """Bounding box of all beams with their hits, cut to the grid."""
    reach, direction_x, direction_y = scratch.reach, scratch.direction[0], scratch.direction[1]
    low_x, high_x, low_y, high_y = x, x, y, y
    for k in range(beams):
        end_x, end_y = x + direction_x[k] * reach[k], y + direction_y[k] * reach[k]
        low_x, high_x, low_y, high_y = min(low_x, end_x), max(high_x, end_x), min(low_y, end_y), max(high_y, end_y)
    # compared as floats first: a far-away pose must not overflow an integer
    if high_x < -1.0 or high_y < -1.0 or low_x > cols + 1.0 or low_y > rows + 1.0:
        return NOTHING
    return (int(max(low_y - 1.0, 0.0)), int(min(high_y + 2.0, float(rows))),
            int(max(low_x - 1.0, 0.0)), int(min(high_x + 2.0, float(cols))))


@njit(cache=True, nogil=True)
def _note_hits(log_odds: NDArray[np.int8], beams: int, x: float, y: float, scratch: ScanScratch) -> int:
    """List the cells that stopped a beam with their log-odds before this scan; cells hit twice come twice."""
    reach, is_hit, hits = scratch.reach, scratch.is_hit, scratch.hits
    direction_x, direction_y = scratch.direction[0], scratch.direction[1]
    rows, cols, found = log_odds.shape[0], log_odds.shape[1], 0
    for k in range(beams):
        if is_hit[k] != 0:
            end_x = x + direction_x[k] * (reach[k] + PUSHED_CELLS)
            end_y = y + direction_y[k] * (reach[k] + PUSHED_CELLS)
            if 0.0 <= end_x < cols and 0.0 <= end_y < rows:
                row, col = int(end_y), int(end_x)
                hits[found, 0], hits[found, 1], hits[found, 2] = row, col, log_odds[row, col]
                found += 1
    return found


@njit(cache=True, nogil=True)
def _outline(beams: int, x: float, y: float, increment_rad: float, jump_cells: float, scratch: ScanScratch) -> int:
    """Write the vertices of the visible polygon. Returns their number.

    Neighbouring beams are joined by a straight edge, or at a jump by an edge at the shorter range and a radial one.
    A beam without a neighbour covers half an increment to that side, and the polygon closes through the lidar.
    """
    reach, is_hit, direction_x, direction_y = (scratch.reach, scratch.is_hit, scratch.direction[0],
                                               scratch.direction[1])
    out_x, out_y, count = scratch.vertices[0], scratch.vertices[1], 0
    half_rad = min(max(0.5 * increment_rad, -0.5 * JOINED_RAD), 0.5 * JOINED_RAD)
    cosine, sine = np.cos(half_rad), np.sin(half_rad)
    joinable = abs(increment_rad) <= JOINED_RAD
    closes = joinable and abs((beams + 0.0) * abs(increment_rad) - 2.0 * np.pi) < 1.2 * abs(increment_rad)
    for k in range(beams):
        if reach[k] <= 0.0:
            continue
        before, after = k - 1 if k > 0 else beams - 1, k + 1 if k < beams - 1 else 0
        length = max(reach[k] - SHORTENED_CELLS * is_hit[k], 0.0)
        end_x, end_y = direction_x[k] * length, direction_y[k] * length
        if not (joinable and reach[before] > 0.0 and (k > 0 or closes)):
            out_x[count], out_y[count] = x, y
            out_x[count + 1], out_y[count + 1] = x + end_x * cosine + end_y * sine, y + end_y * cosine - end_x * sine
            count += 2
        if joinable and reach[after] > 0.0 and (k < beams - 1 or closes):
            out_x[count], out_y[count] = x + end_x, y + end_y
            count += 1
            next_length = max(reach[after] - SHORTENED_CELLS * is_hit[after], 0.0)
            if next_length - length > jump_cells:
                out_x[count], out_y[count] = x + direction_x[after] * length, y + direction_y[after] * length
                count += 1
            elif length - next_length > jump_cells:
                out_x[count], out_y[count] = x + direction_x[k] * next_length, y + direction_y[k] * next_length
                count += 1
        else:
            out_x[count], out_y[count] = x + end_x * cosine - end_y * sine, y + end_y * cosine + end_x * sine
            count += 1
    return count


@njit(cache=True, nogil=True, error_model='numpy')
def _toggle_crossings(vertex_x: NDArray[np.float64], vertex_y: NDArray[np.float64], rows: int, cols: int,
                      words: int, crossings: NDArray[np.uint64]) -> None:
    """Toggle a bit where an edge of the closed polygon crosses the middle of a row: that of the first cell behind it.

    Crossings beside the window move to its border, so that every row keeps an even number of them.
    """
    stride, one = np.uint64(words), np.uint64(1)
    from_x, from_y = vertex_x[vertex_x.size - 1], vertex_y[vertex_y.size - 1]
    from_row = min(max(int(from_y + 0.5), 0), rows)
    for i in range(vertex_x.size):
        to_x, to_y = vertex_x[i], vertex_y[i]
        to_row = min(max(int(to_y + 0.5), 0), rows)
        slope = (to_x - from_x) / (to_y - from_y)  # not a number where no row is crossed
        low, high = min(from_row, to_row), max(from_row, to_row)
        at_x = from_x + (low + 0.5 - from_y) * slope + 0.5
        word = np.uint64(low) * stride
        for j in range(high - low):
            col = np.uint64(min(max(int(at_x + j * slope), 0), cols))
            crossings[word + (col >> np.uint64(6))] ^= one << (col & np.uint64(63))
            word += stride
        from_x, from_y, from_row = to_x, to_y, to_row


_MULTIPLIER = 0x03F79D71B4CB0A89
_BIT_OF = np.array([0, 1, 48, 2, 57, 49, 28, 3, 61, 58, 50, 42, 38, 29, 17, 4, 62, 55, 59, 36, 53, 51, 43, 22, 45, 39,
                    33, 30, 24, 18, 12, 5, 63, 47, 56, 27, 60, 41, 37, 16, 54, 35, 52, 21, 44, 32, 23, 11, 46, 26, 40,
                    15, 34, 20, 31, 10, 25, 14, 19, 9, 13, 8, 7, 6])
"""Index of a lone bit, by a de Bruijn sequence: numba offers no count of trailing zeros."""


@njit(cache=True, nogil=True)
def _fill_spans(log_odds: NDArray[np.int8], row0: int, row1: int, col0: int, words: int, evidence: Evidence,
                crossings: NDArray[np.uint64], touched: NDArray[np.int32]) -> int:
    """Count a miss for all cells between the 1st and 2nd, 3rd and 4th, ... crossing of each row; clears the bits.

    Returns:
        Number of pieces noted in ``touched``, each once.
    """
    noted, index = 0, 0
    for row in range(row0, row1):
        start = -1
        for word in range(words):
            bits = crossings[index]
            crossings[index] = 0
            index += 1
            while bits != 0:
                lone = bits & (~bits + np.uint64(1))
                bits ^= lone
                col = col0 + 64 * word + _BIT_OF[(lone * np.uint64(_MULTIPLIER)) >> np.uint64(58)]
                if start < 0:
                    start = col
                    continue
                for piece in range(start & -TILE, col, TILE):
                    moved = _count_misses(log_odds[row, piece:piece + TILE], max(start - piece, 0),
                                          min(col - piece, TILE), np.int8(evidence.miss), np.int8(evidence.minimum))
                    if moved and (noted == 0 or touched[noted - 1, 0] != row or touched[noted - 1, 1] != piece):
                        touched[noted, 0], touched[noted, 1] = row, piece
                        noted += 1
                start = -1
    return noted


_LANE = np.arange(TILE, dtype=np.int8)


@njit(cache=True, nogil=True, inline='always')
def _count_misses(cells: NDArray[np.int8], begin: int, end: int, miss: np.int8, minimum: np.int8) -> bool:
    """Count a miss for cells of a piece. Returns whether any was not at the minimum already.

    Whole pieces take constant trip counts and int8 only, for SIMD; the last one of a row may be shorter.
    """
    lowest, first, last, moves = np.int8(minimum - miss), np.int8(begin), np.int8(end), np.uint8(0)
    if cells.size < TILE:
        for i in range(begin, min(end, cells.size)):
            moves = np.uint8(moves | np.uint8(cells[i] != minimum))
            cells[i] = np.int8(cells[i] + miss) if cells[i] >= lowest else minimum
        return moves != 0
    for i in range(TILE):
        moves = np.uint8(moves | np.uint8((_LANE[i] >= first) & (_LANE[i] < last) & (cells[i] != minimum)))
    if moves == 0:
        return False
    for i in range(TILE):
        value = cells[i]
        after = np.int8(value + miss) if value >= lowest else minimum
        cells[i] = after if (_LANE[i] >= first) & (_LANE[i] < last) else value
    return True
