"""Many teams at once, from velocities to maps and frontiers: the vectorised low-level environment.

One compiled call drives the discs of all teams, casts their lidars, adds the scans to one map per team and, every few
steps, lists the frontiers of that map. The kernels are those of ``Simulation`` and of a robot's own mapping, so what
is learned or tuned here meets the same motion, sensing and maps there. For decisions about where to go, at some
hundred times the speed and without velocities, see ``sim.fast``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, cos, sin
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from marl_core.errors import SimulationError, WorldError
from marl_core.mapping.bounds import MapConfig
from marl_core.mapping.classes import classify_window
from marl_core.mapping.frontiers import FrontierScratch, extract_candidates, frontier_scratch
from marl_core.mapping.insertion import (
    JUMP_M,
    Evidence,
    ScanScratch,
    insert_scan,
    read_ranges,
    scan_scratch,
    stop_at_discs,
    turn_beams,
)
from marl_core.types import RobotModel
from sim.bodies import drive
from sim.sensors.lidar import BORDER, Lidar, cast, distance_field, meet_discs
from sim.worlds.world import World


@dataclass(frozen=True, slots=True)
class BatchConfig:
    """How the batch steps and maps.

    Attributes:
        step_s: control period [s].
        map_resolution_m: edge of a map cell [m].
        frontier_every: steps of a team from one list of frontiers to the next.
        split_cells: longest edge of a frontier's bounding box [map cells].
        minimum_cells: smaller frontiers are dropped [map cells].
        frontiers: most frontiers listed per team.

    Raises:
        ValueError: a value is not positive.
    """

    step_s: float = 0.1
    map_resolution_m: float = 0.1
    frontier_every: int = 10
    split_cells: int = 30
    minimum_cells: int = 4
    frontiers: int = 64

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if not getattr(self, name) > 0:
                raise ValueError(f'{name} must be positive, got {getattr(self, name)!r}')


class _Teams(NamedTuple):
    """What differs from team to team; E teams of N robots with B beams, maps of R x C cells."""

    world: NDArray[np.int64]  # (E,) index of the team's world
    steps: NDArray[np.int64]  # (E,)
    poses: NDArray[np.float64]  # (E, N, 3)
    twists: NDArray[np.float64]  # (E, N, 2)
    collisions: NDArray[np.int64]  # (E, N)
    ranges_m: NDArray[np.float32]  # (E, N, B)
    log_odds: NDArray[np.int8]  # (E, R, C)
    classes: NDArray[np.int8]  # (E, R, C)
    known_window: NDArray[np.int64]  # (E, 4) box round all evidence since classes were last updated
    frontier_cells: NDArray[np.int32]  # (E, K, 2)
    frontier_sizes: NDArray[np.int32]  # (E, K)
    frontier_counts: NDArray[np.int64]  # (E,)


class _Setting(NamedTuple):
    """What all teams share: worlds, robots, map settings and buffers."""

    field: NDArray[np.uint8]  # (worlds, rows, cols) of distance_field
    field_origin: NDArray[np.float64]
    clearance_m: NDArray[np.float32]  # (worlds, rows, cols) with a border of zeros
    clearance_origin: NDArray[np.float64]
    world_resolution_m: float
    limits: NDArray[np.float64]  # (N, 5) as drive() takes them
    step_s: float
    angles: NDArray[np.float64]  # (B,)
    directions: NDArray[np.float64]  # (B, 2)
    cosines: NDArray[np.float64]
    sines: NDArray[np.float64]
    increment_rad: float
    range_min_m: float
    range_max_m: float
    noise_std_m: float
    lidar_x_m: float
    map_origin: NDArray[np.float64]
    map_resolution_m: float
    evidence: Evidence
    occupied_at: int
    free_at: int
    everywhere: NDArray[np.int32]  # (R, C) zero cost: frontiers are listed wherever they are
    nothing_ignored: NDArray[np.uint8]  # (R, C)
    frontier_every: int
    split_cells: int
    minimum_cells: int
    lidar_poses: NDArray[np.float64]  # (N, 3)
    discs: NDArray[np.float64]  # (N, 3) metres
    other_discs: NDArray[np.float64]  # (N - 1, 3) map cells
    own: NDArray[np.int64]  # (N,)
    scan: ScanScratch
    frontier: FrontierScratch
    tiles: NDArray[np.uint8]  # flags of changed tiles, which nobody reads here


class BatchedExploration:
    """E teams of N robots, stepped together. Each team has a world of its own and shares one map.

    All arrays are the environment's own and change with every step; copy what must last.

    Attributes:
        poses: x, y, heading [m, m, rad; map frame]. Shape: (E, N, 3).
        twists: forward and turning velocity [m/s, rad/s]. Shape: (E, N, 2).
        collisions: steps in which each robot was stopped by something. Shape: (E, N).
        ranges_m: newest scans, inf where nothing is within reach, -inf where something is too near; beam 0 points
            backwards, counter-clockwise. Shape: (E, N, B).
        classes: FREE, UNKNOWN or OCCUPIED, up to date whenever frontiers are. Shape: (E, rows, cols), int8.
        log_odds: evidence, always up to date. Shape: (E, rows, cols), int8.
        frontier_cells: row and column in the map. Shape: (E, K, 2), int32.
        frontier_sizes: map cells of each frontier. Shape: (E, K), int32.
        frontier_counts: how many entries of a team's list hold. Shape: (E,).
        steps: since a team's last reset. Shape: (E,).
        map_origin_m: corner of map cell (0, 0) [m; map frame]. Shape: (2,).
    """

    def __init__(self, worlds: Sequence[World], environments: int, model: RobotModel, robots: int = 4,
                 config: BatchConfig | None = None, seed: int = 0) -> None:
        """Put teams into worlds, team e into ``worlds[e % len(worlds)]``, and let them look round.

        Args:
            worlds: all of one size, resolution and origin.
            environments: E.
            model: of all robots.
            robots: N, of each team.
            config: steps and maps.
            seed: of the range noise.

        Raises:
            SimulationError: no world, team or robot.
            WorldError: worlds differ in their geometry, or a start has no room for a team.
        """
        if not worlds or environments < 1 or robots < 1:
            raise SimulationError('a batch needs at least one world, one environment and one robot each')
        config = config or BatchConfig()
        _check_alike(worlds)
        self._starts = np.stack([world.start_poses(robots, model.radius_m) for world in worlds])
        shape = tuple(ceil(extent * worlds[0].resolution_m / config.map_resolution_m - 1e-9)
                      for extent in worlds[0].occupied.shape)
        self._free_cells = np.array([_map_cells(world, shape, config.map_resolution_m) for world in worlds])
        self._setting = _make_setting(worlds, model, robots, shape, config)
        self._teams = _make_teams(environments, len(worlds), robots, model.lidar.beams, shape, config.frontiers)
        teams = self._teams
        self.poses, self.twists, self.collisions, self.steps = teams.poses, teams.twists, teams.collisions, teams.steps
        self.ranges_m, self.log_odds, self.classes = teams.ranges_m, teams.log_odds, teams.classes
        self.frontier_cells, self.frontier_sizes = teams.frontier_cells, teams.frontier_sizes
        self.frontier_counts = teams.frontier_counts
        self.map_origin_m = self._setting.map_origin
        self._all = np.arange(environments)
        self._random = np.random.default_rng([seed, 0xBA7C])
        self.reset()

    @property
    def explored(self) -> NDArray[np.float64]:
        """Known free cells of each team's map, by the free cells of its world. Shape: (E,)."""
        free = np.count_nonzero(self._teams.classes < 0, axis=(1, 2))
        return free / self._free_cells[self._teams.world]

    def reset(self, environments: NDArray[np.int64] | None = None) -> None:
        """Put teams back to their starts with empty maps, and let them look round.

        Args:
            environments: indices; None: all.
        """
        teams = self._all if environments is None else np.asarray(environments, np.int64)
        self._teams.poses[teams] = self._starts[self._teams.world[teams]]
        for array in (self._teams.twists, self._teams.collisions, self._teams.log_odds, self._teams.classes,
                      self._teams.steps, self._teams.frontier_counts):
            array[teams] = 0
        self._teams.known_window[teams] = _EMPTY
        _advance(teams, False, self._teams.twists, self._teams, self._setting, self._random)

    def step(self, commands: NDArray[np.float64]) -> None:
        """Drive, look, map and list frontiers.

        Args:
            commands: forward [m/s] and turning velocity [rad/s]; limits apply as in Simulation. Shape: (E, N, 2).

        Raises:
            SimulationError: another shape.
        """
        if np.shape(commands) != self._teams.twists.shape:
            raise SimulationError(f'commands must have shape {self._teams.twists.shape}, got {np.shape(commands)}')
        _advance(self._all, True, np.ascontiguousarray(commands, np.float64), self._teams, self._setting,
                 self._random)


