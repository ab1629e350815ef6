"""Nodes that demand signatures, over real DDS, among members, strangers and a member that went bad."""

import pytest

from marl_core.communication import wire
from marl_core.communication.authentication import Plain
from marl_core.types import Pose, RobotStatus, Twist
from marl_nodes.diagnostics import IMPERSONATED
from marl_nodes.fleet.keys import make_keys
from marl_nodes.key_files import load_seal

NAMES = ('robot_1', 'robot_2', 'map')


@pytest.fixture
def keys(tmp_path):
    make_keys(tmp_path / 'keys', NAMES)
    return tmp_path / 'keys'


def said(seal, robot, sequence, epoch=9):
    status = RobotStatus(robot, epoch, 1e-3 * sequence, Pose(1.0, 2.0, 0.0), Twist(0.0, 0.0))
    return seal.close(wire.encode(status, epoch, sequence))


def test_members_are_heard_and_all_others_are_counted(processes, ear, keys, tmp_path):
    ear.seal = load_seal('signed', keys, 'robot_1')
    processes.node('map_node', security_mode='signed', keys_path=keys)
    ear.until(lambda: ear.heard['digest'] and 'map' in ear.diagnostics)  # Signed by the map node, or it raises.
    make_keys(tmp_path / 'other', NAMES)
    stranger, bad = load_seal('signed', tmp_path / 'other', 'robot_2'), load_seal('signed', keys, 'robot_2')
    unknown = load_seal('mac', keys, 'mallory')
    good = said(ear.seal, 'robot_1', 1)
    for packet in (good, good, good, said(Plain(), 'robot_1', 2), said(unknown, 'robot_1', 2),
                   said(stranger, 'robot_2', 1), said(bad, 'mallory', 1), b'noise'):
        ear.shout(packet)
    expected = {'dropped_repeated': '2', 'dropped_unsigned': '2', 'dropped_forged': '1', 'dropped_unknown-sender': '1',
                'dropped_foreign-version': '1'}

    def dropped():
        return {key: value for key, value in ear.diagnostics['map'][1].items() if key.startswith('dropped')}
    ear.until(lambda: dropped() == expected)
    assert ear.diagnostics['map'][0] == '1 senders heard'
    ear.shout(said(bad, 'robot_1', 3))
    ear.until(lambda: dropped() == {**expected, 'dropped_impersonated': '1'})
    assert ear.diagnostics['map'][0] == IMPERSONATED


@pytest.mark.parametrize(('executable', 'parameters', 'words'), [
    ('map_node', {'security_mode': "''"}, ['security_mode is not set', 'plain']),
    ('robot_node', {'security_mode': "''"}, ['security_mode is not set', 'plain']),
    ('robot_node', {'security_mode': 'signed', 'keys_path': 'KEYS'}, ['robot_9 is no member', 'robot_1']),
    ('map_node', {'security_mode': 'mac', 'keys_path': '/nowhere'}, ['/nowhere/group.key', 'does not exist'])])
def test_nodes_that_cannot_prove_who_they_are_do_not_start(processes, keys, executable, parameters, words):
    parameters = {name: keys if value == 'KEYS' else value for name, value in parameters.items()}
    process = processes.node(executable, '/robot_9' if executable == 'robot_node' else '', **parameters)
    assert process.wait(60) == 2
    with open(process.log_path) as log:
        text = log.read()
    for word in words:
        assert word in text
