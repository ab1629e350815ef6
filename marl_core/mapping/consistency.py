"""How far layers agree about walls, recounted only where tiles changed.

Layers are compared by blocks of about the tolerance, so that poses may be wrong by a little: a block of a layer is a
WALL if several of its cells are occupied, and OPEN if it is mostly free, and its surroundings are known and without a
single occupied cell. Where one layer has a WALL in what another has OPEN, one of them is wrong, and nothing here tells
which. Where one has a WALL and the other something occupied in the block or beside it, they agree.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from marl_core.errors import MapError
from marl_core.mapping.bounds import TILE, MapBounds
from marl_core.mapping.replica import Replica
from marl_core.mapping.votes import MAX_LAYERS
from marl_core.types import FREE, UNKNOWN, LayerId
from marl_core.versions import Ranges

WALL, OPEN, NEAR, KNOWN = 1, 2, 4, 8
"""What a layer claims of a block, as bits; NEAR: something is occupied in it or in one of the eight beside it."""

CONFLICTS, AGREEMENTS, OVERLAP = 0, 1, 2
"""Places of a pair's counts in a tally."""

WALL_SHARE = 0.375
"""Occupied cells that make a block a WALL, in parts of its edge."""
OPEN_SHARE = 0.6
"""Part of a block's cells that are free if it is OPEN: the wall would have been there to be seen."""
AROUND_SHARE = 0.5
"""Part of the cells of a block and the eight beside it that are free if it is OPEN."""
KNOWN_SHARE = 0.5
"""Part of its cells that makes a block count as overlap."""


class Consistency:
    """Counts of blocks in which pairs of layers contradict each other, agree, and overlap.

    Attributes:
        block_area_m2: area of a block [m^2].
    """

    def __init__(self, bounds: MapBounds, tolerance_m: float) -> None:
        """Start with no layers.

        Raises:
            MapError: blocks of the tolerance would be larger than a tile.
        """
        edge = 1
        while edge * bounds.resolution_m < tolerance_m - 1e-9:
            edge *= 2
        if edge > TILE:
            raise MapError(f'tolerance_m must be at most {TILE * bounds.resolution_m} m (a tile), got {tolerance_m}')
        self.block_area_m2 = (edge * bounds.resolution_m)**2
        self._edge, self._tiles_x = edge, bounds.tiles_x
        self._blocks_shape = bounds.shape[0] // edge, bounds.shape[1] // edge
        area = edge * edge
        self._limits = np.array([max(1, round(WALL_SHARE * edge)), round(OPEN_SHARE * area),
                                 round(9 * AROUND_SHARE * area), round(KNOWN_SHARE * area)], np.int64)
        self._slots: dict[LayerId, int] = {}
        self._versions: list[NDArray[np.uint32]] = []
        self._known: list[Ranges] = []
        self._counts: list[NDArray[np.uint16]] = []
        # Beside each other in memory is what the layers claim of one block; pages never written are never committed.
        self._claims = np.zeros((*self._blocks_shape, MAX_LAYERS), np.uint8)
        self._tally = np.zeros((MAX_LAYERS, MAX_LAYERS, 3), np.int32)

    def update(self, replica: Replica) -> None:
        """Recount round the published tiles that changed since the last call."""
        for layer in replica.layers.values():
            slot = self._slots.get(layer.id)
            if slot is None:
                slot = self._slots[layer.id] = len(self._slots)
                self._versions.append(np.zeros_like(layer.versions))
                self._counts.append(np.zeros((*self._blocks_shape, 2), np.uint16))
                self._known.append(())
            if layer.known is self._known[slot]:
                continue
            self._known[slot] = layer.known
            changed = np.flatnonzero(layer.versions != self._versions[slot])
            self._versions[slot][changed] = layer.versions[changed]
            _recount(changed, layer.tiles, self._tiles_x, self._edge, slot, len(self._slots), self._limits,
                     self._counts[slot], self._claims, self._tally)

    def tally(self, robots: list[str]) -> NDArray[np.int64]:
        """Blocks by pair of robots, over all their lives; symmetric, zero on the diagonal.

        Args:
            robots: whom to count; layers of others are left out.

        Returns:
            CONFLICTS, AGREEMENTS and OVERLAP. Shape: (3, len(robots), len(robots)).
        """
        place = {robot: index for index, robot in enumerate(robots)}
        slots = [slot for layer, slot in self._slots.items() if layer.robot in place]
        whose = np.array([place[layer.robot] for layer in self._slots if layer.robot in place], np.intp)
        counts = np.zeros((3, len(robots), len(robots)), np.int64)
        pairs = self._tally[np.ix_(slots, slots)]
        np.add.at(counts, (slice(None), whose[:, None], whose[None, :]), np.moveaxis(pairs, 2, 0))
        counts[:, range(len(robots)), range(len(robots))] = 0
        return counts


