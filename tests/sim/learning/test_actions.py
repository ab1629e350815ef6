"""Kinds of actions against numbers worked out by hand, and numpy against torch."""

import math

import numpy as np
import pytest
import torch
from gymnasium import spaces

from marl_core.errors import TrainingError
from sim.learning.actions import Continuous, Discrete, actions_of
from tests.sim.learning.tasks import Matching

BOUNDED = Continuous(spaces.Box(np.array([[0, -2], [10, -np.inf]], np.float32),
                                np.array([[1, 2], [30, np.inf]], np.float32)))
MASKED = Discrete(3, 'mask')


def _policy(logits, mask=(True, True, True)):
    return MASKED.policy(torch.tensor([logits]), {'mask': torch.tensor([mask])})


def test_forbidden_actions_have_no_probability_and_no_gradient():
    logits = torch.tensor([[1.0, 5.0, 1.0]], requires_grad=True)
    policy = MASKED.policy(logits, {'mask': torch.tensor([[True, False, True]])})
    assert policy.exp()[0].tolist() == pytest.approx([0.5, 0.0, 0.5])
    assert MASKED.entropy(policy).item() == pytest.approx(math.log(2))
    (MASKED.entropy(policy).sum() + policy[0, 0]).backward()
    assert logits.grad[0, 1] == 0
    assert torch.isfinite(logits.grad).all()


def test_divergence_by_hand():
    policy, other = torch.log(torch.tensor([[0.5, 0.5]])), torch.log(torch.tensor([[0.25, 0.75]]))
    assert MASKED.divergence(policy, other).item() == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(0.5 / 0.75))
    assert MASKED.divergence(policy, policy).item() == 0.0


def test_divergence_ignores_actions_that_both_forbid():
    one, other = (_policy(logits, (True, True, False)) for logits in ([0.0, 0.0, 9.0], [0.0, 0.0, -9.0]))
    assert MASKED.divergence(one, other).item() == pytest.approx(0.0)


def test_a_gaussian_by_hand():
    """Means 1 and -1, deviations 1 and e: a density is exp(-noise^2 / 2) / (deviation * sqrt(2 pi)) per dimension."""
    kind = Continuous(spaces.Box(-1.0, 1.0, (2,)))
    policy = torch.tensor([[1.0, -1.0, 0.0, 1.0]])
    at_mean = math.log(1 / math.sqrt(2 * math.pi)) + math.log(1 / (math.e * math.sqrt(2 * math.pi)))
    assert kind.log_probability(policy, torch.tensor([[1.0, -1.0]])).item() == pytest.approx(at_mean)
    away = torch.tensor([[3.0, -1.0 - math.e]])  # by 2 and by 1 deviations
    assert kind.log_probability(policy, away).item() == pytest.approx(at_mean - 2.0 - 0.5)
    # log(deviation * sqrt(2 pi e)) per dimension
    assert kind.entropy(policy).item() == pytest.approx(1.0 + math.log(2 * math.pi * math.e))
    chosen, log_probability = kind.choose(policy.numpy(), np.array([[2.0, -1.0]]))
    assert chosen[0].tolist() == pytest.approx(away[0].tolist())
    assert log_probability[0] == pytest.approx(at_mean - 2.5)


def test_continuous_actions_are_sent_within_their_bounds_and_recorded_as_they_were_drawn():
    drawn = np.array([[0.5, -9.0, 0.0, 40.0]], np.float32)
    assert BOUNDED.shape == (4,)
    assert BOUNDED.sent(drawn).tolist() == [[[0.75, -2.0], [20.0, 40.0]]]
    assert all(BOUNDED.space.contains(action) for action in BOUNDED.sent(100 * drawn))
    outputs = np.concatenate((drawn, np.zeros_like(drawn)), axis=-1)
    chosen, log_probability = BOUNDED.choose(outputs, BOUNDED.noise(None, 1))
    assert chosen.tolist() == drawn.tolist()  # what is best is the mean
    assert log_probability[0] == pytest.approx(-2 * math.log(2 * math.pi))


@pytest.mark.parametrize('kind', [Discrete(4, 'mask', 2.5), Continuous(spaces.Box(-1.0, 3.0, (3,)))])
def test_probabilities_while_playing_are_those_while_learning(kind):
    random = np.random.default_rng(0)
    outputs = random.normal(size=(64, kind.outputs)).astype(np.float32)
    mask = random.random((64, 4)) < 0.5
    mask[:, 2] = True
    chosen, log_probability = kind.choose(kind.played(outputs, {'mask': mask}), kind.noise(random, 64))
    policy = kind.policy(torch.from_numpy(outputs), {'mask': torch.from_numpy(mask)})
    again = kind.log_probability(policy, torch.from_numpy(chosen))
    np.testing.assert_allclose(log_probability, again.numpy(), atol=1e-5)
    assert chosen.dtype == kind.dtype and chosen.shape == (64, *kind.shape)


@pytest.mark.parametrize('kind', [Discrete(3), Continuous(spaces.Box(-1.0, 1.0, (1,)))])
def test_samples_are_of_the_policy(kind):
    """The entropy is what minus the logarithm of a sample's probability is on average."""
    outputs = np.repeat(np.array([[0.3, -0.7, 1.1][:kind.outputs]], np.float32), 20_000, axis=0)
    _, log_probability = kind.choose(outputs, kind.noise(np.random.default_rng(1), len(outputs)))
    entropy = kind.entropy(kind.policy(torch.from_numpy(outputs[:1]), {})).item()
    assert -log_probability.mean() == pytest.approx(entropy, abs=0.02)


def test_first_actions_need_not_be_called_0():
    environment = Matching()
    environment.action_space = lambda agent: spaces.Discrete(3, start=-1)
    assert actions_of(environment).sent(np.array([0, 2])) == [-1, 1]


@pytest.mark.parametrize(('spaces_of', 'said'), [
    ({'first': spaces.Discrete(3), 'second': spaces.Discrete(4)}, r'same actions, not Discrete\(3\), Discrete\(4\)'),
    (dict.fromkeys(('first', 'second'), spaces.MultiDiscrete([2, 2])), 'MultiDiscrete.*cannot be learnt'),
    (dict.fromkeys(('first', 'second'), spaces.Box(0, 1, (2,))), "action_mask 'action_mask': continuous.*''")])
def test_actions_that_cannot_be_learnt_are_named(spaces_of, said):
    environment = Matching()
    environment.action_space = spaces_of.get
    with pytest.raises(TrainingError, match=said):
        actions_of(environment, 'action_mask')
