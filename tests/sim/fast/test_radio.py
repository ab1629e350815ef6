"""Exploration under conditions: own beliefs, a radio that loses and delays, robots that die or join late."""

from math import inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marl_core.errors import SimulationError
from marl_core.specs import HOLD, Candidate, Team
from marl_core.types import FREE, OCCUPIED, UNKNOWN
from sim.channel import ChannelConfig
from sim.conditions import Conditions
from sim.fast import CoarseGrid, FastConfig, FastExploration
from sim.fast.radio import _drawn
from sim.worlds import load_world


def conditions(robots: int, joins_m: dict[int, float] | None = None, dies_m: dict[int, float] | None = None,
               **radio: float) -> Conditions:
    return Conditions(tuple((joins_m or {}).get(robot, 0.0) for robot in range(robots)),
                      tuple((dies_m or {}).get(robot, inf) for robot in range(robots)), ChannelConfig(**radio))


def corridor(length: int, starts: list[int], given_conditions: Conditions) -> FastExploration:
    """Cells of 0.4 m, a step each; lidars reach 5 cells."""
    grid = CoarseGrid.from_free(np.ones((1, length), np.bool_), 0.4, anchor=(0, 0))
    episode = FastExploration(grid, len(starts), 2.0, conditions=given_conditions)
    episode.reset(np.array([[1, col] for col in starts]))
    return episode


def knows(episode: FastExploration, robot: int, col: int) -> bool:
    return episode.beliefs.state[robot, 1, col] != UNKNOWN


def base_choice(episode: FastExploration) -> np.ndarray:
    seen = episode.observations
    best = np.where(seen['candidate_mask'], seen['base_logits'], -np.inf).argmax(axis=1)
    return np.where(seen['candidate_mask'].any(axis=1), best, HOLD)


def test_a_perfect_radio_tells_everything_at_once() -> None:
    episode = corridor(40, [3, 30], conditions(2))
    assert np.all(episode.known[1, [3, 30]] == FREE)
    assert episode.observations['team_mask'].sum(axis=1).tolist() == [2, 2]
    assert episode.own_ranks.tolist() == [0, 1]
    episode.play_out()
    assert episode.complete


@pytest.mark.parametrize('decide_every_m', [0.4, 2.0])
def test_one_belief_of_all_is_what_beliefs_that_a_perfect_radio_keeps_equal_are(decide_every_m: float) -> None:
    """A billionth of a second is no delay either, but not none: then each robot has its own belief."""
    grid, config = CoarseGrid.from_world(load_world('office:5'), 0.4), FastConfig(decide_every_m=decide_every_m)
    shared = FastExploration(grid, 3, conditions=conditions(3), config=config)
    own = FastExploration(grid, 3, conditions=conditions(3, delay_max_s=1e-9), config=config)
    shared.reset(seed=2)
    own.reset(seed=2)
    assert (len(shared.beliefs.state), len(own.beliefs.state)) == (1, 3)
    while not own.done:
        choices = base_choice(own)
        assert all(np.array_equal(array, shared.observations[name]) for name, array in own.observations.items())
        ours, theirs = shared.step(choices), own.step(choices)
        assert np.array_equal(ours.revealed_alone_m2, theirs.revealed_alone_m2)
    assert shared.complete and own.complete
    assert shared.milestones_m.tolist() == own.milestones_m.tolist()


def test_out_of_range_nothing_is_heard_until_robots_meet() -> None:
    """27 cells apart, 4 m reach 10 cells: both walk towards each other and share everything once 10 cells apart."""
    episode = corridor(40, [6, 33], conditions(2, range_m=4.0))
    assert not knows(episode, 0, 33) and not knows(episode, 1, 6)
    assert episode.observations['team_mask'].sum(axis=1).tolist() == [1, 1]
    while not knows(episode, 0, 33):
        inner = [int(np.argmax(episode.observations['candidates'][robot, :2, Candidate.X_M] * 0
                               + (episode.candidate_cells[robot, :2, 1] * (1 if robot == 0 else -1))))
                 if episode.observations['candidate_mask'][robot, 1] else HOLD for robot in range(2)]
        episode.step(np.array(inner))
    apart = episode.cells[1, 1] - episode.cells[0, 1]
    assert 8 <= apart <= 10  # decisions come a few steps after the news
    assert knows(episode, 1, 6)


