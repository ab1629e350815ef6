"""A warehouse: rows of racks with aisles between them, columns, and an open dock with pallets to start in."""

import numpy as np

from sim.worlds.canvas import WALL_M, Canvas
from sim.worlds.furniture import Room
from sim.worlds.world import World, WorldSize

DOCK_M = 4.5
RACK_DEPTH_M = 1.1
AISLE_M = (1.4, 1.9)
BAY_M = 2.7
"""Length of a rack's bay; racks are one to four bays long [m]."""


def warehouse(seed: int, size: WorldSize) -> World:
    """Generate a warehouse; the dock lies along the left wall.

    Args:
        seed: the same seed gives the same world.
        size: extent and resolution.
    """
    rng = np.random.default_rng([seed, 0x5761])
    canvas = Canvas(size)
    aisle_m = float(rng.uniform(*AISLE_M))
    rows = max(1, int((size.height_m - 2 * WALL_M - aisle_m) / (RACK_DEPTH_M + aisle_m)))
    aisle_m = (size.height_m - 2 * WALL_M - rows * RACK_DEPTH_M) / (rows + 1)
    for row in range(rows):
        low = WALL_M + aisle_m + row * (RACK_DEPTH_M + aisle_m)
        _rack_row(rng, canvas, low, aisle_m)
    dock = Room(canvas, (WALL_M, WALL_M, DOCK_M, size.height_m - WALL_M))
    start_y_m = float(rng.uniform(0.3, 0.7)) * size.height_m
    dock.keep_clear(DOCK_M / 2, start_y_m, 2.2)
    for _ in range(int(rng.integers(2, 6))):
        dock.place(rng, 1.2, 0.8, against_wall=False)
    return canvas.finish(f'warehouse:{seed}', DOCK_M / 2, start_y_m)


def _rack_row(rng: np.random.Generator, canvas: Canvas, low_m: float, aisle_m: float) -> None:
    """A line of racks with cross aisles between them; some bays stand empty."""
    x_m = DOCK_M + 0.5
    end_m = canvas.size.width_m - WALL_M - aisle_m
    while x_m + BAY_M <= end_m:
        bays = min(int(rng.integers(1, 5)), int((end_m - x_m) / BAY_M))
        empty = rng.random() < 0.08
        length_m = bays * BAY_M
        if not empty:
            canvas.fill((x_m, low_m, x_m + length_m, low_m + RACK_DEPTH_M))
        x_m += length_m + aisle_m
