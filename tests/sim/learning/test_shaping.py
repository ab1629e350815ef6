"""Shaped rewards against numbers worked out by hand, and the theorem that they rest on."""

from dataclasses import replace

import numpy as np
import pytest

from marl_core.errors import TrainingError
from sim.learning import gae
from sim.learning.rollout import REFERENCE, Player, Ticket
from sim.learning.shaping import shaped
from sim.learning.trainer import build_learner, source_of
from tests.sim.learning.test_trainer import MATCHING

CLIMBING = replace(MATCHING, environment='tasks:Climbing')


def _column(*values):
    return np.array(values, np.float32).reshape(-1, 1)


def test_shaped_rewards_by_hand():
    result = shaped(_column(1, 2, 3), _column(0.5, 1, 4, 9), _column(1, 2, 1), np.array([[False], [False], [True]]),
                    np.ones((3, 1), bool), discount=0.5, weight=2.0)
    # 1 + 2*(.5*1 - .5) = 1; 2 + 2*(.25*4 - 1) = 2; 3 + 2*(0 - 4) = -5 (the 9 behind the end does not count)
    assert result[:, 0].tolist() == [1.0, 2.0, -5.0]


def test_an_episode_that_was_cut_off_keeps_the_potential_of_its_end():
    result = shaped(_column(1), _column(2, 6), _column(1), np.array([[False]]), np.ones((1, 1), bool), 0.5)
    assert result[0, 0] == 1 + 0.5 * 6 - 2


def test_agents_that_are_gone_earn_nothing_by_it():
    alive = np.array([[True, False]])
    result = shaped(np.zeros((1, 2), np.float32), np.array([[1, 1], [5, 5]], np.float32), np.ones((1, 2), np.float32),
                    np.zeros((1, 2), bool), alive, 1.0)
    assert result.tolist() == [[4.0, 0.0]]


def _return(rewards, elapsed, discount):
    before = np.concatenate(([0.0], np.cumsum(elapsed[:-1, 0])))
    return float((discount ** before * rewards[:, 0]).sum())


def test_which_policy_is_best_does_not_change():
    """All ways from one start to the end of a task change their return by the same: the start's potential."""
    random, discount, weight = np.random.default_rng(0), 0.9, 1.7
    plain, changed = [], []
    for steps in (1, 2, 5, 9, 20):
        rewards, elapsed = random.normal(size=(steps, 1)), random.uniform(0.1, 5.0, (steps, 1))
        potentials = random.normal(0, 10, (steps + 1, 1))
        potentials[0] = 3.0
        terminated = np.arange(steps)[:, None] == steps - 1
        plain.append(_return(rewards, elapsed, discount))
        changed.append(_return(shaped(rewards, potentials, elapsed, terminated, np.ones((steps, 1), bool), discount,
                                      weight), elapsed, discount))
    assert np.array(changed) - plain == pytest.approx(np.full(5, -weight * 3.0), abs=1e-4)
    assert np.argsort(changed).tolist() == np.argsort(plain).tolist()


def test_advantages_stay_if_values_fall_by_the_potential():
    random = np.random.default_rng(1)
    rewards, elapsed = (random.uniform(0.5, 2.0, (6, 2)).astype(np.float32) for _ in range(2))
    values, potentials = (random.normal(size=(7, 2)).astype(np.float32) for _ in range(2))
    terminated = np.zeros((6, 2), bool)
    terminated[5, 0] = True  # the second agent is cut off
    alive = np.ones((6, 2), bool)
    plain = gae.advantages(rewards, values, elapsed, terminated, alive, alive, 0.9, 0.8)
    changed = gae.advantages(shaped(rewards, potentials, elapsed, terminated, alive, 0.9), values - potentials, elapsed,
                             terminated, alive, alive, 0.9, 0.8)
    np.testing.assert_allclose(changed, plain, atol=1e-5)


def test_episodes_record_the_potential_that_an_environment_gives():
    player = Player(source_of(CLIMBING))
    episode, = player.play(player.decider(REFERENCE), [Ticket(3, None)])
    assert episode.potentials.tolist() == [[0, 0], [1, 2], [2, 4], [3, 6], [3, 8], [3, 10]]  # the first leaves after 3
    assert 'potential' not in episode.metrics
    episode, = Player(source_of(MATCHING)).play(player.decider(REFERENCE), [Ticket(3, None)])
    assert episode.potentials is None


def test_shaping_is_a_setting():
    player = Player(source_of(CLIMBING))
    episodes = player.play(player.decider(REFERENCE), [Ticket(seed, None) for seed in range(4)])
    means = []
    for weight in (0.0, 2.0):
        config = replace(CLIMBING, mappo=replace(CLIMBING.mappo, shaping=weight, discount=1.0, trace=1.0))
        means.append(build_learner(config).learn(episodes, critic_only=True)['critic/return_mean'])
    # The first ends, so each of its decisions lacks the potential before it, 0 + 1 + 2; the second is cut off at 10:
    # 10 - (0 + 2 + 4 + 6 + 8) / 5 more on average of its five.
    assert means[1] - means[0] == pytest.approx(2.0 * (-3 + 5 * 10 - 20) / 8, rel=1e-4)


def test_shaping_without_a_potential_is_refused():
    player = Player(source_of(MATCHING))
    episodes = player.play(player.decider(REFERENCE), [Ticket(0, None)])
    learner = build_learner(replace(MATCHING, mappo=replace(MATCHING.mappo, shaping=1.0)))
    with pytest.raises(TrainingError, match='shaping.*infos.*potential'):
        learner.learn(episodes)
