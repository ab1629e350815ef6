"""A maze of narrow corridors with dead ends and a few loops; robots start in a chamber at a corner."""

import numpy as np
from numpy.typing import NDArray

from sim.worlds.canvas import WALL_M, Canvas
from sim.worlds.world import World, WorldSize

CORRIDOR_PITCH_M = 1.5
"""Distance between the middle lines of neighbouring corridors [m]."""
LOOP_PROBABILITY = 0.08
"""How often a wall is left out that a maze without loops would have."""
CHAMBER_CELLS = 2


def maze(seed: int, size: WorldSize) -> World:
    """Generate a maze.

    Args:
        seed: the same seed gives the same world.
        size: extent and resolution.
    """
    rng = np.random.default_rng([seed, 0x4d61])
    canvas = Canvas(size)
    columns = max(3, int(size.width_m / CORRIDOR_PITCH_M))
    rows = max(3, int(size.height_m / CORRIDOR_PITCH_M))
    right, above = _passages(rng, rows, columns)
    x_m = np.linspace(WALL_M / 2, size.width_m - WALL_M / 2, columns + 1)
    y_m = np.linspace(WALL_M / 2, size.height_m - WALL_M / 2, rows + 1)
    for row in range(rows):
        for col in range(columns):
            if col + 1 < columns and not right[row, col]:
                canvas.wall(x_m[col + 1], y_m[row], x_m[col + 1], y_m[row + 1])
            if row + 1 < rows and not above[row, col]:
                canvas.wall(x_m[col], y_m[row + 1], x_m[col + 1], y_m[row + 1])
    chamber = (float(x_m[CHAMBER_CELLS]), float(y_m[CHAMBER_CELLS]))
    return canvas.finish(f'maze:{seed}', chamber[0] / 2, chamber[1] / 2)


def _passages(rng: np.random.Generator, rows: int, columns: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Where a cell is open to its right and to its upper neighbour: depth-first search, then loops."""
    right = rng.random((rows, columns)) < LOOP_PROBABILITY
    above = rng.random((rows, columns)) < LOOP_PROBABILITY
    right[:CHAMBER_CELLS, :CHAMBER_CELLS - 1] = True
    above[:CHAMBER_CELLS - 1, :CHAMBER_CELLS] = True
    visited = np.zeros((rows, columns), dtype=bool)
    stack = [(0, 0)]
    visited[0, 0] = True
    while stack:
        row, col = stack[-1]
        steps = [(row + dr, col + dc) for dr, dc in ((0, 1), (1, 0), (0, -1), (-1, 0))
                 if 0 <= row + dr < rows and 0 <= col + dc < columns and not visited[row + dr, col + dc]]
        if not steps:
            stack.pop()
            continue
        following = steps[int(rng.integers(len(steps)))]
        passages = right if following[0] == row else above
        passages[min(row, following[0]), min(col, following[1])] = True
        visited[following] = True
        stack.append(following)
    return right, above
