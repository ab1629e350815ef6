"""How much of a world a map shows: the measure by which an exploration is complete."""

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import ndimage

from marl_core.errors import WorldError
from marl_core.types import FREE, UNKNOWN
from sim.fast.grid import CoarseGrid
from sim.fast.rays import ray_tree
from sim.worlds.world import World

COMPLETE = 0.99
"""A map that shows this part of what can be seen is complete; the rest hides in corners."""

RANGE_M = 8.0
"""Reach of the lidar by which a place counts as visible [m]."""


class Coverage:
    """Compares maps with the truth of one world.

    The places that count are the centres of coarse cells that are wholly free, connected to the start, and in view
    from somewhere that a robot can get to: a room behind a door too narrow for the fleet counts as far as it can be
    looked into.

    Attributes:
        grid: truth on the coarse grid.
        places: how many count.
        area_m2: area that counts [m2].
    """

    def __init__(self, world: World, resolution_m: float = 0.2, radius_m: float = 0.0) -> None:
        """Find the places.

        Args:
            world: the truth.
            resolution_m: edge of a coarse cell [m].
            radius_m: of the robots and the clearance that their paths keep [m]; 0: every place counts.

        Raises:
            WorldError: nothing that counts is free.
        """
        self.grid = CoarseGrid.from_world(world, resolution_m)
        counts = self.grid.free
        if radius_m > 0.0:
            counts = self._in_view(world, radius_m)
        rows, cols = np.nonzero(counts)
        self.places = len(rows)
        self.area_m2 = self.places * self.grid.resolution_m ** 2
        self._cells = rows, cols
        self._x_m = self.grid.origin_x_m + (cols + 0.5) * self.grid.resolution_m
        self._y_m = self.grid.origin_y_m + (rows + 0.5) * self.grid.resolution_m

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
        known = np.zeros(self.places, np.bool_)
        known[inside] = classes[rows[inside], cols[inside]] != UNKNOWN
        return known

    def of(self, classes: NDArray[np.int8], resolution_m: float, origin_x_m: float, origin_y_m: float) -> float:
        """Part of the places that a map knows [0..1]; arguments as in ``known``."""
        return float(self.known(classes, resolution_m, origin_x_m, origin_y_m).mean())

    def picture(self, known: NDArray[np.bool_]) -> NDArray[np.int8]:
        """Classes on the coarse grid: FREE where a place is known. Shape: (rows, cols); of known: (places,)."""
        classes = np.full(self.grid.free.shape, UNKNOWN, np.int8)
        classes[self._cells] = np.where(known, FREE, UNKNOWN)
        return classes

    def cells_of(self, points_m: NDArray[np.float64]) -> NDArray[np.int32]:
        """Coarse cells (row, col) of points [m; map frame], -1 for NaN. Shapes: (N, 2) -> (N, 2)."""
        offset = points_m[:, ::-1] - (self.grid.origin_y_m, self.grid.origin_x_m)
        cells = np.floor(offset / self.grid.resolution_m)
        return np.where(np.isfinite(cells), cells, -1.0).astype(np.int32)

    def _in_view(self, world: World, radius_m: float) -> NDArray[np.bool_]:
        """Coarse cells that a lidar sees from where a disc of a radius can get to."""
        roomy, _ = ndimage.label(world.clearance_m > radius_m + 0.5 * world.resolution_m)
        at = roomy[world.cell_of(world.anchor_x_m, world.anchor_y_m)]
        if at == 0:  # the start itself may be tight; its surroundings are what counts
            near = np.argwhere(roomy)
            if not len(near):
                raise WorldError(f'world {world.name}: a robot of {radius_m} m radius fits nowhere')
            start = world.cell_of(world.anchor_x_m, world.anchor_y_m)
            at = roomy[tuple(near[int(np.argmin(((near - start) ** 2).sum(axis=1)))])]
        rows, cols = np.nonzero(roomy == at)
        centers = np.column_stack((world.origin_x_m + (cols + 0.5) * world.resolution_m,
                                   world.origin_y_m + (rows + 0.5) * world.resolution_m))
        stands = np.unique(self.cells_of(centers), axis=0)
        tree = ray_tree(RANGE_M / self.grid.resolution_m)
        padding = int(RANGE_M / self.grid.resolution_m) + 1
        free = np.pad(self.grid.free, padding)
        seen = np.zeros(free.shape, np.bool_)
        _look_around(free, stands + padding, tree.rows, tree.cols, tree.after, seen)
        return seen[padding:-padding, padding:-padding]


@njit(cache=True, nogil=True)
def _look_around(free: NDArray[np.bool_], stands: NDArray[np.int64], rows: NDArray[np.int32],
                 cols: NDArray[np.int32], after: NDArray[np.int32], seen: NDArray[np.bool_]) -> None:
    """Mark the free cells in view of any stand; see sim.fast.rays for the tree."""
    for stand in range(stands.shape[0]):
        row, col = stands[stand, 0], stands[stand, 1]
        if not free[row, col]:
            continue
        seen[row, col] = True
        node = 0
        while node < after.size:
            if free[row + rows[node], col + cols[node]]:
                seen[row + rows[node], col + cols[node]] = True
                node += 1
            else:
                node = after[node]
