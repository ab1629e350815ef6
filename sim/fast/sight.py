"""Compiled: what each robot is told before it decides, by the kernels that run on robots.

Robots that share a belief share the survey of its candidates and the distance fields; each still gets its own list,
its own nearest first, exactly as a robot would compute it alone. Of teammates a robot knows what it last heard.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from marl_core.decision.features import fill_observation, survey_candidates
from marl_core.mapping.frontiers import FrontierScratch, extract_candidates
from marl_core.mapping.geodesics import STRAIGHT, UNREACHED, clear_distance_field, fill_distance_field
from marl_core.types import UNKNOWN
from sim.fast.motion import Beliefs, Fleet, Terrain
from sim.fast.radio import Air, Radio

_UNKNOWN = np.int8(UNKNOWN)

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
        step_s: time of a step [s].
        measures_hidden: whether hidden areas are measured.
    """

    resolution_m: float
    origin_x_m: float
    origin_y_m: float
    sensor_range_m: float
    split_cells: int
    minimum_cells: int
    step_s: float
    measures_hidden: bool


class Batch(NamedTuple):
    """Observations of all robots, padded as in ``specs.OBSERVATION``, the cells of their candidates, how many there
    are, and how many of the teammates that a robot heard come before it.
    """

    candidates: NDArray[np.float32]
    candidate_mask: NDArray[np.bool_]
    candidate_distances_m: NDArray[np.float32]
    team: NDArray[np.float32]
    team_mask: NDArray[np.bool_]
    team_distances_m: NDArray[np.float32]
    base_logits: NDArray[np.float32]
    cells: NDArray[np.int32]
    counts: NDArray[np.int64]
    ranks: NDArray[np.int64]
    hidden_m2: NDArray[np.float32]


