"""A whole exploration episode on a coarse grid, decision by decision.

Semantics: point robots walk one cell edge at a time along shortest paths over what they know to be free, and look
around after every ``step_m``. A robot decides after ``decide_every_m`` of way and when it has arrived, but ever more
rarely while it only turns to and fro and learns nothing. Without conditions everybody knows everything at once, and all
decide as soon as one has to. Under conditions each robot has its own belief, hears others over a radio and decides for
itself; some die or join late. Where conditions leave the radio perfect and the team whole, beliefs would be equal: then
robots share one, which is as much quicker as they are many.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from marl_core.agent import ExplorationConfig
from marl_core.communication.teammates import TeammatesConfig
from marl_core.errors import SimulationError
from marl_core.mapping.frontiers import frontier_scratch
from marl_core.mapping.geodesics import UNREACHED, distance_scratch
from marl_core.specs import HOLD, MAX_CANDIDATES, MAX_TEAM, Candidate, Team
from models.compiled_scorer import BASE_RULE, CONTEXTS, FEATURES
from sim.conditions import Conditions
from sim.fast import episode, motion
from sim.fast.grid import CoarseGrid
from sim.fast.motion import Beliefs, Coverage, Fleet, Pace, Terrain
from sim.fast.radio import Radio, quiet_air
from sim.fast.rays import ray_tree
from sim.fast.sight import POOL, Batch, Fields, Frame, Survey

NEVER = 2**40
"""A step that is not reached."""


@dataclass(frozen=True, slots=True)
class FastConfig:
    """When robots look and decide, and when they are done.

    Attributes:
        step_m: way between two looks [m].
        decide_every_m: way after which a robot decides again [m].
        turns: after more turns away from a goal without news, each doubles the way until the next decision.
        forget_s: teammates who were not heard for longer are not planned with [s].
        measures_hidden: whether ``hidden_m2`` is measured.
        milestones: coverage at which times are taken, ascending; the last one ends the episode.
        split_ranges: frontiers are cut into pieces of this many sensor ranges.
        minimum_frontier_cells: smaller frontiers wait until no other is left.
        speed_mps: turns way into time [m/s].
    """

    step_m: float = 0.4
    decide_every_m: float = ExplorationConfig().travel_m
    turns: int = ExplorationConfig().turns
    forget_s: float = TeammatesConfig().fresh_s
    measures_hidden: bool = False
    milestones: tuple[float, ...] = (0.9, 0.95, 0.99)
    split_ranges: float = 0.6
    minimum_frontier_cells: int = 2
    speed_mps: float = 0.5

    @property
    def step_s(self) -> float:
        """Time between two looks [s]."""
        return self.step_m / self.speed_mps


class Outcome(NamedTuple):
    """What happened between two decisions.

    Attributes:
        elapsed_m: way that a moving robot went [m]. elapsed_s: the same as time [s].
        revealed_m2: newly covered area that each robot saw [m2]. Shape: (N,), float64.
        revealed_alone_m2: part of it that only this robot saw: exactly what the team would have covered less
            without the robot in this window [m2]. Shape: (N,), float64.
        coverage: part of the free area that the team has seen [0..1].
        done: the last milestone is reached, or no robot has a candidate left.
    """

    elapsed_m: float
    elapsed_s: float
    revealed_m2: NDArray[np.float64]
    revealed_alone_m2: NDArray[np.float64]
    coverage: float
    done: bool


class FastExploration:
    """Point robots that explore a coarse grid together.

    Attributes:
        grid: what is explored.
        robots: how many explore.
        observations: current observations by the names of ``specs.OBSERVATION``, each with a leading axis of
            robots, padded to MAX_CANDIDATES and MAX_TEAM. A robot that does not decide now has no candidate in its
            mask; the rest is what it decided on last. Overwritten by every step.
        candidate_cells: row and column of each candidate. Shape: (N, MAX_CANDIDATES, 2), int32.
        own_ranks: how many of the teammates that a robot heard come before it. Shape: (N,), int64.
        hidden_m2: free area not known yet to which each candidate is the nearest by way [m2]: truth that no robot
            sees. Measured if the configuration says so. Shape: (N, MAX_CANDIDATES), float32.
    """

    def __init__(self, grid: CoarseGrid, robots: int, sensor_range_m: float = 8.0,
                 config: FastConfig | None = None, conditions: Conditions | None = None) -> None:
        """Allocate everything that episodes need; ``reset`` before the first step.

        Args:
            grid: see the attributes. robots: likewise.
            sensor_range_m: reach of the lidars [m].
            config: None: the defaults.
            conditions: what makes it hard, None: everybody knows everything at once, and all decide together.

        Raises:
            SimulationError: too many robots, conditions for another number of them, a radio that chokes or doubles,
                or a sensor range below one cell.
        """
        if not 1 <= robots <= MAX_TEAM:
            raise SimulationError(f'1 to {MAX_TEAM} robots can explore, asked for {robots}')
        if sensor_range_m < grid.resolution_m:
            raise SimulationError(f'sensor_range_m must be at least one cell ({grid.resolution_m} m), '
                                  f'got {sensor_range_m}')
        self.grid, self.robots, self.sensor_range_m = grid, robots, sensor_range_m
        self.config, self.conditions = config or FastConfig(), conditions
        self._radio = _radio(self.config, conditions, robots, grid.resolution_m)
        self.observations, self._batch = _batch(robots, sensor_range_m)
        self.candidate_cells, self.own_ranks = self._batch.cells, self._batch.ranks
        self.hidden_m2 = self._batch.hidden_m2
        self._terrain = terrain_of(grid, sensor_range_m)
        self._frame = Frame(grid.resolution_m, grid.origin_x_m, grid.origin_y_m, sensor_range_m,
                            max(4, int(self.config.split_ranges * sensor_range_m / grid.resolution_m)),
                            self.config.minimum_frontier_cells, self.config.step_s, self.config.measures_hidden)
        self._fields = _fields(grid.free.shape, robots, 1 if self._radio.shared else 2)
        self._scratch = (frontier_scratch(grid.free.shape), _survey(robots, grid.free.size))
        self._seen = np.zeros((2, robots), np.int64)
        self._choices = np.zeros(robots, np.int64)
        self._ready = False

    def reset(self, starts: NDArray[np.int32] | None = None, seed: int = 0, limit_m: float = 1e6) -> None:
        """Start an episode; afterwards ``observations`` are those of the first decision.

        Args:
            starts: free cells, None: clustered around the grid's anchor. Shape: (N, 2).
            seed: draws the headings in the beginning, and what the radio loses.
            limit_m: way after which nothing moves any more [m].

        Raises:
            SimulationError: a start is not a free cell.
            WorldError: the world has no room for the robots.
        """
        cells = self.grid.clustered_starts(self.robots) if starts is None else np.array(starts, np.int32)
        inside = cells.shape == (self.robots, 2) and bool(np.all((cells >= 0) & (cells < self.grid.free.shape)))
        if not inside or not self.grid.free[cells[:, 0], cells[:, 1]].all():
            raise SimulationError(f'starts must be {self.robots} free cells (row, col) of the grid')
        config = self.config
        self._pace = Pace(config.step_m / self.grid.resolution_m, round(config.decide_every_m / config.step_m),
                          config.turns, self.conditions is None, max(1, round(limit_m / config.step_m)))
        headings = np.random.default_rng(seed).uniform(-np.pi, np.pi, self.robots)
        self._radio = self._radio._replace(seed=seed)
        self._air = quiet_air(self._radio, self.robots)
        self.beliefs, self._coverage, self._fleet = _episode(
            self.grid, cells, headings, config.milestones, 1 if self._radio.shared else self.robots)
        if self.conditions is not None:
            self._fleet.first_step[:] = np.ceil(np.array(self.conditions.joins_m) / config.step_m)
            self._fleet.last_step[:] = np.ceil(np.minimum(np.array(self.conditions.dies_m) / config.step_m, NEVER))
        self._fields.counts[:] = 0
        self._fields.cost[:] = UNREACHED
        self._candidates = episode.begin(self._frame, self._radio, self._air, self._terrain, self.beliefs,
                                         self._coverage, self._fleet, self._fields, *self._scratch, self._batch)
        self._ready = True

    def step(self, choices: NDArray[np.integer]) -> Outcome:
        """Send robots to candidates and let them go until the next decision.

        Args:
            choices: index of a candidate, or HOLD, for each robot; HOLD for those that do not decide. Shape: (N,).

        Raises:
            SimulationError: before ``reset``, or a choice that is no candidate.
        """
        if not self._ready:
            raise SimulationError('step before reset')
        choices = np.asarray(choices)
        if choices.shape != (self.robots,) or np.any(choices < HOLD) or np.any(choices >= self._batch.counts):
            raise SimulationError(f'each robot must choose HOLD or one of its candidates (of {self._batch.counts}), '
                                  f'got {choices}')
        self._choices[:] = choices
        before = self.elapsed_m
        self._candidates = episode.step(
            self._frame, self._pace, self._radio, self._air, self._terrain, self.beliefs, self._coverage, self._fleet,
            self._fields, *self._scratch, self._batch, self._choices, self._seen)
        elapsed_m, cell_m2 = self.elapsed_m - before, self.grid.resolution_m ** 2
        return Outcome(elapsed_m, elapsed_m / self.config.speed_mps, self._seen[0] * cell_m2,
                       self._seen[1] * cell_m2, self.coverage, self.done)

    def play_out(self, weights: NDArray[np.float64] = BASE_RULE) -> int:
        """Play the rest of the episode by a scorer, compiled.

        Args:
            weights: of features of candidates, by context, see ``models.scorer``; by default the base rule's, which
                goes for the best of ``base_logits``. Shape: (CONTEXTS, FEATURES).

        Returns:
            Number of decisions of the team.

        Raises:
            SimulationError: before ``reset``, or weights of another shape.
        """
        if not self._ready:
            raise SimulationError('play_out before reset')
        if weights.shape not in (BASE_RULE.shape, (CONTEXTS, FEATURES)):
            raise SimulationError(f'a scorer has {CONTEXTS} x {FEATURES} weights, got {weights.shape}')
        decisions, self._candidates = episode.play_out(
            weights, np.empty(weights.shape[1]), self._frame, self._pace, self._radio, self._air, self._terrain,
            self.beliefs, self._coverage, self._fleet, self._fields, *self._scratch, self._batch, self._choices,
            self._candidates)
        return decisions

    @property
    def elapsed_m(self) -> float:
        """Way that a robot could have gone since the start [m]."""
        return int(self._coverage.counters[motion.STEPS]) * self.config.step_m

    @property
    def coverage(self) -> float:
        """Part of the free area that the team has seen [0..1]."""
        counters = self._coverage.counters
        return int(counters[motion.COVERED_CELLS] + counters[motion.NEW_CELLS]) / self._free_cells

    @property
    def complete(self) -> bool:
        """Whether the last milestone is reached."""
        return bool(self._coverage.milestones[-1] >= 0)

    @property
    def done(self) -> bool:
        """Whether the last milestone is reached, or no robot has a candidate left or is still to come."""
        return self.complete or self._candidates == 0

    @property
    def out_of_time(self) -> bool:
        """Whether the limit of way is used up."""
        return bool(self._coverage.counters[motion.STEPS] >= self._pace.most_steps)

    @property
    def milestones_m(self) -> NDArray[np.float64]:
        """Way at each of the configured milestones, inf where it is not reached [m]. Shape: (M,)."""
        steps = self._coverage.milestones
        return np.where(steps < 0, np.inf, steps * self.config.step_m)

    @property
    def travelled_m(self) -> NDArray[np.float64]:
        """Way that each robot went [m]. Shape: (N,)."""
        return self._fleet.travelled * self.grid.resolution_m

    @property
    def cells(self) -> NDArray[np.int32]:
        """Row and column of each robot. Shape: (N, 2)."""
        return self._fleet.cells

    @property
    def goals(self) -> NDArray[np.int32]:
        """Row and column of each robot's goal, negative without one. Shape: (N, 2)."""
        return self._fleet.goals

    @property
    def known(self) -> NDArray[np.int8]:
        """What the team knows together: classes. Shape: (rows, cols)."""
        states = self.beliefs.state
        return states[0] if len(states) == 1 else np.sign(states.sum(axis=0, dtype=np.int8))

    @property
    def covered(self) -> NDArray[np.bool_]:
        """Free cells that the team has seen. Shape: (rows, cols)."""
        return self._coverage.seen_in != 0

    @property
    def _free_cells(self) -> int:
        return int(np.count_nonzero(self.grid.free))


