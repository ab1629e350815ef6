"""Whoever plays, episodes are the same; who dies is replaced."""

import os
import signal
import sys
from dataclasses import replace

import numpy as np
import pytest

from marl_core.errors import TrainingError
from sim.__main__ import main
from sim.learning.players import Processes, make_players
from sim.learning.rollout import REFERENCE, Ticket
from sim.learning.trainer import build_learner, source_of
from tests.sim.learning.test_trainer import MATCHING

TICKETS = [Ticket(seed, seed) for seed in range(8)]


def assert_same(some, others):
    """Every array and every number of the episodes, bit for bit."""
    for one, other in zip(some, others, strict=True):
        assert one.metrics == other.metrics and one.seed == other.seed
        assert one.observations.keys() == other.observations.keys()
        for name in one.observations:
            np.testing.assert_array_equal(one.observations[name], other.observations[name], strict=True)
        for name in ('states', 'actions', 'log_probabilities', 'rewards', 'elapsed', 'alive', 'terminated'):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name), strict=True)


def test_processes_play_what_one_plays_and_a_killed_one_is_replaced():
    weights = build_learner(MATCHING).actor.state_dict()
    with Processes(source_of(MATCHING), 1) as alone:
        expected = alone.play(weights, TICKETS)
        assert alone.map(abs, [-3, 1, -2]) == [3, 1, 2]
    with Processes(source_of(MATCHING), 2) as players:
        with pytest.raises(TrainingError, match="worker 1 failed: TypeError.*'str'"):
            players.map(abs, [-3, 'x'])
        assert players.map(abs, []) == []
        assert players.map(abs, [-3, 1, -2]) == [3, 1, 2]
        assert_same(players.play(weights, TICKETS), expected)
        os.kill(players.workers[1][0].pid, signal.SIGKILL)
        assert_same(players.play(weights, TICKETS), expected)
        assert players.replaced == 1


def test_a_process_that_dies_in_the_middle_is_replaced(tmp_path):
    with Processes(source_of(MATCHING), 1) as players:
        expected = players.play(REFERENCE, TICKETS)
    deadly = replace(source_of(MATCHING), environment='tasks:Deadly',
                     environment_options={'once': str(tmp_path / 'died')})
    with Processes(deadly, 2) as players:
        assert_same(players.play(REFERENCE, TICKETS), expected)
        assert players.replaced == 1


def test_processes_that_die_of_their_work_are_given_up():
    source = replace(source_of(MATCHING), environment='tasks:Deadly', environment_options={})
    with Processes(source, 2) as players:
        with pytest.raises(TrainingError, match='died 3 times.*exit code -9'):
            players.play(REFERENCE, [Ticket(0, None)])


@pytest.mark.parametrize(('engine', 'count', 'said'), [
    ('magic', 2, "unknown engine 'magic'; known: processes, ray"), ('processes', 0, 'at least 1, got 0')])
def test_wrong_players_are_named(engine, count, said):
    with pytest.raises(TrainingError, match=said):
        make_players(engine, source_of(MATCHING), count)


@pytest.mark.parametrize(('options', 'said'), [(['--engine', 'magic'], "unknown engine 'magic'"),
                                               (['--processes', '0'], 'at least 1, got 0')])
def test_commands_pass_on_who_plays(options, said, tmp_path, capsys):
    assert main(['train', '--output', str(tmp_path), '--set', 'environment=tasks:Matching', '--set', 'actor=mlp',
                 '--set', 'action_mask=action_mask', *options]) == 2
    assert said in capsys.readouterr().err


def test_that_ray_is_missing_is_said_with_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, 'ray', None)
    monkeypatch.delitem(sys.modules, 'sim.learning.ray_players', raising=False)
    with pytest.raises(TrainingError, match=r"needs Ray: pip install 'marl_coordination\[ray\]'"):
        make_players('ray', source_of(MATCHING), 2)
