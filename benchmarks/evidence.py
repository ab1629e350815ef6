"""Evidence: what it costs and buys to share more of a cell than whether it is free or occupied.

Four robots explore generated worlds, once for each kind of noise, and tell a map node what they see, once with trinary
and once with graded evidence, of the very same scans. The fused maps are compared with the world, cell by cell; so is
what no message could carry, the sum of all robots' log-odds. docs/decisions/0005-trinary-evidence.md draws the
conclusion, and has more ways to grade.
"""

from dataclasses import dataclass, replace
from math import cos, pi, sin
from statistics import fmean
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.rows import Row
from benchmarks.sharing import LIDAR, packet_of
from benchmarks.trust import BOUNDS, CONFIG, JITTER_M, JITTER_RAD, OFFSET_M, SCANS_PER_S, TURN_RAD, journeys
from marl_core.mapping.bounds import EVIDENCE, MapConfig
from marl_core.mapping.grid import OccupancyMap
from marl_core.mapping.replica import Replica, ReplicaConfig
from marl_core.types import FREE, OCCUPIED, UNKNOWN, LaserScan, LayerId, Pose
from sim.sensors.lidar import Lidar
from sim.worlds import WORLDS, World, load_world

DURATION_S = 60
SEEDS = (7, 8, 9)
NO_DISCS = np.empty((0, 3))
SUMS = 'sums of full log-odds'
RESAMPLES = 4000
GAIN_WORTH = 4.0
"""Points of F1 that more evidence would have to buy to be the default: a gain above that, and its row says no."""


@dataclass(frozen=True, slots=True)
class Noise:
    """What is wrong with the sensors of a run.

    Attributes:
        range_m: standard deviation of ranges [m]. dropouts: part of the beams that say nothing.
        poses: whether each robot's pose is wrong by 5 cm and 2 degrees all the time, and some jitter.
        least_f1: F1 of the fused walls that is promised with trinary evidence [%].
    """

    range_m: float
    dropouts: float
    poses: bool
    least_f1: float


NOISES = {
    '2 cm': Noise(0.02, 0.0, False, 93.0),
    '5 cm': Noise(0.05, 0.0, False, 78.0),
    '10 cm': Noise(0.10, 0.0, False, 62.0),
    '2 cm, one beam in ten drops out': Noise(0.02, 0.1, False, 92.0),
    '2 cm, poses wrong by 5 cm and 2 degrees': Noise(0.02, 0.0, True, 35.0),
}


class Outcome(NamedTuple):
    """Of one run: F1 of the fused walls [%] and bytes per second and robot, by way to tell (SUMS tells nothing)."""

    f1: dict[str, float]
    bytes_per_s: dict[str, float]


class Robot:
    """Sees with a noisy lidar from a wrong pose, and tells a map node what it believes."""

    def __init__(self, name: str, config: MapConfig, error: NDArray[np.float64]) -> None:
        """Args: error: by which its poses are wrong [m, m, rad]. Shape: (3,)."""
        self.own = OccupancyMap(BOUNDS, config)
        self.replica = Replica(BOUNDS, name, LayerId(name, 1), ReplicaConfig.for_map(config))
        self.sent_bytes = self._sequence = 0
        self._error = error

    def sense(self, scan: LaserScan, true_pose: NDArray[np.float64]) -> None:
        """Take a scan in. Shape of true_pose: (3,)."""
        self.pose = Pose(*(true_pose + self._error))
        self.own.integrate(scan, self.pose)
        self.own.clear_disc(self.pose.x_m, self.pose.y_m, 0.2)

    def publish(self, now_s: float, node: Replica) -> None:
        """Say what is due."""
        self.replica.write(self.replica.own, self.own.take_changed(), self.own.classes)
        while (message := self.replica.publish(self.replica.own, 60_000, now_s, bases=None,
                                               seen_from=self.pose[:2])) is not None:
            self._sequence += 1
            self.sent_bytes += len(packet_of(message, self._sequence))
            node.join(message)