def terrain_of(grid: CoarseGrid, sensor_range_m: float) -> Terrain:
    """A grid as lidars of a range see it."""
    tree = ray_tree(sensor_range_m / grid.resolution_m)
    return Terrain(grid.free, tree.rows * np.int32(grid.free.shape[1]) + tree.cols, tree.after)


def _batch(robots: int, sensor_range_m: float) -> tuple[dict[str, NDArray[np.generic]], Batch]:
    most, team = MAX_CANDIDATES, MAX_TEAM
    batch = Batch(
        candidates=np.zeros((robots, most, len(Candidate)), np.float32),
        candidate_mask=np.zeros((robots, most), np.bool_),
        candidate_distances_m=np.zeros((robots, most, most), np.float32),
        team=np.zeros((robots, team, len(Team)), np.float32),
        team_mask=np.zeros((robots, team), np.bool_),
        team_distances_m=np.zeros((robots, team, most), np.float32),
        base_logits=np.zeros((robots, most), np.float32),
        cells=np.zeros((robots, most, 2), np.int32),
        counts=np.zeros(robots, np.int64),
        ranks=np.arange(robots),
        hidden_m2=np.zeros((robots, most), np.float32))
    observations: dict[str, NDArray[np.generic]] = {
        name: array for name, array in batch._asdict().items() if name not in ('cells', 'counts', 'ranks', 'hidden_m2')}
    observations['sensor_range_m'] = np.full((robots, 1), sensor_range_m, np.float32)
    return observations, batch


