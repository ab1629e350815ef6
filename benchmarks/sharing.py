"""Sharing the map: bytes on the air against the usual ways, and what encoding, joining and healing cost."""

import zlib
from collections.abc import Iterator
from itertools import cycle
from math import inf
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

import numpy as np
from numba import njit
from numpy.typing import NDArray

from benchmarks.rows import Row, seconds_per_call
from marl_core.mapping.bounds import TILE, MapBounds, MapConfig
from marl_core.mapping.codec import DecodeLimits, TileBatch, decode
from marl_core.mapping.frontiers import find_candidates
from marl_core.mapping.geodesics import DistanceField, nearest_traversable
from marl_core.mapping.grid import OccupancyMap
from marl_core.mapping.layers import Urgency
from marl_core.mapping.persistence import load, save
from marl_core.mapping.planning import PlanningGrid
from marl_core.mapping.replica import Replica, ReplicaConfig
from marl_core.types import HEADER_BYTES, LaserScan, LayerId, LidarModel, MapDigest, Pose
from sim.worlds import World, load_world

WORLDS = ('office:1@28x26', 'rooms:1@28x26', 'warehouse:1@28x26')
SPEED_MPS = 0.5
SCAN_PERIOD_S = 0.2
LOOK_ROUND_SCANS = 5
MESSAGE_PERIOD_S = 1.0
FULL_GRID_PERIOD_S = 5.0
DURATION_S = 240.0
CONFIG = MapConfig()
BOUNDS = MapBounds.from_config(CONFIG)
LAYER = LayerId('robot_1', 1)
LIDAR = LidarModel()

Step = tuple[float, OccupancyMap, NDArray[np.int32]]


def measure() -> list[Row]:
    """Bytes are means over three worlds that the codec's table was not made from, headers included.

    New tiles and large changes go out within a second, small changes of known tiles within five, and every message
    can be read alone; the crop says everything within a second and needs every message before it. On these worlds,
    features that hold nothing back take 260 B/s; features and crops every 5 s take 60 and 130 B/s.
    """
    runs = [_bytes_per_s(name) for name in WORLDS]
    shared, crop, full = (fmean(run[k] for run in runs) for k in range(3))
    return [
        Row('map features of a robot that explores at 0.5 m/s', shared, 'B/s', 180.0, at_least=False,
            peer='full OccupancyGrid of the known part every 5 s', ratio=full / shared, ratio_target=100.0),
        Row('map features of a robot that explores at 0.5 m/s', shared, 'B/s', 180.0, at_least=False,
            peer='changed crop, 2 bits per cell, zlib, every 1 s', ratio=crop / shared, ratio_target=1.8),
        *_costs(), *_million_cells(),
    ]


