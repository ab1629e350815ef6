"""The exploration task: which worlds, teams and lidars, and what a decision is worth.

A team explores an unknown world until it has seen 99 % of it; the return of an episode is about minus the
makespan in units of what the base rule typically needs, so that small and large worlds count alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

import numpy as np
from numpy.typing import NDArray

from marl_core.specs import MAX_TEAM
from sim.channel import ChannelConfig
from sim.conditions import Conditions
from sim.worlds import WORLDS, World, WorldSize

TRAINING_SEEDS = range(1_000, 1_000_000_000)
"""Only worlds of these seeds are trained on. ``office:3`` that people type, and seeds from 1e9 on, are held back."""

_BASE_COVERAGE = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
_BASE_PROGRESS = (0.0, 0.01, 0.05, 0.12, 0.19, 0.28, 0.37, 0.48, 0.59, 0.75, 0.86, 1.0)
_START_CLEARANCE_M = 0.35
_ATTEMPTS = 200
_PER_REPEAT = 10**10


@dataclass(frozen=True, slots=True)
class Hardships:
    """Distribution of conditions; of each pair a value between them is drawn. As it stands: a perfect radio over which
    everybody hears everything at once, but each robot decides for itself.

    Attributes:
        radio_range_m: farthest receiver [m]. loss: probability that one does not get a message.
        delay_s: longest time of a message in the air [s].
        death: probability that one robot of several dies before the reference's time is over.
        late: probability that one robot of several joins within the first half of it.

    Raises:
        ValueError: a pair that is not in order, or a value that nothing can have.
    """

    radio_range_m: tuple[float, float] = (inf, inf)
    loss: tuple[float, float] = (0.0, 0.0)
    delay_s: tuple[float, float] = (0.0, 0.0)
    death: float = 0.0
    late: float = 0.0

    def __post_init__(self) -> None:
        for name in ('radio_range_m', 'loss', 'delay_s'):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f'{name} must be a smallest and a largest value, got {low} and {high}')
        for worst in (0, 1):
            ChannelConfig(self.radio_range_m[worst], self.loss[worst], delay_max_s=self.delay_s[worst])
        if not (0.0 <= self.death <= 1.0 and 0.0 <= self.late <= 1.0):
            raise ValueError('death and late must be probabilities')

    def sample(self, robots: int, reference_m: float, rng: np.random.Generator) -> Conditions:
        """Draw the conditions of an episode of which the base rule would need ``reference_m`` of way."""
        drawn = rng.random(7).tolist()  # All, whether needed or not, so that one never shifts the others.
        joins_m, dies_m = [0.0] * robots, [inf] * robots
        if robots > 1 and drawn[3] < self.late:
            joins_m[int(drawn[4] * robots)] = (0.05 + 0.45 * (drawn[4] * robots % 1.0)) * reference_m
        if robots > 1 and drawn[5] < self.death:
            robot = int(drawn[6] * robots)
            dies_m[robot] = joins_m[robot] + (0.1 + 0.4 * (drawn[6] * robots % 1.0)) * reference_m
        range_m, loss, delay_s = (low if low == high else low + part * (high - low) for part, (low, high) in
                                  zip(drawn, (self.radio_range_m, self.loss, self.delay_s)))
        return Conditions(tuple(joins_m), tuple(dies_m), ChannelConfig(range_m, loss, delay_max_s=delay_s))


@dataclass(frozen=True, slots=True)
class ExplorationTask:
    """Distribution of episodes, and rewards.

    Attributes:
        worlds: generators, drawn evenly; a name may be repeated.
        smallest_m, largest_m: edges of worlds at difficulty 1 are drawn between these [m].
        difficulty: 0 gives only the smallest worlds, 1 all; a curriculum raises it.
        world_resolution_m: edge of a cell of generated worlds [m].
        planning_resolution_m: edge of a cell that robots plan on [m].
        smallest_team, largest_team: of episodes whose team size is drawn.
        shortest_range_m, longest_range_m: reach of the lidar is drawn between these [m].
        random_start: probability that the team starts anywhere instead of at the world's own start.
        difference_weight: what an equal share of the world is worth, seen by the robot alone; the time that the base
            rule needs is worth 1.
        completion_bonus: for everyone when the last milestone is reached.
        limit: an episode is cut off after so many times the reference.
        hardships: what makes episodes hard, None: everybody knows everything at once, and all decide together.
        repeat: episodes of another number have the same worlds, starts and conditions, but other headings in the
            beginning, noise and lost messages: how far two of them differ is chance.

    Raises:
        ValueError: an unknown world, or a range that is empty or out of bounds.
    """

    worlds: tuple[str, ...] = ('rooms', 'office', 'maze', 'cave', 'warehouse')
    smallest_m: float = 12.0
    largest_m: float = 40.0
    difficulty: float = 1.0
    world_resolution_m: float = 0.1
    planning_resolution_m: float = 0.2
    smallest_team: int = 1
    largest_team: int = 6
    shortest_range_m: float = 8.0
    longest_range_m: float = 8.0
    random_start: float = 0.7
    difference_weight: float = 0.25
    completion_bonus: float = 0.5
    limit: float = 4.0
    hardships: Hardships | None = None
    repeat: int = 0

    def __post_init__(self) -> None:
        unknown = set(self.worlds) - set(WORLDS)
        if unknown or not self.worlds:
            raise ValueError(f'worlds must name some of {", ".join(WORLDS)}, got {self.worlds}')
        if not 6.0 <= self.smallest_m <= self.largest_m:
            raise ValueError('edges must satisfy 6 <= smallest_m <= largest_m')
        if not 1 <= self.smallest_team <= self.largest_team <= MAX_TEAM:
            raise ValueError(f'teams must satisfy 1 <= smallest_team <= largest_team <= {MAX_TEAM}')
        if not 0.0 < self.shortest_range_m <= self.longest_range_m:
            raise ValueError('ranges must satisfy 0 < shortest_range_m <= longest_range_m')
        if not (0.0 <= self.difficulty <= 1.0 and 0.0 <= self.random_start <= 1.0):
            raise ValueError('difficulty and random_start must be within 0 .. 1')
        if self.repeat < 0:
            raise ValueError(f'repeat must be 0 or more, got {self.repeat}')

    def sample(self, seed: int, robots: int | None = None) -> 'Episode':
        """Draw the episode of a seed; the same seed gives the same episode.

        Args:
            seed: also the seed of its world, see TRAINING_SEEDS.
            robots: size of the team, None: drawn.

        Raises:
            WorldError: the drawn world has no room for the team.
        """
        rng = np.random.default_rng([seed, 0x4578])
        name = str(rng.choice(self.worlds))
        largest_m = self.smallest_m + self.difficulty * (self.largest_m - self.smallest_m)
        width_m, height_m = (float(edge) for edge in rng.uniform(self.smallest_m, largest_m, 2))
        team = int(rng.integers(self.smallest_team, self.largest_team + 1))
        range_m = float(rng.uniform(self.shortest_range_m, self.longest_range_m))
        world = WORLDS[name](seed, WorldSize(width_m, height_m, self.world_resolution_m))
        if rng.random() < self.random_start:
            world = _started_anywhere(world, rng)
        return self.episode(world, team if robots is None else robots, range_m, seed)

    def episode(self, world: World, robots: int, sensor_range_m: float, seed: int = 0) -> 'Episode':
        """An episode in a given world."""
        area_m2 = float(np.count_nonzero(world.reachable)) * world.resolution_m ** 2
        reference = reference_m(area_m2, robots, sensor_range_m)
        conditions = None
        if self.hardships is not None:
            rng = np.random.default_rng([seed, 0x4861])
            conditions = self.hardships.sample(robots, reference, rng)
        return Episode(world, robots, sensor_range_m, self.planning_resolution_m, seed + self.repeat * _PER_REPEAT,
                       area_m2, reference, self.limit * reference, conditions)

    def rewards(self, episode: 'Episode', elapsed_m: float, revealed_alone_m2: NDArray[np.float64],
                complete: bool) -> NDArray[np.float64]:
        """Reward of each robot for the way between two decisions.

        Args:
            episode: what is played.
            elapsed_m: way since the last decision [m].
            revealed_alone_m2: what the team would have covered less without each robot [m2]. Shape: (N,).
            complete: the last milestone has just been reached.
        """
        share = revealed_alone_m2 * (episode.robots / episode.area_m2)
        bonus = self.completion_bonus if complete else 0.0
        return self.difference_weight * share - elapsed_m / episode.reference_m + bonus


@dataclass(frozen=True, eq=False, slots=True)
class Episode:
    """One exploration to play.

    Attributes:
        world: what to explore, and where its start is.
        robots: size of the team.
        sensor_range_m: reach of the lidars [m].
        planning_resolution_m: edge of a cell that robots plan on [m].
        seed: of all that is drawn while playing.
        area_m2: free area [m2].
        reference_m: see ``reference_m`` [m].
        limit_m: way after which the episode is cut off [m].
        conditions: what makes it hard, None: everybody knows everything at once, and all decide together.
    """

    world: World
    robots: int
    sensor_range_m: float
    planning_resolution_m: float
    seed: int
    area_m2: float
    reference_m: float
    limit_m: float
    conditions: Conditions | None = None


def reference_m(area_m2: float, robots: int, sensor_range_m: float) -> float:
    """Way that the base rule typically needs to see 99 % of a world [m].

    A power law fitted to makespans of 231 episodes in generated worlds of all kinds (1 to 6 robots, ranges of 5 to
    10 m); a single world differs from it by about 40 % (warehouses are quicker, mazes slower).
    """
    return 0.24 * area_m2 ** 1.11 / (sensor_range_m ** 0.17 * robots ** 0.74)


def base_progress(coverage: float) -> float:
    """Part of its makespan after which the base rule has typically covered so much [0..1]: a potential for shaping.

    Means of 60 episodes in generated worlds of all kinds; a single one differs from it by 0.1 to 0.15 on the way.
    """
    return float(np.interp(coverage, _BASE_COVERAGE, _BASE_PROGRESS))


def is_held_back(seeds: Sequence[int]) -> bool:
    """Whether none of the seeds may be trained on."""
    return not any(seed in TRAINING_SEEDS for seed in seeds)


def _started_anywhere(world: World, rng: np.random.Generator) -> World:
    """The world with a start drawn evenly from where a robot fits; its own start if none is found."""
    rows, cols = np.nonzero(world.reachable)
    for index in rng.integers(len(rows), size=_ATTEMPTS):
        x_m = world.origin_x_m + (int(cols[index]) + 0.5) * world.resolution_m
        y_m = world.origin_y_m + (int(rows[index]) + 0.5) * world.resolution_m
        if world.fits(x_m, y_m, _START_CLEARANCE_M):
            return replace(world, anchor_x_m=x_m, anchor_y_m=y_m)
    return world
