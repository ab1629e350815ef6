"""Which part of a growing map to publish: the whole when it grew, a rectangle when only cells changed."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from marl_core.mapping.bounds import TILE
from marl_core.types import FREE, OCCUPIED, UNKNOWN

UPDATES_PER_GRID = 5
"""After so many rectangles the whole map is sent again, for those who came since."""


class Window(NamedTuple):
    """Cells with row0 <= row < row1 and col0 <= col < col1."""

    row0: int
    row1: int
    col0: int
    col1: int

    def of(self, cells: NDArray[np.int8]) -> NDArray[np.int8]:
        """The cells of a whole map that lie in the window; a view."""
        return cells[self.row0:self.row1, self.col0:self.col1]

    def around(self, other: 'Window') -> 'Window':
        """The smallest window that holds both."""
        return Window(min(self.row0, other.row0), max(self.row1, other.row1),
                      min(self.col0, other.col0), max(self.col1, other.col1))


class MapView:
    """The part of a map that somebody has touched, and what of it has not been published yet.

    Attributes:
        box: all that was ever touched, in whole tiles; None before the first.
    """

    def __init__(self) -> None:
        self.box: Window | None = None
        self._published: Window | None = None
        self._changed: Window | None = None
        self._updates = 0

    def note(self, tiles: NDArray[np.int32]) -> None:
        """Tiles (ty, tx) whose cells changed. Shape: (N, 2)."""
        if not len(tiles):
            return
        (ty0, tx0), (ty1, tx1) = tiles.min(axis=0), tiles.max(axis=0) + 1
        window = Window(int(ty0) * TILE, int(ty1) * TILE, int(tx0) * TILE, int(tx1) * TILE)
        self.box = window if self.box is None else self.box.around(window)
        self._changed = window if self._changed is None else self._changed.around(window)

    def next_grid(self) -> Window | None:
        """What to publish as a whole map now, if a whole map is due."""
        grown = self.box != self._published
        stale = self._updates >= UPDATES_PER_GRID or (self._updates > 0 and self._changed is None)
        if self.box is None or not (grown or stale):
            return None
        self._published, self._changed, self._updates = self.box, None, 0
        return self.box

    def next_update(self) -> Window | None:
        """What to publish as a change of the last whole map now, if anything changed."""
        window, self._changed = self._changed, None
        if window is not None:
            self._updates += 1
        return window


def areas_m2(cells: NDArray[np.int8], resolution_m: float) -> tuple[float, float, float]:
    """Free, occupied and unknown area of a part of a map [m2]."""
    cell_m2 = resolution_m * resolution_m
    free, occupied = int(np.count_nonzero(cells == FREE)), int(np.count_nonzero(cells == OCCUPIED))
    unknown = int(np.count_nonzero(cells == UNKNOWN))
    return free * cell_m2, occupied * cell_m2, unknown * cell_m2
