"""One writer's part of the shared map, as a replica holds it.

Tiles lie one after another, so that a tile is one kilobyte in a row; memory that was never written is never
committed (``np.zeros``).

What a replica may claim to know obeys one invariant, on which convergence rests: for every version v in ``known``
the tile that v was issued for is held with version v or a later one, and every held version is in ``known``.
Two replicas with equal ``known`` therefore hold equal tiles.
"""

from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class Urgency:
    """What is published at once, and what may wait for company.

    While a robot passes by, a tile changes a little with every scan. Holding back small changes of what others
    already know saves a quarter of the bytes (benchmarks/sharing.py has the curve); new tiles are never held back.

    Attributes:
        hold_cells: a tile published before waits until so many cells changed (1: never waits) ...
        hold_s: ... or for so long [s].
        patience_s: after so long the least valuable tile outranks the most valuable fresh one [s].
    """

    hold_cells: int = 64
    hold_s: float = 5.0
    patience_s: float = 10.0

    def __post_init__(self) -> None:
        if not (self.hold_cells >= 1 and self.hold_s >= 0.0 and self.patience_s > 0.0):
            raise ValueError(f'expected hold_cells >= 1, hold_s >= 0 and patience_s > 0, got {self}')


class OwnLayer(Layer):
    """The layer that this replica writes: what it sees now, beside what it has published.

    A tile that changed after it was published keeps its published content until it gets its next version, so that
    what others ask for can still be answered with exactly what the version said.

    Attributes:
        live: int8 classes as last written. Shape: as tiles.
        waiting_cells: cells in which a tile differs from what was published. Shape: (tiles,).
        waiting_since_s: when publishing first passed over a waiting tile, NaN if it has not. Shape: (tiles,).
        issued: the highest version given so far.
    """

    def __init__(self, layer: LayerId, bounds: MapBounds) -> None:
        super().__init__(layer, bounds)
        self.live: NDArray[np.int8] = np.zeros(self.tiles.shape, np.int8)
        self.waiting_cells: NDArray[np.int32] = np.zeros(self.versions.size, np.int32)
        self.waiting_since_s: NDArray[np.float64] = np.full(self.versions.size, np.nan)
        self.issued = 0

    @property
    def seen(self) -> NDArray[np.int8]:
        """What the layer votes with: own evidence counts before it is published."""
        return self.live

    def note_written(self, indices: NDArray[np.int32]) -> None:
        """Recount how far tiles that were just written are from what was published."""
        self.waiting_cells[indices] = np.count_nonzero(self.live[indices] != self.tiles[indices], axis=1)
        self.waiting_since_s[indices[self.waiting_cells[indices] == 0]] = np.nan

    def ranked(self, urgency: Urgency, now: float, value: NDArray[np.floating] | None) -> NDArray[np.intp]:
        """Waiting tiles that are to be published, most urgent first.

        Value counts from 0 to 1; every ``patience_s`` of waiting counts 1 more, so that no tile waits for ever.

        Args:
            urgency: what may wait, and how long.
            now: time of publishing [s]; a clock that jumped makes tiles wait no longer.
            value: worth of each tile, at least 0 (default: cells that differ). Shape: (tiles,).
        """
        waiting = np.flatnonzero(self.waiting_cells)
        since_s = self.waiting_since_s[waiting]
        self.waiting_since_s[waiting] = np.where(np.isnan(since_s), now, since_s)
        age_s = np.abs(now - self.waiting_since_s[waiting])
        cells = self.waiting_cells[waiting]
        held_back = (self.versions[waiting] > 0) & (cells < urgency.hold_cells) & (age_s < urgency.hold_s)
        waiting, age_s, cells = waiting[~held_back], age_s[~held_back], cells[~held_back]
        worth = (cells if value is None else value[waiting]).astype(np.float64)
        worth = np.nan_to_num(np.maximum(worth, 0.0), nan=0.0, posinf=1e300)
        score = worth / max(worth.max(initial=0.0), 1e-300) + age_s / urgency.patience_s
        return waiting[np.argsort(-score, kind='stable')]

    def publish(self, indices: NDArray[np.intp]) -> VersionRange:
        """Give the live content of tiles the next versions, in the order given."""
        versions = VersionRange(self.issued + 1, self.issued + indices.size)
        self.tiles[indices] = self.live[indices]
        self.versions[indices] = np.arange(versions.first, versions.last + 1, dtype=np.uint32)
        self.waiting_cells[indices] = 0
        self.waiting_since_s[indices] = np.nan
        self.issued = versions.last
        self.known = union(self.known, (versions,))
        return versions