def test_what_is_said_comes_as_late_as_the_radio_lets_it() -> None:
    """A delay of 2.4 s is three steps of 0.8 s."""
    late = conditions(2, delay_min_s=2.4, delay_max_s=2.4)
    episode = corridor(40, [3, 30], late)
    assert not knows(episode, 0, 30)
    assert episode.observations['team_mask'].sum(axis=1).tolist() == [1, 1]
    while episode.elapsed_m < 1.2 - 1e-9:
        assert not knows(episode, 0, 30)
        episode.step(base_choice(episode))
    assert knows(episode, 0, 30) and knows(episode, 1, 3)
    assert episode.observations['team'][0, 1, Team.AGE_S] == pytest.approx(2.4)


def test_a_robot_that_dies_takes_along_what_nobody_heard_and_is_forgotten() -> None:
    alone = corridor(40, [3, 37], conditions(2, dies_m={1: 0.8}, range_m=1.0))
    heard = corridor(40, [3, 37], conditions(2, dies_m={1: 0.8}))
    for episode in (alone, heard):
        assert episode.covered[1, 37]
        while episode.elapsed_m < 0.8 - 1e-9:
            episode.step(base_choice(episode))
        there = episode.cells[1].copy()
        assert episode.covered[1, 37] == (episode is heard)
        while not episode.done:
            episode.step(base_choice(episode))
            assert not episode.observations['candidate_mask'][1].any()
        assert np.array_equal(episode.cells[1], there) and episode.goals[1, 0] < 0
        assert episode.complete
        assert episode.observations['team_mask'][0].sum() == 1
    assert alone.milestones_m[-1] > heard.milestones_m[-1]


def test_what_reaches_the_dead_is_not_covered_again() -> None:
    """The second robot's news reach the third after both are dead, and the first, far away, never."""
    episode = corridor(80, [3, 50, 60], conditions(3, dies_m={1: 0.8, 2: 1.2}, range_m=6.0, delay_min_s=4.8,
                                                   delay_max_s=4.8))
    while episode.elapsed_m < 4.0:
        episode.step(base_choice(episode))
    assert np.array_equal(episode.covered, episode.beliefs.state[0] == FREE)


def test_whoever_joins_late_says_nothing_before_and_then_knows_what_it_hears() -> None:
    episode = corridor(40, [3, 30], conditions(2, joins_m={1: 4.0}))
    assert not knows(episode, 0, 30) and not episode.observations['candidate_mask'][1].any()
    while episode.elapsed_m < 4.0 - 1e-9:
        assert np.array_equal(episode.cells[1], [1, 30]) and not knows(episode, 0, 30)
        episode.step(base_choice(episode))
    episode.step(base_choice(episode))
    assert knows(episode, 0, 30) and knows(episode, 1, 3)
    episode.play_out()
    assert episode.complete


def test_an_episode_waits_for_whoever_is_still_to_come() -> None:
    """The first robot, behind a wall of its own, has soon seen all that it can reach."""
    free = np.ones((1, 12), np.bool_)
    episode = FastExploration(CoarseGrid.from_free(free, 0.4, anchor=(0, 0)), 2, 1.2,
                              conditions=conditions(2, joins_m={0: 20.0, 1: 12.0}))
    episode.reset(np.array([[1, 1], [1, 12]]))
    assert not episode.done
    episode.play_out()
    assert episode.complete and episode.milestones_m[-1] > 12.0


