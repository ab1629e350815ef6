"""Compiled: robots walk along their paths and see; what one of them sees, its belief's owners know.

All lengths are in cells here. A window is what happens between two decisions.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from marl_core.mapping.geodesics import UNREACHED, descend_into
from marl_core.types import FREE, OCCUPIED, UNKNOWN

_FREE, _UNKNOWN, _OCCUPIED = np.int8(FREE), np.int8(UNKNOWN), np.int8(OCCUPIED)

WINDOW, NEW_CELLS, COVERED_CELLS, STEPS = range(4)
"""Entries of ``Coverage.counters``; COVERED_CELLS are those of earlier windows."""


class Terrain(NamedTuple):
    """What does not change in an episode.

    Attributes:
        free: truth; its border is not free. Shape: (rows, cols), bool.
        offsets: nodes of the ray tree as offsets into the flat grid. Shape: (nodes,), int32.
        after: see ``RayTree``. Shape: (nodes,), int32.
    """

    free: NDArray[np.bool_]
    offsets: NDArray[np.int32]
    after: NDArray[np.int32]


class Beliefs(NamedTuple):
    """What robots know of the map: one belief that all share under perfect communication, else one per robot.

    Attributes:
        state: cell classes. Shape: (B, rows, cols), int8.
        traversable: 1 where known to be free. Shape: (B, rows, cols), uint8.
        viewed_in: window in which a sweep was first taken from a cell, 0 never. Shape: (B, rows, cols), int32.
        log: flat indices of known cells in the order in which they became known. Shape: (B, rows * cols), int32.
        log_sizes: how many there are. Shape: (B,), int64.
    """

    state: NDArray[np.int8]
    traversable: NDArray[np.uint8]
    viewed_in: NDArray[np.int32]
    log: NDArray[np.int32]
    log_sizes: NDArray[np.int64]


class Coverage(NamedTuple):
    """What the team as a whole has seen of the free space, and who saw it.

    Attributes:
        seen_in: window in which a free cell was first seen, 0 never. Shape: (rows, cols), int32.
        observers: bit per robot that saw the cell in that window. Shape: (rows, cols), uint16.
        new_cells: flat indices of the free cells first seen in this window. Shape: (rows * cols,), int32.
        counters: see WINDOW and following. Shape: (4,), int64.
        thresholds_cells: covered cells at which a milestone is reached. Shape: (M,), int64.
        milestones: steps at which each was reached, -1 not yet. Shape: (M,), int64.
    """

    seen_in: NDArray[np.int32]
    observers: NDArray[np.uint16]
    new_cells: NDArray[np.int32]
    counters: NDArray[np.int64]
    thresholds_cells: NDArray[np.int64]
    milestones: NDArray[np.int64]


class Fleet(NamedTuple):
    """The robots.

    Attributes:
        belief_of: index of the belief that a robot acts on. Shape: (N,), int32.
        cells: where robots are. Shape: (N, 2), int32.
        headings_rad: direction of the last step. Shape: (N,), float64.
        goals: cells, -1 without. Shape: (N, 2), int32.
        paths: goal first. Shape: (N, capacity, 2), int32.
        path_lengths: cells left of the path, the robot's own included. Shape: (N,), int32.
        carry: length that a robot may still go [cells]. Shape: (N,), float64.
        holding: robots that chose to stay, or are there already. Shape: (N,), bool.
        travelled: way so far [cells]. Shape: (N,), float64.
        since: steps since its decision. Shape: (N,), int64.
        turns: how often it turned away from its goal since it last learnt something or arrived. Shape: (N,), int64.
        knew: cells that it knew then. Shape: (N,), int64.
        deciding: robots that decide now. Shape: (N,), bool.
        left: candidates that each had when it last decided, 1 before, 0 once it is dead. Shape: (N,), int64.
        first_step, last_step: between which a robot works, the last one excluded. Shape: (N,), int64.
    """

    belief_of: NDArray[np.int32]
    cells: NDArray[np.int32]
    headings_rad: NDArray[np.float64]
    goals: NDArray[np.int32]
    paths: NDArray[np.int32]
    path_lengths: NDArray[np.int32]
    carry: NDArray[np.float64]
    holding: NDArray[np.bool_]
    travelled: NDArray[np.float64]
    since: NDArray[np.int64]
    turns: NDArray[np.int64]
    knew: NDArray[np.int64]
    deciding: NDArray[np.bool_]
    left: NDArray[np.int64]
    first_step: NDArray[np.int64]
    last_step: NDArray[np.int64]


class Pace(NamedTuple):
    """When robots see and decide.

    Attributes:
        step: way between two sweeps [cells].
        steps_per_decision: steps after which a robot decides again.
        turns: after more turns without news, each one doubles the steps until the next decision.
        together: all decide as soon as one has to.
        most_steps: the episode ends here.
    """

    step: float
    steps_per_decision: int
    turns: int
    together: bool
    most_steps: int


@njit(cache=True, nogil=True)
def is_active(fleet: Fleet, robot: int, step: int) -> bool:
    """Whether a robot works at a step: it has joined and did not die."""
    return fleet.first_step[robot] <= step < fleet.last_step[robot]


@njit(cache=True, nogil=True)
def sweep(terrain: Terrain, beliefs: Beliefs, coverage: Coverage, fleet: Fleet, robot: int) -> None:
    """A robot looks around from its cell."""
    cols = terrain.free.shape[1]
    belief, here = fleet.belief_of[robot], fleet.cells[robot, 0] * cols + fleet.cells[robot, 1]
    window = coverage.counters[WINDOW]
    viewed_in = beliefs.viewed_in[belief].reshape(-1)
    if viewed_in[here] != 0 and viewed_in[here] < window:
        return  # all that there is to see was credited before this window
    viewed_in[here] = window
    free, bit = terrain.free.reshape(-1), np.uint16(1 << robot)
    state, traversable = beliefs.state[belief].reshape(-1), beliefs.traversable[belief].reshape(-1)
    seen_in, observers = coverage.seen_in.reshape(-1), coverage.observers.reshape(-1)
    log, known = beliefs.log[belief], beliefs.log_sizes[belief]
    cell, node, nodes = here, -1, terrain.after.size
    while node < nodes:
        if state[cell] == _UNKNOWN:
            state[cell] = _FREE if free[cell] else _OCCUPIED
            traversable[cell] = free[cell]
            log[known] = cell
            known += 1
        if free[cell]:
            if seen_in[cell] == window:
                observers[cell] |= bit
            elif seen_in[cell] == 0:
                seen_in[cell] = window
                observers[cell] = bit
                coverage.new_cells[coverage.counters[NEW_CELLS]] = cell
                coverage.counters[NEW_CELLS] += 1
            node += 1
        else:
            node = terrain.after[node]
        if node < nodes:
            cell = here + terrain.offsets[node]
    beliefs.log_sizes[belief] = known


@njit(cache=True, nogil=True)
def open_window(coverage: Coverage) -> None:
    """Start the window after a decision."""
    coverage.counters[WINDOW] += 1
    coverage.counters[COVERED_CELLS] += coverage.counters[NEW_CELLS]
    coverage.counters[NEW_CELLS] = 0


@njit(cache=True, nogil=True)
def credit(coverage: Coverage, seen: NDArray[np.int64], seen_alone: NDArray[np.int64]) -> None:
    """Count the window's new cells per robot.

    Args:
        coverage: what was seen.
        seen: written: cells that the robot saw. Shape: (N,).
        seen_alone: written: cells that no other robot saw, what the team would lack without it. Shape: (N,).
    """
    observers = coverage.observers.reshape(-1)
    seen[:] = 0
    seen_alone[:] = 0
    for i in range(coverage.counters[NEW_CELLS]):
        by = observers[coverage.new_cells[i]]
        for robot in range(seen.size):
            if by >> robot & 1:
                seen[robot] += 1
                if by == 1 << robot:
                    seen_alone[robot] += 1


@njit(cache=True, nogil=True)
def note_turn(beliefs: Beliefs, fleet: Fleet, robot: int, continues: bool) -> None:
    """Count the turns of a robot that has just decided; ``continues``: to go on to its goal."""
    known = beliefs.log_sizes[fleet.belief_of[robot]]
    if known != fleet.knew[robot] or fleet.path_lengths[robot] <= 1:
        fleet.knew[robot] = known
        fleet.turns[robot] = 0
    elif not continues:
        fleet.turns[robot] += 1


@njit(cache=True, nogil=True)
def send(fleet: Fleet, robot: int, row: int, col: int, cost: NDArray[np.int32]) -> None:
    """Give a robot a goal and the path there on its own distance field; a negative row lets it stay."""
    fleet.since[robot] = 0
    fleet.deciding[robot] = False
    fleet.goals[robot, 0], fleet.goals[robot, 1] = row, col
    fleet.path_lengths[robot] = 0
    if row >= 0 and cost[row, col] < UNREACHED:
        fleet.path_lengths[robot] = descend_into(cost, row, col, fleet.paths[robot])
    fleet.holding[robot] = fleet.path_lengths[robot] <= 1
    if fleet.holding[robot]:
        fleet.carry[robot] = 0.0


@njit(cache=True, nogil=True)
def forget_what_died(beliefs: Beliefs, coverage: Coverage, fleet: Fleet, robot: int, step: int) -> None:
    """What only a robot that has died knew is not covered any more."""
    seen_in, window = coverage.seen_in.reshape(-1), coverage.counters[WINDOW]
    states = beliefs.state.reshape(beliefs.state.shape[0], -1)
    own = fleet.belief_of[robot]
    for place in range(beliefs.log_sizes[own]):
        cell = beliefs.log[own, place]
        if seen_in[cell] == 0:
            continue
        for other in range(fleet.cells.shape[0]):
            if is_active(fleet, other, step) and states[fleet.belief_of[other], cell] == _FREE:
                break
        else:
            coverage.counters[COVERED_CELLS] -= seen_in[cell] < window
            seen_in[cell] = 0
    kept = 0
    for place in range(coverage.counters[NEW_CELLS]):
        if seen_in[coverage.new_cells[place]] != 0:
            coverage.new_cells[kept] = coverage.new_cells[place]
            kept += 1
    coverage.counters[NEW_CELLS] = kept


@njit(cache=True, nogil=True)
def walk_all(terrain: Terrain, beliefs: Beliefs, coverage: Coverage, fleet: Fleet, pace: Pace) -> bool:
    """One step of all robots that work: walk and see; some join and some die.

    Returns:
        Whether the last milestone is reached.
    """
    step = coverage.counters[STEPS]
    for robot in range(fleet.cells.shape[0]):
        if is_active(fleet, robot, step) and _walk(fleet, robot, pace.step):
            sweep(terrain, beliefs, coverage, fleet, robot)
    step += 1
    coverage.counters[STEPS] = step
    fleet.since[:] += 1
    for robot in range(fleet.cells.shape[0]):
        if fleet.first_step[robot] == step:
            sweep(terrain, beliefs, coverage, fleet, robot)
        elif fleet.last_step[robot] == step:
            send(fleet, robot, -1, -1, np.zeros((0, 0), np.int32))
            fleet.left[robot] = 0
            forget_what_died(beliefs, coverage, fleet, robot, step)
    return note_milestones(coverage)


@njit(cache=True, nogil=True)
def note_milestones(coverage: Coverage) -> bool:
    """Write down which milestones are reached now. Returns whether the last one is."""
    covered = coverage.counters[COVERED_CELLS] + coverage.counters[NEW_CELLS]
    for i in range(coverage.milestones.size):
        if coverage.milestones[i] < 0 and covered >= coverage.thresholds_cells[i]:
            coverage.milestones[i] = coverage.counters[STEPS]
    return coverage.milestones[-1] >= 0


@njit(cache=True, nogil=True)
def _walk(fleet: Fleet, robot: int, step: float) -> bool:
    """Go one step along the path. Returns whether the robot is in another cell now."""
    fleet.carry[robot] += step
    moved = False
    while fleet.path_lengths[robot] > 1:
        ahead = fleet.paths[robot, fleet.path_lengths[robot] - 2]
        row_step, col_step = ahead[0] - fleet.cells[robot, 0], ahead[1] - fleet.cells[robot, 1]
        length = 1.0 if row_step == 0 or col_step == 0 else 2.0**0.5
        if fleet.carry[robot] < length:
            return moved
        fleet.carry[robot] -= length
        fleet.travelled[robot] += length
        fleet.headings_rad[robot] = np.arctan2(float(row_step), float(col_step))
        fleet.cells[robot, 0], fleet.cells[robot, 1] = ahead[0], ahead[1]
        fleet.path_lengths[robot] -= 1
        moved = True
    fleet.carry[robot] = 0.0  # who has arrived does not save up way while waiting
    return moved


@njit(cache=True, nogil=True)
def note_who_decides(fleet: Fleet, pace: Pace, step: int) -> bool:
    """Mark the robots that decide now. Returns whether there are any."""
    some = False
    for robot in range(fleet.cells.shape[0]):
        fleet.deciding[robot] = is_active(fleet, robot, step) and _must_decide(fleet, pace, robot, step)
        some |= fleet.deciding[robot]
    if some and pace.together:
        for robot in range(fleet.cells.shape[0]):
            fleet.deciding[robot] = is_active(fleet, robot, step)
    return some


@njit(cache=True, nogil=True)
def _must_decide(fleet: Fleet, pace: Pace, robot: int, step: int) -> bool:
    arrived = fleet.path_lengths[robot] <= 1 and not fleet.holding[robot]
    hesitation = max(0, min(fleet.turns[robot] - pace.turns, 16))
    patient = fleet.since[robot] < pace.steps_per_decision << hesitation
    return arrived or not patient or fleet.first_step[robot] == step
