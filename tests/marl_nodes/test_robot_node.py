"""robot_node within the test's own process: its lives, its parameters and what it refuses."""

import json
from pathlib import Path

import pytest

rclpy = pytest.importorskip('rclpy', reason='ROS 2 is not installed: pip install --group ros')
pytest.importorskip('marl_coordination.msg', reason='the messages are not built: pip install --no-build-isolation -e .')

import numpy as np  # noqa: E402
import onnx  # noqa: E402
from onnx import TensorProto, helper  # noqa: E402
from rclpy.lifecycle import TransitionCallbackReturn  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402

from marl_core.decision.policies.onnx import MANIFEST_KEY, manifest  # noqa: E402
from marl_core.errors import ConfigError  # noqa: E402
from marl_core.specs import ACTION, OBSERVATION  # noqa: E402
from marl_core.types import STOP, LaserScan, Pose  # noqa: E402
from marl_nodes.robot_node import RobotNode  # noqa: E402

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE
TYPES = {'float32': TensorProto.FLOAT, 'bool': TensorProto.BOOL}


@pytest.fixture
def make_node(monkeypatch):
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'OFF')
    context = rclpy.Context()
    rclpy.init(context=context)

    def make(**parameters):
        given = {'autostart': False, 'security_mode': 'plain', **parameters}
        return RobotNode(context=context, parameter_overrides=[
            Parameter(name, value=value) for name, value in given.items()])
    yield make
    rclpy.shutdown(context=context)


@pytest.fixture
def health(monkeypatch):
    """What the node last said about itself: summary and values."""
    said = []
    monkeypatch.setattr('marl_nodes.diagnostics.Diagnostics.publish',
                        lambda self, now, level, summary, values: said.append((summary, values)))

    def ask(node):
        node._diagnose()
        return said[-1]
    return ask


def set_parameter(node, name, value):
    return node.set_parameters([Parameter(name, value=value)])[0]


def write_model(path, promises):
    """A model that is right but for what it promises."""
    infos = {spec.name: helper.make_tensor_value_info(spec.name, TYPES[spec.dtype], list(spec.shape))
             for spec in (*OBSERVATION, *ACTION)}
    graph = helper.make_graph([helper.make_node('Identity', ['base_logits'], ['logits'])], 'policy',
                              [infos[spec.name] for spec in OBSERVATION], [infos[spec.name] for spec in ACTION])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=9)
    if promises:
        helper.set_model_props(model, {MANIFEST_KEY: json.dumps(promises)})
    onnx.save(model, str(path))


def entities(node):
    return {kind: len(list(getattr(node, kind))) for kind in ('publishers', 'subscriptions', 'timers', 'services')}


def test_every_life_leaves_behind_what_it_found(make_node, tmp_path):
    node = make_node(trace_path=str(tmp_path / 'trace.jsonl'))
    seen = []
    for _ in range(3):
        counts = [entities(node)]
        for transition in (node.trigger_configure, node.trigger_activate, node.trigger_deactivate,
                           node.trigger_cleanup):
            assert transition() == SUCCESS
            counts.append(entities(node))
        seen.append(counts)
    assert seen[0] == seen[1] == seen[2]
    assert seen[0][0] == seen[0][-1]
    assert seen[0][1] == seen[0][3]
    assert not node._record.is_open


def test_every_life_has_an_epoch_of_its_own(make_node):
    node = make_node(epoch=7)
    epochs = []
    for _ in range(3):
        node.trigger_configure()
        epochs.append(node.agent.epoch)
        node.trigger_cleanup()
    assert epochs == [7, 8, 9]


@pytest.mark.parametrize(('promises', 'words'), [
    (manifest() | {'fingerprint': 'of other specs'}, ['fingerprint', 'of other specs']),
    (None, ['no manifest']),
    (b'no model at all', ['cannot be loaded as ONNX model'])], ids=['specs', 'manifest', 'corrupt'])
def test_a_model_that_does_not_fit_is_refused_and_a_better_one_taken(make_node, health, tmp_path, promises, words):
    path = tmp_path / 'candidate.onnx'
    if isinstance(promises, bytes):
        path.write_bytes(promises)
    else:
        write_model(path, promises)
    node = make_node(policy=str(path))
    before = entities(node)
    assert health(node)[0] == 'not configured'
    assert node.trigger_configure() == FAILURE
    for word in ('candidate.onnx', *words):
        assert word in health(node)[0]
    assert entities(node) == before
    write_model(path, manifest())
    assert node.trigger_configure() == SUCCESS
    assert health(node)[1]['policy'] == 'candidate'
    node.trigger_cleanup()
    assert set_parameter(node, 'policy', 'nearest').successful
    assert node.trigger_configure() == SUCCESS
    assert health(node)[1]['policy'] == 'nearest'


def test_parameters_hold_for_a_life(make_node):
    node = make_node(policy='nearest')
    assert node.trigger_configure() == SUCCESS
    refused = set_parameter(node, 'policy', 'burgard')
    assert not refused.successful
    assert 'policy' in refused.reason
    assert set_parameter(node, 'use_sim_time', False).successful
    node.trigger_cleanup()
    assert set_parameter(node, 'policy', 'burgard').successful
    assert not set_parameter(node, 'robot_name', 'somebody').successful
    node.trigger_configure()
    assert node.agent.policy.name == 'burgard'


@pytest.mark.parametrize('pose', [[0.0, 1.0], [0.0, 1.0, float('nan')]])
def test_an_impossible_start_is_refused(make_node, pose):
    with pytest.raises(ConfigError, match='initial_pose'):
        make_node(initial_pose=pose, autostart=True)


def test_what_fails_halfway_leaves_nothing_and_can_be_tried_again(make_node, monkeypatch):
    node = make_node()
    before = entities(node)

    def fail(*arguments):
        raise RuntimeError('no transforms today')
    with monkeypatch.context() as patch:
        patch.setattr('marl_nodes.robot_node.MapToOdometry', fail)
        node.trigger_configure()
    assert entities(node) == before
    assert node.trigger_configure() == SUCCESS
    assert node.trigger_activate() == SUCCESS


@pytest.mark.skipif(not Path('/dev/full').exists(), reason='no /dev/full on this system')
def test_a_full_disk_ends_the_trace_and_not_the_drive(make_node, health):
    node = make_node(trace_path='/dev/full', policy='nearest')
    assert node.trigger_configure() == node.trigger_activate() == SUCCESS
    assert node._record.is_open
    for stamp_s in (1.0, 1.1):
        node.track.add(stamp_s, Pose(0.0, 0.0, 0.0), STOP)
        node._tick(LaserScan(stamp_s, 0.0, 0.1, 0.1, 8.0, np.ones(60, np.float32)))
    assert not node._record.is_open
    assert node.is_driving
    assert health(node)[1]['failed_ticks'] == '0'
