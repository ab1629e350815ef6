"""Multiple travelling salesmen: plan tours through all candidates for the whole team, take the own first stop."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from marl_core.decision.observation import Observation
from marl_core.decision.policies.nearest import Nearest
from marl_core.specs import Candidate

COMMITMENT = 0.1
"""A tour that begins where the robot already goes may be so much longer than the best one. Without it, tours of like
length in opposite directions make a robot turn round at every decision, for ever."""


class MultipleTravellingSalesmen:
    """Short tours for all robots by insertion and 2-opt; goes to the first stop of its own.

    Candidates are inserted one by one where the grown tour is shortest, which keeps the longest tour (the
    makespan) short; then each tour is untangled. A robot keeps its goal while a tour that begins there is hardly longer
    (``COMMITMENT``), and goes to its nearest candidate if there is no stop for it.
    """

    name = 'mtsp'

    def choose(self, observation: Observation) -> int:
        """See Policy."""
        places, order = observation.places, observation.order
        if places.size:
            starts_m = observation.team_distances_m[np.ix_(order, places)]
            between_m = observation.candidate_distances_m[np.ix_(places, places)]
            tours, stops = plan_tours(starts_m, between_m)
            own = order.index(0)
            tour = tours[own, :stops[own]]
            if tour.size:
                at = np.flatnonzero(observation.candidates[places[tour], Candidate.IS_GOAL])
                return int(places[_committed(tour, int(at[0]), starts_m[own], between_m) if at.size else tour[0]])
        return Nearest().choose(observation)


def _committed(tour: NDArray[np.int32], place: int, start_m: NDArray[np.float32],
               between_m: NDArray[np.float32]) -> int:
    """First stop of a tour, or its stop number ``place`` if a tour that begins there is hardly longer."""
    if place == 0:
        return int(tour[0])
    goal, others = tour[place], np.delete(tour, place)
    tours, _ = plan_tours(between_m[goal, others][np.newaxis], between_m[np.ix_(others, others)])
    kept = np.concatenate(([goal], others[tours[0]]))
    longest_m = (1.0 + COMMITMENT) * _length_m(tour, start_m, between_m)
    return int(goal if _length_m(kept, start_m, between_m) <= longest_m else tour[0])


def _length_m(tour: NDArray[np.int32], start_m: NDArray[np.float32], between_m: NDArray[np.float32]) -> float:
    return float(start_m[tour[0]] + between_m[tour[:-1], tour[1:]].sum())


@njit(cache=True, nogil=True)
def plan_tours(starts_m: NDArray[np.float32], between_m: NDArray[np.float32],
               ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Plan open tours that visit every candidate once.

    Args:
        starts_m: way of each robot to each candidate [m]. Shape: (T, K).
        between_m: way between candidates [m]. Shape: (K, K).

    Returns:
        Candidates in order of visit, shape (T, K), and how many of them are used in each row, shape (T,).
    """
    robots, count = starts_m.shape
    tours, stops = np.full((robots, count), -1, np.int32), np.zeros(robots, np.int32)
    lengths_m, routed = np.zeros(robots), np.zeros(count, np.bool_)
    for _ in range(count):
        best_m, best_robot, best_k, best_position = np.inf, 0, -1, 0
        for robot in range(robots):
            tour = tours[robot]
            for k in range(count):
                if routed[k]:
                    continue
                for position in range(stops[robot] + 1):
                    grown_m = lengths_m[robot] + _detour_m(starts_m[robot], between_m, tour, stops[robot], position, k)
                    if grown_m < best_m:
                        best_m, best_robot, best_k, best_position = grown_m, robot, k, position
        tour = tours[best_robot]
        for position in range(stops[best_robot], best_position, -1):
            tour[position] = tour[position - 1]
        tour[best_position] = best_k
        routed[best_k] = True
        stops[best_robot] += 1
        lengths_m[best_robot] = best_m
    for robot in range(robots):
        _untangle(starts_m[robot], between_m, tours[robot], stops[robot])
    return tours, stops


@njit(cache=True, nogil=True)
def _detour_m(start_m: NDArray[np.float32], between_m: NDArray[np.float32], tour: NDArray[np.int32], stops: int,
              position: int, k: int) -> float:
    """How much longer an open tour grows when candidate ``k`` becomes its stop number ``position``."""
    before_m = start_m[k] if position == 0 else between_m[tour[position - 1], k]
    if position == stops:
        return before_m
    skipped_m = start_m[tour[0]] if position == 0 else between_m[tour[position - 1], tour[position]]
    return before_m + between_m[k, tour[position]] - skipped_m


@njit(cache=True, nogil=True)
def _untangle(start_m: NDArray[np.float32], between_m: NDArray[np.float32], tour: NDArray[np.int32],
              stops: int) -> None:
    """2-opt: reverse pieces of an open tour while that shortens it."""
    for _ in range(8):  # a few passes settle tours of this size
        improved = False
        for first in range(stops - 1):
            for last in range(first + 1, stops):
                old_m = start_m[tour[0]] if first == 0 else between_m[tour[first - 1], tour[first]]
                new_m = start_m[tour[last]] if first == 0 else between_m[tour[first - 1], tour[last]]
                if last + 1 < stops:
                    old_m += between_m[tour[last], tour[last + 1]]
                    new_m += between_m[tour[first], tour[last + 1]]
                if new_m < old_m - 1e-4:
                    tour[first:last + 1] = tour[first:last + 1][::-1].copy()
                    improved = True
        if not improved:
            return