_EMPTY = (1 << 30, 0, 1 << 30, 0)
"""Window that holds nothing and grows with min and max."""


@njit(cache=True, nogil=True)
def _advance(chosen: NDArray[np.int64], driving: bool, commands: NDArray[np.float64], teams: _Teams,
             setting: _Setting, random: np.random.Generator) -> None:
    """One control period of the chosen teams; or, not driving, the look round at their starts."""
    for e in chosen:
        if driving:
            drive(teams.poses[e], teams.twists[e], commands[e], setting.limits, setting.step_s,
                  setting.clearance_m[teams.world[e]], setting.clearance_origin, setting.world_resolution_m,
                  teams.collisions[e])
            teams.steps[e] += 1
        _sense(e, teams, setting, random)
        _map(e, teams, setting)
        if teams.steps[e] % setting.frontier_every == 0:
            _list_frontiers(e, teams, setting)


@njit(cache=True, nogil=True)
def _sense(e: int, teams: _Teams, setting: _Setting, random: np.random.Generator) -> None:
    """Cast all lidars of a team into ``ranges_m``."""
    poses, ranges_m = teams.poses[e], teams.ranges_m[e]
    for n in range(poses.shape[0]):
        setting.lidar_poses[n, 0] = poses[n, 0] + setting.lidar_x_m * cos(poses[n, 2])
        setting.lidar_poses[n, 1] = poses[n, 1] + setting.lidar_x_m * sin(poses[n, 2])
        setting.lidar_poses[n, 2] = poses[n, 2]
        setting.discs[n, 0], setting.discs[n, 1] = poses[n, 0], poses[n, 1]
    cast(setting.field[teams.world[e]], setting.lidar_poses, setting.field_origin, setting.world_resolution_m,
         setting.directions, setting.range_max_m, ranges_m)
    meet_discs(setting.lidar_poses, setting.discs, setting.own, setting.angles[0], setting.increment_rad,
               setting.directions, setting.range_max_m, ranges_m)
    farthest_m = np.float32(setting.range_max_m)
    noise_m = np.float32(setting.noise_std_m)
    for n in range(ranges_m.shape[0]):
        for k in range(ranges_m.shape[1]):
            range_m = ranges_m[n, k]
            if range_m >= farthest_m:
                ranges_m[n, k] = np.inf
                continue
            if noise_m > 0.0:
                range_m = min(range_m + noise_m * np.float32(random.standard_normal()), farthest_m)
            ranges_m[n, k] = range_m if range_m >= setting.range_min_m else -np.inf


