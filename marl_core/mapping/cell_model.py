"""How likely a cell is known, and occupied if known, given the cells around it: a small network in whole numbers.

The network sees what receivers see too: cells that the message has coded already, and for the others what was held
before. Its view is turned so that the place from which the robot sees is always behind: walls, shadows and the far
end of what a lidar reaches look the same in every direction then. Cells amid equals, the great majority, do not
need it: a table says how sure they are.

Weights are made from generated worlds by scripts/train_codec.py and are part of the wire format.
"""

import base64
import zlib
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from marl_core.mapping.bounds import TILE
from marl_core.mapping.coordinates import STEP_CONTEXTS
from marl_core.mapping.range_coder import MAX_LOG_ODDS

MARGIN = 16
"""Cells of its neighbours that a tile is seen with."""
EDGE = TILE + 2 * MARGIN
REACH_CELLS = (2.0, 3.0, 4.5, 6.5, 10.0, 16.0)
"""Distances at which cells on the way back to the robot are looked at."""
SLOPES, DISTANCES = 12, 9
HIDDEN = 48
WEIGHT_SCALE = 64
LANES = 4
WORDS = HIDDEN // LANES
_EQUAL_CONTEXTS = 3 * 9 * 2
TABLE_CONTEXTS = _EQUAL_CONTEXTS + 2 * DISTANCES

_BEHIND = [(a, b) for a in range(-5, 1) for b in range(-5, 6) if (a < 0 or b < 0) and a * a + b * b <= 26]
_AHEAD = [(a, b) for a in range(4) for b in range(-3, 4) if (a > 0 or b >= 0) and a * a + b * b <= 9]
OFFSETS = np.array([a * EDGE + b for a, b in _BEHIND + _AHEAD], np.int64)
_FRESH = np.array([a * EDGE + b for a, b in ((0, -1), (-1, 0), (-1, -1), (-1, 1), (0, -2), (-2, 0), (-1, -2), (-2, -1),
                                            (-2, -2), (-2, 1), (-1, 2), (-2, 2), (0, -3), (-3, 0))], np.int64)
_TO_COME = np.array([a * EDGE + b for a, b in ((0, 0), (0, 1), (1, -1), (1, 0), (1, 1))], np.int64)
_FINE = 15
_REACH = np.array([round(2 * reach) for reach in REACH_CELLS], np.int64)
_RAY_ROW = 1 + 2 * OFFSETS.size
_SLOPE_ROW = _RAY_ROW + 2 * _REACH.size
_DISTANCE_ROW = _SLOPE_ROW + SLOPES
_HELD_ROW = _DISTANCE_ROW + DISTANCES
ROWS = _HELD_ROW + 1
"""Row 0 is the bias."""
MAX_ACTIVE = 1 + OFFSETS.size + _REACH.size + 3


class Weights(NamedTuple):
    """What was learned.

    Attributes:
        hidden: what each active row adds to each hidden unit, times WEIGHT_SCALE. Shape: (ROWS, HIDDEN), int16.
        output: log-odds per hidden unit of a cell's being known, and occupied. Shape: (2, HIDDEN), int64.
        bias: log-odds. Shape: (2,), int64.
        table: log-odds of cells amid equals. Shape: (TABLE_CONTEXTS, 2), int64.
        steps: probabilities that coordinates begin with. Shape: (STEP_CONTEXTS,), int64.
    """

    hidden: NDArray[np.int16]
    output: NDArray[np.int64]
    bias: NDArray[np.int64]
    table: NDArray[np.int64]
    steps: NDArray[np.int64]


def text_of(weights: Weights) -> str:
    """Weights as text for context_table.py."""
    parts = weights
    return base64.b85encode(zlib.compress(b''.join(part.astype('<u2').tobytes() for part in parts), 9)).decode()


def weights_of(text: str) -> Weights:
    """Inverse of ``text_of``."""
    numbers = np.frombuffer(zlib.decompress(base64.b85decode(text)), '<u2')
    sizes = ROWS * HIDDEN, 2 * HIDDEN, 2, 2 * TABLE_CONTEXTS, STEP_CONTEXTS
    *signed, steps = np.split(numbers, np.cumsum(sizes)[:-1])
    hidden, output, bias, table = (part.astype(np.int16) for part in signed)
    return Weights(hidden.reshape(ROWS, HIDDEN), output.reshape(2, HIDDEN).astype(np.int64), bias.astype(np.int64),
                   table.reshape(TABLE_CONTEXTS, 2).astype(np.int64), steps.astype(np.int64))


def packed(hidden: NDArray[np.int16]) -> NDArray[np.int64]:
    """Four hidden units in each 64-bit number, so that one addition does for four. Shape: (ROWS, WORDS).

    Units that are negative borrow from the one above; the sum of all still tells them apart, lowest first, as long
    as none leaves int16, which ``check`` makes sure of.
    """
    lanes = hidden.astype(np.int64).reshape(-1, WORDS, LANES)
    return sum(lanes[:, :, lane] << (16 * lane) for lane in range(LANES))


def check(weights: Weights) -> None:
    """See that no sum of hidden units can leave int16.

    Raises:
        ValueError: it can.
    """
    largest = np.abs(weights.hidden.astype(np.int64))
    pairs = largest[1:_SLOPE_ROW].reshape(-1, 2, HIDDEN).max(axis=1).sum(axis=0)
    rest = (largest[0] + largest[_SLOPE_ROW:_DISTANCE_ROW].max(axis=0)
            + largest[_DISTANCE_ROW:_HELD_ROW].max(axis=0) + largest[_HELD_ROW])
    if (pairs + rest).max() >= 2**15:
        raise ValueError(f'hidden units reach {(pairs + rest).max()}, at most {2**15 - 1}')


