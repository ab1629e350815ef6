"""What can be taken from the coordinator is really gone, in torch and in what the robot loads."""

import numpy as np
import onnxruntime
import pytest
import torch

from marl_core.decision.policies.onnx import OnnxPolicy
from marl_core.specs import Candidate, Team
from models.coordinator import Coordinator, CoordinatorConfig
from models.features import example_observation
from sim.learning import export

INTENT = [Team.GOAL_X_M, Team.GOAL_Y_M, Team.HAS_GOAL, Team.DISTANCE_TO_GO_M]


def _trained(**options):
    """A network as training might leave it: no weight is at its start."""
    torch.manual_seed(0)
    network = Coordinator(CoordinatorConfig(**options))
    for weights in network.parameters():
        if weights.requires_grad:
            weights.data.add_(0.2 * torch.randn_like(weights))
    return network.eval()


def _other_distances():
    """Two observations that differ in distances only, where frontiers have no length that features would weigh."""
    one = example_observation(7, 4)
    one['candidates'][:, Candidate.SIZE_M] = 0.0
    other = dict(one)
    for name in ('candidate_distances_m', 'team_distances_m'):
        other[name] = one[name].flip(-1) + 3.0
    return one, other


def _other_intent(rows):
    """Two observations that differ only in the goals of some robots, and in how far these have to go."""
    one = example_observation(7, 4)
    other = {name: array.clone() for name, array in one.items()}
    replaced = other['team'][rows]
    replaced[:, INTENT] = torch.tensor([7.0, -8.0, 1.0, 30.0])
    other['team'][rows] = replaced
    assert not torch.equal(one['team'], other['team'])
    return one, other


ABLATIONS = {'distance_bias': _other_distances, 'teammate_intent': lambda: _other_intent(slice(1, None))}


@pytest.mark.parametrize('name', ABLATIONS)
def test_what_is_taken_away_changes_nothing_any_more(name):
    one, other = ABLATIONS[name]()
    network = _trained(**{name: False})
    assert torch.equal(network.score(**one), network.score(**other))
    whole = _trained()
    assert (whole.score(**one) - whole.score(**other)).abs().max() > 1e-2
    assert (network.score(**one) - whole.score(**one)).abs().max() > 1e-2


def test_a_robots_own_goal_is_no_teammates_intent():
    one, other = _other_intent(slice(0, 1))
    network = _trained(teammate_intent=False)
    assert (network.score(**one) - network.score(**other)).abs().max() > 1e-2


def test_distances_among_features_stay():
    one, other = _other_distances()
    one['candidates'][:, Candidate.SIZE_M] = 2.0
    network = _trained(distance_bias=False)
    assert not torch.equal(network.score(**one), network.score(**other))


@pytest.fixture(scope='module')
def ablated(tmp_path_factory):
    path = tmp_path_factory.mktemp('exported') / 'ablated.onnx'
    export.export(_trained(**dict.fromkeys(ABLATIONS, False)), path, {})  # which compares its numbers with torch's
    return path


@pytest.mark.parametrize('name', ABLATIONS)
def test_what_is_taken_away_is_gone_from_the_robots_file(name, ablated):
    OnnxPolicy(ablated)
    session = onnxruntime.InferenceSession(str(ablated), providers=['CPUExecutionProvider'])
    one, other = (session.run(['logits'], {key: array.numpy() for key, array in observation.items()})[0]
                  for observation in ABLATIONS[name]())
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize('name', ABLATIONS)
def test_gradients_flow_without_it(name):
    network = _trained(**{name: False})
    network.score(**example_observation(6, 4))[0].backward()
    assert all(torch.isfinite(weights.grad).all() for weights in network.parameters() if weights.requires_grad)
