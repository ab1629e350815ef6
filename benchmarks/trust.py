"""Trust: liars among honest robots are found, honest robots with wrong poses left alone, and what judging costs.

Robots explore generated worlds with a noisy lidar, each with a pose that is wrong by 5 cm and 2 degrees all the time,
and some noise. What they publish meets in the replica of a map node, which judges once a second.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from math import atan2, cos, inf, pi, radians, sin
from statistics import fmean
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.rows import CLOCK, Row
from benchmarks.sharing import LIDAR, LOOK_ROUND_SCANS, SCAN_PERIOD_S, SPEED_MPS, cast
from marl_core.mapping.bounds import MapBounds, MapConfig
from marl_core.mapping.frontiers import find_candidates
from marl_core.mapping.geodesics import DistanceField, nearest_traversable
from marl_core.mapping.grid import OccupancyMap
from marl_core.mapping.planning import PlanningGrid
from marl_core.mapping.replica import Replica, ReplicaConfig
from marl_core.mapping.trust import Trust
from marl_core.types import FREE, OCCUPIED, STOP, UNKNOWN, LaserScan, LayerId, Pose, RobotStatus
from sim.worlds import WORLDS, World, load_world

CONFIG = MapConfig(width_m=64.0, height_m=64.0)
BOUNDS = MapBounds.from_config(CONFIG)
ROBOTS = 4
OFFSET_M, TURN_RAD = 0.05, radians(2.0)
JITTER_M, JITTER_RAD = 0.01, radians(0.3)
ANGLES = np.arange(LIDAR.beams) * (2.0 * pi / LIDAR.beams)
SCANS_PER_S = round(1.0 / SCAN_PERIOD_S)
LIE_S, LIAR_RUN_S, HONEST_RUN_S = 15, 75, 60
HONEST_RUNS = 100
WALL_TOLERANCE_M = 0.25
"""A wall of the map is right within so far: two degrees are 0.28 m at the reach of the lidar."""

FOUND_WITHIN_S = 30.0

Classes = NDArray[np.int8]


class Journey(NamedTuple):
    """True poses and ranges of a robot, a row per scan. Shapes: (N, 3), (N, beams)."""

    poses: NDArray[np.float64]
    ranges_m: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Lie:
    """How a robot comes to say what is not so.

    Attributes:
        offset_m: what its pose is wrong by beyond that of the others (x, y) [m].
        tell: turns the map that it made into the one that it tells; None if it tells nothing new.
    """

    offset_m: tuple[float, float] = (0.0, 0.0)
    tell: Callable[[Classes], Classes | None] = lambda classes: classes


def frozen(random: np.random.Generator) -> Lie:
    """A map that does not change any more."""
    return Lie(tell=lambda classes: None)


def shifted(random: np.random.Generator) -> Lie:
    """A pose that jumps by 1 m."""
    angle = random.uniform(0.0, 2.0 * pi)
    return Lie(offset_m=(cos(angle), sin(angle)))


def phantom(random: np.random.Generator) -> Lie:
    """Walls of 1 m in what is free, one for each 4 m2."""
    walls = np.zeros(BOUNDS.shape, bool)
    count = int(walls.size * BOUNDS.resolution_m**2 / 4.0)
    for row, col, is_along_x in zip(*(random.integers(0, edge - 20, count) for edge in BOUNDS.shape),
                                    random.random(count) < 0.5):
        walls[row:row + (2 if is_along_x else 20), col:col + (20 if is_along_x else 2)] = True
    return Lie(tell=lambda classes: np.where(walls & (classes == FREE), OCCUPIED, classes).astype(np.int8))


def noisy(random: np.random.Generator) -> Lie:
    """One known cell in five is drawn by lot."""
    drawn, sides = random.random(BOUNDS.shape) < 0.2, random.choice(np.array((FREE, OCCUPIED), np.int8), BOUNDS.shape)
    return Lie(tell=lambda classes: np.where(drawn & (classes != 0), sides, classes))


LIES: dict[str, Callable[[np.random.Generator], Lie]] = {
    'frozen map': frozen,
    'shifted pose': shifted,
    'phantom walls': phantom,
    'erased walls': lambda random: Lie(tell=lambda classes: -np.abs(classes)),
    'random noise': noisy,
}


class Robot:
    """Replays a journey with a wrong pose, and publishes what it believes."""

    def __init__(self, name: str, journey: Journey, random: np.random.Generator) -> None:
        self.own = OccupancyMap(BOUNDS, CONFIG)
        self.replica = Replica(BOUNDS, name, LayerId(name, 1), ReplicaConfig(codec='raw'))
        self._journey, self._random, self._next = journey, random, 0
        angle = random.uniform(0.0, 2.0 * pi)
        self._error = np.array((OFFSET_M * cos(angle), OFFSET_M * sin(angle), random.choice((-TURN_RAD, TURN_RAD))))

    def sense(self, offset_m: tuple[float, float]) -> None:
        """Take in the scans of a second."""
        now = slice(self._next, self._next + SCANS_PER_S)
        for true_pose, ranges_m in zip(self._journey.poses[now], self._journey.ranges_m[now]):
            jitter = self._random.normal(0.0, (JITTER_M, JITTER_M, JITTER_RAD))
            self.pose = Pose(*(true_pose + self._error + jitter + (*offset_m, 0.0)))
            self.own.integrate(_scan(ranges_m), self.pose)
            self.own.clear_disc(self.pose.x_m, self.pose.y_m, 0.2)
        self._next += SCANS_PER_S

    def publish(self, now_s: float, lie: Lie, *listeners: Replica) -> None:
        """Write what is believed, or told, and send what is due."""
        told = lie.tell(self.own.classes)
        if told is not None:
            row0, row1, col0, col1 = self.own.known_window
            tiles = np.mgrid[row0 // 32:(row1 + 31) // 32, col0 // 32:(col1 + 31) // 32].reshape(2, -1).T
            self.replica.write(self.replica.own, np.ascontiguousarray(tiles, np.int32), np.ascontiguousarray(told))
        while (message := self.replica.publish(self.replica.own, 60_000, now_s)) is not None:
            for listener in listeners:
                listener.join(message)

    @property
    def is_where_it_told(self) -> bool:
        """Whether the place where it is belongs to the map that it told."""
        return bool(self.replica.fused[BOUNDS.cell_of(self.pose.x_m, self.pose.y_m)] != UNKNOWN)

    def status(self, now_s: float) -> RobotStatus:
        """Where it says that it is."""
        return RobotStatus(self.replica.name, 1, now_s, self.pose, STOP)


@dataclass(frozen=True, slots=True)
class Run:
    """What came of one run.

    Attributes:
        lied_s: how long the liar lied [s]. found_s: how long until it was not trusted any more [s], inf if never.
        doubted: honest robots that were doubted. quarantined: of them, those that were quarantined.
        loss: part by which F1 of the fused map is below that of the honest robots alone, at the end.
        update_s: CPU time of the updates [s].
    """

    lied_s: float
    found_s: float
    doubted: int
    quarantined: int
    loss: float
    update_s: list[float]


def measure() -> list[Row]:
    """Ten worlds for each lie; then honest fleets, each in another world with other errors.

    A frozen map is a lie from where its robot leaves it; robots that never do so are not counted. A wall counts as
    right within WALL_TOLERANCE_M, so that F1 alone differs by a per cent from one honest robot more or less.
    """
    kinds, rows = list(WORLDS), []
    for name, lie in LIES.items():
        runs = [play(f'{kind}:{seed}@28x26', LIAR_RUN_S, seed, lie) for kind in kinds for seed in (7, 8)]
        judged = [run for run in runs if run.lied_s >= FOUND_WITHIN_S]
        found = sum(run.found_s <= FOUND_WITHIN_S for run in judged)
        rows += [Row(f'{name}: one liar among four found within {FOUND_WITHIN_S:.0f} s, {len(judged)} runs',
                     100.0 * found / len(judged), '%', 100.0),
                 Row(f'{name}: F1 of fused walls below that of the honest three alone, mean of {len(runs)} runs',
                     100.0 * fmean(run.loss for run in runs), '%', 1.0, at_least=False),
                 Row(f'{name}: the same, worst run', 100.0 * max(run.loss for run in runs), '%', 1.0, at_least=False)]
    return rows + _honest_rows(kinds)


def _honest_rows(kinds: list[str]) -> list[Row]:
    runs = []
    for seed in range(HONEST_RUNS):
        journeys.cache_clear()
        runs.append(play(f'{kinds[seed % len(kinds)]}:{100 + seed}@28x26', HONEST_RUN_S, seed))
    update_s = [seconds for run in runs for seconds in run.update_s]
    robots = f'of {ROBOTS * HONEST_RUNS}'
    return [
        Row(f'robots quarantined in {HONEST_RUNS} honest runs, poses wrong by 5 cm and 2 degrees',
            sum(run.quarantined for run in runs), robots, 0.0, at_least=False),
        Row('robots doubted in the same runs', sum(run.doubted for run in runs), robots, 4.0, at_least=False),
        Row('update of trust in 4 robots, once a second', 1e3 * fmean(update_s), 'ms', 5.0, at_least=False),
        Row('the same, slowest of 100', 1e3 * float(np.quantile(update_s, 0.99)), 'ms', 20.0, at_least=False),
    ]


def play(name: str, duration_s: int, seed: int, lie: Callable[[np.random.Generator], Lie] | None = None) -> Run:
    """Let four robots explore; if anybody lies, it is the first, from LIE_S on."""
    random, world = np.random.default_rng(seed), load_world(name)
    robots = [Robot(f'robot_{index}', journey, random) for index, journey in enumerate(journeys(name, duration_s))]
    liar, told = (robots[0], lie(random)) if lie is not None else (None, Lie())
    node, honest, trust = Replica(BOUNDS, 'map'), Replica(BOUNDS, 'honest'), Trust(BOUNDS)
    found_at_s, since_s, update_s, verdicts = inf, inf, [], set()
    trust.update(node, (), None, 0.0)
    for now in range(1, duration_s + 1):
        for robot in robots:
            says = told if robot is liar and now > LIE_S else Lie()
            robot.sense(says.offset_m)
            robot.publish(now, says, *((node,) if robot is liar else (node, honest)))
        if liar is not None and now > LIE_S and (lie is not frozen or not liar.is_where_it_told):
            since_s = min(since_s, now - 1.0)
        started_s = CLOCK()
        changes = trust.update(node, [robot.status(now) for robot in robots], None, now)
        update_s.append(CLOCK() - started_s)
        for change in changes:
            if liar is not None and change.robot == liar.replica.name:
                found_at_s = min(found_at_s, now)
            else:
                verdicts.add((change.robot, change.after.standing))
    loss = 1.0 - f1(node.fused, honest.fused, world) / f1(honest.fused, honest.fused, world)
    return Run(duration_s - since_s, found_at_s - since_s if found_at_s < inf else inf,
               sum(standing == 'doubted' for _, standing in verdicts),
               sum(standing == 'quarantined' for _, standing in verdicts), loss, update_s)


def f1(fused: Classes, domain: Classes, world: World) -> float:
    """F1 of the walls of a map, each within WALL_TOLERANCE_M; those to be found are beside what ``domain`` has free."""
    truth = np.zeros(BOUNDS.shape, bool)
    row, col = BOUNDS.cell_of(world.origin_x_m + 0.01, world.origin_y_m + 0.01)
    rows, cols = world.occupied.shape
    truth[row:row + rows, col:col + cols] = world.occupied
    near = round(WALL_TOLERANCE_M / BOUNDS.resolution_m)
    walls = fused == OCCUPIED
    visible = truth & ndimage.binary_dilation(~truth & (domain == FREE))
    precision = _near(truth, near)[walls].mean()
    recall = _near(walls, near)[visible].mean()
    return float(2.0 * precision * recall / (precision + recall))


def _near(cells: NDArray[np.bool_], reach: int) -> NDArray[np.bool_]:
    return ndimage.distance_transform_edt(~cells) <= reach


@cache
def journeys(name: str, duration_s: int) -> list[Journey]:
    """How ROBOTS robots explore a world, each on its own way from beside the others."""
    world = load_world(name)
    return [_journey(world, Pose(*start), duration_s, seed) for seed, start in enumerate(world.start_poses(ROBOTS))]


def _journey(world: World, pose: Pose, duration_s: int, seed: int) -> Journey:
    random = np.random.default_rng(seed)
    own, planning = OccupancyMap(BOUNDS, CONFIG), PlanningGrid(BOUNDS, 0.2, 0.05)
    field, path, along = DistanceField(BOUNDS.planning_shape), np.empty((0, 2), np.int32), 0.0
    ignored = np.zeros(BOUNDS.planning_shape, np.uint8)
    poses, ranges_m = [], []
    for step in range(duration_s * SCANS_PER_S):
        poses.append(pose)
        ranges_m.append(_ranges(world, pose, random))
        own.integrate(_scan(ranges_m[-1]), pose)
        own.clear_disc(pose.x_m, pose.y_m, 0.2)
        planning.update(own.classes, own.take_changed())
        if step < LOOK_ROUND_SCANS:
            continue
        along += SPEED_MPS * SCAN_PERIOD_S / BOUNDS.planning_resolution_m
        if along >= len(path):
            cell = nearest_traversable(planning.traversable, *BOUNDS.planning_cell_of(pose.x_m, pose.y_m), 10)
            field.compute(planning.traversable, *cell)
            places = find_candidates(planning.state, field.cost, ignored, planning.known_window, 10, 5, 6)
            if not len(places.cells):
                break
            path, along = field.path_to(*places.cells[random.integers(len(places.cells))]), 0.0
        x_m, y_m = BOUNDS.planning_center_of(*path[min(int(along), len(path) - 1)])
        moves = (x_m, y_m) != (pose.x_m, pose.y_m)
        pose = Pose(x_m, y_m, atan2(y_m - pose.y_m, x_m - pose.x_m) if moves else pose.heading_rad)
    return Journey(np.array(poses), np.array(ranges_m))


def _ranges(world: World, pose: Pose, random: np.random.Generator) -> NDArray[np.float32]:
    edge_m = world.resolution_m
    ranges_m = cast(world.occupied, (pose.x_m - world.origin_x_m) / edge_m, (pose.y_m - world.origin_y_m) / edge_m,
                    ANGLES + pose.heading_rad) * edge_m
    noise_m = random.normal(0.0, LIDAR.noise_std_m, LIDAR.beams)
    return np.where(ranges_m > LIDAR.range_max_m, inf, ranges_m + noise_m).astype(np.float32)


def _scan(ranges_m: NDArray[np.float32]) -> LaserScan:
    return LaserScan(0.0, 0.0, float(ANGLES[1]), LIDAR.range_min_m, LIDAR.range_max_m, ranges_m)