def measure() -> list[Row]:
    """Means over worlds of all kinds; intervals, in which the mean is in 95 of 100 cases, by drawing the runs anew."""
    outcomes: dict[str, list[Outcome]] = {name: [] for name in NOISES}
    for kind in WORLDS:
        for seed in SEEDS:
            for name, noise in NOISES.items():
                outcomes[name].append(play(f'{kind}:{seed}@28x26', noise, seed))
            journeys.cache_clear()
    rows = []
    for name, runs in outcomes.items():
        rows.append(Row(f'F1 of fused walls to the cell, trinary evidence, noise of {name}',
                        fmean(run.f1['trinary'] for run in runs), '%', NOISES[name].least_f1))
        for way in ('graded', SUMS):
            gains = np.array([run.f1[way] - run.f1['trinary'] for run in runs])
            low, high = _interval(gains)
            rows.append(Row(f'the same with {way}: better by ({low:+.1f} to {high:+.1f})', gains.mean(), 'points',
                            GAIN_WORTH, at_least=False))
        trinary, graded = (fmean(run.bytes_per_s[way] for run in runs) for way in EVIDENCE)
        rows.append(Row(f'map features of a robot, trinary evidence, noise of {name}', trinary, 'B/s', 220.0,
                        at_least=False, peer='graded evidence', ratio=graded / trinary, ratio_target=1.1))
    return rows


def play(name: str, noise: Noise, seed: int) -> Outcome:
    """Let robots explore a world and tell a node of each kind of evidence."""
    world = load_world(name)
    random = np.random.default_rng(seed)
    lidar = Lidar(world, replace(LIDAR, noise_std_m=noise.range_m, dropout_probability=noise.dropouts), seed)
    ways = journeys(name, DURATION_S)
    errors = [noise.poses * _constant_error(random) for _ in ways]
    nodes, fleets = {}, {}
    for way in EVIDENCE:
        config = replace(CONFIG, evidence=way)
        nodes[way] = Replica(BOUNDS, 'map', config=ReplicaConfig.for_map(config))
        fleets[way] = [Robot(f'robot_{index}', config, error) for index, error in enumerate(errors)]
    for now_s in range(DURATION_S):
        for index, journey in enumerate(ways):
            poses = journey.poses[now_s * SCANS_PER_S:(now_s + 1) * SCANS_PER_S]
            for pose, scan in zip(poses, lidar.scans(0.0, poses, NO_DISCS, np.full(len(poses), -1))):
                seen_from = pose + noise.poses * random.normal(0.0, (JITTER_M, JITTER_M, JITTER_RAD))
                for robots in fleets.values():
                    robots[index].sense(scan, seen_from)
            for way, robots in fleets.items():
                robots[index].publish(now_s, nodes[way])
    for way, robots in fleets.items():
        for robot in robots:
            robot.publish(DURATION_S + 60.0, nodes[way])
    maps = {way: node.fused for way, node in nodes.items()}
    maps[SUMS] = summed([robot.own for robot in fleets['trinary']])
    return Outcome({way: 100.0 * f1(fused, maps['trinary'], world) for way, fused in maps.items()},
                   {way: sum(robot.sent_bytes for robot in robots) / len(ways) / DURATION_S
                    for way, robots in fleets.items()})


def summed(maps: list[OccupancyMap]) -> NDArray[np.int8]:
    """What the log-odds of all maps together say of cells that at least one of them knows. Shape: BOUNDS.shape."""
    total = np.sum([own.log_odds for own in maps], axis=0, dtype=np.int16)
    is_known = np.any([own.classes != UNKNOWN for own in maps], axis=0)
    return np.where(is_known, np.where(total >= 0, OCCUPIED, FREE), UNKNOWN).astype(np.int8)


def f1(fused: NDArray[np.int8], domain: NDArray[np.int8], world: World) -> float:
    """F1 of the walls of a map, to the cell; those to be found are beside what ``domain`` has free."""
    truth = np.zeros(BOUNDS.shape, bool)
    row, col = BOUNDS.cell_of(world.origin_x_m + 0.01, world.origin_y_m + 0.01)
    rows, cols = world.occupied.shape
    truth[row:row + rows, col:col + cols] = world.occupied
    walls, visible = fused == OCCUPIED, truth & ndimage.binary_dilation(~truth & (domain == FREE))
    precision, recall = truth[walls].mean(), walls[visible].mean()
    return float(2.0 * precision * recall / (precision + recall))


def _constant_error(random: np.random.Generator) -> NDArray[np.float64]:
    angle = random.uniform(0.0, 2.0 * pi)
    return np.array((OFFSET_M * cos(angle), OFFSET_M * sin(angle), random.choice((-TURN_RAD, TURN_RAD))))


def _interval(gains: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of the mean. Shape: (2,)."""
    random = np.random.default_rng(0)
    means = gains[random.integers(0, gains.size, (RESAMPLES, gains.size))].mean(axis=1)
    return np.quantile(means, (0.025, 0.975))
