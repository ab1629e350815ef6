"""Whether a map is right: its walls beside those of the world; needs a checkout, as the simulator does."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from marl_core.types import FREE, OCCUPIED
from marl_nodes.checkout import require_simulator
from marl_nodes.monitor import Map

require_simulator()
from sim.worlds import World  # noqa: E402 - found by the line above.

TOLERANCE_M = 0.15
"""A wall is right if one is so near in the other map [m]: three cells of the default map."""
_REACH_M = TOLERANCE_M + 1e-6  # Three times 0.05 is more than 0.15.


class Walls:
    """The walls of a world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._away_m = ndimage.distance_transform_edt(~world.occupied) * world.resolution_m

    def f1(self, grid: Map) -> float:
        """Harmonic mean of how many of a map's walls are in the world, and of the world's walls in the map [0..1].

        Of the world's walls those count that touch what the map knows to be free: whether the rest was looked for is
        a matter of coverage.
        """
        rows, cols = np.nonzero(grid.classes == OCCUPIED)
        if not rows.size:
            return 0.0
        world = self._world
        away_m, is_inside = _look_up(self._away_m, _indices(rows, cols, grid.resolution_m, grid.origin_x_m,
                                                             grid.origin_y_m, world))
        right = is_inside & (away_m <= _REACH_M)
        known_free = self._seen_as_free(grid)
        visible = world.occupied & ndimage.binary_dilation(known_free)
        rows, cols = np.nonzero(visible)
        if not rows.size:
            return 0.0
        to_wall_m = ndimage.distance_transform_edt(grid.classes != OCCUPIED) * grid.resolution_m
        away_m, is_inside = _look_up(to_wall_m, _indices(rows, cols, world.resolution_m, world.origin_x_m,
                                                         world.origin_y_m, grid))
        found = is_inside & (away_m <= _REACH_M)
        precision, recall = right.mean(), found.mean()
        return float(2.0 * precision * recall / (precision + recall)) if precision + recall > 0.0 else 0.0

    def _seen_as_free(self, grid: Map) -> NDArray[np.bool_]:
        """Free cells of the world that the map shows as free. Shape: as the world."""
        world = self._world
        rows, cols = np.nonzero(~world.occupied)
        classes, is_inside = _look_up(grid.classes, _indices(rows, cols, world.resolution_m, world.origin_x_m,
                                                              world.origin_y_m, grid))
        seen = np.zeros(world.occupied.shape, bool)
        seen[rows, cols] = is_inside & (classes == FREE)
        return seen


def _indices(rows: NDArray[np.intp], cols: NDArray[np.intp], resolution_m: float, origin_x_m: float,
             origin_y_m: float, other: World | Map) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Cells of another grid in which the centres of cells lie."""
    x_m, y_m = origin_x_m + (cols + 0.5) * resolution_m, origin_y_m + (rows + 0.5) * resolution_m
    return (np.floor((y_m - other.origin_y_m) / other.resolution_m).astype(np.intp),
            np.floor((x_m - other.origin_x_m) / other.resolution_m).astype(np.intp))


def _look_up(values: NDArray, cells: tuple[NDArray[np.intp], NDArray[np.intp]]) -> tuple[NDArray, NDArray[np.bool_]]:
    """Values at cells, and which of these are inside. Shapes: (N,)."""
    rows, cols = cells
    is_inside = (rows >= 0) & (cols >= 0) & (rows < values.shape[0]) & (cols < values.shape[1])
    return values[np.where(is_inside, rows, 0), np.where(is_inside, cols, 0)], is_inside
