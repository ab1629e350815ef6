"""Models are checked before they decide, and what they do wrong is said in full."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from marl_core.decision.policies import FallbackPolicy, make_policy
from marl_core.decision.policies.minpos import MinPos
from marl_core.decision.policies.onnx import MANIFEST_KEY, OnnxPolicy, manifest
from marl_core.errors import PolicyError
from marl_core.specs import ACTION, OBSERVATION
from marl_core.testing import check_policy, random_observation

TYPES = {'float32': TensorProto.FLOAT, 'bool': TensorProto.BOOL}


def write_model(path, nodes=None, promises=None, shapes=None, dtypes=None, without=()):
    """A model that gives the base logits, unless told otherwise."""
    described = {spec.name: (TYPES[(dtypes or {}).get(spec.name, spec.dtype)],
                             (shapes or {}).get(spec.name, list(spec.shape))) for spec in (*OBSERVATION, *ACTION)}
    nodes = nodes or [helper.make_node('Identity', ['base_logits'], ['logits'])]
    graph = helper.make_graph(
        nodes, 'policy',
        [helper.make_tensor_value_info(spec.name, *described[spec.name]) for spec in OBSERVATION
         if spec.name not in without],
        [helper.make_tensor_value_info('logits', *described['logits'])])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=9)
    promises = manifest() if promises is None else promises
    if promises:
        helper.set_model_props(model, {MANIFEST_KEY: promises if isinstance(promises, str) else json.dumps(promises)})
    onnx.save(model, str(path))
    return path


@pytest.fixture
def observation():
    return random_observation(np.random.default_rng(1), 7, 3)


def test_conforms_and_decides_as_its_logits(tmp_path, observation) -> None:
    policy = make_policy(write_model(tmp_path / 'burgard.onnx'))
    check_policy(policy)
    assert policy.name == 'burgard'
    assert policy.choose(observation) == observation.base_logits.argmax()


def test_other_logits_give_another_choice(tmp_path, observation) -> None:
    policy = OnnxPolicy(write_model(tmp_path / 'm.onnx', [helper.make_node('Neg', ['base_logits'], ['logits'])]))
    assert policy.choose(observation) == observation.base_logits.argmin()


def test_remarks_travel_with_the_model(tmp_path) -> None:
    path = write_model(tmp_path / 'm.onnx', promises=manifest(run='office-7', fingerprint='cannot be overridden'))
    assert OnnxPolicy(path).manifest['run'] == 'office-7'


def changed_input(name, **changes):
    content = json.loads(json.dumps(manifest()))
    next(entry for entry in content['inputs'] if entry['name'] == name).update(changes)
    return content


@pytest.mark.parametrize(('promises', 'said'), [
    ('{broken', 'manifest: is not JSON'),
    ('[1]', 'expected an object, got list'),
    ({**manifest(), 'fingerprint': 'abc'}, "fingerprint: expected '[0-9a-f]{16}', got 'abc'; .*train and export"),
    ({**manifest(), 'specs_version': 0}, 'specs_version: expected [0-9]+, got 0'),
    ({**manifest(), 'inputs': manifest()['inputs'][1:]}, "inputs: expected .*'candidates'.*got .*export"),
    ({**manifest(), 'outputs': None}, r"outputs: expected \['logits'\], got \[\]"),
    (changed_input('team', shape=['T', 6]), r"inputs: team: shape: expected \['T', 7\], got \['T', 6\]"),
    (changed_input('base_logits', unit='m'), "inputs: base_logits: unit: expected '.*', got 'm'"),
])
def test_a_manifest_that_differs_is_refused_by_field(tmp_path, promises, said) -> None:
    with pytest.raises(PolicyError, match=f'm.onnx: .*{said}'):
        OnnxPolicy(write_model(tmp_path / 'm.onnx', promises=promises))


def test_no_manifest(tmp_path) -> None:
    with pytest.raises(PolicyError, match='has no manifest .*marl_manifest'):
        OnnxPolicy(write_model(tmp_path / 'm.onnx', promises={}))


@pytest.mark.parametrize(('changes', 'said'), [
    ({'shapes': {'team': ['T', 6]}}, r'input team: shape: expected \[.T., 7\]'),
    ({'shapes': {'candidates': ['B', 'K', 11]}}, r'input candidates: shape: .* without batch'),
    ({'shapes': {'candidate_mask': [32]}}, r'input candidate_mask: shape: .*\[32\]; .*dynamic K'),
    ({'dtypes': {'team_mask': 'float32'}}, r'input team_mask: dtype: expected bool, got tensor\(float\)'),
    ({'without': ('team',)}, r"inputs: expected .*'team'.*, got"),
])
def test_a_graph_that_breaks_its_manifest_is_refused(tmp_path, changes, said) -> None:
    with pytest.raises(PolicyError, match=said):
        OnnxPolicy(write_model(tmp_path / 'm.onnx', **changes))


def test_missing_and_foreign_files(tmp_path) -> None:
    with pytest.raises(PolicyError, match='no such model'):
        OnnxPolicy(tmp_path / 'none.onnx')
    (tmp_path / 'text.onnx').write_text('not a model')
    with pytest.raises(PolicyError, match='cannot be loaded as ONNX model'):
        OnnxPolicy(tmp_path / 'text.onnx')


BROKEN = {
    'not finite': [helper.make_node('Log', ['base_logits'], ['logits'])],
    'expected shape': [helper.make_node('Concat', ['base_logits', 'base_logits'], ['logits'], axis=0)],
    'failed to run': [helper.make_node('Add', ['base_logits', 'doubled'], ['logits'])],
}
BROKEN['failed to run'].insert(0, helper.make_node('Concat', ['base_logits'] * 2, ['doubled'], axis=0))


@pytest.mark.parametrize('said', BROKEN)
def test_a_model_that_fails_says_so_and_the_fallback_decides(tmp_path, observation, said) -> None:
    policy = OnnxPolicy(write_model(tmp_path / 'm.onnx', BROKEN[said]))
    with pytest.raises(PolicyError, match=said):
        policy.choose(observation)
    guarded = FallbackPolicy(policy)
    assert guarded.choose(observation) == MinPos().choose(observation)
    assert guarded.failures == 1
    assert said in guarded.last_error
    assert guarded.name == 'm'
    check_policy(guarded)


@pytest.mark.parametrize('choice', [7, -2])
def test_a_choice_that_is_no_candidate_counts_as_failure(observation, choice) -> None:
    class Lost:
        name = 'lost'

        def choose(self, seen) -> int:
            return choice

    guarded = FallbackPolicy(Lost())
    assert guarded.choose(observation) == MinPos().choose(observation)
    assert (guarded.failures, guarded.last_error) == (1, f'policy lost chose {choice}, which is no candidate')


def test_stand_ins_are_asked_in_order(observation) -> None:
    class Says:
        def __init__(self, choice) -> None:
            self.name, self.choice, self.asked = f'says {choice}', choice, 0

        def choose(self, seen) -> int:
            self.asked += 1
            return self.choice

    lost, second, third = Says(99), Says(1), Says(0)
    guarded = FallbackPolicy(lost, second, third)
    assert guarded.choose(observation) == 1
    assert (lost.asked, second.asked, third.asked) == (1, 1, 0)
    assert (guarded.failures, guarded.name) == (1, 'says 99')


def test_the_fallback_is_not_asked_without_need(tmp_path, observation) -> None:
    guarded = FallbackPolicy(OnnxPolicy(write_model(tmp_path / 'm.onnx')))
    assert guarded.choose(observation) == observation.base_logits.argmax()
    assert (guarded.failures, guarded.last_error) == (0, '')
