"""Codec made for maps: every cell costs as much as it surprises somebody who knows what is round it.

One stream for all tiles of a message: where the robot sees from, which tiles follow, and their cells, from the tile
nearest to that place outwards. What a cell is expected to be follows from cells coded before it and, where the
message may build on earlier ones, from what these said of this tile and of its neighbours; see cell_model. Only
whole numbers are used and nothing is carried from one message to the next. With graded evidence, which walls are faint
follows their cells; see evidence.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from marl_core.errors import MessageError
from marl_core.mapping.bases import Bases
from marl_core.mapping.bounds import TILE
from marl_core.mapping.cell_model import (
    EDGE,
    HIDDEN,
    MARGIN,
    MAX_ACTIVE,
    TABLE_CONTEXTS,
    WORDS,
    Weights,
    active_rows,
    distance_of,
    fresh_context,
    hidden_units,
    log_odds,
    packed,
    table_context,
    weights_of,
)
from marl_core.mapping.context_table import TABLE
from marl_core.mapping.coordinates import FURTHEST, STEP_CONTEXTS, checked, code_origin, code_steps
from marl_core.mapping.evidence import code_faint
from marl_core.mapping.range_coder import (
    CERTAIN,
    MAX_LOG_ODDS,
    Coder,
    code_bit,
    finish,
    is_starved,
    logistic_table,
    position,
    reader,
    reads,
    writer,
)
from marl_core.mapping.votes import TILE_CELLS

ORIGIN_STEP = 4
"""Cells; where the robot sees from is named no finer."""
_HAS_ORIGIN = CERTAIN - CERTAIN // 8
_NEIGHBOURS = np.array([dy * 2**32 + dx for dy in (-1, 0, 1) for dx in (-1, 0, 1)], np.int64)
_FAR = 2**20

Classes = NDArray[np.int8]
Flags = NDArray[np.uint8]


class Notes:
    """What cells were expected by, and what they were: what weights are made from.

    Attributes:
        rows: active rows of the network's cells, filled up with 0. Shape: (cells, MAX_ACTIVE).
        codes: 0 unknown, 1 free, 2 occupied, of the same cells. Shape: (cells,).
        count: cells noted.
        table: how often cells amid equals were unknown, free, occupied. Shape: (TABLE_CONTEXTS, 3).
        steps: odds of coordinates after the message. Shape: (STEP_CONTEXTS,).
    """

    def __init__(self, cells: int) -> None:
        self.rows = np.zeros((cells, MAX_ACTIVE), np.uint8)
        self.codes = np.zeros(cells, np.uint8)
        self.count = np.zeros(1, np.int64)
        self.table = np.zeros((TABLE_CONTEXTS, 3), np.int64)
        self.steps = np.zeros(STEP_CONTEXTS, np.int64)


class Context:
    """See the module; the form of a Codec."""

    builds = True

    def __init__(self, weights: Weights | None = None, graded: bool = False) -> None:
        """Only who makes new weights names any."""
        self.graded = graded
        self._weights = weights or weights_of(TABLE)
        self._hidden = packed(self._weights.hidden)
        self._logistic = logistic_table()
        self._no_notes = Notes(0)

    def pack(self, tiles: NDArray[np.int32], classes: Classes, bases: Bases | None,
             origin: tuple[int, int] | None) -> bytes:
        """See Codec."""
        data = np.empty(6 * classes.size + 16 * len(tiles) + 64, np.uint8)
        coder = writer()
        self._code(coder, data, tiles.astype(np.int64), classes, bases, origin, self._no_notes)
        return data[:finish(coder, data)].tobytes()

    def unpack(self, data: bytes, count: int, bases: Bases | None) -> tuple[NDArray[np.int32], Classes]:
        """See Codec. Bytes that are not too many decode to something; a checksum elsewhere tells if it is right."""
        stream = np.frombuffer(bytearray(data), np.uint8)  # Kernels take no read-only arrays.
        coder = reader(stream)
        tiles, classes = np.zeros((count, 2), np.int64), np.zeros((count, TILE_CELLS), np.int8)
        decoded = self._code(coder, stream, tiles, classes, bases, None, self._no_notes)
        if position(coder) < len(data):
            raise MessageError('bad-data', f'{len(data) - position(coder)} bytes are left over')
        return decoded

    def note(self, tiles: NDArray[np.int32], classes: Classes, bases: Bases | None,
             origin: tuple[int, int] | None) -> Notes:
        """Write a message as ``pack`` does, for the sake of what its cells are expected by."""
        notes = Notes(classes.size)
        data = np.empty(6 * classes.size + 16 * len(tiles) + 64, np.uint8)
        self._code(writer(), data, tiles.astype(np.int64), classes, bases, origin, notes)
        return notes

    def _code(self, coder: Coder, data: NDArray[np.uint8], tiles: NDArray[np.int64], classes: Classes,
              bases: Bases | None, origin: tuple[int, int] | None, notes: Notes) -> tuple[NDArray[np.int32], Classes]:
        """Write a message or read one, as the coder runs; returns its tiles and their classes."""
        weights, odds = self._weights, self._weights.steps.copy()
        place = np.array(origin or (0, 0), np.int64) // ORIGIN_STEP
        if code_bit(coder, data, _HAS_ORIGIN, int(origin is not None)):
            code_origin(coder, data, place, odds)
            place = np.clip(place, -FURTHEST, FURTHEST) * ORIGIN_STEP
            code_steps(coder, data, *(place // TILE), tiles, odds)
        else:
            code_steps(coder, data, 0, 0, tiles, odds)
            place = np.sum(tiles * TILE + TILE // 2, axis=0) // len(tiles)
        names = checked(tiles)
        notes.steps = odds
        around, slots = _surroundings(tiles)
        contents, is_held = np.zeros((len(around), TILE_CELLS), np.int8), np.zeros(len(around), np.uint8)
        if bases is not None:
            marks = np.zeros(len(around), np.uint8) if reads(coder) else bases.marks(around)
            if bases.is_marked:
                _code_marks(coder, data, marks)
            contents, is_held = bases.contents(around, marks)
        held = contents[:len(tiles)].copy() if self.graded else contents
        way = np.clip(tiles * TILE + TILE // 2 - place, -FURTHEST, FURTHEST)
        order = np.argsort(np.sum(way * way, axis=1), kind='stable')
        if not _code_cells(coder, data, order, slots, contents, is_held, tiles * TILE - place, classes,
                           self._hidden, weights.output, weights.bias, weights.table, self._logistic, notes.rows,
                           notes.codes, notes.count, notes.table):
            raise MessageError('truncated', f'{len(data)} bytes end within the cells')
        if self.graded and not code_faint(coder, data, order, held, classes, contents):
            raise MessageError('truncated', f'{len(data)} bytes end within what is faint')
        return names, contents[:len(tiles)]


def _surroundings(tiles: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The tiles of a message and all round them.

    Returns:
        Coordinates, those of the message first, Shape: (M, 2); and for each tile of the message where its
        neighbours and itself are among these, row by row, Shape: (N, 9).
    """
    keys = tiles[:, 0] * 2**32 + tiles[:, 1]
    unique, found = np.unique(keys[:, None] + _NEIGHBOURS, return_inverse=True)
    rank = np.full(unique.size, -1)
    rank[np.searchsorted(unique, keys)] = np.arange(len(keys))
    rank[rank < 0] = np.arange(len(keys), unique.size)
    around = np.empty((unique.size, 2), np.int64)
    y = (unique + 2**31) >> 32
    around[rank] = np.stack((y, unique - y * 2**32), axis=1)
    return around, rank[found.reshape(-1, _NEIGHBOURS.size)]