def _radio(config: FastConfig, conditions: Conditions | None, robots: int, resolution_m: float) -> Radio:
    forget = int(config.forget_s / config.step_s)
    if conditions is None:
        return Radio(True, np.inf, 0.0, 0.0, 0.0, forget, 0)
    radio = conditions.radio
    if len(conditions.joins_m) != robots:
        raise SimulationError(f'conditions for {len(conditions.joins_m)} robots, but {robots} explore')
    if radio.duplication > 0.0 or min(radio.bandwidth_bytes_per_s, radio.queue_bytes) < np.inf:
        raise SimulationError('on a grid messages have no size, and twins make no difference: leave duplication, '
                              'bandwidth_bytes_per_s and queue_bytes of the radio alone, or play whole agents')
    return Radio(conditions.perfect, radio.range_m / resolution_m, radio.loss,
                 radio.delay_min_s / config.step_s, radio.delay_max_s / config.step_s, forget, 0)


def _fields(shape: tuple[int, int], robots: int, rows: int) -> Fields:
    queue, _ = distance_scratch(shape)
    return Fields(np.full((rows, robots, *shape), UNREACHED, np.int32),
                  np.empty((rows, robots, shape[0] * shape[1]), np.int32),
                  np.zeros((rows, robots), np.int64), queue, np.zeros(shape, np.uint8))


