"""Which cells a lidar sees: all of its rays at once, as a tree.

Neighbouring rays pass through the same cells before they part. Merged into a tree whose nodes are cells, stored
in the order of a depth-first walk, a whole sweep is one loop: go to the next node, or past the node's subtree when
its cell blocks the view. This visits each shared piece of way once and gives exactly what single rays would give.
"""

from functools import lru_cache
from math import ceil, cos, inf, pi, sin
from typing import NamedTuple

import numpy as np
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
    paths = [_cells_along(2.0 * pi * (ray + 0.5) / rays, range_cells) for ray in range(rays)]
    nodes: list[tuple[int, int]] = []
    after: list[int] = []
    open_nodes: list[int] = []  # nodes of the previous ray, root first
    previous: list[tuple[int, int]] = []
    for path in paths:
        shared = 0
        while shared < min(len(path), len(previous)) and path[shared] == previous[shared]:
            shared += 1
        for node in open_nodes[shared:]:
            after[node] = len(nodes)
        del open_nodes[shared:]
        for cell in path[shared:]:
            open_nodes.append(len(nodes))
            nodes.append(cell)
            after.append(0)
        previous = path
    for node in open_nodes:
        after[node] = len(nodes)
    cells = np.array(nodes, np.int32).reshape(-1, 2)
    return RayTree(cells[:, 0].copy(), cells[:, 1].copy(), np.array(after, np.int32))


def _cells_along(angle_rad: float, range_cells: float) -> list[tuple[int, int]]:
    """Cells that a ray from the middle of cell (0, 0) enters within its range, in order (Amanatides and Woo)."""
    x, y = cos(angle_rad), sin(angle_rad)
    per_col = 1.0 / abs(x) if abs(x) > 1e-12 else inf
    per_row = 1.0 / abs(y) if abs(y) > 1e-12 else inf
    next_col, next_row = 0.5 * per_col, 0.5 * per_row
    row = col = 0
    cells = []
    while True:
        if next_col < next_row:
            travelled, next_col, col = next_col, next_col + per_col, col + (1 if x > 0 else -1)
        else:
            travelled, next_row, row = next_row, next_row + per_row, row + (1 if y > 0 else -1)
        if travelled > range_cells:
            return cells
        cells.append((row, col))
