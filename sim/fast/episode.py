"""Compiled: an episode from one decision to the next, composed of walking, talking and looking."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from marl_core.mapping.frontiers import FrontierScratch
from marl_core.specs import HOLD, Candidate
from models.compiled_scorer import best_candidate
from sim.fast import motion
from sim.fast.motion import (
    Beliefs,
    Coverage,
    Fleet,
    Pace,
    Terrain,
    credit,
    is_active,
    note_turn,
    note_who_decides,
    open_window,
    send,
    sweep,
    walk_all,
)
from sim.fast.radio import Air, Radio, exchange
from sim.fast.sight import Batch, Fields, Frame, Survey, observe_all

_IS_GOAL = int(Candidate.IS_GOAL)  # a plain int: numba reads it as a constant


@njit(cache=True, nogil=True)
def begin(frame: Frame, radio: Radio, air: Air, terrain: Terrain, beliefs: Beliefs, coverage: Coverage, fleet: Fleet,
          fields: Fields, scratch: FrontierScratch, survey: Survey, batch: Batch) -> int:
    """Look round, talk, and observe for the first decision. Returns the largest number of candidates."""
    for robot in range(fleet.cells.shape[0]):
        fleet.deciding[robot] = is_active(fleet, robot, 0)
        if fleet.deciding[robot]:
            sweep(terrain, beliefs, coverage, fleet, robot)
    exchange(radio, air, beliefs, coverage, fleet, 0)
    motion.note_milestones(coverage)
    observe_all(frame, terrain, radio, air, beliefs, fleet, fields, scratch, survey, batch, 0)
    return np.max(fleet.left)


@njit(cache=True, nogil=True)
def step(frame: Frame, pace: Pace, radio: Radio, air: Air, terrain: Terrain, beliefs: Beliefs, coverage: Coverage,
         fleet: Fleet, fields: Fields, scratch: FrontierScratch, survey: Survey, batch: Batch,
         choices: NDArray[np.int64], seen: NDArray[np.int64]) -> int:
    """Send, walk until somebody has something to decide, credit. Returns the largest number of candidates left."""
    open_window(coverage)
    _send_all(beliefs, fleet, fields, batch, choices)
    while True:
        over = coverage.counters[motion.STEPS] >= pace.most_steps
        if not over:
            over = walk_all(terrain, beliefs, coverage, fleet, pace)
            exchange(radio, air, beliefs, coverage, fleet, coverage.counters[motion.STEPS])
        now = coverage.counters[motion.STEPS]
        over = over or now >= pace.most_steps
        if over:
            for robot in range(choices.size):
                fleet.deciding[robot] = is_active(fleet, robot, now)
        elif not note_who_decides(fleet, pace, now):
            continue
        most = observe_all(frame, terrain, radio, air, beliefs, fleet, fields, scratch, survey, batch, now)
        if over or most > 0 or pace.together or np.max(fleet.left) == 0:
            break
        choices[:] = HOLD
        _send_all(beliefs, fleet, fields, batch, choices)
    credit(coverage, seen[0], seen[1])
    return np.max(fleet.left)


@njit(cache=True, nogil=True)
def _send_all(beliefs: Beliefs, fleet: Fleet, fields: Fields, batch: Batch, choices: NDArray[np.int64]) -> None:
    """All who decide go where they chose."""
    for robot in range(choices.size):
        if fleet.deciding[robot]:
            chosen, cost = choices[robot], fields.cost[0, robot]
            note_turn(beliefs, fleet, robot, chosen >= 0 and batch.candidates[robot, chosen, _IS_GOAL] > 0.0)
            if chosen >= 0:
                send(fleet, robot, batch.cells[robot, chosen, 0], batch.cells[robot, chosen, 1], cost)
            else:
                send(fleet, robot, -1, -1, cost)


@njit(cache=True, nogil=True)
def play_out(weights: NDArray[np.float64], features: NDArray[np.float64], frame: Frame, pace: Pace, radio: Radio,
             air: Air, terrain: Terrain, beliefs: Beliefs, coverage: Coverage, fleet: Fleet, fields: Fields,
             scratch: FrontierScratch, survey: Survey, batch: Batch, choices: NDArray[np.int64],
             candidates: int) -> tuple[int, int]:
    """Play to the end by a scorer, see ``best_candidate``.

    Returns:
        Number of decisions, and the largest number of candidates of a robot at the end.
    """
    decisions, seen = 0, np.empty((2, choices.size), np.int64)
    while candidates > 0 and coverage.milestones[-1] < 0 and coverage.counters[motion.STEPS] < pace.most_steps:
        for robot in range(choices.size):
            choices[robot] = HOLD
            if batch.counts[robot] > 0:
                choices[robot] = best_candidate(
                    weights, features, batch.candidates[robot], batch.candidate_distances_m[robot],
                    batch.base_logits[robot], batch.counts[robot], np.sum(batch.team_mask[robot]),
                    frame.sensor_range_m)
        candidates = step(frame, pace, radio, air, terrain, beliefs, coverage, fleet, fields, scratch, survey, batch,
                          choices, seen)
        decisions += 1
    return decisions, candidates
