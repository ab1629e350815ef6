"""Scan insertion against OctoMap's, and how true the maps are to what the lidar could see."""

import importlib.util

import numpy as np
from numba import njit
from numpy.typing import NDArray

from benchmarks.rows import Row, seconds_per_call
from marl_core.mapping.bounds import MapBounds, MapConfig
from marl_core.mapping.grid import OccupancyMap
from marl_core.mapping.insertion import (
    JUMP_M,
    Evidence,
    ScanScratch,
    insert_scan,
    read_ranges,
    scan_scratch,
    turn_beams,
)
from marl_core.types import OCCUPIED, LaserScan, LidarModel, Pose
from sim.sensors.lidar import Lidar
from sim.worlds import World, load_world

POSES, BEAMS, RANGE_M, TRUTH_BEAMS = 64, 360, 12.0, 7200
NOISE_M, NOISY_SCANS = 0.02, 20
CONFIG = MapConfig(width_m=38.4, height_m=38.4)
NOBODY = np.empty((0, 3))


def measure() -> list[Row]:
    """360 rays from 64 poses in a furnished building of 30 x 30 m, cells of 0.05 m."""
    world = load_world('office:5@30x30')
    poses = _poses(world)
    scans = _scans(world, poses, 0.0)
    return [_kernel_row(scans, poses), _integrate_row(scans, poses), *_truth_rows(world, scans, poses),
            _noise_row(world, scans, poses)]


def _poses(world: World) -> NDArray[np.float64]:
    rows, cols = np.nonzero(world.clearance_m > 0.3)
    random = np.random.default_rng(0)
    chosen = random.choice(len(rows), POSES, replace=False)
    at = np.column_stack((cols[chosen], rows[chosen])) + random.uniform(0.0, 1.0, (POSES, 2))
    origin = world.origin_x_m, world.origin_y_m
    return np.column_stack((at * world.resolution_m + origin, random.uniform(-np.pi, np.pi, POSES)))


def _scans(world: World, poses: NDArray[np.float64], noise_std_m: float, beams: int = BEAMS,
           seed: int = 0) -> list[LaserScan]:
    model = LidarModel(beams=beams, range_max_m=RANGE_M, noise_std_m=noise_std_m)
    return Lidar(world, model, seed).scans(0.0, poses, NOBODY, np.full(len(poses), -1))


def _kernel_row(scans: list[LaserScan], poses: NDArray[np.float64]) -> Row:
    config = MapConfig()
    bounds = MapBounds.from_config(config)
    angles = scans[0].angle_min_rad + scans[0].angle_increment_rad * np.arange(BEAMS)
    evidence = Evidence(config.hit, config.miss, config.maximum, config.minimum)
    arguments = (np.zeros(bounds.shape, np.int8), np.stack([scan.ranges_m for scan in scans]), np.cos(angles),
                 np.sin(angles), (poses - (bounds.origin_x_m, bounds.origin_y_m, 0.0)) / (
                     config.resolution_m, config.resolution_m, 1.0), scans[0].angle_increment_rad,
                 config.resolution_m, evidence, scan_scratch(BEAMS, RANGE_M / config.resolution_m, bounds.shape))
    ours_s = seconds_per_call(lambda: _insert_all(*arguments)) / POSES
    name, ratio = f'scan into log-odds, {BEAMS} rays, 0.05 m cells', None
    if importlib.util.find_spec('pyoctomap') is None:
        name += ' (pyoctomap is not installed)'
    else:
        ratio = _octomap_s(scans, poses) / ours_s
    return Row(name, 1.0 / ours_s, 'scans/s', 40_000.0, peer='pyoctomap insertPointCloud, lazy', ratio=ratio,
               ratio_target=100.0)


@njit(nogil=True)  # not cached: numba's cache does not notice changes of what is called in another module
def _insert_all(log_odds: NDArray[np.int8], ranges_m: NDArray[np.float32], cosines: NDArray[np.float64],
                sines: NDArray[np.float64], poses: NDArray[np.float64], increment_rad: float, resolution_m: float,
                evidence: Evidence, scratch: ScanScratch) -> None:
    for n in range(ranges_m.shape[0]):
        read_ranges(ranges_m[n], 0.1, 12.0, 12.0, resolution_m, scratch)
        turn_beams(cosines, sines, poses[n, 2], scratch)
        insert_scan(log_odds, cosines.size, poses[n, 0], poses[n, 1], increment_rad, JUMP_M / resolution_m, evidence,
                    scratch)


def _octomap_s(scans: list[LaserScan], poses: NDArray[np.float64]) -> float:
    """Seconds per scan of OctoMap for the same end points, one layer of a tree of 0.05 m."""
    from pyoctomap import OcTree
    clouds = []
    for scan, (x_m, y_m, heading_rad) in zip(scans, poses, strict=True):
        angles = heading_rad + scan.angle_min_rad + scan.angle_increment_rad * np.arange(BEAMS)
        ranges = np.minimum(scan.ranges_m, RANGE_M + 1.0)  # beyond max_range: free up to it, no hit
        points = np.column_stack((x_m + ranges * np.cos(angles), y_m + ranges * np.sin(angles), np.zeros(BEAMS)))
        clouds.append((points, np.array([x_m, y_m, 0.0])))
    tree = OcTree(0.05)
    return seconds_per_call(lambda: [tree.insertPointCloud(points, origin, max_range=RANGE_M, lazy_eval=True)
                                     for points, origin in clouds], repeats=3) / POSES


