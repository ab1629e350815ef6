"""Which tiles a message is about, as steps from one to the next in an arithmetic coder.

Steps are short and mostly along rows, but nothing forbids others. How likely each decision is begins at what
messages from generated worlds took and follows what the message does; the next message begins anew.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from marl_core.errors import MessageError
from marl_core.mapping.range_coder import CERTAIN, Coder, code_bit

FURTHEST = 2**30
"""Tiles lie within this of the origin of the map frame; cells of an origin within TILE times it."""
_ORIGIN_Y, _ORIGIN_X, _FIRST_Y, _FIRST_X, _DOWN, _ALONG, _ACROSS = range(7)
_BLOCK = 32
_ZERO, _SIGN, _LENGTH, _TOP, _LENGTHS = 0, 1, 2, 17, 15
STEP_CONTEXTS = 7 * _BLOCK
_MAX_BITS = 40
_PACE = 4
_LEAST = CERTAIN >> 10


def checked(tiles: NDArray[np.int64]) -> NDArray[np.int32]:
    """Tiles that a message may name. Shape: (N, 2).

    Raises:
        MessageError: ``outside-bounds``, or ``duplicate-tile``.
    """
    if tiles.size and (np.abs(tiles) > FURTHEST).any():
        raise MessageError('outside-bounds', 'a tile is further away than any map reaches')
    if np.unique(tiles[:, 0] * 2**32 + tiles[:, 1]).size != len(tiles):
        raise MessageError('duplicate-tile', 'a batch names a tile twice')
    return tiles.astype(np.int32)


@njit(cache=True, nogil=True)
def code_origin(coder: Coder, data: NDArray[np.uint8], origin: NDArray[np.int64], odds: NDArray[np.int64]) -> None:
    """Write or read a place. Shape of origin: (2,), y and x in any unit; changed by a coder that reads."""
    origin[0] = _code_number(coder, data, origin[0], _ORIGIN_Y * _BLOCK, False, odds)
    origin[1] = _code_number(coder, data, origin[1], _ORIGIN_X * _BLOCK, False, odds)


@njit(cache=True, nogil=True)
def code_steps(coder: Coder, data: NDArray[np.uint8], near_y: int, near_x: int, tiles: NDArray[np.int64],
               odds: NDArray[np.int64]) -> None:
    """Write or read coordinates of tiles.

    Args:
        coder: state. data: of the coder.
        near_y, near_x: a tile that the first one is probably near to.
        tiles: changed by a coder that reads. Shape: (N, 2).
        odds: probabilities of 1, changed; start from Weights.steps. Shape: (STEP_CONTEXTS,).
    """
    y, x = near_y, near_x
    for n in range(tiles.shape[0]):
        down = _code_number(coder, data, tiles[n, 0] - y, (_DOWN if n else _FIRST_Y) * _BLOCK, False, odds)
        if n == 0:
            along = _code_number(coder, data, tiles[n, 1] - x, _FIRST_X * _BLOCK, False, odds)
        elif down == 0:  # No tile comes twice.
            along = _code_number(coder, data, tiles[n, 1] - x, _ALONG * _BLOCK, True, odds)
        else:
            along = _code_number(coder, data, tiles[n, 1] - x, _ACROSS * _BLOCK, False, odds)
        y += down
        x += along
        tiles[n, 0], tiles[n, 1] = y, x


@njit(cache=True, nogil=True)
def _code_number(coder: Coder, data: NDArray[np.uint8], number: int, block: int, not_zero: bool,
                 odds: NDArray[np.int64]) -> int:
    """Zero or not, sign, length, then the bits below the first one; returns the number."""
    if not not_zero and _adaptive(coder, data, number == 0, block + _ZERO, odds):
        return 0
    is_negative = _adaptive(coder, data, number < 0, block + _SIGN, odds)
    size, bits = abs(number), 0
    while bits < _MAX_BITS and _adaptive(coder, data, size >> (bits + 1) > 0, block + _LENGTH + min(bits, _LENGTHS - 1),
                                         odds):
        bits += 1
    value = 1
    for k in range(bits - 1, -1, -1):
        bit = (size >> k) & 1
        if k == bits - 1:
            bit = _adaptive(coder, data, bit, block + _TOP + min(bits, _LENGTHS) - 1, odds)
        else:
            bit = code_bit(coder, data, CERTAIN // 2, bit)
        value = value << 1 | bit
    return -value if is_negative else value


@njit(cache=True, nogil=True)
def _adaptive(coder: Coder, data: NDArray[np.uint8], bit: int, context: int, odds: NDArray[np.int64]) -> int:
    bit = code_bit(coder, data, odds[context], 1 if bit else 0)
    odds[context] += ((CERTAIN - odds[context]) if bit else -odds[context]) >> _PACE
    odds[context] = min(max(odds[context], _LEAST), CERTAIN - _LEAST)
    return bit