def _survey(robots: int, cells: int) -> Survey:
    most = MAX_CANDIDATES
    return Survey(np.empty((POOL, 2), np.int32), np.empty(POOL, np.int32), np.empty(POOL, np.float32),
                  np.empty(POOL, np.float32), np.empty((POOL, POOL), np.float32), np.empty(POOL, np.int64),
                  np.empty((most, 2), np.int32), np.empty(most, np.int32), np.empty(most, np.float32),
                  np.empty(most, np.float32), np.empty((most, most), np.float32), np.empty((robots, 3)),
                  np.empty((robots, 2)), np.empty(robots), np.empty(robots), np.empty((robots, most), np.int32),
                  np.empty(robots, np.int64), np.empty(POOL, np.int64), np.empty(cells, np.int16))


def _episode(grid: CoarseGrid, cells: NDArray[np.int32], headings_rad: NDArray[np.float64],
             milestones: tuple[float, ...], count: int) -> tuple[Beliefs, Coverage, Fleet]:
    """``count``: of beliefs."""
    shape, robots, free = grid.free.shape, len(cells), int(np.count_nonzero(grid.free))
    beliefs = Beliefs(np.zeros((count, *shape), np.int8), np.zeros((count, *shape), np.uint8),
                      np.zeros((count, *shape), np.int32), np.empty((count, shape[0] * shape[1]), np.int32),
                      np.zeros(count, np.int64))
    thresholds = np.array([int(np.ceil(part * free - 1e-9)) for part in milestones], np.int64)
    coverage = Coverage(np.zeros(shape, np.int32), np.zeros(shape, np.uint16), np.empty(free, np.int32),
                        np.zeros(4, np.int64), thresholds, np.full(len(milestones), -1, np.int64))
    coverage.counters[motion.WINDOW] = 1
    owned = np.zeros(robots, np.int32) if count == 1 else np.arange(robots, dtype=np.int32)
    fleet = Fleet(owned, cells.copy(), headings_rad, np.full((robots, 2), -1, np.int32),
                  np.empty((robots, free, 2), np.int32), np.zeros(robots, np.int32), np.zeros(robots),
                  np.zeros(robots, np.bool_), np.zeros(robots), np.zeros(robots, np.int64),
                  np.zeros(robots, np.int64), np.zeros(robots, np.int64), np.ones(robots, np.bool_),
                  np.ones(robots, np.int64), np.zeros(robots, np.int64), np.full(robots, NEVER, np.int64))
    return beliefs, coverage, fleet
