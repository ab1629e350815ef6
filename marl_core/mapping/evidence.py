"""Which walls of a message are faint, in the stream of the context codec: a yes or no per occupied cell.

What is likely follows from what was held of the cell and from the walls to its left and below; how likely begins at
what messages from generated worlds took and follows what the message does; the next message begins anew.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from marl_core.mapping.bounds import TILE
from marl_core.mapping.range_coder import CERTAIN, Coder, code_bit, is_starved
from marl_core.types import FAINT, OCCUPIED

_STATES = 4
_PACE = 5
_LEAST = CERTAIN >> 10
ODDS = np.array([
    49524, 41996, 30045, 47985, 42841, 41248, 16337, 42803, 29205, 14588, 25409, 38089, 46794, 41661, 40063, 41679,
    16384, 11419, 6951, 16384, 9557, 9840, 10361, 13863, 1725, 10639, 7575, 23552, 32768, 19661, 30752, 32768,
    256, 1648, 256, 256, 791, 6916, 678, 1594, 256, 792, 305, 256, 256, 3124, 415, 352,
    49077, 39154, 36032, 46346, 39514, 53422, 18824, 37346, 34774, 18243, 32234, 44038, 48454, 37438, 43735, 24840])
"""Probability that a wall is faint, by what was held, what is to the left and what is below, each unknown, free,
occupied or faint. Part of the wire format."""


@njit(cache=True, nogil=True)
def code_faint(coder: Coder, data: NDArray[np.uint8], order: NDArray[np.int64], held: NDArray[np.int8],
               classes: NDArray[np.int8], contents: NDArray[np.int8]) -> bool:
    """Write or read which occupied cells are FAINT; False if data to read end before they should.

    Args:
        coder: state. data: of the coder.
        order: in which tiles come. Shape: (N,).
        held: what was held of the tiles, 0 for nothing. Shape: (N, TILE_CELLS).
        classes: to write, not looked at by a coder that reads. Shape: (N, TILE_CELLS).
        contents: walls as OCCUPIED; those that are faint become FAINT. Shape: (N or more, TILE_CELLS).
    """
    odds = ODDS.copy()
    for tile in order:
        if is_starved(coder, data):
            return False
        cells = contents[tile]
        for i in range(TILE * TILE):
            if cells[i] != OCCUPIED:
                continue
            left = cells[i - 1] if i % TILE else 0
            below = cells[i - TILE] if i >= TILE else 0
            context = (_state(held[tile, i]) * _STATES + _state(left)) * _STATES + _state(below)
            is_faint = code_bit(coder, data, odds[context], 1 if classes[tile, i] == FAINT else 0)
            odds[context] += ((CERTAIN - odds[context]) if is_faint else -odds[context]) >> _PACE
            odds[context] = min(max(odds[context], _LEAST), CERTAIN - _LEAST)
            if is_faint:
                cells[i] = FAINT
    return not is_starved(coder, data)


@njit(cache=True, nogil=True)
def _state(value: int) -> int:
    """0 unknown, 1 free, 2 occupied, 3 faint."""
    return 1 if value < 0 else (value + 1 if value > 0 else 0)
