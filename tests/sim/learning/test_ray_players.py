"""The same episodes over a Ray cluster: a real one of this machine, with two CPUs."""

import os
import signal
import socket
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from marl_core.errors import TrainingError
from sim.learning.players import make_players
from sim.learning.rollout import REFERENCE
from sim.learning.trainer import Trainer, build_learner, source_of
from tests.sim.learning.test_players import TICKETS, assert_same
from tests.sim.learning.test_trainer import MATCHING

ray = pytest.importorskip('ray', reason="Ray is not installed: pip install 'marl_coordination[ray]'")
from sim.learning import ray_players  # noqa: E402 - needs Ray


@pytest.fixture(scope='module', autouse=True)
def nothing_of_the_user():
    """No cluster of this user's is joined, no token of theirs is used or written."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv('RAY_ADDRESS', raising=False)
        patch.delenv('RAY_AUTH_MODE', raising=False)
        patch.setenv('RAY_AUTH_TOKEN', 'of-these-tests-only')
        patch.setenv('RAY_USAGE_STATS_ENABLED', '0')
        patch.setattr(ray_players, 'STORE_BYTES', 200_000_000)
        yield


@pytest.fixture(scope='module')
def cluster(nothing_of_the_user):
    """Two CPUs, for several tests."""
    assert ray_players._connect(2)
    yield
    ray.shutdown()


def test_a_cluster_is_started_for_its_players_and_ends_with_them():
    source, weights = source_of(MATCHING), build_learner(MATCHING).actor.state_dict()
    with make_players('processes', source, 1) as players:
        expected = players.play(weights, TICKETS)
    before = set(_processes())
    with make_players('ray', source, 2) as players:
        with pytest.raises(TrainingError, match="worker 1 failed: TypeError.*'str'"):
            players.map(abs, [-3, 'x'])
        assert players.map(abs, [-3, 1, -2]) == [3, 1, 2]
        assert_same(players.play(weights, TICKETS), expected)
        pid = int(ray.get(players.workers[1].actor.place.remote()).split()[1])
        os.kill(pid, signal.SIGKILL)
        assert_same(players.play(weights, TICKETS), expected)
        assert players.replaced == 1
        started = _descendants(os.getpid()) - before
    assert pid not in started and len(started) >= 4  # the cluster's own processes, and two workers
    assert not ray.is_initialized()
    deadline_s = time.monotonic() + 20
    while started & set(_processes()) and time.monotonic() < deadline_s:
        time.sleep(0.1)
    assert not started & set(_processes())


def test_a_worker_that_dies_in_the_middle_is_replaced(cluster, tmp_path):
    with make_players('processes', source_of(MATCHING), 1) as players:
        expected = players.play(REFERENCE, TICKETS)
    deadly = replace(source_of(MATCHING), environment='tasks:Deadly',
                     environment_options={'once': str(tmp_path / 'died')})
    with make_players('ray', deadly, 2) as players:
        assert_same(players.play(REFERENCE, TICKETS), expected)
        assert players.replaced == 1
    assert ray.is_initialized()  # who finds a cluster leaves it as it was


def test_training_ends_in_the_same_bits(cluster, tmp_path):
    config = replace(MATCHING, iterations=2, processes=2)
    over_ray, here = Trainer(config, tmp_path / 'ray', 'ray'), Trainer(replace(config, processes=1), tmp_path / 'here')
    for one, other in zip(over_ray.run(), here.run(), strict=True):
        assert {name: value for name, value in one.items() if not name.startswith('time/')} == \
            {name: value for name, value in other.items() if not name.startswith('time/')}
    for one, other in zip(over_ray.learner.actor.parameters(), here.learner.actor.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_cluster_without_room_says_how_large_it_is(cluster, monkeypatch):
    monkeypatch.setattr(ray_players, 'START_TIMEOUT_S', 4.0)
    with pytest.raises(TrainingError, match='of 3 workers found a place.*it has 2 CPUs'):
        make_players('ray', source_of(MATCHING), 3)


def test_a_folder_that_nodes_lack_is_named(cluster, monkeypatch):
    monkeypatch.setattr(ray_players.os, 'getcwd', lambda: '/nowhere/checkout')
    with pytest.raises(TrainingError, match='(?s)this checkout in the same place.*/nowhere/checkout'):
        make_players('ray', source_of(MATCHING), 1)


def test_a_cluster_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(ray, 'is_initialized', lambda: False)
    with socket.socket() as silent:
        silent.bind(('127.0.0.1', 0))
        address = f'127.0.0.1:{silent.getsockname()[1]}'
        monkeypatch.setenv('RAY_ADDRESS', address)
        with pytest.raises(TrainingError, match=f'RAY_ADDRESS={address} cannot be reached.*ray start --head'):
            make_players('ray', source_of(MATCHING), 2)


def _processes():
    """Parents of all processes that live, by id."""
    parents = {}
    for entry in Path('/proc').glob('[0-9]*'):
        with suppress(OSError):
            state, parent = (entry / 'stat').read_text().rpartition(')')[2].split()[:2]
            if state != 'Z':
                parents[int(entry.name)] = int(parent)
    return parents


def _descendants(root):
    parents, found = _processes(), {root}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {root}
