"""One writer's part of the shared map, as a replica holds it.

Tiles lie one after another, so that a tile is one kilobyte in a row; memory that was never written is never
committed (``np.zeros``).

What a replica may claim to know obeys one invariant, on which convergence rests: for every version v in ``known``
the tile that v was issued for is held with version v or a later one, and every held version is in ``known``.
Two replicas with equal ``known`` therefore hold equal tiles.
"""

import numpy as np
from numpy.typing import NDArray

from marl_core.mapping.bounds import MapBounds
from marl_core.mapping.votes import TILE_CELLS
from marl_core.types import LayerId, VersionRange
from marl_core.versions import Ranges, union


class Layer:
    """Versioned tiles of one writer.

    Attributes:
        id: the writer and which of its lives.
        tiles: int8 classes of the tiles as last published. Shape: (tiles_y * tiles_x, TILE_CELLS).
        versions: uint32, 0 where nothing is held. Shape: (tiles_y * tiles_x,).
        known: versions whose tiles, or their successors, are held.
    """

    def __init__(self, layer: LayerId, bounds: MapBounds) -> None:
        count = bounds.tiles_y * bounds.tiles_x
        self.id = layer
        self.tiles: NDArray[np.int8] = np.zeros((count, TILE_CELLS), np.int8)
        self.versions: NDArray[np.uint32] = np.zeros(count, np.uint32)
        self.known: Ranges = ()

    @property
    def seen(self) -> NDArray[np.int8]:
        """What the layer votes with. Shape: as tiles."""
        return self.tiles

    def held_between(self, versions: VersionRange) -> NDArray[np.intp]:
        """Flat indices of the tiles whose version is in a range, by ascending version. Shape: (N,)."""
        indices = np.flatnonzero((self.versions >= versions.first) & (self.versions <= versions.last))
        return indices[np.argsort(self.versions[indices])]


class OwnLayer(Layer):
    """The layer that this replica writes: what it sees now, beside what it has published.

    A tile that changed after it was published keeps its published content until it gets its next version, so that
    what others ask for can still be answered with exactly what the version said.

    Attributes:
        live: int8 classes as last written. Shape: as tiles.
        waiting_cells: cells in which a tile differs from what was published. Shape: (tiles,).
        waited: how many messages each waiting tile was left out of. Shape: (tiles,).
        issued: the highest version given so far.
    """

    def __init__(self, layer: LayerId, bounds: MapBounds) -> None:
        super().__init__(layer, bounds)
        self.live: NDArray[np.int8] = np.zeros(self.tiles.shape, np.int8)
        self.waiting_cells: NDArray[np.int32] = np.zeros(self.versions.size, np.int32)
        self.waited: NDArray[np.int32] = np.zeros(self.versions.size, np.int32)
        self.issued = 0

    @property
    def seen(self) -> NDArray[np.int8]:
        """What the layer votes with: own evidence counts before it is published."""
        return self.live

    def note_written(self, indices: NDArray[np.int32]) -> None:
        """Recount how far tiles that were just written are from what was published."""
        self.waiting_cells[indices] = np.count_nonzero(self.live[indices] != self.tiles[indices], axis=1)

    def ranked(self, value: NDArray[np.floating] | None, patience: int) -> NDArray[np.intp]:
        """Waiting tiles, most urgent first.

        Value counts from 0 to 1; every ``patience`` messages of waiting count 1 more, so that no tile waits for ever.

        Args:
            value: worth of each tile, at least 0 (default: cells that differ). Shape: (tiles,).
            patience: messages after which the least valuable tile outranks a fresh one.
        """
        waiting = np.flatnonzero(self.waiting_cells)
        worth = (self.waiting_cells if value is None else value)[waiting].astype(np.float64)
        worth = np.nan_to_num(np.maximum(worth, 0.0), nan=0.0, posinf=1e300)
        score = worth / max(worth.max(initial=0.0), 1e-300) + self.waited[waiting] / patience
        return waiting[np.argsort(-score, kind='stable')]

    def publish(self, indices: NDArray[np.intp]) -> VersionRange:
        """Give the live content of tiles the next versions, in the order given."""
        versions = VersionRange(self.issued + 1, self.issued + indices.size)
        self.waited[np.flatnonzero(self.waiting_cells)] += 1
        self.tiles[indices] = self.live[indices]
        self.versions[indices] = np.arange(versions.first, versions.last + 1, dtype=np.uint32)
        self.waiting_cells[indices] = 0
        self.waited[indices] = 0
        self.issued = versions.last
        self.known = union(self.known, (versions,))
        return versions
