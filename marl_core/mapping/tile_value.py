"""Which tiles teammates need first when a link is too slow to say everything at once."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from marl_core.mapping.bounds import TILE, MapBounds

REACH_M = 8.0
"""At this distance from a place that matters, a tile is worth half of what it is worth there [m]."""
NEWS = 4.0
"""How many times as much a cell is worth in a tile that was never said: there is the new frontier."""


def tile_value(bounds: MapBounds, changed_cells: NDArray[np.int32], versions: NDArray[np.uint32],
               places_m: NDArray[np.float64]) -> NDArray[np.float32]:
    """What the news of each tile are worth to the others: its changed cells, weighed by where it lies.

    Args:
        bounds: geometry.
        changed_cells: cells in which tiles differ from what was published. Shape: (tiles,).
        versions: versions in which tiles were published, 0 for never. Shape: (tiles,).
        places_m: where others are and where they go, rows with NaN left out [m; map frame]. Shape: (n, 2).

    Returns:
        From 0 to the number of cells of a tile. Shape: bounds.tiles_shape.
    """
    value = np.zeros(bounds.tiles_shape, np.float32)
    edge_m = TILE * bounds.resolution_m
    known = np.ascontiguousarray(places_m[np.isfinite(places_m).all(axis=1)], np.float64)
    shape = bounds.tiles_shape
    _worth(changed_cells.reshape(shape), versions.reshape(shape), known, bounds.origin_x_m, bounds.origin_y_m,
           edge_m, value)
    return value


@njit(cache=True, nogil=True)
def _worth(changed_cells: NDArray[np.int32], versions: NDArray[np.uint32], places_m: NDArray[np.float64],
           origin_x_m: float, origin_y_m: float, edge_m: float, value: NDArray[np.float32]) -> None:
    for ty in range(value.shape[0]):
        y_m = origin_y_m + (ty + 0.5) * edge_m
        for tx in range(value.shape[1]):
            if changed_cells[ty, tx] == 0:
                continue
            x_m = origin_x_m + (tx + 0.5) * edge_m
            nearest_m2 = np.inf
            for k in range(places_m.shape[0]):
                dx_m, dy_m = places_m[k, 0] - x_m, places_m[k, 1] - y_m
                nearest_m2 = min(nearest_m2, dx_m * dx_m + dy_m * dy_m)
            near = 1.0 / (1.0 + nearest_m2 / REACH_M**2) if places_m.shape[0] else 1.0
            value[ty, tx] = changed_cells[ty, tx] * (near if versions[ty, tx] == 0 else near / NEWS)