class Fields(NamedTuple):
    """Distance fields, and scratch. The first row is of all robots, each from where it is over its own belief. Where
    robots share no belief, the second is of the teammates of whoever looks, from where they were heard over its belief.

    Attributes:
        cost: Shape: (1 or 2, N, rows, cols), int32; UNREACHED in the beginning.
        reached: flat indices of reached cells. Shape: (1 or 2, N, rows * cols), int32.
        counts: reached cells. Shape: (1 or 2, N), int64.
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
        team: the robot, then teammates that it heard lately, ascending. Shape: (N,).
        hidden_cells: of the pool, see ``_share_hidden``. Shape: (POOL,), int64.
        owners: Shape: (rows * cols,), int16.
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
    team: NDArray[np.int64]
    hidden_cells: NDArray[np.int64]
    owners: NDArray[np.int16]


@njit(cache=True, nogil=True)
def observe_all(frame: Frame, terrain: Terrain, radio: Radio, air: Air, beliefs: Beliefs, fleet: Fleet, fields: Fields,
                scratch: FrontierScratch, survey: Survey, batch: Batch, step: int) -> int:
    """Write the observations of robots that decide into ``batch``; of others nothing is a candidate.

    Returns:
        The largest number of candidates of a robot that decides.
    """
    robots, most, pooled = fleet.cells.shape[0], 0, -1
    for robot in range(robots):
        if fleet.deciding[robot] or radio.shared:  # There a teammate's way is what it is for the teammate.
            _measure_way(beliefs, fleet.belief_of[robot], fleet.cells[robot], fields, 0, robot)
    for robot in range(robots):
        batch.counts[robot] = 0
        batch.candidate_mask[robot] = False
        if not fleet.deciding[robot]:
            continue
        if pooled < 0 or not radio.shared:
            pooled = _pool_candidates(frame, beliefs, fields, fleet.belief_of[robot], robot, scratch, survey)
            if frame.measures_hidden:
                _share_hidden(terrain.free, beliefs.state[fleet.belief_of[robot]], survey.cells[:pooled],
                              survey.owners, fields.queue.reshape(-1), survey.hidden_cells)
        _choose_own(fields.cost[0, robot], pooled, survey, batch, robot)
        if frame.measures_hidden:
            batch.hidden_m2[robot] = 0.0
            for k in range(batch.counts[robot]):
                batch.hidden_m2[robot, k] = survey.hidden_cells[survey.chosen[k]] * frame.resolution_m ** 2
        _look_from(frame, radio, air, beliefs, fleet, fields, survey, batch, robot, step)
        fleet.left[robot] = batch.counts[robot]
        most = max(most, batch.counts[robot])
    return most


@njit(cache=True, nogil=True)
def _measure_way(beliefs: Beliefs, belief: int, cell: NDArray[np.int32], fields: Fields, row: int, robot: int) -> None:
    cost, reached = fields.cost[row, robot], fields.reached[row, robot]
    clear_distance_field(cost, reached, fields.counts[row, robot])
    fields.counts[row, robot] = 0
    if beliefs.traversable[belief, cell[0], cell[1]]:
        fields.counts[row, robot] = fill_distance_field(beliefs.traversable[belief], cell[0], cell[1], cost,
                                                        fields.queue, reached)


@njit(cache=True, nogil=True)
def _pool_candidates(frame: Frame, beliefs: Beliefs, fields: Fields, belief: int, robot: int,
                     scratch: FrontierScratch, survey: Survey) -> int:
    state, cost = beliefs.state[belief], fields.cost[0, robot]
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
def _share_hidden(free: NDArray[np.bool_], state: NDArray[np.int8], cells: NDArray[np.int32],
                  owners: NDArray[np.int16], queue: NDArray[np.int32], hidden_cells: NDArray[np.int64]) -> None:
    """Give every free cell that is not known yet to the candidate from which it is nearest by way.

    Args:
        free: truth. state: what is known. Shape: (rows, cols).
        cells: candidates. Shape: (K, 2).
        owners: scratch. Shape: (rows * cols,). queue: scratch. Shape: at least (rows * cols,).
        hidden_cells: written: how many each got. Shape: at least (K,).
    """
    cols, head, tail = free.shape[1], 0, 0
    flat_free, flat_state = free.reshape(-1), state.reshape(-1)
    owners[:] = -1
    hidden_cells[:cells.shape[0]] = 0
    for k in range(cells.shape[0]):
        cell = cells[k, 0] * cols + cells[k, 1]
        owners[cell] = k
        queue[tail] = cell
        tail += 1
    while head < tail:
        cell = queue[head]
        head += 1
        for offset in (-cols, -1, 1, cols):
            near = cell + offset
            if owners[near] < 0 and flat_free[near]:
                owners[near] = owners[cell]
                hidden_cells[owners[cell]] += flat_state[near] == _UNKNOWN
                queue[tail] = near
                tail += 1


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
def _look_from(frame: Frame, radio: Radio, air: Air, beliefs: Beliefs, fleet: Fleet, fields: Fields, survey: Survey,
               batch: Batch, robot: int, step: int) -> None:
    """Gather the team with the robot in row 0, the others in order, and fill the robot's observation."""
    count, edge_m, slots = batch.counts[robot], frame.resolution_m, air.known.shape[0]
    present, batch.ranks[robot] = _hear_of(radio, air, survey, robot, step)
    for place in range(present):
        other = survey.team[place]
        said = air.heard[robot, other] % slots
        cell = air.cells[said, other] if place else fleet.cells[robot]
        goal = air.goals[said, other] if place else fleet.goals[robot]
        heading_rad = air.headings_rad[said, other] if place else fleet.headings_rad[robot]
        row = 0 if place == 0 or radio.shared else 1
        if row == 1:
            _measure_way(beliefs, fleet.belief_of[robot], cell, fields, 1, other)
        cost = fields.cost[row, other]
        survey.poses[place, 0] = frame.origin_x_m + (cell[1] + 0.5) * edge_m
        survey.poses[place, 1] = frame.origin_y_m + (cell[0] + 0.5) * edge_m
        survey.poses[place, 2] = heading_rad
        survey.goals_m[place, 0] = frame.origin_x_m + (goal[1] + 0.5) * edge_m if goal[0] >= 0 else np.nan
        survey.goals_m[place, 1] = frame.origin_y_m + (goal[0] + 0.5) * edge_m if goal[0] >= 0 else np.nan
        survey.to_go_m[place] = _to_go_m(cost, cell, goal, edge_m) if goal[0] >= 0 else np.nan
        survey.ages_s[place] = (step - air.heard[robot, other]) * frame.step_s if place else 0.0
        for k in range(count):
            survey.costs[place, k] = cost[survey.own_cells[k, 0], survey.own_cells[k, 1]]
    fill_observation(
        edge_m, frame.origin_x_m, frame.origin_y_m, frame.sensor_range_m, survey.own_cells[:count],
        survey.own_sizes[:count], survey.own_gains_m2[:count], survey.own_unknown_ratios[:count],
        survey.own_overlaps, survey.poses[:present], survey.goals_m[:present], survey.to_go_m[:present],
        survey.ages_s[:present], survey.costs[:present, :count], batch.ranks[robot], batch.candidates[robot],
        batch.candidate_mask[robot], batch.candidate_distances_m[robot], batch.team[robot], batch.team_mask[robot],
        batch.team_distances_m[robot], batch.base_logits[robot])


@njit(cache=True, nogil=True)
def _hear_of(radio: Radio, air: Air, survey: Survey, robot: int, step: int) -> tuple[int, int]:
    """Write who belongs to the team as far as a robot heard. Returns how many, and how many come before it."""
    survey.team[0] = robot
    present, rank = 1, 0
    for other in range(air.heard.shape[0]):
        heard = air.heard[robot, other]
        if other != robot and heard >= 0 and step - heard <= radio.forget_after:
            survey.team[present] = other
            present += 1
            rank += other < robot
    return present, rank


@njit(cache=True, nogil=True)
def _to_go_m(cost: NDArray[np.int32], cell: NDArray[np.int32], goal: NDArray[np.int32], edge_m: float) -> float:
    """Way to a goal as far as it is known, else as the crow flies [m]."""
    if cost[goal[0], goal[1]] < UNREACHED:
        return cost[goal[0], goal[1]] * edge_m / STRAIGHT
    return edge_m * float((goal[0] - cell[0]) ** 2 + (goal[1] - cell[1]) ** 2) ** 0.5
