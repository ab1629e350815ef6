"""How much of a world a map shows: the measure by which an exploration is complete."""

import numpy as np
from numpy.typing import NDArray

from marl_core.types import UNKNOWN
from sim.fast.grid import CoarseGrid
from sim.worlds.world import World

COMPLETE = 0.99
"""A map that shows this part of what can be reached is complete; the rest hides in corners."""


class Coverage:
    """Compares maps with the truth of one world.

    The places that count are the centres of coarse cells that are wholly free and connected to the start.

    Attributes:
        area_m2: area that counts [m2].
    """

    def __init__(self, world: World, resolution_m: float = 0.2) -> None:
        grid = CoarseGrid.from_world(world, resolution_m)
        rows, cols = np.nonzero(grid.free)
        self.area_m2 = grid.area_m2
        self._x_m = grid.origin_x_m + (cols + 0.5) * grid.resolution_m
        self._y_m = grid.origin_y_m + (rows + 0.5) * grid.resolution_m

    def known(self, classes: NDArray[np.int8], resolution_m: float, origin_x_m: float,
              origin_y_m: float) -> NDArray[np.bool_]:
        """Which of the places a map knows anything of.

        Args:
            classes: FREE, UNKNOWN or OCCUPIED. Shape: (rows, cols).
            resolution_m: edge of a cell [m].
            origin_x_m: x of the corner of cell (0, 0) [m; map frame].
            origin_y_m: y of it.

        Returns:
            Shape: (places,).
        """
        rows = np.floor((self._y_m - origin_y_m) / resolution_m).astype(np.int64)
        cols = np.floor((self._x_m - origin_x_m) / resolution_m).astype(np.int64)
        inside = (rows >= 0) & (cols >= 0) & (rows < classes.shape[0]) & (cols < classes.shape[1])
        known = np.zeros(len(rows), np.bool_)
        known[inside] = classes[rows[inside], cols[inside]] != UNKNOWN
        return known

    def of(self, classes: NDArray[np.int8], resolution_m: float, origin_x_m: float, origin_y_m: float) -> float:
        """Part of the places that a map knows [0..1]; arguments as in ``known``."""
        return float(self.known(classes, resolution_m, origin_x_m, origin_y_m).mean())