def _integrate_row(scans: list[LaserScan], poses: NDArray[np.float64]) -> Row:
    occupancy = OccupancyMap(MapBounds.from_config(MapConfig()), MapConfig())
    at = [Pose(*pose) for pose in poses.tolist()]
    each_s = seconds_per_call(lambda: [occupancy.integrate(*pair) for pair in zip(scans, at, strict=True)]) / POSES
    return Row('scan into the whole map: checks, log-odds, classes, changed tiles', 1.0 / each_s, 'scans/s', 10_000.0)


def _truth_rows(world: World, scans: list[LaserScan], poses: NDArray[np.float64]) -> list[Row]:
    """Log-odds after one exact scan, against what 7200 beams see."""
    found = visible = worn = walls = 0
    for scan, pose, fine in zip(scans, poses, _scans(world, poses, 0.0, TRUTH_BEAMS), strict=True):
        occupancy = _mapped([scan], pose)
        free = _part_in(world, occupancy, occupancy.log_odds) < 0
        seen, surface = _seen_cells(world, fine, pose), _surface(world, fine, pose)
        found, visible = found + (free & seen).sum(), visible + seen.sum()
        worn, walls = worn + (free & world.occupied).sum(), walls + surface.sum()
    return [Row('visible free cells found by one exact scan', 100.0 * found / visible, '%', 93.0),
            Row('wall cells in view taken for free, one exact scan', 100.0 * worn / walls, '%', 0.1, at_least=False)]


def _noise_row(world: World, scans: list[LaserScan], poses: NDArray[np.float64]) -> Row:
    """Walls that the exact beams hit and that the map still has, within a cell, after noisy scans from one pose."""
    sweeps = [_scans(world, poses, NOISE_M, seed=seed) for seed in range(NOISY_SCANS)]
    kept = walls = 0
    for n, pose in enumerate(poses):
        occupancy = _mapped([sweep[n] for sweep in sweeps], pose)
        padded = np.pad(_part_in(world, occupancy, occupancy.classes) == OCCUPIED, 1)
        surface, (rows, cols) = _surface(world, scans[n], pose), world.occupied.shape
        near = np.any([padded[i:i + rows, j:j + cols] for i in range(3) for j in range(3)], axis=0)
        kept, walls = kept + (near & surface).sum(), walls + surface.sum()
    return Row(f'walls still there after {NOISY_SCANS} scans with 2 cm noise', 100.0 * kept / walls, '%', 99.0)


def _mapped(scans: list[LaserScan], pose: NDArray[np.float64]) -> OccupancyMap:
    occupancy = OccupancyMap(MapBounds.from_config(CONFIG), CONFIG)
    for scan in scans:
        occupancy.integrate(scan, Pose(*pose.tolist()))
    return occupancy


def _part_in(world: World, occupancy: OccupancyMap, cells: NDArray[np.int8]) -> NDArray[np.int8]:
    """The part of a map's cells that covers the world, whose cells are as large and aligned."""
    row, col = occupancy.bounds.cell_of(world.origin_x_m + 0.5 * world.resolution_m,
                                        world.origin_y_m + 0.5 * world.resolution_m)
    rows, cols = world.occupied.shape
    return cells[row:row + rows, col:col + cols]


def _seen_cells(world: World, scan: LaserScan, pose: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Free cells whose centre lies before the end of the beam nearest to it."""
    rows, cols = np.indices(world.occupied.shape)
    x_m = world.origin_x_m + (cols + 0.5) * world.resolution_m - pose[0]
    y_m = world.origin_y_m + (rows + 0.5) * world.resolution_m - pose[1]
    turn = np.arctan2(y_m, x_m) - pose[2] - scan.angle_min_rad
    beam = np.rint(turn / scan.angle_increment_rad).astype(np.int64) % len(scan.ranges_m)
    reach_m = np.minimum(scan.ranges_m, RANGE_M)
    return (np.hypot(x_m, y_m) < reach_m[beam]) & ~world.occupied


def _surface(world: World, scan: LaserScan, pose: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Wall cells that stop a beam of an exact scan."""
    angles = pose[2] + scan.angle_min_rad + scan.angle_increment_rad * np.arange(len(scan.ranges_m))
    hit = np.isfinite(scan.ranges_m)
    reach_m = scan.ranges_m[hit] + 0.01 * world.resolution_m  # exact ranges end on the cell's border
    cols = ((pose[0] + reach_m * np.cos(angles[hit]) - world.origin_x_m) / world.resolution_m).astype(np.int64)
    rows = ((pose[1] + reach_m * np.sin(angles[hit]) - world.origin_y_m) / world.resolution_m).astype(np.int64)
    surface = np.zeros(world.occupied.shape, np.bool_)
    surface[rows, cols] = True
    return surface & world.occupied