@njit(cache=True, nogil=True)
def table_context(block: NDArray[np.uint8], place: int, is_held: int) -> int:
    """Context of a cell whose eight neighbours hold what it held; -1 if they do not."""
    own = block[place]
    for row in (place - EDGE, place, place + EDGE):
        if block[row - 1] != own or block[row] != own or block[row + 1] != own:
            return -1
    others = 0
    for row in (place - 2 * EDGE, place, place + 2 * EDGE):
        for k in (-2, 0, 2):
            others += block[row + k] != own
    return (np.int64(own) * 9 + others) * 2 + is_held


@njit(cache=True, nogil=True)
def fresh_context(block: NDArray[np.uint8], place: int, distance: int) -> int:
    """Context of a cell that continues an area, free or occupied, into the unknown; -1 if it does not.

    Args:
        block, place: the cell.
        distance: from the robot [half cells].
    """
    value = block[place + _FRESH[0]]
    if value == 0:
        return -1
    for k in range(_TO_COME.size):
        if block[place + _TO_COME[k]] != 0:
            return -1
    for k in range(1, _FRESH.size):
        if block[place + _FRESH[k]] != value:
            return -1
    return _EQUAL_CONTEXTS + (value - 1) * DISTANCES + _bits(distance >> 1)


@njit(cache=True, nogil=True)
def distance_of(ahead: int, aside: int) -> int:
    """Way to the robot, at least 1 [half cells].

    The root is exact: what it is taken of fits into a float64, and it is rounded in the same way everywhere.
    """
    return max(np.int64(np.sqrt(np.float64(ahead * ahead + aside * aside))), 1)


@njit(cache=True, nogil=True)
def active_rows(block: NDArray[np.uint8], row: int, col: int, ahead: int, aside: int, distance: int, is_held: int,
                rows: NDArray[np.uint8]) -> int:
    """List the rows of Weights.hidden that speak for a cell.

    Args:
        block: a tile and its surroundings, 0 unknown, 1 free, 2 occupied, turned. Shape: (EDGE * EDGE,).
        row, col: the cell in the tile.
        ahead, aside: way from where the robot sees to the cell [half cells], along rows and columns.
        distance: its length, from ``distance_of``.
        is_held: 1 if an earlier version of the tile is held.
        rows: written. Shape: (MAX_ACTIVE,).

    Returns:
        How many.
    """
    rows[0], count = 0, 1
    place = (row + MARGIN) * EDGE + col + MARGIN
    for k in range(OFFSETS.size):
        value = block[place + OFFSETS[k]]
        rows[count] = 2 * k + value  # Overwritten by the next if the cell is unknown; there is no pattern to predict.
        count += np.int64(value != 0)
    back_y, back_x = (ahead << _FINE) // distance, (aside << _FINE) // distance
    for k in range(_REACH.size):
        reach = min(_REACH[k], distance)
        y = ((((2 * row + 1) << _FINE) - back_y * reach) >> (_FINE + 1)) + MARGIN
        x = ((((2 * col + 1) << _FINE) - back_x * reach) >> (_FINE + 1)) + MARGIN
        value = block[y * EDGE + x]
        rows[count] = _RAY_ROW - 1 + 2 * k + value
        count += np.int64(value != 0)
    rows[count] = _SLOPE_ROW + (0 if ahead <= 0 else min(max((8 * aside) // ahead, -2), 8) + 3)
    rows[count + 1] = _DISTANCE_ROW + _bits(distance >> 1)
    count += 2
    if is_held:
        rows[count] = _HELD_ROW
        count += 1
    return count


@njit(cache=True, nogil=True)
def hidden_units(rows: NDArray[np.uint8], count: int, hidden: NDArray[np.int64], sums: NDArray[np.int64],
                 units: NDArray[np.int64]) -> None:
    """Add up active rows and cut the sums at 0.

    Args:
        rows, count: from ``active_rows``.
        hidden: see ``packed``. Shape: (ROWS, WORDS).
        sums: scratch. Shape: (WORDS,).
        units: written. Shape: (HIDDEN,).
    """
    sums[:] = 0
    for k in range(count):
        row = rows[k]
        for word in range(WORDS):
            sums[word] += hidden[row, word]
    for word in range(WORDS):
        total = sums[word]
        for lane in range(LANES):
            unit = ((total + 0x8000) & 0xFFFF) - 0x8000
            units[word * LANES + lane] = max(unit, 0)
            total = (total - unit) >> 16


@njit(cache=True, nogil=True)
def log_odds(units: NDArray[np.int64], output: NDArray[np.int64], bias: int) -> int:
    """One output of the network, in steps of 1 / STEPS_PER_NAT."""
    total = np.int64(0)
    for h in range(HIDDEN):
        total += units[h] * output[h]
    return min(max(total // WEIGHT_SCALE + bias, -MAX_LOG_ODDS), MAX_LOG_ODDS)


@njit(cache=True, nogil=True)
def _bits(number: int) -> int:
    """Binary digits, DISTANCES - 1 at most."""
    count = 0
    while number > 0 and count < DISTANCES - 1:
        number >>= 1
        count += 1
    return count
