"""What sharing the same maps would have cost in two simpler ways, reckoned from what a fleet published."""

import zlib
from collections import Counter

import numpy as np
from numpy.typing import NDArray

from marl_core.errors import MessageError
from marl_core.mapping.bounds import TILE, MapBounds
from marl_core.mapping.layers import Layer
from marl_core.mapping.replica import Replica
from marl_core.types import LayerId, MapFeatures

GRID_PERIOD_S = 5.0
CROP_PERIOD_S = 1.0
HEADER_BYTES = 29
"""Of every message of a baseline, as small as headers of our own [bytes]."""


class Baselines:
    """Robots that publish their whole map as OccupancyGrid every 5 s, or every second the crop that changed.

    The crop has 2 bits per cell and goes through zlib. A robot begins anew with each of its lives.

    Attributes:
        grid_bytes, crop_bytes: what each would have sent so far, by robot.
    """

    def __init__(self, bounds: MapBounds) -> None:
        """Start with nothing heard."""
        self.grid_bytes: Counter[str] = Counter()
        self.crop_bytes: Counter[str] = Counter()
        self._replica = Replica(bounds, 'baselines')
        self._shape = bounds.tiles_shape
        self._lives: dict[str, LayerId] = {}
        self._before: dict[LayerId, tuple[NDArray[np.int8], NDArray[np.uint32]]] = {}
        self._crop_due_s, self._grid_due_s = CROP_PERIOD_S, GRID_PERIOD_S

    def take(self, message: MapFeatures) -> None:
        """Take in what was published, by whom it may be passed on; what cannot be read is left out."""
        try:
            self._replica.join(message)
        except MessageError:  # Members count what is wrong; what is missing comes again for them.
            return
        layer = message.layer
        if layer.robot not in self._lives or layer.epoch > self._lives[layer.robot].epoch:
            self._lives[layer.robot] = layer

    def advance(self, time_s: float) -> None:
        """Reckon with what is due."""
        if time_s >= self._crop_due_s:
            self._crop_due_s = time_s + CROP_PERIOD_S
            for robot, life in self._lives.items():
                self.crop_bytes[robot] += self._crop(self._replica.layers[life])
        if time_s >= self._grid_due_s:
            self._grid_due_s = time_s + GRID_PERIOD_S
            for robot, life in self._lives.items():
                layer = self._replica.layers[life]
                self.grid_bytes[robot] += HEADER_BYTES + _box(self._raster(layer.tiles, layer.versions > 0) != 0)[2]

    def _crop(self, layer: Layer) -> int:
        if layer.id not in self._before:
            self._before[layer.id] = np.zeros_like(layer.tiles), np.zeros_like(layer.versions)
        tiles, versions = self._before[layer.id]
        changed = layer.versions != versions
        if not changed.any():
            return 0
        old, new = self._raster(tiles, changed), self._raster(layer.tiles, changed)
        rows, cols, cells = _box(old != new)
        tiles[changed], versions[changed] = layer.tiles[changed], layer.versions[changed]
        if not cells:
            return 0
        old, new = old[rows, cols], new[rows, cols]
        forms = new + 1, np.where(old != new, new + 1, 3)
        return HEADER_BYTES + min(len(zlib.compress(_two_bits(form), 6)) for form in forms)

    def _raster(self, tiles: NDArray[np.int8], which: NDArray[np.bool_]) -> NDArray[np.int8]:
        """The part of a map round some tiles. Shape: (rows, cols)."""
        rows, cols, _ = _box(which.reshape(self._shape))
        part = tiles.reshape(*self._shape, TILE, TILE)[rows, cols]
        return part.transpose(0, 2, 1, 3).reshape(part.shape[0] * TILE, part.shape[1] * TILE)


def _box(mask: NDArray[np.bool_]) -> tuple[slice, slice, int]:
    """Rows and columns round what is set, and how many cells that is."""
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return slice(0, 0), slice(0, 0), 0
    height, width = rows[-1] + 1 - rows[0], cols[-1] + 1 - cols[0]
    return slice(rows[0], rows[-1] + 1), slice(cols[0], cols[-1] + 1), int(height * width)


def _two_bits(codes: NDArray[np.int8]) -> bytes:
    flat = codes.astype(np.uint8).reshape(-1)
    quads = np.pad(flat, (0, -flat.size % 4)).reshape(-1, 4)
    return (quads[:, 0] | quads[:, 1] << 2 | quads[:, 2] << 4 | quads[:, 3] << 6).tobytes()
