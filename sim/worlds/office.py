"""An office floor: corridors with rooms on both sides, desks and cabinets in the rooms, a lobby to start in."""

import numpy as np

from sim.worlds.canvas import PASSAGE_M, WALL_M, Canvas, Rectangle
from sim.worlds.furniture import Room
from sim.worlds.world import World, WorldSize

CORRIDOR_M = 1.8
LOBBY_M = 4.0
ROOM_DEPTH_M = 5.0
ROOM_WIDTH_M = (2.8, 5.5)


def office(seed: int, size: WorldSize) -> World:
    """Generate an office floor.

    Corridors run along x between bands of rooms and meet in a cross corridor beside the lobby at the left.

    Args:
        seed: the same seed gives the same world.
        size: extent and resolution.
    """
    rng = np.random.default_rng([seed, 0x4f66])
    canvas = Canvas(size)
    corridors = max(1, int((size.height_m + ROOM_DEPTH_M / 2) // (2 * ROOM_DEPTH_M + CORRIDOR_M)))
    pitch_m = size.height_m / corridors
    # The lobby's column is open from bottom to top where several corridors have to meet.
    left_m = LOBBY_M if corridors == 1 else CORRIDOR_M + 0.6
    for index in range(corridors):
        middle = pitch_m * (index + 0.5) + float(rng.uniform(-0.04, 0.04)) * pitch_m
        low, high = middle - CORRIDOR_M / 2, middle + CORRIDOR_M / 2
        canvas.wall(left_m, pitch_m * index, size.width_m, pitch_m * index)
        for band, wall_m in (((pitch_m * index, low), low), ((high, pitch_m * (index + 1)), high)):
            canvas.wall(left_m, wall_m, size.width_m, wall_m)
            _band_of_rooms(rng, canvas, left_m, band, door_y_m=wall_m)
    start = (left_m / 2, pitch_m * (int(rng.integers(corridors)) + 0.5))
    return canvas.finish(f'office:{seed}', *start)


def _band_of_rooms(rng: np.random.Generator, canvas: Canvas, left_m: float, band: tuple[float, float],
                   door_y_m: float) -> None:
    """Divide a strip along a corridor into rooms, each with a door to the corridor, and furnish them."""
    right_m = canvas.size.width_m - WALL_M / 2
    edges = [left_m]
    while edges[-1] < right_m - 1e-6:
        width_m = float(rng.uniform(*ROOM_WIDTH_M))
        edge = edges[-1] + width_m
        edges.append(right_m if right_m - edge < ROOM_WIDTH_M[0] else edge)
    for edge in edges[:-1]:
        canvas.wall(edge, band[0], edge, band[1])
    previous: Room | None = None
    for x0, x1 in zip(edges, edges[1:], strict=False):
        room = Room(canvas, _inside(canvas, x0, band[0], x1, band[1]))
        width_m = float(rng.uniform(PASSAGE_M + 0.05, 1.15))
        door_x_m = float(rng.uniform(x0 + width_m / 2 + 0.25, x1 - width_m / 2 - 0.25))
        canvas.door(door_x_m, door_y_m, width_m, vertical_wall=False)
        room.keep_clear(door_x_m, door_y_m, width_m / 2 + 1.0)
        if previous is not None and rng.random() < 0.2:
            between_y_m = float(rng.uniform(band[0] + 1.0, band[1] - 1.0))
            canvas.door(x0, between_y_m, width_m, vertical_wall=True)
            room.keep_clear(x0, between_y_m, width_m / 2 + 1.0)
            previous.keep_clear(x0, between_y_m, width_m / 2 + 1.0)
        if previous is not None:
            _furnish(rng, previous)
        previous = room
    if previous is not None:
        _furnish(rng, previous)


def _inside(canvas: Canvas, x0: float, y0: float, x1: float, y1: float) -> Rectangle:
    """Room between wall lines; at the outer wall, which is drawn inwards, its inner face."""
    size, half = canvas.size, WALL_M / 2
    return (x0 + half, max(y0 + half, WALL_M), min(x1 - half, size.width_m - WALL_M),
            min(y1 - half, size.height_m - WALL_M))


def _furnish(rng: np.random.Generator, room: Room) -> None:
    x0, y0, x1, y1 = room.inside
    if (x1 - x0) * (y1 - y0) > 20.0 and rng.random() < 0.5:
        room.place(rng, float(rng.uniform(1.8, 2.4)), 1.0, against_wall=False)
    for _ in range(int(rng.integers(1, 4))):
        room.place(rng, float(rng.uniform(1.2, 1.6)), 0.75, against_wall=True)
    for _ in range(int(rng.integers(0, 3))):
        room.place(rng, float(rng.uniform(0.8, 1.2)), 0.4, against_wall=True)
