"""The coordinator network: starts as its base rule, ignores padding, exports what it computes."""

import json

import numpy as np
import onnx
import pytest
import torch

from marl_core import specs
from marl_core.decision.observation import Observation
from marl_core.decision.policies.onnx import MANIFEST_KEY, OnnxPolicy
from marl_core.errors import TrainingError
from models.coordinator import Coordinator, CoordinatorConfig
from models.features import MASKED, example_observation
from models.scorer import Scorer
from sim.learning import export


def _trained(seed=0, scale=0.2):
    """A network as training might leave it: no weight is at its start."""
    torch.manual_seed(seed)
    network = Coordinator(CoordinatorConfig())
    for weights in network.parameters():
        if weights.requires_grad:
            weights.data.add_(scale * torch.randn_like(weights))
    return network.eval()


def _padded(observation, candidates, robots):
    sizes = {'K': candidates, 'T': robots}
    result = {}
    for spec in specs.OBSERVATION:
        array = observation[spec.name]
        whole = torch.zeros(tuple(sizes.get(size, size) for size in spec.shape), dtype=array.dtype)
        whole[tuple(slice(0, size) for size in array.shape)] = array
        result[spec.name] = whole
    return result


@pytest.mark.parametrize(('candidates', 'robots'), [(1, 1), (5, 3), (32, 9)])
def test_untrained_network_is_the_base_rule(candidates, robots):
    observation = example_observation(candidates, robots)
    logits = Coordinator().score(**observation)
    assert torch.equal(logits, observation['base_logits'])


def test_correction_is_bounded():
    observation = example_observation(9, 4)
    network = _trained(scale=5.0)
    correction = (network.score(**observation) - observation['base_logits']).abs()
    assert 0.5 < correction.max() <= network.config.residual_limit + 1e-4


def test_padding_changes_nothing():
    network, observation = _trained(), example_observation(6, 3, seed=4)
    alone = network.score(**observation)
    padded = _padded(observation, specs.MAX_CANDIDATES, specs.MAX_TEAM)
    torch.testing.assert_close(network.score(**padded)[:6], alone, atol=1e-5, rtol=1e-5)


def test_batches_are_trimmed_without_changing_logits():
    network = _trained()
    rows = [_padded(example_observation(count, robots, seed=count), 32, 9) for count, robots in ((3, 1), (7, 4))]
    batch = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
    logits = network(batch)
    assert logits.shape == (2, 32)
    assert (logits[:, 7:] == MASKED).all()
    for row, count in enumerate((3, 7)):
        torch.testing.assert_close(logits[row, :count], network.score(**rows[row])[:count], atol=1e-5, rtol=1e-5)


def test_order_of_candidates_and_teammates_does_not_matter():
    network, observation = _trained(), example_observation(8, 5, seed=2)
    order, mates = torch.randperm(8), torch.cat((torch.tensor([0]), 1 + torch.randperm(4)))
    shuffled = dict(observation)
    for name in ('candidates', 'base_logits', 'candidate_mask'):
        shuffled[name] = observation[name][order]
    shuffled['candidate_distances_m'] = observation['candidate_distances_m'][order][:, order]
    shuffled['team'] = observation['team'][mates]
    shuffled['team_distances_m'] = observation['team_distances_m'][mates][:, order]
    torch.testing.assert_close(network.score(**shuffled), network.score(**observation)[order], atol=1e-5, rtol=1e-4)


def test_scale_of_the_world_does_not_matter():
    """Twice the sensor range in a world twice as large is the same decision (ages and base logits stay)."""
    network, small = _trained(), example_observation(6, 3, seed=1)
    small['team_distances_m'] /= 4
    small['candidates'][:, specs.Candidate.NEAREST_TEAMMATE_M] /= 4
    large = {name: array.clone() for name, array in small.items()}
    lengths = [specs.Candidate[name] for name in ('X_M', 'Y_M', 'DISTANCE_M', 'SIZE_M', 'NEAREST_TEAMMATE_M',
                                                  'ISOLATION_M')]
    large['candidates'][:, lengths] *= 2
    large['candidates'][:, specs.Candidate.GAIN_M2] *= 4
    large['team'][:, [0, 1, 2, 3, 5]] *= 2
    for name in ('candidate_distances_m', 'team_distances_m', 'sensor_range_m'):
        large[name] *= 2
    # Only the logarithm of the range itself, a feature of robots, may differ: take its weight away.
    network.embed_team[0].weight.data[:, -1] = 0
    torch.testing.assert_close(network.score(**large), network.score(**small), atol=1e-4, rtol=1e-4)


