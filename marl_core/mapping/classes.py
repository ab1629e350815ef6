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
                    occupied_at: int, free_at: int, maximum: int, minimum: int, changed: NDArray[np.uint8]) -> int:
    """Update the classes of a window and flag the tiles in which one changed.

    An unknown cell becomes occupied at ``occupied_at`` and free at ``free_at``; a known one flips at ``maximum`` or
    ``minimum``; none becomes unknown again.

    Args:
        log_odds: int8. Shape: (rows, cols).
        classes: int8, written. Shape: (rows, cols).
        row0, row1, col0, col1: window inside the arrays (ends excluded).
        changed: set to 1 for tiles with a change. Shape: (tiles_y, tiles_x), uint8.

    Returns:
        Number of tiles newly flagged.
    """
    flagged, width = 0, col1 - col0
    if width <= 0:
        return 0
    differs = np.empty((width + 7) // 8 * 8, np.uint8)
    words = differs.view(np.uint64)
    first = row0
    while first < row1:
        tile_y = first // TILE
        last = min((tile_y + 1) * TILE, row1)
        differs[:] = 0
        for row in range(first, last):
            _classify_line(log_odds[row, col0:col1], classes[row, col0:col1], np.int8(occupied_at), np.int8(free_at),
                           np.int8(maximum), np.int8(minimum), differs)
        word = 0
        while word < words.size:
            if words[word] != 0:
                for col in range(8 * word, min(8 * word + 8, width)):
                    tile_x = (col0 + col) // TILE
                    flagged += differs[col] != 0 and changed[tile_y, tile_x] == 0
                    changed[tile_y, tile_x] |= differs[col] != 0
            word += 1
        first = last
    return flagged


@njit(cache=True, nogil=True)
def _classify_line(log_odds: NDArray[np.int8], classes: NDArray[np.int8], occupied_at: np.int8, free_at: np.int8,
                   maximum: np.int8, minimum: np.int8, differs: NDArray[np.uint8]) -> None:
    """Classify part of a row; plain int8 compares and selects, so that it vectorises."""
    for i in range(classes.size):
        evidence, before = log_odds[i], classes[i]
        high = occupied_at if before == UNKNOWN else maximum
        low = free_at if before == UNKNOWN else minimum
        after = np.int8(OCCUPIED) if evidence >= high else (np.int8(FREE) if evidence <= low else before)
        classes[i] = after
        differs[i] |= np.uint8(after != before)
