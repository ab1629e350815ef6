"""Environments in turns play as PettingZoo's own conversion of them does."""

import numpy as np
import pytest
from mpe2 import simple_spread_v3
from pettingzoo.test import parallel_api_test

from sim.learning.environments import make_environment

OPTIONS = {'N': 3, 'max_cycles': 7}


@pytest.mark.parametrize('continuous', [False, True])
def test_episodes_are_those_of_pettingzoo(continuous):
    ours = make_environment('simple_spread', OPTIONS | {'continuous_actions': continuous})
    theirs = simple_spread_v3.parallel_env(**OPTIONS, continuous_actions=continuous)
    for seed in (3, 4):
        (one, _), (other, _) = ours.reset(seed=seed), theirs.reset(seed=seed)
        for agent in other:
            ours.action_space(agent).seed(seed)
        steps = 0
        while theirs.agents:
            np.testing.assert_equal(one, other)
            np.testing.assert_array_equal(ours.state(), theirs.state())
            actions = {agent: ours.action_space(agent).sample() for agent in theirs.agents}
            one, *told = ours.step(actions)
            other, *expected = theirs.step(actions)
            assert told == expected
            assert ours.agents == theirs.agents
            steps += 1
        np.testing.assert_equal(one, other)
        np.testing.assert_array_equal(ours.state(), theirs.state())
        assert steps == 7


def test_it_keeps_to_what_parallel_environments_are():
    parallel_api_test(make_environment('simple_spread', OPTIONS), num_cycles=20)
