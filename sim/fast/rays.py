"""Which cells a lidar sees: all of its rays at once, as a tree.

Neighbouring rays pass through the same cells before they part. Merged into a tree whose nodes are cells, stored
in the order of a depth-first walk, a whole sweep is one loop: go to the next node, or past the node's subtree when
its cell blocks the view. This visits each shared piece of way once and gives exactly what single rays would give.
"""

from functools import lru_cache
from math import ceil, cos, inf, pi, sin
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

RAYS_PER_BORDER_CELL = 3.0
"""Rays for every cell on the circle of the sensor's range: enough that no cell on the way is missed."""


class RayTree(NamedTuple):
    """Cells in the order in which a sweep looks at them.

    Attributes:
        rows: row relative to the lidar. Shape: (nodes,), int32.
        cols: column relative to the lidar. Shape: (nodes,), int32.
        after: index of the first node that does not lie behind this one. Shape: (nodes,), int32.
    """

    rows: NDArray[np.int32]
    cols: NDArray[np.int32]
    after: NDArray[np.int32]


@lru_cache(maxsize=32)
def ray_tree(range_cells: float) -> RayTree:
    """The tree for a range in cells; the lidar's own cell is not part of it."""
    rays = 8 * ceil(RAYS_PER_BORDER_CELL * 2.0 * pi * range_cells / 8)
    longest = 2 * ceil(range_cells) + 2
    nodes = np.empty((3, rays * longest), np.int32)
    count = _fill_tree(range_cells, rays, nodes, np.empty((2, longest, 2), np.int32), np.empty(longest, np.int64))
    return RayTree(*(row[:count].copy() for row in nodes))


@njit(cache=True, nogil=True)
def _fill_tree(range_cells: float, rays: int, nodes: NDArray[np.int32], paths: NDArray[np.int32],
               open_nodes: NDArray[np.int64]) -> int:
    """Fill rows, columns and ``after`` of the tree; returns the number of nodes.

    Args:
        nodes: to fill. Shape: (3, most nodes). paths: for the cells of this ray and the one before. open_nodes: for
            the nodes of the ray before, root first. Shapes: (2, longest, 2), (longest,).
    """
    count = before = 0
    for ray in range(rays):
        path, previous = paths[ray % 2], paths[1 - ray % 2]
        length = _cells_along(2.0 * pi * (ray + 0.5) / rays, range_cells, path)
        shared = 0
        while shared < min(length, before) and np.all(path[shared] == previous[shared]):
            shared += 1
        for node in open_nodes[shared:before]:
            nodes[2, node] = count
        for place in range(shared, length):
            open_nodes[place] = count
            nodes[:2, count] = path[place]
            count += 1
        before = length
    for node in open_nodes[:before]:
        nodes[2, node] = count
    return count


@njit(cache=True, nogil=True)
def _cells_along(angle_rad: float, range_cells: float, path: NDArray[np.int32]) -> int:
    """Cells that a ray from the middle of cell (0, 0) enters within its range, in order (Amanatides and Woo).

    Fills rows and columns of ``path``, Shape: (longest, 2); returns how many there are.
    """
    x, y = cos(angle_rad), sin(angle_rad)
    per_col = 1.0 / abs(x) if abs(x) > 1e-12 else inf
    per_row = 1.0 / abs(y) if abs(y) > 1e-12 else inf
    next_col, next_row = 0.5 * per_col, 0.5 * per_row
    row = col = length = 0
    while True:
        if next_col < next_row:
            travelled, next_col, col = next_col, next_col + per_col, col + (1 if x > 0 else -1)
        else:
            travelled, next_row, row = next_row, next_row + per_row, row + (1 if y > 0 else -1)
        if travelled > range_cells:
            return length
        path[length, 0], path[length, 1] = row, col
        length += 1
