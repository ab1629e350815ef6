"""Parts of the algorithm, each against its definition."""

import math

import pytest
import torch

from sim.learning.critic import Critic, CriticConfig, ValueNorm
from sim.learning.mappo import clipped_objective, divergence, entropy, log_probabilities


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


def test_forbidden_actions_have_no_probability_and_no_gradient():
    logits = torch.tensor([[1.0, 5.0, 1.0]], requires_grad=True)
    log_policy = log_probabilities(logits, torch.tensor([[True, False, True]]))
    assert log_policy.exp()[0].tolist() == pytest.approx([0.5, 0.0, 0.5])
    assert entropy(log_policy).item() == pytest.approx(math.log(2))
    (entropy(log_policy).sum() + log_policy[0, 0]).backward()
    assert logits.grad[0, 1] == 0
    assert torch.isfinite(logits.grad).all()


def test_divergence_by_hand():
    policy, other = torch.log(torch.tensor([[0.5, 0.5]])), torch.log(torch.tensor([[0.25, 0.75]]))
    assert divergence(policy, other).item() == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(0.5 / 0.75))
    assert divergence(policy, policy).item() == 0.0


def test_divergence_ignores_actions_that_both_forbid():
    mask = torch.tensor([[True, True, False]])
    one, other = torch.tensor([[0.0, 0.0, 9.0]]), torch.tensor([[0.0, 0.0, -9.0]])
    assert divergence(log_probabilities(one, mask), log_probabilities(other, mask)).item() == pytest.approx(0.0)


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


@pytest.mark.parametrize('state_shape', [None, (7,)])
def test_critic_works_without_images(state_shape):
    critic = Critic({'observation': (3,)}, state_shape)
    states = None if state_shape is None else torch.zeros(1, *state_shape)
    assert critic({'observation': torch.zeros(2, 3)}, states, torch.tensor([0, 0])).shape == (2,)
