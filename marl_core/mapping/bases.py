"""What the tiles of a message may be coded against: earlier versions of the same layer.

Exact without a checksum. A message builds on the versions 1 to ``last``, all of them known to whoever reads it, and
none of these readers may hold anything of the message itself or later. Then what both ends hold of a tile that the
writer's mark speaks of is the same: the reader holds the writer's version or a later one, and no later one exists.
"""

import numpy as np
from numpy.typing import NDArray

from marl_core.errors import MessageError
from marl_core.mapping.bounds import MapBounds
from marl_core.mapping.layers import Layer
from marl_core.mapping.votes import TILE_CELLS


class Bases:
    """Tiles of a layer as they were before a message.

    Attributes:
        last: versions up to this one are built on.
        is_marked: whether the message says for each tile if it is built on; needless if everything before is.
    """

    def __init__(self, layer: Layer, bounds: MapBounds, last: int, first: int) -> None:
        """Args: last: highest version to build on. first: lowest version of the message."""
        self.last = last
        self.is_marked = last < first - 1
        self._layer, self._bounds, self._first = layer, bounds, first

    def marks(self, tiles: NDArray[np.int64]) -> NDArray[np.uint8]:
        """For the writer: which tiles can be built on. Shape of tiles: (N, 2), signed. Shape: (N,)."""
        versions = self._versions(tiles)[0]
        return ((versions > 0) & (versions <= self.last)).astype(np.uint8)

    def contents(self, tiles: NDArray[np.int64], marks: NDArray[np.uint8]) -> tuple[NDArray[np.int8],
                                                                                      NDArray[np.uint8]]:
        """What is held of tiles, and of which anything. Shapes: (N, TILE_CELLS) and (N,).

        Raises:
            MessageError: ``missing-base``, a tile is not held as it was before the message.
        """
        versions, indices = self._versions(tiles)
        used = marks.astype(bool) if self.is_marked else versions > 0
        if (versions[used] == 0).any() or (versions[used] >= self._first).any():
            raise MessageError('missing-base', 'a tile is not held as it was before the message')
        held = np.zeros((len(tiles), TILE_CELLS), np.int8)
        held[used] = self._layer.tiles[indices[used]]
        return held, used.astype(np.uint8)

    def _versions(self, tiles: NDArray[np.int64]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """Versions held, 0 for none or outside the map, and flat indices. Shapes: (N,)."""
        bounds = self._bounds
        ty, tx = tiles[:, 0] + bounds.tiles_y // 2, tiles[:, 1] + bounds.tiles_x // 2
        is_inside = (ty >= 0) & (ty < bounds.tiles_y) & (tx >= 0) & (tx < bounds.tiles_x)
        indices = np.where(is_inside, ty * bounds.tiles_x + tx, 0)
        return np.where(is_inside, self._layer.versions[indices], np.uint32(0)), indices
