"""Single runs, and what is noted of them."""

import math

import numpy as np
import pytest

from sim.evaluation.playing import CURVE_TIMES, Playing, decider_of, moments, summary
from sim.learning.environments import make_environment
from sim.learning.rollout import Player, Source, Ticket

SMALL = {'robots': 2, 'task': {'largest_m': 13.0}}
SEED = 2_000_000_000


def test_summary_by_hand():
    team = {'makespan_s': math.inf, 'makespan_95_s': 80.0, 'coverage': 0.97, 'team_travelled_m': 40.0,
            'most_travelled_m': 30.0, 'least_travelled_m': 10.0, 'alone_m2': 60.0}
    agents = [team | {'revealed_m2': 50.0}, team | {'revealed_m2': 30.0}]  # 10 m2 were shown by both
    assert summary(agents) == {'makespan_s': math.inf, 'makespan_95_s': 80.0, 'coverage': 0.97,
                               'team_travelled_m': 40.0, 'shown_alone': 0.75, 'most_share': 0.75, 'least_share': 0.25}
    heard = summary([agent | {'bytes_per_robot': 500.0, 'collisions': 2} for agent in agents])
    assert (heard['bytes_per_robot'], heard['collisions']) == (500.0, 2.0)


def test_who_never_moved_nor_saw_has_no_shares():
    agent = {'makespan_s': 0.0, 'makespan_95_s': 0.0, 'coverage': 1.0, 'team_travelled_m': 0.0, 'alone_m2': 0.0,
             'most_travelled_m': 0.0, 'least_travelled_m': 0.0, 'revealed_m2': 0.0}
    assert not {'shown_alone', 'most_share', 'least_share'} & summary([agent]).keys()


@pytest.mark.parametrize('hardships', [None, {'loss': [0.5, 0.5]}])
def test_runs_are_those_that_training_plays(hardships):
    """One by one or many in a batch, an episode is the same."""
    options = {**SMALL, 'task': {**SMALL['task'], 'hardships': hardships}}
    run = Playing(Source('exploration', options), 'hungarian')(SEED)
    player = Player(Source('exploration', options, action_mask='candidate_mask'))
    episode, _ = player.play(player.decider('hungarian'), [Ticket(SEED, None), Ticket(SEED + 1, None)], record=False)
    assert {name: run.metrics[name] for name in ('makespan_s', 'team_travelled_m', 'coverage')} == {
        name: episode.metrics[name] for name in ('makespan_s', 'team_travelled_m', 'coverage')}


def test_coverage_is_noted_over_time():
    told = [infos['robot_0'] for infos in moments(make_environment('exploration', SMALL), decider_of('burgard'), SEED)]
    run = Playing(Source('exploration', SMALL), 'burgard')(SEED)
    assert run.coverage[0] == pytest.approx(told[0]['coverage'], abs=1e-4)
    assert run.coverage[-1] == pytest.approx(told[-1]['coverage'], abs=1e-4)
    first = told[1]['elapsed'] / told[0]['reference_m']  # when the first decision's way ends
    assert np.interp(first, CURVE_TIMES, run.coverage) == pytest.approx(told[1]['coverage'], abs=0.02)


def test_choices_are_timed_one_by_one():
    times_ms: list[float] = []
    infos = list(moments(make_environment('exploration', SMALL), decider_of('minpos', times_ms), SEED))
    assert len(times_ms) == 2 * (len(infos) - 1)  # both robots decide together, every time but at the end
    assert min(times_ms) > 0.0
