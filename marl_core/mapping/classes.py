"""From evidence to classes, with hysteresis: what was once decided changes only when the other side saturates.

Classes are what robots share, so every flip costs bytes; thresholds that lock cut flips by five at no loss of walls.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from marl_core.mapping.bounds import TILE
from marl_core.types import FREE, OCCUPIED, UNKNOWN


@njit(cache=True, nogil=True)
def classify_window(log_odds: NDArray[np.int8], classes: NDArray[np.int8], row0: int, row1: int, col0: int, col1: int,
                    occupied_at: int, free_at: int, maximum: int, minimum: int, changed: NDArray[np.uint8],
                    entering: int = OCCUPIED) -> int:
    """Update the classes of a window and flag the tiles in which one changed.

    An unknown cell becomes occupied at ``occupied_at`` and free at ``free_at``; a known one flips at ``maximum`` or
    ``minimum``; none becomes unknown again. With graded evidence, a wall that is not yet at ``maximum`` is FAINT, and
    is so again once nothing is left of its evidence.

    Args:
        log_odds: int8. Shape: (rows, cols).
        classes: int8, written. Shape: (rows, cols).
        row0, row1, col0, col1: window inside the arrays (ends excluded).
        changed: set to 1 for tiles with a change. Shape: (tiles_y, tiles_x), uint8.
        entering: as what a wall begins, OCCUPIED or FAINT.

    Returns:
        Number of tiles newly flagged.
    """
    flagged, width = 0, col1 - col0
    if width <= 0:
        return 0
    differs = np.zeros((width + 7) // 8 * 8, np.uint8)
    words = differs.view(np.uint64)
    first = row0
    while first < row1:
        tile_y = first // TILE
        last = min((tile_y + 1) * TILE, row1)
        _classify_block(log_odds[first:last, col0:col1], classes[first:last, col0:col1], np.int8(occupied_at),
                        np.int8(free_at), np.int8(maximum), np.int8(minimum), np.int8(entering), differs[:width])
        for word in range(words.size):
            if words[word] != 0:
                for col in range(8 * word, min(8 * word + 8, width)):
                    tile_x = (col0 + col) // TILE
                    if differs[col] != 0 and changed[tile_y, tile_x] == 0:
                        changed[tile_y, tile_x] = 1
                        flagged += 1
                words[word] = 0
        first = last
    return flagged


@njit(cache=True, nogil=True)
def classify_pieces(log_odds: NDArray[np.int8], classes: NDArray[np.int8], pieces: NDArray[np.int32],
                    occupied_at: int, free_at: int, maximum: int, minimum: int, changed: NDArray[np.uint8],
                    entering: int = OCCUPIED) -> None:
    """As ``classify_window``, for rows of single tiles.

    Args:
        pieces: row and first column of each, then -1. Shape: (n, 2), int32.
    """
    enters, leaves, top, bottom = np.int8(occupied_at), np.int8(free_at), np.int8(maximum), np.int8(minimum)
    begins, piece = np.int8(entering), 0
    while pieces[piece, 0] >= 0:
        row, col = pieces[piece, 0], pieces[piece, 1]
        evidence, held, differs = log_odds[row, col:col + TILE], classes[row, col:col + TILE], np.uint8(0)
        for i in range(TILE):
            after = _next_class(evidence[i], held[i], enters, leaves, top, bottom, begins)
            differs = np.uint8(differs | np.uint8(after != held[i]))
            held[i] = after
        if differs != 0:
            changed[row // TILE, col // TILE] = 1
        piece += 1


@njit(cache=True, nogil=True)
def _classify_block(log_odds: NDArray[np.int8], classes: NDArray[np.int8], occupied_at: np.int8, free_at: np.int8,
                    maximum: np.int8, minimum: np.int8, entering: np.int8, differs: NDArray[np.uint8]) -> None:
    """Classify rows of one row of tiles, marking columns with a change."""
    for row in range(log_odds.shape[0]):
        for col in range(differs.size):
            before = classes[row, col]
            after = _next_class(log_odds[row, col], before, occupied_at, free_at, maximum, minimum, entering)
            classes[row, col] = after
            differs[col] |= np.uint8(after != before)


@njit(cache=True, nogil=True, inline='always')
def _next_class(evidence: np.int8, before: np.int8, occupied_at: np.int8, free_at: np.int8, maximum: np.int8,
                minimum: np.int8, entering: np.int8) -> np.int8:
    """The rule for one cell; int8 compares and selects only, for SIMD."""
    high = occupied_at if before == np.int8(UNKNOWN) else maximum
    low = free_at if before == np.int8(UNKNOWN) else minimum
    wall = np.int8(OCCUPIED) if evidence >= maximum else entering
    kept = entering if (before == np.int8(OCCUPIED)) & (evidence <= np.int8(0)) else before
    return wall if evidence >= high else (np.int8(FREE) if evidence <= low else kept)