@njit(cache=True, nogil=True)
def _map(e: int, teams: _Teams, setting: _Setting) -> None:
    """Add the newest scans of a team to its map."""
    edge_m, window = setting.map_resolution_m, teams.known_window[e]
    for n in range(teams.poses.shape[1]):
        if read_ranges(teams.ranges_m[e, n], setting.range_min_m, setting.range_max_m, setting.range_max_m, edge_m,
                       setting.scan) == 0:
            continue
        turn_beams(setting.cosines, setting.sines, setting.lidar_poses[n, 2], setting.scan)
        x = (setting.lidar_poses[n, 0] - setting.map_origin[0]) / edge_m
        y = (setting.lidar_poses[n, 1] - setting.map_origin[1]) / edge_m
        others = _near_discs(n, setting)
        if others > 0:
            stop_at_discs(setting.angles.size, x, y, setting.other_discs[:others], setting.scan)
        row0, row1, col0, col1 = insert_scan(teams.log_odds[e], setting.angles.size, x, y, setting.increment_rad,
                                             JUMP_M / edge_m, setting.evidence, setting.scan)
        if row0 < row1:
            window[0], window[1] = min(window[0], row0), max(window[1], row1)
            window[2], window[3] = min(window[2], col0), max(window[3], col1)


@njit(cache=True, nogil=True)
def _near_discs(n: int, setting: _Setting) -> int:
    """Write the teammates within the lidar's reach to ``other_discs`` [map cells], a cell wider. Returns how many."""
    found = 0
    for other in range(setting.discs.shape[0]):
        away_x = setting.discs[other, 0] - setting.lidar_poses[n, 0]
        away_y = setting.discs[other, 1] - setting.lidar_poses[n, 1]
        reach_m = setting.range_max_m + setting.discs[other, 2]
        if other != n and away_x * away_x + away_y * away_y < reach_m * reach_m:
            for axis in range(2):
                setting.other_discs[found, axis] = ((setting.discs[other, axis] - setting.map_origin[axis])
                                                    / setting.map_resolution_m)
            # Noise puts readings before a surface, too.
            setting.other_discs[found, 2] = setting.discs[other, 2] / setting.map_resolution_m + 1.0
            found += 1
    return found


@njit(cache=True, nogil=True)
def _list_frontiers(e: int, teams: _Teams, setting: _Setting) -> None:
    """Bring a team's classes up to date and list its frontiers."""
    window, classes = teams.known_window[e], teams.classes[e]
    if window[0] < window[1]:
        classify_window(teams.log_odds[e], classes, window[0], window[1], window[2], window[3], setting.occupied_at,
                        setting.free_at, setting.evidence.maximum, setting.evidence.minimum, setting.tiles)
        window[0], window[1], window[2], window[3] = 1 << 30, 0, 1 << 30, 0
    teams.frontier_counts[e] = extract_candidates(
        classes, setting.everywhere, setting.nothing_ignored, 0, classes.shape[0], 0, classes.shape[1],
        setting.split_cells, setting.minimum_cells, setting.frontier, teams.frontier_cells[e],
        teams.frontier_sizes[e])


