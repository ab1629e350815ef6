"""Places furniture so that a robot can still reach every corner worth seeing."""

import numpy as np

from sim.worlds.canvas import Canvas, Rectangle

GAP_M = 1.0
"""Free space around a piece on every side where it does not stand against a wall [m]."""


class Room:
    """The inside of a room, and what already stands in it."""

    def __init__(self, canvas: Canvas, inside: Rectangle) -> None:
        self.canvas = canvas
        self.inside = inside
        self._taken: list[Rectangle] = []

    def keep_clear(self, x_m: float, y_m: float, radius_m: float = 1.0) -> None:
        """Reserve space around a door."""
        # Pieces keep GAP_M from what is taken; the reservation itself may be touched.
        shrunk = radius_m - GAP_M
        self._taken.append((x_m - shrunk, y_m - shrunk, x_m + shrunk, y_m + shrunk))

    def place(self, rng: np.random.Generator, length_m: float, depth_m: float, against_wall: bool,
              attempts: int = 12) -> bool:
        """Try to stand a piece somewhere.

        Args:
            rng: draws the place.
            length_m, depth_m: size of the piece; the length runs along the wall [m].
            against_wall: flush with a wall, or free-standing.
            attempts: places to try.

        Returns:
            Whether a place was found.
        """
        for _ in range(attempts):
            piece = self._against_wall(rng, length_m, depth_m) if against_wall else \
                self._free_standing(rng, length_m, depth_m)
            if piece is not None and self._has_room(piece):
                self._taken.append(piece)
                self.canvas.fill(piece)
                return True
        return False

    def _against_wall(self, rng: np.random.Generator, length_m: float, depth_m: float) -> Rectangle | None:
        x0, y0, x1, y1 = self.inside
        side = int(rng.integers(4))
        if side >= 2:
            length_m, depth_m = depth_m, length_m
        if x1 - x0 < length_m or y1 - y0 < depth_m:
            return None
        x = float(rng.uniform(x0, x1 - length_m))
        y = float(rng.uniform(y0, y1 - depth_m))
        if side < 2:
            y = y0 if side == 0 else y1 - depth_m
        else:
            x = x0 if side == 2 else x1 - length_m
        # Near a corner it goes into the corner, so that no slit remains.
        x = x0 if x - x0 < GAP_M else x1 - length_m if x1 - length_m - x < GAP_M else x
        y = y0 if y - y0 < GAP_M else y1 - depth_m if y1 - depth_m - y < GAP_M else y
        return x, y, x + length_m, y + depth_m

    def _free_standing(self, rng: np.random.Generator, length_m: float, depth_m: float) -> Rectangle | None:
        x0, y0, x1, y1 = self.inside
        if rng.random() < 0.5:
            length_m, depth_m = depth_m, length_m
        if x1 - x0 < length_m + 2 * GAP_M or y1 - y0 < depth_m + 2 * GAP_M:
            return None
        x = float(rng.uniform(x0 + GAP_M, x1 - GAP_M - length_m))
        y = float(rng.uniform(y0 + GAP_M, y1 - GAP_M - depth_m))
        return x, y, x + length_m, y + depth_m

    def _has_room(self, piece: Rectangle) -> bool:
        x0, y0, x1, y1 = self.inside
        for gap in (piece[0] - x0, piece[1] - y0, x1 - piece[2], y1 - piece[3]):
            if 1e-6 < gap < GAP_M - 1e-6:
                return False
        return all(_apart(piece, other) for other in self._taken)


def _apart(piece: Rectangle, other: Rectangle) -> bool:
    gap_x = max(other[0] - piece[2], piece[0] - other[2])
    gap_y = max(other[1] - piece[3], piece[1] - other[3])
    return max(gap_x, gap_y) >= GAP_M