@njit(cache=True, nogil=True)
def _code_marks(coder: Coder, data: NDArray[np.uint8], marks: Flags) -> None:
    """Write or read which tiles are built on; most are like the one before."""
    previous = 1
    for n in range(marks.size):
        previous = code_bit(coder, data, CERTAIN - CERTAIN // 8 if previous else CERTAIN // 8, marks[n])
        marks[n] = previous


@njit(cache=True, nogil=True)
def _code_cells(coder: Coder, data: NDArray[np.uint8], order: NDArray[np.int64], slots: NDArray[np.int64],
                contents: Classes, is_held: Flags, corners: NDArray[np.int64], classes: Classes,
                hidden: NDArray[np.int64], output: NDArray[np.int64], bias: NDArray[np.int64],
                table: NDArray[np.int64], logistic: NDArray[np.int64], noted_rows: NDArray[np.uint8],
                noted_codes: Flags, noted: NDArray[np.int64], noted_table: NDArray[np.int64]) -> bool:
    """Write or read the cells of all tiles; False if data to read end before they should.

    Args:
        contents: of tiles and those round them; first what is held, in the end what was coded.
        corners: of the tiles, seen from where the robot is [cells]. Shape: (N, 2).
        classes: to write.
    """
    block, rows = np.empty(EDGE * EDGE, np.uint8), np.zeros(MAX_ACTIVE, np.uint8)
    sums, units = np.empty(WORDS, np.int64), np.empty(HIDDEN, np.int64)
    for tile in order:
        y, x = corners[tile, 0] + TILE // 2, corners[tile, 1] + TILE // 2
        # The view is turned: ahead is along the longer way to the tile, and both axes lead away from the robot.
        turned, down, left = abs(x) > abs(y), y < 0, x < 0
        if is_starved(coder, data):
            return False
        _look(contents, slots[tile], turned, down, left, block)
        for a in range(TILE):
            for b in range(TILE):
                row, col = _place_of(a, b, turned, down, left)
                place = (a + MARGIN) * EDGE + b + MARGIN
                code = _code_of(classes[tile, row * TILE + col])
                context, count = table_context(block, place, is_held[tile]), 0
                if context < 0:
                    ahead = _from_robot(2 * (corners[tile, 0] + row) + 1, down)
                    aside = _from_robot(2 * (corners[tile, 1] + col) + 1, left)
                    if turned:
                        ahead, aside = aside, ahead
                    distance = distance_of(ahead, aside)
                    context = fresh_context(block, place, distance)
                if context >= 0:
                    known, occupied = table[context, 0], table[context, 1]
                else:
                    count = active_rows(block, a, b, ahead, aside, distance, is_held[tile], rows)
                    hidden_units(rows, count, hidden, sums, units)
                    known, occupied = log_odds(units, output[0], bias[0]), log_odds(units, output[1], bias[1])
                if noted_codes.size:
                    _note(context, code, rows, count, noted_rows, noted_codes, noted, noted_table)
                if code_bit(coder, data, logistic[known + MAX_LOG_ODDS], code != 0):
                    code = 1 + code_bit(coder, data, logistic[occupied + MAX_LOG_ODDS], code == 2)
                else:
                    code = 0
                block[place] = code
                contents[tile, row * TILE + col] = -1 if code == 1 else code // 2
    return not is_starved(coder, data)


@njit(cache=True, nogil=True)
def _look(contents: Classes, slots: NDArray[np.int64], turned: bool, down: bool, left: bool, block: Flags) -> None:
    """Fill a tile's block, turned, from the tile and its neighbours."""
    first, down_step, right_step = _walk(turned, down, left)
    for row in range(-MARGIN, TILE + MARGIN):
        for side in range(3):
            slot = slots[(row // TILE + 1) * 3 + side]
            start = (row % TILE) * TILE - (side - 1) * TILE
            place = first + row * down_step
            for col in range(max((side - 1) * TILE, -MARGIN), min(side * TILE, TILE + MARGIN)):
                block[place + col * right_step] = _code_of(contents[slot, start + col])


@njit(cache=True, nogil=True)
def _walk(turned: bool, down: bool, left: bool) -> tuple[int, int, int]:
    """Where cell (0, 0) of a tile lies in its turned block, and the steps from row to row and from col to col."""
    down_step, right_step = (1, EDGE) if turned else (EDGE, 1)
    first = MARGIN * EDGE + MARGIN
    if down:
        first += (TILE - 1) * down_step
        down_step = -down_step
    if left:
        first += (TILE - 1) * right_step
        right_step = -right_step
    return first, down_step, right_step


@njit(cache=True, nogil=True)
def _place_of(a: int, b: int, turned: bool, down: bool, left: bool) -> tuple[int, int]:
    """Row and column in a tile of place (a, b) in its turned view."""
    if turned:
        a, b = b, a
    return TILE - 1 - a if down else a, TILE - 1 - b if left else b


@njit(cache=True, nogil=True)
def _from_robot(way: int, backwards: bool) -> int:
    """A coordinate relative to the robot, in the turned view; far beyond any lidar it no longer matters."""
    return min(max(-way if backwards else way, -_FAR), _FAR)


@njit(cache=True, nogil=True)
def _code_of(value: int) -> int:
    """0 unknown, 1 free, 2 occupied, faint or not."""
    return 1 if value < 0 else 2 * (value > 0)


@njit(cache=True, nogil=True)
def _note(context: int, code: int, rows: Flags, count: int, noted_rows: NDArray[np.uint8], noted_codes: Flags,
          noted: NDArray[np.int64], noted_table: NDArray[np.int64]) -> None:
    if context >= 0:
        noted_table[context, code] += 1
    else:
        noted_rows[noted[0], :count] = rows[:count]
        noted_codes[noted[0]] = code
        noted[0] += 1
