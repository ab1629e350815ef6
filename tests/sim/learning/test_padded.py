"""Agents that see or do different things are made alike, and learn."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gymnasium import spaces
from pettingzoo import ParallelEnv
from pettingzoo.test import parallel_api_test

from marl_core.config import load
from marl_core.errors import TrainingError
from sim.learning.environments import make_environment
from sim.learning.padded import Padded
from sim.learning.trainer import Trainer, TrainingConfig, build_learner

CONFIG = Path(__file__).parents[3] / 'config' / 'training' / 'speaker_listener.yaml'
LISTENING = replace(load(TrainingConfig, CONFIG), iterations=2, episodes=8, evaluation_episodes=4)


class Unlike(ParallelEnv):
    """Says what it was told to do."""

    metadata = {'name': 'unlike'}
    possible_agents = ['small', 'large']
    sees = {'small': spaces.Discrete(3), 'large': spaces.Box(-5, 5, (2, 2))}
    observation_space = sees.get

    def __init__(self, **does):
        self.agents, self.does = [], does
        self.action_space = does.get

    def reset(self, seed=None, options=None):
        self.agents = list(self.possible_agents)
        return self._observations(), {agent: {} for agent in self.agents}

    def step(self, actions):
        self.told, self.agents = actions, []
        assert all(self.does[agent].contains(action) for agent, action in actions.items()), actions
        nothing = dict.fromkeys(actions, False)
        return self._observations(), dict.fromkeys(actions, 0.0), nothing, dict.fromkeys(actions, True), {}

    def _observations(self):
        return {'small': 1, 'large': np.arange(4, dtype=np.float32).reshape(2, 2)}


def test_observations_are_flat_and_actions_that_an_agent_does_not_have_are_masked():
    inner = Unlike(small=spaces.Discrete(2, start=5), large=spaces.Discrete(4))
    padded = Padded(inner)
    observations, _ = padded.reset()
    assert observations['small']['observation'].tolist() == [0, 1, 0, 0]  # a number that is 0, 1 or 2
    assert observations['large']['observation'].tolist() == [0, 1, 2, 3]
    assert observations['small']['action_mask'].tolist() == [1, 1, 0, 0]
    assert observations['large']['action_mask'].tolist() == [1, 1, 1, 1]
    assert all(padded.observation_space(agent).contains(seen) for agent, seen in observations.items())
    padded.step({'small': 1, 'large': 3})
    assert inner.told == {'small': 6, 'large': 3}


def test_continuous_actions_keep_to_each_agents_own_bounds():
    inner = Unlike(small=spaces.Box(0, 10, (1,)), large=spaces.Box(-1, 1, (3,)))
    padded = Padded(inner)
    observations, _ = padded.reset()
    assert observations['small'].tolist() == [0, 1, 0, 0]
    assert padded.action_space('small') == padded.action_space('large') == spaces.Box(-np.inf, np.inf, (3,))
    padded.step({'small': np.array([0.5, 9, 9], np.float32), 'large': np.array([0.5, 9, -9], np.float32)})
    assert inner.told['small'].tolist() == [7.5]
    assert inner.told['large'].tolist() == [0.5, 1, -1]


def test_both_kinds_of_actions_at_once_are_refused():
    with pytest.raises(TrainingError, match='some agents have discrete, others continuous'):
        Padded(Unlike(small=spaces.Discrete(2), large=spaces.Box(-1, 1, (3,))))


def test_it_keeps_to_what_parallel_environments_are():
    parallel_api_test(make_environment('padded', LISTENING.environment_options), num_cycles=20)


@pytest.mark.parametrize('continuous', [False, True])
def test_a_speaker_and_a_listener_are_trained(tmp_path, continuous):
    listening = {'max_cycles': 6, 'continuous_actions': continuous}
    options = LISTENING.environment_options | {'options': listening}
    config = replace(LISTENING, environment_options=options, action_mask='' if continuous else 'action_mask')
    *_, last = Trainer(config, tmp_path).run()
    assert all(np.isfinite(value) for value in last.values())
    assert last['actor/updates'] > 0
    with pytest.raises(TrainingError, match="'padded' makes them alike"):
        build_learner(replace(config, environment=options['environment'], environment_options=listening,
                              action_mask=''))