@njit(cache=True, nogil=True)
def _recount(indices: NDArray[np.intp], tiles: NDArray[np.int8], tiles_x: int, edge: int, slot: int, slots: int,
             limits: NDArray[np.int64], counts: NDArray[np.uint16], claims: NDArray[np.uint8],
             tally: NDArray[np.int32]) -> None:
    """Bring the claims of one layer, and its counts with all others, up to date round some of its tiles."""
    blocks = TILE // edge
    for n in range(indices.size):
        _count_tile(tiles[indices[n]], edge, (indices[n] // tiles_x) * blocks, (indices[n] % tiles_x) * blocks, counts)
    for n in range(indices.size):
        row0, col0 = (indices[n] // tiles_x) * blocks, (indices[n] % tiles_x) * blocks
        for row in range(max(row0 - 1, 0), min(row0 + blocks + 1, claims.shape[0])):
            for col in range(max(col0 - 1, 0), min(col0 + blocks + 1, claims.shape[1])):
                before, after = claims[row, col, slot], _claim(row, col, counts, limits)
                if before == after:
                    continue
                claims[row, col, slot] = after
                for other in range(slots):
                    theirs = claims[row, col, other]
                    if theirs != 0 and other != slot:
                        for kind in range(3):
                            more = _met(kind, after, theirs) - _met(kind, before, theirs)
                            tally[slot, other, kind] += more
                            tally[other, slot, kind] += more


@njit(cache=True, nogil=True)
def _count_tile(tile: NDArray[np.int8], edge: int, row0: int, col0: int, counts: NDArray[np.uint16]) -> None:
    blocks = TILE // edge
    for block in range(blocks * blocks):
        row, col = block // blocks, block % blocks
        occupied = free = 0
        for y in range(row * edge, (row + 1) * edge):
            for x in range(col * edge, (col + 1) * edge):
                value = tile[y * TILE + x]
                occupied += value > UNKNOWN
                free += value == FREE
        counts[row0 + row, col0 + col, 0] = occupied
        counts[row0 + row, col0 + col, 1] = free


@njit(cache=True, nogil=True)
def _claim(row: int, col: int, counts: NDArray[np.uint16], limits: NDArray[np.int64]) -> int:
    """What a layer claims of a block, from its counts of occupied and free cells."""
    occupied, free = int(counts[row, col, 0]), int(counts[row, col, 1])
    occupied_around = free_around = 0
    for y in range(max(row - 1, 0), min(row + 2, counts.shape[0])):
        for x in range(max(col - 1, 0), min(col + 2, counts.shape[1])):
            occupied_around += counts[y, x, 0]
            free_around += counts[y, x, 1]
    claim = 0
    if occupied >= limits[0]:
        claim |= WALL
    if occupied_around == 0 and free >= limits[1] and free_around >= limits[2]:
        claim |= OPEN
    if occupied_around > 0:
        claim |= NEAR
    if occupied + free >= limits[3]:
        claim |= KNOWN
    return claim


@njit(cache=True, nogil=True)
def _met(kind: int, one: int, other: int) -> int:
    """What a block adds to one count of a pair that claims this of it."""
    if kind == OVERLAP:
        return int(one & other & KNOWN != 0)
    against = OPEN if kind == CONFLICTS else NEAR
    return int(one & WALL != 0 and other & against != 0) + int(other & WALL != 0 and one & against != 0)
