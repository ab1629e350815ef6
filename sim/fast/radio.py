"""Compiled: what robots tell each other, how late it comes, and what is lost.

Every step each robot says where it is, where it goes and all that it knows of the map. What it knows only grows, so a
message need not be kept: it is the step at which it was said, and what was known by then is a prefix of the robot's
log. Whoever hears a newer message catches up on all that older ones would have told, as replicas do that ask for what
they lack; and since a log holds what was heard as well, news travel on through third robots.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from marl_core.types import FREE, UNKNOWN
from sim.fast.motion import NEW_CELLS, WINDOW, Beliefs, Coverage, Fleet, is_active

_FREE, _UNKNOWN = np.int8(FREE), np.int8(UNKNOWN)


class Radio(NamedTuple):
    """How bad the radio is.

    Attributes:
        shared: whatever one robot learns all know at once: they share one belief.
        range_cells: farthest receiver [cells].
        loss: probability that a receiver does not get a message.
        shortest_delay, longest_delay: time in the air, drawn evenly [steps].
        forget_after: teammates who were not heard for longer are not planned with [steps].
        seed: of losses and delays.
    """

    shared: bool
    range_cells: float
    loss: float
    shortest_delay: float
    longest_delay: float
    forget_after: int
    seed: int


class Air(NamedTuple):
    """What was said lately, what is under way, and what was heard. Steps count modulo H.

    Attributes:
        cells, goals: what robots said of themselves. Shape: (H, N, 2), int32.
        headings_rad: Shape: (H, N), float64. known: length of their logs then. Shape: (H, N), int64.
        arriving: newest step said among what arrives, -1 for nothing, by step of arrival, receiver and sender.
            Shape: (H, N, N), int32.
        heard: newest step said that was heard, -1 for none, by receiver and sender. Shape: (N, N), int32.
        taken: how much of the sender's log the receiver took over. Shape: (N, N), int64.
    """

    cells: NDArray[np.int32]
    goals: NDArray[np.int32]
    headings_rad: NDArray[np.float64]
    known: NDArray[np.int64]
    arriving: NDArray[np.int32]
    heard: NDArray[np.int32]
    taken: NDArray[np.int64]


def quiet_air(radio: Radio, robots: int) -> Air:
    """Nothing was said yet."""
    slots = max(radio.forget_after, int(np.ceil(radio.longest_delay))) + 2
    return Air(np.zeros((slots, robots, 2), np.int32), np.full((slots, robots, 2), -1, np.int32),
               np.zeros((slots, robots)), np.zeros((slots, robots), np.int64),
               np.full((slots, robots, robots), -1, np.int32), np.full((robots, robots), -1, np.int32),
               np.zeros((robots, robots), np.int64))


@njit(cache=True, nogil=True)
def exchange(radio: Radio, air: Air, beliefs: Beliefs, coverage: Coverage, fleet: Fleet, step: int) -> None:
    """All robots that work say what there is and hear what arrives now."""
    robots, slot = fleet.cells.shape[0], step % air.known.shape[0]
    for sender in range(robots):
        if is_active(fleet, sender, step):
            air.cells[slot, sender], air.goals[slot, sender] = fleet.cells[sender], fleet.goals[sender]
            air.headings_rad[slot, sender] = fleet.headings_rad[sender]
            air.known[slot, sender] = beliefs.log_sizes[fleet.belief_of[sender]]
            _send(radio, air, fleet, sender, step)
    for receiver in range(robots):
        for sender in range(robots):
            said = air.arriving[slot, receiver, sender]
            air.arriving[slot, receiver, sender] = -1
            if said > air.heard[receiver, sender] and is_active(fleet, receiver, step):
                air.heard[receiver, sender] = said
                if not radio.shared:
                    _take_over(air, beliefs, coverage, receiver, sender,
                               air.known[said % air.known.shape[0], sender])


@njit(cache=True, nogil=True)
def _send(radio: Radio, air: Air, fleet: Fleet, sender: int, step: int) -> None:
    slots = air.known.shape[0]
    for receiver in range(fleet.cells.shape[0]):
        if receiver == sender or not is_active(fleet, receiver, step):
            continue
        rows = fleet.cells[receiver, 0] - fleet.cells[sender, 0]
        cols = fleet.cells[receiver, 1] - fleet.cells[sender, 1]
        if (rows * rows + cols * cols) ** 0.5 > radio.range_cells:
            continue
        if radio.loss > 0.0 and _drawn(radio.seed, step, sender, receiver, 0) < radio.loss:
            continue
        delay = radio.longest_delay
        if delay > 0.0:
            part = _drawn(radio.seed, step, sender, receiver, 1)
            delay = radio.shortest_delay + part * (radio.longest_delay - radio.shortest_delay)
        slot = (step + int(np.rint(delay))) % slots
        air.arriving[slot, receiver, sender] = max(air.arriving[slot, receiver, sender], step)


@njit(cache=True, nogil=True)
def _take_over(air: Air, beliefs: Beliefs, coverage: Coverage, receiver: int, sender: int, known: int) -> None:
    """The receiver learns what the sender knew; belief and robot have the same index here."""
    mine, theirs = beliefs.state[receiver].reshape(-1), beliefs.state[sender].reshape(-1)
    traversable = beliefs.traversable[receiver].reshape(-1)
    for place in range(air.taken[receiver, sender], known):
        cell = beliefs.log[sender, place]
        if mine[cell] == _UNKNOWN:
            mine[cell] = theirs[cell]
            traversable[cell] = theirs[cell] == _FREE
            beliefs.log[receiver, beliefs.log_sizes[receiver]] = cell
            beliefs.log_sizes[receiver] += 1
            if theirs[cell] == _FREE and coverage.seen_in.reshape(-1)[cell] == 0:
                _cover_again(coverage, cell)
    air.taken[receiver, sender] = max(air.taken[receiver, sender], known)


@njit(cache=True, nogil=True)
def _cover_again(coverage: Coverage, cell: int) -> None:
    """A message of one who died meanwhile saved what seemed lost; that is nobody's merit now."""
    coverage.seen_in.reshape(-1)[cell] = coverage.counters[WINDOW]
    coverage.observers.reshape(-1)[cell] = 0
    coverage.new_cells[coverage.counters[NEW_CELLS]] = cell
    coverage.counters[NEW_CELLS] += 1


@njit(cache=True, nogil=True)
def _drawn(seed: int, step: int, sender: int, receiver: int, which: int) -> float:
    """A number in [0, 1) that depends on its arguments alone (the finalizer of SplitMix64, Steele et al. 2014)."""
    mixed = np.uint64(seed)
    for part in (step, sender, receiver, which):
        mixed += np.uint64(part) + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    return (mixed >> np.uint64(11)) * 2.0**-53
