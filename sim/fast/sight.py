"""Compiled: what each robot is told before it decides, by the kernels that run on robots.

Robots that share a belief share the survey of its candidates; each still gets its own list, its own nearest first,
exactly as a robot would compute it alone.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from marl_core.decision.features import fill_observation, survey_candidates
from marl_core.mapping.frontiers import FrontierScratch, extract_candidates
from marl_core.mapping.geodesics import STRAIGHT, UNREACHED, clear_distance_field, fill_distance_field
from sim.fast.motion import Beliefs, Fleet

POOL = 256
"""Candidates of a belief that are looked at before each robot keeps its nearest."""


class Frame(NamedTuple):
    """Units and settings of observations.

    Attributes:
        resolution_m: edge of a cell [m].
        origin_x_m, origin_y_m: lower left corner of cell (0, 0) [m; map frame].
        sensor_range_m: [m].
        split_cells: longest edge of a candidate's piece of frontier [cells].
        minimum_cells: smaller frontiers are no candidates while there are others [cells].
    """

    resolution_m: float
    origin_x_m: float
    origin_y_m: float
    sensor_range_m: float
    split_cells: int
    minimum_cells: int


class Batch(NamedTuple):
    """Observations of all robots, padded as in ``specs.OBSERVATION``, and the cells of their candidates."""

    candidates: NDArray[np.float32]
    candidate_mask: NDArray[np.bool_]
    candidate_distances_m: NDArray[np.float32]
    team: NDArray[np.float32]
    team_mask: NDArray[np.bool_]
    team_distances_m: NDArray[np.float32]
    base_logits: NDArray[np.float32]
    cells: NDArray[np.int32]
    counts: NDArray[np.int64]


class Fields(NamedTuple):
    """Distance fields of all robots on a belief, and scratch.

    Attributes:
        cost: Shape: (B, N, rows, cols), int32; UNREACHED in the beginning.
        reached: flat indices of reached cells. Shape: (B, N, rows * cols), int32.
        counts: reached cells. Shape: (B, N), int64.
        queue: Shape: (8, rows * cols), int32.
        ignored: no frontier is ignored. Shape: (rows, cols), uint8.
    """

    cost: NDArray[np.int32]
    reached: NDArray[np.int32]
    counts: NDArray[np.int64]
    queue: NDArray[np.int32]
    ignored: NDArray[np.uint8]


class Survey(NamedTuple):
    """Scratch: the pool of a belief's candidates, and one robot's part of it.

    Attributes:
        cells, sizes: the pool. Shapes: (POOL, 2), (POOL,).
        gains_m2, unknown_ratios, overlaps: of the pool. Shapes: (POOL,), (POOL,), (POOL, POOL).
        chosen: indices into the pool, by a robot's cost. Shape: (POOL,).
        own_cells, own_sizes, own_gains_m2, own_unknown_ratios, own_overlaps: of the chosen. K rows.
        poses, goals_m, to_go_m, ages_s, costs: the team from a robot's point of view. Shapes: (N, ..), (N, K).
    """

    cells: NDArray[np.int32]
    sizes: NDArray[np.int32]
    gains_m2: NDArray[np.float32]
    unknown_ratios: NDArray[np.float32]
    overlaps: NDArray[np.float32]
    chosen: NDArray[np.int64]
    own_cells: NDArray[np.int32]
    own_sizes: NDArray[np.int32]
    own_gains_m2: NDArray[np.float32]
    own_unknown_ratios: NDArray[np.float32]
    own_overlaps: NDArray[np.float32]
    poses: NDArray[np.float64]
    goals_m: NDArray[np.float64]
    to_go_m: NDArray[np.float64]
    ages_s: NDArray[np.float64]
    costs: NDArray[np.int32]


@njit(cache=True, nogil=True)
def observe_all(frame: Frame, beliefs: Beliefs, fleet: Fleet, fields: Fields, scratch: FrontierScratch,
                survey: Survey, batch: Batch) -> int:
    """Write the observations of all robots into ``batch``. Returns the largest number of candidates of a robot."""
    robots, most = fleet.cells.shape[0], 0
    for belief in range(beliefs.state.shape[0]):
        pooled = -1
        for robot in range(robots):
            if fleet.belief_of[robot] != belief:
                continue
            if pooled < 0:
                _measure_ways(beliefs, fleet, fields, belief)
                pooled = _pool_candidates(frame, beliefs, fields, belief, robot, scratch, survey)
            _choose_own(fields.cost[belief, robot], pooled, survey, batch, robot)
            _look_from(frame, fleet, fields.cost[belief], survey, batch, robot)
            most = max(most, batch.counts[robot])
    return most


@njit(cache=True, nogil=True)
def _measure_ways(beliefs: Beliefs, fleet: Fleet, fields: Fields, belief: int) -> None:
    for robot in range(fleet.cells.shape[0]):
        cost, reached = fields.cost[belief, robot], fields.reached[belief, robot]
        clear_distance_field(cost, reached, fields.counts[belief, robot])
        fields.counts[belief, robot] = fill_distance_field(
            beliefs.traversable[belief], fleet.cells[robot, 0], fleet.cells[robot, 1], cost, fields.queue, reached)


@njit(cache=True, nogil=True)
def _pool_candidates(frame: Frame, beliefs: Beliefs, fields: Fields, belief: int, robot: int,
                     scratch: FrontierScratch, survey: Survey) -> int:
    state, cost = beliefs.state[belief], fields.cost[belief, robot]
    rows, cols = state.shape
    count = extract_candidates(state, cost, fields.ignored, 0, rows, 0, cols, frame.split_cells,
                               frame.minimum_cells, scratch, survey.cells, survey.sizes)
    if count == 0:  # nothing of worth is left: now the crumbs count
        count = extract_candidates(state, cost, fields.ignored, 0, rows, 0, cols, frame.split_cells, 1, scratch,
                                   survey.cells, survey.sizes)
    survey_candidates(state, frame.resolution_m, survey.cells[:count], frame.sensor_range_m, survey.gains_m2,
                      survey.unknown_ratios, survey.overlaps)
    return count


@njit(cache=True, nogil=True)
def _choose_own(cost: NDArray[np.int32], pooled: int, survey: Survey, batch: Batch, robot: int) -> None:
    """Keep a robot's nearest candidates, ordered like ``extract_candidates`` by cost, row, column."""
    chosen, cells, cols = survey.chosen, survey.cells, cost.shape[1]
    for index in range(pooled):
        row, col, at = cells[index, 0], cells[index, 1], index
        while at > 0:
            other_row, other_col = cells[chosen[at - 1], 0], cells[chosen[at - 1], 1]
            nearer, other = cost[row, col], cost[other_row, other_col]
            if other < nearer or (other == nearer and other_row * cols + other_col < row * cols + col):
                break
            chosen[at] = chosen[at - 1]
            at -= 1
        chosen[at] = index
    count = min(pooled, survey.own_sizes.size)
    while count > 0 and cost[cells[chosen[count - 1], 0], cells[chosen[count - 1], 1]] >= UNREACHED:
        count -= 1
    batch.counts[robot] = count
    for k in range(count):
        index = chosen[k]
        survey.own_cells[k, 0], survey.own_cells[k, 1] = cells[index, 0], cells[index, 1]
        batch.cells[robot, k, 0], batch.cells[robot, k, 1] = cells[index, 0], cells[index, 1]
        survey.own_sizes[k] = survey.sizes[index]
        survey.own_gains_m2[k] = survey.gains_m2[index]
        survey.own_unknown_ratios[k] = survey.unknown_ratios[index]
        for other in range(count):
            survey.own_overlaps[k, other] = survey.overlaps[index, chosen[other]]


