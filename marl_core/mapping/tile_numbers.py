"""Three ways to name a tile, and how one becomes another.

Arrays of tiles have rows and columns (ty, tx) from 0. Arrays that hold tiles one after another have flat indices,
ty * tiles_x + tx. Messages have signed coordinates, counted from the origin of the map frame, which mean the same in
maps of any size.
"""

from math import isfinite

import numpy as np
from numpy.typing import NDArray

from marl_core.mapping.bounds import MapBounds


def flat_of(tiles: NDArray[np.int32], bounds: MapBounds) -> NDArray[np.int32] | None:
    """Flat indices of rows and columns (ty, tx), or None if one is outside. Shapes: (N, 2) and (N,)."""
    ty, tx = tiles[:, 0], tiles[:, 1]
    inside = (ty >= 0) & (ty < bounds.tiles_y) & (tx >= 0) & (tx < bounds.tiles_x)
    if not inside.all():
        return None
    return (ty * np.int32(bounds.tiles_x) + tx).astype(np.int32, copy=False)


def flat_of_signed(tiles: NDArray[np.int32], bounds: MapBounds) -> NDArray[np.int32] | None:
    """Flat indices of signed coordinates, or None if one is outside. Shapes: (N, 2) and (N,)."""
    return flat_of(tiles + np.array((bounds.tiles_y // 2, bounds.tiles_x // 2), np.int32), bounds)


def signed_of(indices: NDArray[np.intp], bounds: MapBounds) -> NDArray[np.int32]:
    """Signed coordinates of flat indices. Shapes: (N,) and (N, 2)."""
    ty, tx = np.divmod(indices, bounds.tiles_x)
    return np.stack((ty - bounds.tiles_y // 2, tx - bounds.tiles_x // 2), axis=1).astype(np.int32)


def signed_cell_at(x_m: float, y_m: float, bounds: MapBounds) -> tuple[int, int] | None:
    """Row and column of the cell at a point [m; map frame], counted from the origin of the map frame.

    None if it is no point of the map.
    """
    if not (isfinite(x_m) and isfinite(y_m)):
        return None
    row, col = bounds.cell_of(x_m, y_m)
    rows, cols = bounds.shape
    return (row - rows // 2, col - cols // 2) if bounds.contains(row, col) else None
