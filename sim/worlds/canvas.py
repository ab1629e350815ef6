"""Draws walls and furniture in metres."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sim.worlds.world import World, WorldSize

PASSAGE_M = 0.9
"""No passage between two walls or pieces of furniture is narrower [m]."""

WALL_M = 0.1
"""Thickness of walls [m]."""

Rectangle = tuple[float, float, float, float]
"""x_min, y_min, x_max, y_max [m; from the canvas's lower left corner]."""


class Canvas:
    """An occupancy grid under construction; coordinates are metres from its lower left corner."""

    def __init__(self, size: WorldSize, occupied: bool = False) -> None:
        """Start with an all free (or all occupied) grid inside of a closed outer wall."""
        self.size = size
        self.resolution_m = size.resolution_m
        shape = (round(size.height_m / size.resolution_m), round(size.width_m / size.resolution_m))
        self.occupied: NDArray[np.bool_] = np.full(shape, occupied)
        self._close_border()

    def fill(self, rectangle: Rectangle, occupied: bool = True) -> None:
        """Make a rectangle solid, or free."""
        rows, cols = self._slices(rectangle)
        self.occupied[rows, cols] = occupied

    def wall(self, x0_m: float, y0_m: float, x1_m: float, y1_m: float) -> None:
        """Draw an axis-parallel wall, centred on the line between two points."""
        half = WALL_M / 2
        self.fill((min(x0_m, x1_m) - half, min(y0_m, y1_m) - half,
                   max(x0_m, x1_m) + half, max(y0_m, y1_m) + half))

    def door(self, x_m: float, y_m: float, width_m: float, vertical_wall: bool) -> None:
        """Cut an opening into a wall, centred on a point."""
        # A cell more than the width, because rounding to cells may lose up to one.
        half, through = width_m / 2 + self.resolution_m / 2, WALL_M
        across = (through, half) if vertical_wall else (half, through)
        self.fill((x_m - across[0], y_m - across[1], x_m + across[0], y_m + across[1]), occupied=False)

    def finish(self, name: str, x_m: float, y_m: float) -> World:
        """The world, centred on the map frame's origin; what the start cannot reach becomes solid.

        Args:
            name: of the world.
            x_m, y_m: centre of the start area [m; canvas].
        """
        self._close_border()
        components, _ = ndimage.label(~self.occupied)
        start = components[int(y_m / self.resolution_m), int(x_m / self.resolution_m)]
        occupied = components != start if start else self.occupied
        origin_x_m = -occupied.shape[1] * self.resolution_m / 2
        origin_y_m = -occupied.shape[0] * self.resolution_m / 2
        return World(name, occupied, self.resolution_m, origin_x_m, origin_y_m, origin_x_m + x_m, origin_y_m + y_m)

    def _close_border(self) -> None:
        cells = max(1, round(WALL_M / self.resolution_m))
        for edge in (np.s_[:cells], np.s_[-cells:], np.s_[:, :cells], np.s_[:, -cells:]):
            self.occupied[edge] = True

    def _slices(self, rectangle: Rectangle) -> tuple[slice, slice]:
        x0, y0, x1, y1 = (max(0, round(value / self.resolution_m)) for value in rectangle)
        return slice(y0, max(y1, y0 + 1)), slice(x0, max(x1, x0 + 1))
