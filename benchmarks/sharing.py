"""Sharing the map: bytes on the air against the usual ways, and what encoding, joining and healing cost."""

import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from benchmarks.rows import CLOCK, Row, seconds_per_call
from marl_core.communication import wire
from marl_core.communication.authentication import Plain
from marl_core.mapping.bounds import TILE, MapBounds, MapConfig
from marl_core.mapping.frontiers import find_candidates
from marl_core.mapping.geodesics import DistanceField, nearest_traversable
from marl_core.mapping.grid import OccupancyMap
from marl_core.mapping.layers import Urgency
from marl_core.mapping.persistence import load, save
from marl_core.mapping.planning import PlanningGrid
from marl_core.mapping.replica import Replica, ReplicaConfig
from marl_core.types import LaserScan, LayerId, LidarModel, MapDigest, MapFeatures, Pose
from sim.worlds import World, load_world

WORLDS = ('office:1@50x44', 'rooms:1@50x44', 'warehouse:1@50x44')
VIEWED = 'office:1@28x26'
MAPS_VARIABLE = 'MARL_MAPS'
"""Names a folder with map_server files of real buildings, if there is one."""
NOISE_M = 0.02
SPEED_MPS = 0.5
SCAN_PERIOD_S = 0.2
LOOK_ROUND_SCANS = 5
MESSAGE_PERIOD_S = 1.0
FULL_GRID_PERIOD_S = 5.0
DURATION_S = 480.0
CONFIG = MapConfig()
BOUNDS = MapBounds.from_config(CONFIG)
LAYER = LayerId('robot_1', 1)
LIDAR = LidarModel()
HEADER_BYTES = 29
"""What the other ways are charged per message: as much as map features have round their data."""


@dataclass(frozen=True, slots=True)
class Run:
    """A robot that explores: where, with how noisy a lidar [m], and which of its noises."""

    world: str
    noise_m: float = NOISE_M
    seed: int = 0


class Step(NamedTuple):
    """After a scan: the time [s], the map, its changed tiles, and the robot's place [m; map frame]."""

    now: float
    own: OccupancyMap
    tiles: NDArray[np.int32]
    x_m: float
    y_m: float


class Traffic(NamedTuple):
    """Bytes of one run, how long it was, and CPU seconds of each message."""

    features: int
    data: int
    crops: int
    grids: int
    duration_s: float
    encode_s: list[float]
    join_s: list[float]


def measure() -> list[Row]:
    """Bytes of packets, headers and checksum included, over all runs on worlds that no weight was made from.

    New tiles and large changes go out within a second, small changes of known tiles within five; the crop says
    everything within a second. Both build on what was said before. What waiting buys, on worlds of 28 x 26 m with
    noise: everything at once 88 B/s; 64 cells and 5 s, as here, 66 B/s and 0.7 s late on average; 256 cells 61 B/s
    and 1.6 s; 1024 cells 57 B/s and 4 s; messages every 2 s instead 44 B/s.
    """
    rows = _shared('explores at 0.5 m/s', WORLDS, NOISE_M, 70.0)
    rows += _shared('explores without sensor noise', WORLDS, 0.0, 65.0)
    if maps := sorted(Path(os.environ[MAPS_VARIABLE]).glob('*.yaml')) if MAPS_VARIABLE in os.environ else ():
        names = tuple(str(path) for path in maps)
        rows += _shared('explores real buildings', names, NOISE_M, 110.0)
        rows += _shared('explores real buildings without sensor noise', names, 0.0, 65.0)
    return [*rows, *_costs(), *_million_cells()]