def test_every_input_can_matter():
    network, observation = _trained(), example_observation(6, 4, seed=3)
    inputs = {name: array.clone().requires_grad_(array.dtype == torch.float32) for name, array in observation.items()}
    network.score(**inputs)[2].backward()
    for name, array in inputs.items():
        assert array.grad is None or array.grad.abs().sum() > 0, name
    assert all((weights.grad is not None) == weights.requires_grad for weights in network.parameters())


def test_an_untrained_network_is_the_scorer_that_it_was_given():
    network, observation = Coordinator(), example_observation(6, 4)
    network.scorer.linear.weight.data.normal_(generator=torch.Generator().manual_seed(1))
    scorer = Scorer()
    scorer.load_state_dict(network.scorer.state_dict())
    assert torch.equal(network.score(**observation), scorer.score(**observation))
    assert not torch.equal(scorer.score(**observation), observation['base_logits'])


def test_scorer_is_the_weighted_sum_that_it_says():
    scorer, observation = Scorer(), example_observation(5, 3)
    scorer.linear.weight.data[1, 6] = 2.0  # the goal that the robot has, times (team - 1) / 4
    expected = observation['base_logits'] + 2.0 * observation['candidates'][:, specs.Candidate.IS_GOAL] * 0.5
    torch.testing.assert_close(scorer.score(**observation), expected)


def test_gradient_reaches_the_head_of_an_untrained_network():
    network = Coordinator()
    network.score(**example_observation(6, 4))[0].backward()
    assert network.head.weight.grad.abs().sum() > 0
    assert network.linear.weight.grad.abs().sum() > 0


@pytest.fixture(scope='module')
def exported(tmp_path_factory):
    network = _trained(7)
    path = tmp_path_factory.mktemp('exported') / 'coordinator.onnx'
    return network, path, export.export(network, path, {'training': {'seed': 1, 'iteration': 3}})


def test_exported_numbers_are_the_networks(exported):
    network, path, content = exported
    assert export.largest_difference(network, path) < 1e-4
    assert content['largest_difference'] < 1e-4
    assert export.largest_difference(_trained(8), path) > 1e-2  # the check can fail


def test_robot_loads_the_export_and_chooses_what_the_network_prefers(exported):
    network, path, _ = exported
    policy = OnnxPolicy(path)
    for seed in range(5):
        arrays = example_observation(7, 3, seed=seed)
        observation = Observation(**{name: array.numpy() for name, array in arrays.items()})
        assert policy.choose(observation) == int(network.score(**arrays).argmax())


def test_manifest_is_in_the_file_and_beside_it(exported):
    _, path, content = exported
    inside = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert json.loads(inside[MANIFEST_KEY]) == content == json.loads(path.with_suffix('.json').read_text())
    assert content['fingerprint'] == specs.fingerprint()
    assert content['training'] == {'seed': 1, 'iteration': 3}
    assert {'torch', 'onnx', 'onnxruntime', 'numpy'} <= set(content['versions'])


def test_export_uses_plain_operators_only(exported):
    model = onnx.load(exported[1])
    assert {entry.domain for entry in model.opset_import} <= {'', 'ai.onnx'}
    assert next(entry.version for entry in model.opset_import if entry.domain in ('', 'ai.onnx')) >= 17
    assert not {'Attention', 'If', 'Loop', 'Scan'} & {node.op_type for node in model.graph.node}
    assert not any(node.metadata_props for node in model.graph.node)


def test_export_that_computes_something_else_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(export, 'largest_difference', lambda actor, path: float('nan'))
    with pytest.raises(TrainingError, match='differ'):
        export.export(_trained(), tmp_path / 'bad.onnx', {})
    assert not list(tmp_path.iterdir())


def test_model_card_has_the_numbers(exported):
    content = exported[2]
    estimate = {'value': 0.91, 'low': 0.88, 'high': 0.94}
    ratio = {'mean': estimate, 'iqm': estimate, 'better': estimate, 'episodes': 40, 'lost': 1, 'won': 0}
    judged = {'title': 'time to 99 %', 'player': 'mine', 'ratios': {'offices': ratio}, 'players': {'minpos': ratio},
              'command': 'python -m sim evaluate', 'git_commit': 'abc'}
    card = export.model_card({**content, 'evaluation': judged})
    assert '| offices | 0.910 [0.880, 0.940] | 0.910 [0.880, 0.940] | 91 % | 40 | 1 |' in card
    assert '| minpos |' in card
    assert content['fingerprint'] in card
    assert 'Not evaluated' in export.model_card(content)
    assert np.isfinite(content['latency_ms']['p50'])