def _make_setting(worlds: Sequence[World], model: RobotModel, robots: int, shape: tuple[int, int],
                  config: BatchConfig) -> _Setting:
    world, lidar = worlds[0], Lidar(worlds[0], model.lidar)
    angles = lidar.angle_min_rad + lidar.angle_increment_rad * np.arange(model.lidar.beams)
    limits = (model.max_linear_mps, model.max_angular_radps, model.max_linear_acceleration_mps2,
              model.max_angular_acceleration_radps2, model.radius_m)
    corner, taken = np.array([world.origin_x_m, world.origin_y_m]), MapConfig()
    return _Setting(
        field=np.stack([distance_field(one.occupied) for one in worlds]),
        field_origin=corner - BORDER * world.resolution_m,
        clearance_m=np.stack([np.pad(one.clearance_m, 1) for one in worlds]).astype(np.float32),
        clearance_origin=corner - world.resolution_m, world_resolution_m=world.resolution_m,
        limits=np.tile(limits, (robots, 1)), step_s=config.step_s, angles=angles,
        directions=np.column_stack((np.cos(angles), np.sin(angles))), cosines=np.cos(angles), sines=np.sin(angles),
        increment_rad=lidar.angle_increment_rad, range_min_m=model.lidar.range_min_m,
        range_max_m=model.lidar.range_max_m, noise_std_m=model.lidar.noise_std_m, lidar_x_m=model.lidar.x_m,
        map_origin=corner, map_resolution_m=config.map_resolution_m,
        evidence=Evidence(taken.hit, taken.miss, taken.maximum, taken.minimum), occupied_at=taken.occupied_at,
        free_at=taken.free_at, everywhere=np.zeros(shape, np.int32), nothing_ignored=np.zeros(shape, np.uint8),
        frontier_every=config.frontier_every, split_cells=config.split_cells, minimum_cells=config.minimum_cells,
        lidar_poses=np.zeros((robots, 3)), discs=np.full((robots, 3), model.radius_m),
        other_discs=np.zeros((robots, 3)), own=np.arange(robots),
        scan=scan_scratch(model.lidar.beams, model.lidar.range_max_m / config.map_resolution_m, shape),
        frontier=frontier_scratch(shape), tiles=np.zeros((shape[0] // 32 + 1, shape[1] // 32 + 1), np.uint8))


def _make_teams(environments: int, worlds: int, robots: int, beams: int, shape: tuple[int, int],
                frontiers: int) -> _Teams:
    return _Teams(
        world=np.arange(environments) % worlds, steps=np.zeros(environments, np.int64),
        poses=np.zeros((environments, robots, 3)), twists=np.zeros((environments, robots, 2)),
        collisions=np.zeros((environments, robots), np.int64),
        ranges_m=np.zeros((environments, robots, beams), np.float32),
        log_odds=np.zeros((environments, *shape), np.int8), classes=np.zeros((environments, *shape), np.int8),
        known_window=np.tile(np.array(_EMPTY, np.int64), (environments, 1)),
        frontier_cells=np.zeros((environments, frontiers, 2), np.int32),
        frontier_sizes=np.zeros((environments, frontiers), np.int32),
        frontier_counts=np.zeros(environments, np.int64))


def _check_alike(worlds: Sequence[World]) -> None:
    first = worlds[0]
    for world in worlds[1:]:
        for name in ('resolution_m', 'origin_x_m', 'origin_y_m'):
            if getattr(world, name) != getattr(first, name):
                raise WorldError(f'worlds of one batch must be alike: {name} of {world.name} is '
                                 f'{getattr(world, name)}, of {first.name} {getattr(first, name)}')
        if world.occupied.shape != first.occupied.shape:
            raise WorldError(f'worlds of one batch must be alike: {world.name} has {world.occupied.shape} cells, '
                             f'{first.name} {first.occupied.shape}')


def _map_cells(world: World, shape: tuple[int, int], edge_m: float) -> int:
    """Map cells whose centre is reachable free space."""
    rows = ((np.arange(shape[0]) + 0.5) * edge_m / world.resolution_m).astype(int)
    cols = ((np.arange(shape[1]) + 0.5) * edge_m / world.resolution_m).astype(int)
    inside = np.ix_(rows[rows < world.occupied.shape[0]], cols[cols < world.occupied.shape[1]])
    return int(world.reachable[inside].sum())