@njit(cache=True, nogil=True)
def _look_from(frame: Frame, fleet: Fleet, cost: NDArray[np.int32], survey: Survey, batch: Batch, robot: int) -> None:
    """Gather the team with the robot in row 0, the others in order, and fill the robot's observation."""
    robots, count, edge_m = fleet.cells.shape[0], batch.counts[robot], frame.resolution_m
    for place in range(robots):
        other = robot if place == 0 else (place - 1 if place <= robot else place)
        row, col = fleet.goals[other, 0], fleet.goals[other, 1]
        survey.poses[place, 0] = frame.origin_x_m + (fleet.cells[other, 1] + 0.5) * edge_m
        survey.poses[place, 1] = frame.origin_y_m + (fleet.cells[other, 0] + 0.5) * edge_m
        survey.poses[place, 2] = fleet.headings_rad[other]
        survey.goals_m[place, 0] = frame.origin_x_m + (col + 0.5) * edge_m if row >= 0 else np.nan
        survey.goals_m[place, 1] = frame.origin_y_m + (row + 0.5) * edge_m if row >= 0 else np.nan
        survey.to_go_m[place] = cost[other, row, col] * edge_m / STRAIGHT if row >= 0 else np.nan
        survey.ages_s[place] = 0.0  # a lossy radio would make them grow
        for k in range(count):
            survey.costs[place, k] = cost[other, survey.own_cells[k, 0], survey.own_cells[k, 1]]
    fill_observation(
        edge_m, frame.origin_x_m, frame.origin_y_m, frame.sensor_range_m, survey.own_cells[:count],
        survey.own_sizes[:count], survey.own_gains_m2[:count], survey.own_unknown_ratios[:count],
        survey.own_overlaps, survey.poses, survey.goals_m, survey.to_go_m, survey.ages_s, survey.costs[:, :count],
        robot, batch.candidates[robot], batch.candidate_mask[robot], batch.candidate_distances_m[robot],
        batch.team[robot], batch.team_mask[robot], batch.team_distances_m[robot], batch.base_logits[robot])