def _shared(what: str, worlds: tuple[str, ...], noise_m: float, target: float) -> list[Row]:
    runs = [traffic(Run(name, noise_m)) for name in worlds]
    duration_s = sum(run.duration_s for run in runs)
    sent, data, crop, full = (sum(run[k] for run in runs) / duration_s for k in range(4))
    name = f'map features of a robot that {what}'
    rows = [Row(name, sent, 'B/s', target, at_least=False, peer='full OccupancyGrid of the known part every 5 s',
                ratio=full / sent, ratio_target=900.0),
            Row(name, sent, 'B/s', target, at_least=False, peer='changed crop, 2 bits per cell, zlib, every 1 s',
                ratio=crop / sent, ratio_target=3.0),
            Row(f'{name}, without headers', data, 'B/s', target - 29.0, at_least=False)]
    for verb, times in (('encode', [t for run in runs for t in run.encode_s]),
                        ('join', [t for run in runs for t in run.join_s])):
        rows.append(Row(f'{verb} a message of a robot that {what}, 99th percentile', 1e3 * np.quantile(times, 0.99),
                        'ms', 5.0, at_least=False))
    return rows


def traffic(run: Run, urgency: Urgency | None = None) -> Traffic:
    """Share one run, and see that the receiver ends with the very map that full grids would give it."""
    config = ReplicaConfig(urgency=urgency or Urgency())
    sender, receiver = Replica(BOUNDS, LAYER.robot, LAYER, config), Replica(BOUNDS, 'robot_2')
    before = np.zeros(BOUNDS.shape, np.int8)
    features = data = crops = grids = sequence = 0
    times_s: tuple[list[float], list[float]] = [], []
    crops_due_s, grids_due_s = 0.0, FULL_GRID_PERIOD_S
    for step, message, encode_s in published(load_world(run.world), run, sender):
        if message is not None:
            started_s = CLOCK()
            receiver.join(message)
            times_s[1].append(CLOCK() - started_s)
            times_s[0].append(encode_s)
            sequence += 1
            features += len(packet_of(message, sequence))
            data += len(message.data)
        if step.now >= crops_due_s - 1e-6:
            crops += _crop_bytes(before, step.own)
            crops_due_s += MESSAGE_PERIOD_S
        if step.now >= grids_due_s - 1e-6:
            row0, row1, col0, col1 = step.own.known_window
            grids += HEADER_BYTES + (row1 - row0) * (col1 - col0)
            grids_due_s += FULL_GRID_PERIOD_S
    if (receiver.fused != step.own.classes).any() or receiver.state_hash() != sender.state_hash():
        raise AssertionError(f'{run.world}: the receiver holds another map than the sender')
    return Traffic(features, data, crops, grids, step.now, *times_s)


def published(world: World, run: Run, sender: Replica,
              duration_s: float = DURATION_S) -> Iterator[tuple[Step, MapFeatures | None, float]]:
    """Every step of a run, with what the robot says after it, if anything, and the CPU time of that [s]."""
    due_s = 0.0
    for step in drive(world, duration_s, run.seed, run.noise_m):
        sender.write(LAYER, step.tiles, step.own.classes)
        message, took_s = _publish(sender, step, step.now) if step.now >= due_s - 1e-6 else (None, 0.0)
        if message is not None:
            due_s = step.now + MESSAGE_PERIOD_S
        yield step, message, took_s
    for later_s in (0.0, 60.0):
        while (message := _publish(sender, step, step.now + later_s)[0]) is not None:
            yield step, message, 0.0


def _publish(sender: Replica, step: Step, now: float) -> tuple[MapFeatures | None, float]:
    started_s = CLOCK()
    message = sender.publish(LAYER, 60_000, now, bases=None, seen_from=(step.x_m, step.y_m))
    return message, CLOCK() - started_s


def packet_of(message: MapFeatures, sequence: int) -> bytes:
    """A message as it travels, with the checksum of plain mode."""
    return Plain().close(wire.encode(message, LAYER.epoch, sequence))


def _crop_bytes(before: NDArray[np.int8], own: OccupancyMap) -> int:
    """Size of the smaller of two zlib crops round what changed: all its cells, or only the changed ones."""
    row0, row1, col0, col1 = own.known_window
    known, new = before[row0:row1, col0:col1], own.classes[row0:row1, col0:col1]
    rows, cols = np.nonzero(known != new)
    if not rows.size:
        return 0
    part = np.s_[rows.min():rows.max() + 1, cols.min():cols.max() + 1]
    whole, changed = new[part] + 1, np.where(known[part] != new[part], new[part] + 1, 3)
    known[:] = new
    return HEADER_BYTES + 8 + min(len(zlib.compress(_two_bits(cells), 6)) for cells in (whole, changed))


