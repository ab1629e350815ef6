"""Fuses the layers of a map by a vote per cell.

Each layer votes for free or occupied, or not at all, with the weight of its writer. The sums are kept, so that
replacing a tile of one layer costs the cells that differ, however many layers there are. A cell is occupied if some
weight is for it, and at least as much as for free: a wall that is missed hurts more than a wall that is not there.
Votes are log-odds in coarse steps: with graded evidence a faint wall has half a vote, so it takes two of them to
outweigh a robot that saw free space, and what all layers say adds up to a probability.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from marl_core.mapping.bounds import TILE, MapBounds
from marl_core.types import FAINT, FREE, OCCUPIED, UNKNOWN

TILE_CELLS = TILE * TILE
WORDS = TILE_CELLS // 8
"""A tile as 64-bit words: equal stretches of eight cells are passed over with one comparison."""
WORDS_PER_ROW = TILE // 8
FULL_WEIGHT = 2
"""Weight of a layer that is believed; 1 is half as much, 0 leaves the layer out."""
SURE, HALF = 2, 1
"""Votes of a cell that is free or occupied, and of a FAINT one; times the weight."""
NATS_PER_VOTE = 0.825
"""Log-odds of a vote: one robot that is sure and believed, SURE * FULL_WEIGHT votes, gives a probability of 0.96."""
MAX_LAYERS = 255
"""Votes are summed in uint16."""

Classes = NDArray[np.int8]
Flags = NDArray[np.uint8]
Sums = NDArray[np.uint16]
Indices = NDArray[np.int32]
Words = NDArray[np.uint64]


class Votes:
    """Sums of free and occupied votes, and the classes that follow from them.

    Attributes:
        fused: int8 FREE, UNKNOWN or OCCUPIED. Shape: bounds.shape.
    """

    def __init__(self, bounds: MapBounds) -> None:
        tiles = bounds.tiles_y * bounds.tiles_x
        self._tiles_x = bounds.tiles_x
        self._free = np.zeros((tiles, TILE_CELLS), np.uint16)
        self._occupied = np.zeros((tiles, TILE_CELLS), np.uint16)
        self.fused: NDArray[np.int8] = np.zeros(bounds.shape, np.int8)
        self._is_changed = np.zeros(tiles, np.uint8)
        self._changed = np.zeros(tiles, np.int32)
        self._counters = np.zeros(2, np.int64)

    @property
    def known_cells(self) -> int:
        """Cells whose fused class is not UNKNOWN."""
        return int(self._counters[1])

    def replace_from_raster(self, indices: NDArray[np.int32], raster: NDArray[np.int8], held: NDArray[np.int8],
                            differs: NDArray[np.uint8], weight: int = FULL_WEIGHT) -> None:
        """Copy tiles of a raster into a layer and count its votes anew.

        Args:
            indices: flat tile indices. Shape: (N,).
            raster: classes, C-contiguous. Shape: bounds.shape.
            held: the layer's tiles, changed in place. Shape: (tiles, TILE_CELLS).
            differs: set to 1 where the content was not identical, else 0. Shape: (N,).
            weight: what the layer's votes count.
        """
        _replace_from_raster(indices, raster, raster.view(np.uint64), held, held.view(np.uint64), differs, weight,
                             self._tiles_x, self._free, self._occupied, self.fused,
                             self._is_changed, self._changed, self._counters)

    def replace_newer(self, indices: NDArray[np.int32], versions: NDArray[np.uint32], classes: NDArray[np.int8],
                      held_versions: NDArray[np.uint32], held: NDArray[np.int8], weight: int = FULL_WEIGHT) -> int:
        """Take over the tiles whose version is higher than the held one; returns how many.

        Args:
            indices: flat tile indices. Shape: (N,).
            versions: version of each. Shape: (N,).
            classes: content of each, C-contiguous. Shape: (N, TILE_CELLS).
            held_versions: the layer's versions, changed in place. Shape: (tiles,).
            held: the layer's tiles, changed in place. Shape: (tiles, TILE_CELLS).
            weight: what the layer's votes count.
        """
        return int(_replace_newer(indices, versions, classes, classes.view(np.uint64), held_versions, held,
                                  held.view(np.uint64), weight, self._tiles_x, self._free, self._occupied, self.fused,
                                  self._is_changed, self._changed, self._counters))

    def reweigh(self, held: NDArray[np.int8], before: int, after: int) -> None:
        """Count all votes of a layer with another weight.

        Args:
            held: the layer's tiles. Shape: (tiles, TILE_CELLS).
            before: the weight that they were counted with. after: the one to count them with.
        """
        _reweigh(held, held.view(np.uint64), before, after, self._tiles_x, self._free, self._occupied, self.fused,
                 self._is_changed, self._changed, self._counters)

    def occupancy(self, rows: slice, cols: slice) -> NDArray[np.int8]:
        """Probability that cells are occupied [%], -1 where nothing is known; 50 or more where ``fused`` is OCCUPIED.

        Args:
            rows, cols: of the window, both ends given. Shape of the result: that of the window.
        """
        tile_rows, tile_cols = (slice(ends.start // TILE, -(-ends.stop // TILE)) for ends in (rows, cols))
        shape = (tile_rows.stop - tile_rows.start) * TILE, (tile_cols.stop - tile_cols.start) * TILE
        free, occupied = (
            sums.reshape(-1, self._tiles_x, TILE, TILE)[tile_rows, tile_cols].swapaxes(1, 2).reshape(shape)
            for sums in (self._free, self._occupied))
        top, left = rows.start - tile_rows.start * TILE, cols.start - tile_cols.start * TILE
        odds = NATS_PER_VOTE * (occupied.astype(np.float64) - free)
        percent = np.rint(100.0 / (1.0 + np.exp(-odds)))[top:top + rows.stop - rows.start,
                                                         left:left + cols.stop - cols.start]
        return np.where(self.fused[rows, cols] == UNKNOWN, -1, percent).astype(np.int8)

    def take_changed(self) -> NDArray[np.int32]:
        """Tiles whose fused classes changed since the last call, as (ty, tx). Shape: (N, 2)."""
        count = int(self._counters[0])
        indices = self._changed[:count]
        self._is_changed[indices] = 0
        self._counters[0] = 0
        return np.stack(np.divmod(indices, np.int32(self._tiles_x)), axis=1)


@njit(cache=True, nogil=True)
def _recount_word(tile: int, word: int, old: Classes, new: Classes, weight: int, row: int, col: int,
                  free: Sums, occupied: Sums, fused: Classes) -> tuple[bool, int]:
    """Replace eight cells of ``old`` by ``new`` and recount; returns (fused changed, known cells gained)."""
    changed, gained = False, 0
    for k in range(8):
        i = word * 8 + k
        before, after = old[i], new[k]
        if before == after:
            continue
        if before == FREE:
            free[tile, i] -= SURE * weight
        elif before != UNKNOWN:
            occupied[tile, i] -= _for_wall(before) * weight
        if after == FREE:
            free[tile, i] += SURE * weight
        elif after != UNKNOWN:
            occupied[tile, i] += _for_wall(after) * weight
        old[i] = after
        hit, more = _decide(free[tile, i], occupied[tile, i], row, col + k, fused)
        changed |= hit
        gained += more
    return changed, gained


@njit(cache=True, nogil=True, inline='always')
def _for_wall(value: int) -> int:
    """Votes of a cell that is not free."""
    return HALF if value == FAINT else SURE


@njit(cache=True, nogil=True)
def _decide(free: int, occupied: int, row: int, col: int, fused: Classes) -> tuple[bool, int]:
    """The class of a cell from its sums of votes; returns (it changed, known cells gained)."""
    value = UNKNOWN
    if occupied > 0 and occupied >= free:
        value = OCCUPIED
    elif free > 0:
        value = FREE
    before = fused[row, col]
    if value == before:
        return False, 0
    fused[row, col] = value
    return True, int(before == UNKNOWN) - int(value == UNKNOWN)


@njit(cache=True, nogil=True)
def _flag(tile: int, is_changed: Flags, changed: Indices, counters: NDArray[np.int64]) -> None:
    if is_changed[tile] == 0:
        is_changed[tile] = 1
        changed[counters[0]] = tile
        counters[0] += 1


@njit(cache=True, nogil=True)
def _replace_from_raster(indices: Indices, raster: Classes, raster_words: Words, held: Classes, held_words: Words,
                         differs: Flags, weight: int, tiles_x: int, free: Sums, occupied: Sums, fused: Classes,
                         is_changed: Flags, changed: Indices, counters: NDArray[np.int64]) -> None:
    for n in range(indices.size):
        tile = indices[n]
        row0, col0 = (tile // tiles_x) * TILE, (tile % tiles_x) * TILE
        differs[n] = 0
        any_fused = False
        for word in range(WORDS):
            row, col = row0 + word // WORDS_PER_ROW, col0 + (word % WORDS_PER_ROW) * 8
            if raster_words[row, col // 8] == held_words[tile, word]:
                continue
            differs[n] = 1
            hit, gained = _recount_word(tile, word, held[tile], raster[row, col:col + 8], weight, row, col,
                                        free, occupied, fused)
            any_fused |= hit
            counters[1] += gained
        if any_fused:
            _flag(tile, is_changed, changed, counters)


@njit(cache=True, nogil=True)
def _replace_newer(indices: Indices, versions: NDArray[np.uint32], classes: Classes, classes_words: Words,
                   held_versions: NDArray[np.uint32], held: Classes, held_words: Words, weight: int,
                   tiles_x: int, free: Sums, occupied: Sums, fused: Classes,
                   is_changed: Flags, changed: Indices, counters: NDArray[np.int64]) -> int:
    taken = 0
    for n in range(indices.size):
        tile = indices[n]
        if versions[n] <= held_versions[tile]:
            continue
        held_versions[tile] = versions[n]
        taken += 1
        row0, col0 = (tile // tiles_x) * TILE, (tile % tiles_x) * TILE
        any_fused = False
        for word in range(WORDS):
            if classes_words[n, word] == held_words[tile, word]:
                continue
            row, col = row0 + word // WORDS_PER_ROW, col0 + (word % WORDS_PER_ROW) * 8
            hit, gained = _recount_word(tile, word, held[tile], classes[n, word * 8:word * 8 + 8], weight,
                                        row, col, free, occupied, fused)
            any_fused |= hit
            counters[1] += gained
        if any_fused:
            _flag(tile, is_changed, changed, counters)
    return taken


@njit(cache=True, nogil=True)
def _reweigh(held: Classes, held_words: Words, before: int, after: int, tiles_x: int, free: Sums, occupied: Sums,
             fused: Classes, is_changed: Flags, changed: Indices, counters: NDArray[np.int64]) -> None:
    for tile in range(held.shape[0]):
        row0, col0 = (tile // tiles_x) * TILE, (tile % tiles_x) * TILE
        any_fused = False
        for word in range(WORDS):
            if held_words[tile, word] == 0:
                continue
            row, col = row0 + word // WORDS_PER_ROW, col0 + (word % WORDS_PER_ROW) * 8
            for k in range(8):
                i = word * 8 + k
                if held[tile, i] == FREE:
                    free[tile, i] += SURE * (after - before)
                elif held[tile, i] != UNKNOWN:
                    occupied[tile, i] += _for_wall(held[tile, i]) * (after - before)
                hit, gained = _decide(free[tile, i], occupied[tile, i], row, col + k, fused)
                any_fused |= hit
                counters[1] += gained
        if any_fused:
            _flag(tile, is_changed, changed, counters)
