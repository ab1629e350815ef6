"""Parts of the algorithm, each against its definition."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from sim.learning.buffer import choosing, valued
from sim.learning.critic import Critic, CriticConfig, ValueNorm
from sim.learning.mappo import clipped_objective
from sim.learning.rollout import Player, Ticket
from sim.learning.trainer import build_learner, source_of
from tests.sim.learning.test_trainer import MATCHING

TURNS = replace(MATCHING, environment='tasks:Turns')


def _played(config, learner, first=0, count=8):
    player = Player(source_of(config))
    tickets = [Ticket(first + number, number) for number in range(count)]
    return player.play(player.decider(learner.actor.state_dict()), tickets)


def _idle(episode):
    return ~episode.observations['action_mask'][:-1].any(-1)


def test_the_actor_does_not_learn_from_steps_without_a_choice():
    one, other = build_learner(TURNS), build_learner(TURNS)
    episodes = _played(TURNS, one)
    assert sum(_idle(episode).sum() for episode in episodes) == 8 * 5
    changed = [replace(episode, actions=np.where(_idle(episode), 3 - episode.actions, episode.actions),
                       log_probabilities=np.where(_idle(episode), np.float32(-5), episode.log_probabilities))
               for episode in episodes]
    numbers, others = one.learn(episodes), other.learn(changed)
    assert numbers == others
    assert numbers['batch/decisions'] == 8 * 5
    for name, weights in one.actor.state_dict().items():
        assert torch.equal(weights, other.actor.state_dict()[name])


def test_episodes_without_any_choice_teach_nothing():
    learner = build_learner(TURNS)
    before = {name: weights.clone() for name, weights in learner.state_dict()['critic'].items()}
    actor = {name: weights.clone() for name, weights in learner.actor.state_dict().items()}
    episodes = [replace(episode, observations=episode.observations | {
        'action_mask': np.zeros_like(episode.observations['action_mask'])}) for episode in _played(TURNS, learner)]
    assert learner.learn(episodes) == {'batch/decisions': 0.0}
    assert all(torch.equal(weights, before[name]) for name, weights in learner.critic.state_dict().items())
    assert all(torch.equal(weights, actor[name]) for name, weights in learner.actor.state_dict().items())


def test_what_was_cut_off_is_valued_though_nothing_was_chosen_there():
    """Of Turns, the first agent leaves for good after 3 steps, the second is cut off after 5."""
    episode = _played(TURNS, build_learner(TURNS), count=1)[0]
    choices = choosing(episode, 'action_mask')
    assert choices.T.astype(int).tolist() == [[1, 0, 1, 0, 0], [0, 1, 0, 1, 1]]
    assert valued(episode, choices).T.astype(int).tolist() == [[1, 0, 1, 0, 0, 0], [0, 1, 0, 1, 1, 1]]


def test_decisions_in_turns_are_learnt():
    learner = build_learner(TURNS)
    for number in range(30):
        learner.learn(_played(TURNS, learner, 16 * number, 16))
    logits = learner.actor({'observation': torch.eye(4)})
    assert logits.argmax(-1).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(('ratio', 'advantage', 'sign'), [
    (1.0, 2.0, 1),     # good action: make it likelier
    (1.0, -2.0, -1),   # bad action: make it rarer
    (1.3, 2.0, 0),     # good, and already likelier than the clip allows: stop
    (0.7, -2.0, 0),    # bad, and already rarer: stop
    (0.7, 2.0, 1),     # good, but moved the wrong way: come back
    (1.3, -2.0, -1),   # bad, but moved the wrong way: come back
])
def test_clipped_objective_pushes_the_right_way(ratio, advantage, sign):
    log_probability = torch.tensor([math.log(ratio)], requires_grad=True)
    clipped_objective(log_probability, torch.zeros(1), torch.tensor([advantage]), 0.2).sum().backward()
    assert torch.sign(log_probability.grad).item() == sign


def test_clipped_objective_is_the_pessimistic_one():
    gain = clipped_objective(torch.log(torch.tensor([2.0, 0.5])), torch.zeros(2), torch.tensor([1.0, -1.0]), 0.2)
    assert gain.tolist() == pytest.approx([1.2, -0.8])


def test_value_norm_follows_returns():
    norm = ValueNorm(decay=0.5)
    untouched = torch.tensor([5.0])
    assert norm.normalise(untouched).item() == 5.0
    for _ in range(3):
        norm.update(torch.tensor([8.0, 12.0]))  # the same moments each time: debiasing must give them exactly
    assert norm.normalise(torch.tensor([8.0, 10.0, 12.0])).tolist() == pytest.approx([-1.0, 0.0, 1.0], abs=1e-5)
    assert norm.restore(norm.normalise(torch.tensor([33.0]))).item() == pytest.approx(33.0, rel=1e-5)


def test_critic_tells_states_apart_and_lends_one_state_to_all_agents_of_a_step():
    torch.manual_seed(0)
    critic = Critic({'observation': (3,), 'rows': (5, 2), 'square': (4, 4)}, (2, 48, 48), CriticConfig())
    observation = {'observation': torch.zeros(4, 3), 'rows': torch.zeros(4, 5, 2), 'square': torch.zeros(4, 4, 4)}
    values = critic(observation, torch.rand(2, 2, 48, 48), torch.tensor([0, 0, 1, 1]))
    assert values[0] == values[1]
    assert values[2] == values[3]
    assert values[0] != values[2]


def test_a_local_critic_sees_its_own_observation_alone():
    torch.manual_seed(0)
    local = Critic({'observation': (3,)}, (7,), CriticConfig(central=False))
    observation = {'observation': torch.rand(2, 3)}
    values = local(observation, torch.zeros(1, 7), torch.tensor([0, 0]))
    assert torch.equal(values, local(observation, torch.rand(1, 7), torch.tensor([0, 0])))
    assert values[0] != values[1]
    torch.manual_seed(0)  # nothing is left of the state: these are the weights of a critic where there is none
    for one, other in zip(local.parameters(), Critic({'observation': (3,)}, None).parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_local_critic_is_a_setting():
    config = replace(TURNS, critic=CriticConfig(central=False))
    learner = build_learner(config)
    episodes = _played(config, learner)
    other = build_learner(config)
    assert learner.learn(episodes) == other.learn([replace(episode, states=1 - episode.states)
                                                   for episode in episodes])


@pytest.mark.parametrize('state_shape', [None, (7,)])
def test_critic_works_without_images(state_shape):
    critic = Critic({'observation': (3,)}, state_shape)
    states = None if state_shape is None else torch.zeros(1, *state_shape)
    assert critic({'observation': torch.zeros(2, 3)}, states, torch.tensor([0, 0])).shape == (2,)


def test_the_policy_is_the_average_of_what_the_actor_was():
    learner = build_learner(replace(MATCHING, mappo=replace(MATCHING.mappo, averaging=0.75)))
    expected = {name: weights.clone() for name, weights in learner.actor.state_dict().items()}
    for number in range(3):
        learner.learn(_played(MATCHING, learner, 8 * number))
        for name, weights in learner.actor.state_dict().items():
            expected[name] = 0.75 * expected[name] + 0.25 * weights
    for name, weights in learner.policy.items():
        assert torch.allclose(weights, expected[name], atol=1e-6)
        assert not torch.equal(weights, learner.actor.state_dict()[name])


def test_without_averaging_the_policy_is_the_actor():
    learner = build_learner(MATCHING)
    learner.learn(_played(MATCHING, learner))
    assert all(torch.equal(weights, learner.policy[name]) for name, weights in learner.actor.state_dict().items())