def _two_bits(codes: NDArray[np.int8]) -> bytes:
    flat = codes.astype(np.uint8).reshape(-1)
    quads = np.pad(flat, (0, -flat.size % 4)).reshape(-1, 4)
    return (quads[:, 0] | quads[:, 1] << 2 | quads[:, 2] << 4 | quads[:, 3] << 6).tobytes()


def _costs() -> list[Row]:
    """One scan's tiles written, one message made, one message joined; cells are those of an office."""
    views = _views(150.0)
    changing = (views[0] != views[1]).reshape(BOUNDS.tiles_y, TILE, BOUNDS.tiles_x, TILE).any(axis=(1, 3))
    tiles = np.argwhere(changing).astype(np.int32)[:30]
    twenty = tiles[:20]
    writer = Replica(BOUNDS, LAYER.robot, LAYER)
    scans = cycle(views)
    write_s = seconds_per_call(lambda: writer.write(LAYER, tiles, next(scans)))
    config = ReplicaConfig(urgency=Urgency(hold_cells=1))
    sender = Replica(BOUNDS, LAYER.robot, LAYER, config)

    def publish() -> None:
        sender.write(LAYER, twenty, next(scans))
        messages.append(sender.publish(LAYER, 60_000, 0.0))

    messages: list = []
    publish_s = seconds_per_call(publish)
    twenties = messages[1:401]
    state = {'replica': Replica(BOUNDS, 'robot_2'), 'next': 0}

    def join() -> None:
        if state['next'] == len(twenties):
            state.update(replica=Replica(BOUNDS, 'robot_2'), next=0)
        state['replica'].join(twenties[state['next']])
        state['next'] += 1

    return [
        Row('write of the 30 tiles round a robot after a scan', 1e6 * write_s, 'us', 100.0, at_least=False),
        Row('write and encode of a message with 20 tiles', 1e3 * publish_s, 'ms', 5.0, at_least=False),
        Row('join of a message with 20 tiles', 1e3 * seconds_per_call(join), 'ms', 5.0, at_least=False),
    ]


def _million_cells() -> list[Row]:
    """A late joiner that gets 1,000,000 known cells, and the same from disk."""
    pattern = _views(150.0)[-1]
    middle = BOUNDS.shape[0] // 2
    block = pattern[middle - 160:middle + 160, middle - 160:middle + 160]
    classes = np.zeros(BOUNDS.shape, np.int8)
    repeats = int(np.ceil(np.sqrt(1e6 / np.count_nonzero(block))))
    first, edge = middle - 160 * repeats, 320 * repeats
    classes[first:first + edge, first:first + edge] = np.tile(block, (repeats, repeats))
    keeper = Replica(BOUNDS, LAYER.robot, LAYER)
    keeper.write(LAYER, np.argwhere(np.ones(BOUNDS.tiles_shape, bool)).astype(np.int32), classes)
    while keeper.publish(LAYER, 60_000, 0.0) is not None:
        pass
    sizes: list[int] = []

    def heal() -> None:
        late = Replica(BOUNDS, 'late')
        sizes.clear()
        while lacking := keeper.lacks(MapDigest('late', 0.0, late.digest())):
            message = keeper.answer(*lacking[0], 8000, 0.0)
            sizes.append(len(packet_of(message, len(sizes) + 1)))
            late.join(message)

    heal_s = seconds_per_call(heal)
    with TemporaryDirectory() as folder:
        path = Path(folder) / 'fleet.map'
        save(keeper, path)
        load_s = seconds_per_call(lambda: load(Replica(BOUNDS, 'map'), path))
    scale = 1e6 / keeper.known_cells
    return [
        Row('late joiner gets 1,000,000 known cells', 1e-3 * scale * sum(sizes), 'kB', 40.0, at_least=False),
        Row('encode and join of 1,000,000 known cells', 1e3 * scale * heal_s, 'ms', 1000.0, at_least=False),
        Row('load of 1,000,000 known cells from disk', 1e3 * scale * load_s, 'ms', 1000.0, at_least=False),
    ]