@pytest.fixture(scope='module')
def office() -> CoarseGrid:
    return CoarseGrid.from_world(load_world('office:5@20x18'), 0.4)


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_beliefs_stay_true_and_add_up_to_what_the_living_know(office: CoarseGrid, data: st.DataObject) -> None:
    robots = data.draw(st.integers(1, 5), 'robots')
    delay_s = data.draw(st.floats(0.0, 6.0), 'delay')
    dies_m = {robot: data.draw(st.floats(0.5, 20.0)) for robot in range(1, robots) if data.draw(st.booleans())}
    hard = conditions(robots, {}, dies_m, range_m=data.draw(st.floats(0.5, 30.0), 'range'),
                      loss=data.draw(st.floats(0.0, 1.0), 'loss'), delay_max_s=delay_s)
    episode = FastExploration(office, robots, 5.0, conditions=hard)
    episode.reset(seed=data.draw(st.integers(0, 99), 'seed'), limit_m=60.0)
    while not (episode.done or episode.out_of_time):
        counts = episode.observations['candidate_mask'].sum(axis=1)
        assert counts.any()
        before = episode.coverage
        outcome = episode.step(np.where(counts > 0, 0, HOLD))
        states = episode.beliefs.state
        assert office.free[(states == FREE).any(axis=0)].all()
        assert not office.free[(states == OCCUPIED).any(axis=0)].any()
        living = [robot for robot in range(robots) if dies_m.get(robot, inf) > episode.elapsed_m + 1e-9]
        assert np.array_equal(episode.covered, (states[living] == FREE).any(axis=0))
        for robot in range(robots):
            known = np.flatnonzero(states[robot].ravel())
            assert np.array_equal(np.sort(episode.beliefs.log[robot, :known.size]), known)
            assert episode.beliefs.log_sizes[robot] == known.size
        assert np.all(outcome.revealed_alone_m2 <= outcome.revealed_m2 + 1e-9)
        if not dies_m:
            gained_m2 = (outcome.coverage - before) * office.area_m2
            assert outcome.revealed_alone_m2.sum() <= gained_m2 + 1e-9 <= outcome.revealed_m2.sum() + 2e-9
        assert np.all(episode.observations['team'][:, :, Team.AGE_S] <= 5.0)


def test_the_same_seed_loses_the_same(office: CoarseGrid) -> None:
    hard = conditions(3, range_m=8.0, loss=0.4, delay_max_s=2.0)
    runs = []
    for seed in (1, 2, 1):
        episode = FastExploration(office, 3, conditions=hard)
        episode.reset(seed=seed)
        episode.play_out()
        runs.append((episode.milestones_m.tolist(), episode.cells.tolist()))
    assert runs[0] == runs[2] != runs[1]


def test_a_worse_radio_costs_time(office: CoarseGrid) -> None:
    """Of deaf robots each explores nearly all of it."""
    def sums(hard: Conditions) -> float:
        total = 0.0
        for seed in range(6):
            episode = FastExploration(office, 4, 6.0, conditions=hard)
            episode.reset(seed=seed)
            episode.play_out()
            assert episode.complete
            total += episode.travelled_m.sum()
        return total

    assert sums(conditions(4, range_m=0.4)) > 1.3 * sums(conditions(4))


def test_draws_are_even_and_independent() -> None:
    drawn = np.array([_drawn(seed, step, sender, receiver, which) for seed in (0, 2**40) for step in range(20)
                      for sender in range(4) for receiver in range(4) for which in (0, 1)])
    assert drawn.min() >= 0.0 and drawn.max() < 1.0
    assert len(set(drawn.tolist())) == len(drawn)
    assert np.histogram(drawn, 4, (0.0, 1.0))[0] == pytest.approx(len(drawn) / 4, rel=0.15)
    assert abs(np.corrcoef(drawn[::2], drawn[1::2])[0, 1]) < 0.1


def test_conditions_that_cannot_be_are_refused(office: CoarseGrid) -> None:
    with pytest.raises(SimulationError, match='conditions for 3 robots, but 2 explore'):
        FastExploration(office, 2, conditions=conditions(3))
    with pytest.raises(SimulationError, match='leave duplication'):
        FastExploration(office, 2, conditions=conditions(2, duplication=0.1))
    with pytest.raises(ValueError, match='joins_m < dies_m'):
        conditions(2, {0: 5.0}, {0: 5.0})
    with pytest.raises(ValueError, match='joins once and dies once'):
        Conditions((0.0,), (inf, inf))
