"""Distance fields and the planning grid below them, on a half-explored map made from noisy scans."""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra

from benchmarks.rows import Row, seconds_per_call
from marl_core.mapping.bounds import MapBounds, MapConfig
from marl_core.mapping.geodesics import DIAGONAL, STRAIGHT, UNREACHED, DistanceField
from marl_core.mapping.grid import OccupancyMap
from marl_core.mapping.planning import PlanningGrid
from marl_core.types import FREE, LidarModel, Pose
from sim.sensors.lidar import Lidar
from sim.worlds import load_world

CONFIG = MapConfig(width_m=102.4, height_m=102.4)
BOUNDS = MapBounds.from_config(CONFIG)
POSES, SCANS_PER_POSE = 600, 2


def measure() -> list[Row]:
    """Fields over cells of 0.05 m (2048 x 2048) and over the planning grid of the same map (512 x 512)."""
    classes = explored_classes()
    planning = PlanningGrid(BOUNDS, 0.2, 0.05)
    tiles = np.argwhere((classes != 0).reshape(BOUNDS.tiles_y, 32, BOUNDS.tiles_x, 32).any(axis=(1, 3)))
    update_s = seconds_per_call(lambda: planning.update(classes, tiles)) / len(tiles)
    return [_fine_row(classes), _planning_row(planning),
            Row('planning grid: one tile brought up to date', 1e6 * update_s, 'us', 10.0, at_least=False)]


@cache
def explored_classes() -> NDArray[np.int8]:
    """Classes after noisy scans all over the left 60 m of an office of 100 x 100 m. Shape: BOUNDS.shape."""
    world = load_world('office:5@100x100')
    random = np.random.default_rng(0)
    rows, cols = np.nonzero(world.clearance_m > 0.3)
    left = cols * world.resolution_m < 60.0
    chosen = random.choice(np.flatnonzero(left), POSES, replace=False)
    poses = np.column_stack((world.origin_x_m + (cols[chosen] + 0.5) * world.resolution_m,
                             world.origin_y_m + (rows[chosen] + 0.5) * world.resolution_m,
                             random.uniform(-np.pi, np.pi, POSES)))
    lidar = Lidar(world, LidarModel(noise_std_m=0.02), 0)
    occupancy = OccupancyMap(BOUNDS, CONFIG)
    for _ in range(SCANS_PER_POSE):
        scans = lidar.scans(0.0, poses, np.empty((0, 3)), np.full(POSES, -1))
        for scan, pose in zip(scans, poses.tolist(), strict=True):
            occupancy.integrate(scan, Pose(*pose))
    return occupancy.classes


def start_cell(passable: NDArray[np.bool_]) -> tuple[int, int]:
    """The passable cell from which most cells can be reached, out of a few."""
    field = DistanceField(passable.shape)
    traversable, best, reached = passable.astype(np.uint8), (0, 0), 0
    for row, col in np.random.default_rng(1).choice(np.argwhere(passable), 8).tolist():
        field.compute(traversable, row, col)
        if field.reached > reached:
            best, reached = (row, col), field.reached
    return best


def _fine_row(classes: NDArray[np.int8]) -> Row:
    traversable = (classes == FREE).astype(np.uint8)
    field, start = DistanceField(traversable.shape), start_cell(traversable != 0)
    each_s = seconds_per_call(lambda: field.compute(traversable, *start))
    return Row(f'distance field over {field.reached:,} cells, forgetting the last one included',
               1e9 * each_s / field.reached, 'ns/cell', 20.0, at_least=False)


def _planning_row(planning: PlanningGrid) -> Row:
    """The same costs as scipy's Dijkstra over the same graph, whose making is not counted."""
    traversable = planning.traversable
    field, start = DistanceField(traversable.shape), start_cell(traversable != 0)
    each_s = seconds_per_call(lambda: field.compute(traversable, *start))
    graph, source = _graph(traversable), start[0] * traversable.shape[1] + start[1]
    costs = dijkstra(graph, indices=source).reshape(traversable.shape)
    if not np.array_equal(np.where(np.isinf(costs), UNREACHED, costs), field.cost):
        raise AssertionError('the distance field differs from Dijkstra')
    peer_s = seconds_per_call(lambda: dijkstra(graph, indices=source), repeats=3)
    return Row(f'distance field on the planning grid, {field.reached:,} cells', 1e3 * each_s, 'ms', 3.0,
               at_least=False, peer='scipy.sparse.csgraph.dijkstra', ratio=peer_s / each_s, ratio_target=5.0)


def _graph(traversable: NDArray[np.uint8]) -> coo_array:
    """All steps between traversable cells that cut no corner, as a sparse matrix of costs."""
    rows, cols = traversable.shape
    index, padded = np.arange(rows * cols).reshape(rows, cols), np.pad(traversable != 0, 1)

    def beside(down: int, right: int) -> NDArray[np.bool_]:
        return padded[1 + down:1 + down + rows, 1 + right:1 + right + cols]

    sources, targets, costs = [], [], []
    for down, right in ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1)):
        step = beside(0, 0) & beside(down, right) & beside(down, 0) & beside(0, right)
        sources.append(index[step])
        targets.append(index[step] + down * cols + right)
        costs.append(np.full(step.sum(), DIAGONAL if down and right else STRAIGHT))
    return coo_array((np.concatenate(costs), (np.concatenate(sources), np.concatenate(targets))),
                     shape=(rows * cols, rows * cols)).tocsr()