def _views(duration_s: float) -> list[NDArray[np.int8]]:
    """Two maps of one office that differ a little in every tile, as after some more scans."""
    for step in drive(load_world(VIEWED), duration_s):
        classes = step.own.classes
    other = classes.copy()
    for row in range(0, BOUNDS.shape[0], TILE):
        other[row + 5, classes[row + 5] == -1] = 0
    return [other, classes]


def drive(world: World, duration_s: float, seed: int = 0, noise_m: float = NOISE_M) -> Iterator[Step]:
    """Explore towards the nearest frontier; yields after every scan until nothing is left."""
    random = np.random.default_rng(seed)
    own, planning = OccupancyMap(BOUNDS, CONFIG), PlanningGrid(BOUNDS, 0.2, 0.05)
    field, path = DistanceField(BOUNDS.planning_shape), np.empty((0, 2), np.int32)
    ignored = np.zeros(BOUNDS.planning_shape, np.uint8)
    x_m, y_m, along = world.anchor_x_m, world.anchor_y_m, 0.0
    angles = np.arange(LIDAR.beams) * (2 * np.pi / LIDAR.beams)
    for step in range(int(duration_s / SCAN_PERIOD_S)):
        ranges_m = cast(world.occupied, (x_m - world.origin_x_m) / world.resolution_m,
                        (y_m - world.origin_y_m) / world.resolution_m, angles) * world.resolution_m
        ranges_m = np.where(ranges_m > LIDAR.range_max_m, inf, ranges_m + random.normal(0, 1.0, LIDAR.beams) * noise_m)
        own.integrate(LaserScan(0.0, 0.0, float(angles[1]), LIDAR.range_min_m, LIDAR.range_max_m,
                                ranges_m.astype(np.float32)), Pose(x_m, y_m, 0.0))
        own.clear_disc(x_m, y_m, 0.2)
        tiles = own.take_changed()
        planning.update(own.classes, tiles)
        yield Step(step * SCAN_PERIOD_S, own, tiles, x_m, y_m)
        if step < LOOK_ROUND_SCANS:
            continue
        along += SPEED_MPS * SCAN_PERIOD_S / BOUNDS.planning_resolution_m
        if along >= len(path) or step % 25 == 0:
            cell = nearest_traversable(planning.traversable, *BOUNDS.planning_cell_of(x_m, y_m), 10)
            field.compute(planning.traversable, *cell)
            places = find_candidates(planning.state, field.cost, ignored, planning.known_window, 10, 5, 1)
            if not len(places.cells):
                return
            path, along = field.path_to(*places.cells[0]), 0.0
        x_m, y_m = BOUNDS.planning_center_of(*path[min(int(along), len(path) - 1)])


@njit(cache=True)
def cast(occupied: NDArray[np.bool_], x: float, y: float, angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranges to matter from a point [cells], by stepping from cell border to cell border."""
    ranges = np.empty(angles.size)
    for k in range(angles.size):
        dx, dy = np.cos(angles[k]), np.sin(angles[k])
        col, row, t = int(x), int(y), 0.0
        step_x, step_y = abs(1.0 / dx) if dx != 0.0 else 1e9, abs(1.0 / dy) if dy != 0.0 else 1e9
        next_x = (col + 1 - x if dx > 0 else x - col) * step_x
        next_y = (row + 1 - y if dy > 0 else y - row) * step_y
        while 0 <= row < occupied.shape[0] and 0 <= col < occupied.shape[1] and not occupied[row, col]:
            if next_x < next_y:
                t, next_x, col = next_x, next_x + step_x, col + (1 if dx > 0 else -1)
            else:
                t, next_y, row = next_y, next_y + step_y, row + (1 if dy > 0 else -1)
        ranges[k] = t
    return ranges