def _bytes_per_s(name: str) -> tuple[float, float, float]:
    """Bytes per second of features, of changed crops, and of full grids, on one run."""
    sender, receiver = Replica(BOUNDS, LAYER.robot, LAYER), Replica(BOUNDS, 'robot_2')
    before = np.zeros(BOUNDS.shape, np.int8)
    features = crops = grids = 0
    messages_due_s = crops_due_s = 0.0
    grids_due_s = FULL_GRID_PERIOD_S
    for now, own, tiles in drive(load_world(name), DURATION_S):
        sender.write(LAYER, tiles, own.classes)
        if now >= messages_due_s - 1e-6 and (message := sender.publish(LAYER, 60_000, now)) is not None:
            receiver.join(message)
            features += message.size_bytes
            messages_due_s = now + MESSAGE_PERIOD_S
        if now >= crops_due_s - 1e-6:
            crops += _crop_bytes(before, own)
            crops_due_s += MESSAGE_PERIOD_S
        if now >= grids_due_s - 1e-6:
            row0, row1, col0, col1 = own.known_window
            grids += HEADER_BYTES + (row1 - row0) * (col1 - col0)
            grids_due_s += FULL_GRID_PERIOD_S
    for later_s in (0.0, 60.0):
        while (message := sender.publish(LAYER, 60_000, now + later_s)) is not None:
            receiver.join(message)
            features += message.size_bytes
    if (receiver.fused != own.classes).any():
        raise AssertionError(f'{name}: the receiver holds another map than the sender')
    return features / now, crops / now, grids / now


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
        Row('write and encode of a message with 20 tiles', 1e6 * publish_s, 'us', 500.0, at_least=False),
        Row('join of a message with 20 tiles', 1e6 * seconds_per_call(join), 'us', 500.0, at_least=False),
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
            sizes.append(message.size_bytes)
            late.join(message)

    heal_s = seconds_per_call(heal)
    with TemporaryDirectory() as folder:
        path = Path(folder) / 'fleet.map'
        save(keeper, path)
        load_s = seconds_per_call(lambda: load(Replica(BOUNDS, 'map'), path))
    scale = 1e6 / keeper.known_cells
    return [
        Row('late joiner gets 1,000,000 known cells', 1e-3 * scale * sum(sizes), 'kB', 40.0, at_least=False),
        Row('encode and join of 1,000,000 known cells', 1e3 * scale * heal_s, 'ms', 250.0, at_least=False),
        Row('load of 1,000,000 known cells from disk', 1e3 * scale * load_s, 'ms', 1000.0, at_least=False),
    ]


def _views(duration_s: float) -> list[NDArray[np.int8]]:
    """Two maps of one office that differ a little in every tile, as after some more scans."""
    for _, own, _ in drive(load_world(WORLDS[0]), duration_s):
        classes = own.classes
    other = classes.copy()
    for row in range(0, BOUNDS.shape[0], TILE):
        other[row + 5, classes[row + 5] == -1] = 0
    return [other, classes]


def drive(world: World, duration_s: float, seed: int = 0) -> Iterator[Step]:
    """Explore towards the nearest frontier with a noisy lidar; yields after every scan until nothing is left."""
    random = np.random.default_rng(seed)
    own, planning = OccupancyMap(BOUNDS, CONFIG), PlanningGrid(BOUNDS, 0.2, 0.05)
    field, path = DistanceField(BOUNDS.planning_shape), np.empty((0, 2), np.int32)
    ignored = np.zeros(BOUNDS.planning_shape, np.uint8)
    x_m, y_m, along = world.anchor_x_m, world.anchor_y_m, 0.0
    angles = np.arange(LIDAR.beams) * (2 * np.pi / LIDAR.beams)
    for step in range(int(duration_s / SCAN_PERIOD_S)):
        ranges_m = cast(world.occupied, (x_m - world.origin_x_m) / world.resolution_m,
                        (y_m - world.origin_y_m) / world.resolution_m, angles) * world.resolution_m
        ranges_m = np.where(ranges_m > LIDAR.range_max_m, inf, ranges_m + random.normal(0, 0.02, LIDAR.beams))
        own.integrate(LaserScan(0.0, 0.0, float(angles[1]), LIDAR.range_min_m, LIDAR.range_max_m,
                                ranges_m.astype(np.float32)), Pose(x_m, y_m, 0.0))
        own.clear_disc(x_m, y_m, 0.2)
        tiles = own.take_changed()
        planning.update(own.classes, tiles)
        yield step * SCAN_PERIOD_S, own, tiles
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


def batches_of(run: Iterator[Step]) -> Iterator[TileBatch]:
    """What a robot on a run would send, decoded."""
    replica, due_s, limits = Replica(BOUNDS, LAYER.robot, LAYER, ReplicaConfig(codec='raw')), 0.0, DecodeLimits()
    for now, own, tiles in run:
        replica.write(LAYER, tiles, own.classes)
        if now >= due_s and (message := replica.publish(LAYER, 60_000, now)) is not None:
            due_s = now + MESSAGE_PERIOD_S
            yield decode(message.data, message.versions, message.codec, limits)


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
