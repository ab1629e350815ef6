"""Rooms side by side, each joined to its neighbours by doors; crates stand in some of them."""

import numpy as np

from sim.worlds.canvas import PASSAGE_M, WALL_M, Canvas
from sim.worlds.furniture import Room
from sim.worlds.world import World, WorldSize

ROOM_M = 4.5
"""Mean edge of a room [m]."""
LOOP_PROBABILITY = 0.35
"""How often two neighbouring rooms have a door that connectivity does not need."""


def rooms(seed: int, size: WorldSize) -> World:
    """Generate a world of rooms.

    Args:
        seed: the same seed gives the same world.
        size: extent and resolution.
    """
    rng = np.random.default_rng([seed, 0x526f])
    canvas = Canvas(size)
    x_m = _walls(rng, size.width_m)
    y_m = _walls(rng, size.height_m)
    for x in x_m[1:-1]:
        canvas.wall(x, 0.0, x, size.height_m)
    for y in y_m[1:-1]:
        canvas.wall(0.0, y, size.width_m, y)
    cells = {(i, j): Room(canvas, (x_m[i] + WALL_M / 2, y_m[j] + WALL_M / 2,
                                   x_m[i + 1] - WALL_M / 2, y_m[j + 1] - WALL_M / 2))
             for i in range(len(x_m) - 1) for j in range(len(y_m) - 1)}
    for first, second in _doors(rng, len(x_m) - 1, len(y_m) - 1):
        _cut_door(rng, canvas, cells[first], cells[second], vertical_wall=first[1] == second[1])
    start = (int(rng.integers(len(x_m) - 1)), int(rng.integers(len(y_m) - 1)))
    for place, room in cells.items():
        if place != start and rng.random() < 0.6:
            room.place(rng, float(rng.uniform(0.5, 1.2)), float(rng.uniform(0.4, 0.8)), rng.random() < 0.5)
    x0, y0, x1, y1 = cells[start].inside
    return canvas.finish(f'rooms:{seed}', (x0 + x1) / 2, (y0 + y1) / 2)


def _walls(rng: np.random.Generator, extent_m: float) -> list[float]:
    """Positions of parallel walls, the outer ones included [m]."""
    count = max(2, round(extent_m / ROOM_M))
    pitch = extent_m / count
    inner = [pitch * index + float(rng.uniform(-0.15, 0.15)) * pitch for index in range(1, count)]
    return [WALL_M / 2, *inner, extent_m - WALL_M / 2]


def _doors(rng: np.random.Generator, columns: int, rows: int) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Pairs of neighbouring rooms with a door: a random spanning tree and some more."""
    pairs = [((i, j), (i + 1, j)) for i in range(columns - 1) for j in range(rows)]
    pairs += [((i, j), (i, j + 1)) for i in range(columns) for j in range(rows - 1)]
    group = {(i, j): (i, j) for i in range(columns) for j in range(rows)}
    chosen = []
    for index in rng.permutation(len(pairs)):
        first, second = pairs[index]
        joins = group[first] != group[second]
        if joins:
            old, new = group[second], group[first]
            group = {place: new if head == old else head for place, head in group.items()}
        if joins or rng.random() < LOOP_PROBABILITY:
            chosen.append((first, second))
    return chosen


def _cut_door(rng: np.random.Generator, canvas: Canvas, first: Room, second: Room, vertical_wall: bool) -> None:
    width_m = float(rng.uniform(PASSAGE_M + 0.05, 1.4))
    axis = 1 if vertical_wall else 0
    along = float(rng.uniform(first.inside[axis] + width_m / 2 + 0.1, first.inside[axis + 2] - width_m / 2 - 0.1))
    across = (first.inside[3 - axis] + second.inside[1 - axis]) / 2
    x_m, y_m = (across, along) if vertical_wall else (along, across)
    canvas.door(x_m, y_m, width_m, vertical_wall)
    for room in (first, second):
        room.keep_clear(x_m, y_m, width_m / 2 + 1.0)
