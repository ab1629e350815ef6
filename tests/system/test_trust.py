"""The operator's word reaches all who judge, and verdicts outlive the map node."""

import signal
import subprocess
import sys

import numpy as np
import pytest
from marl_coordination.srv import GetCoverage, SetTrust

from marl_core.mapping.bounds import MapBounds, MapConfig
from marl_core.mapping.layers import Urgency
from marl_core.mapping.replica import Replica, ReplicaConfig
from marl_core.types import LayerId
from marl_nodes.fleet.environment import ros_environment

BOUNDS = MapBounds.from_config(MapConfig())
CELL_M2 = 0.05 * 0.05


def square(name, edge):
    """A message about a free square that only this robot has seen."""
    layer = LayerId(name, 1)
    replica = Replica(BOUNDS, name, layer, ReplicaConfig(urgency=Urgency(hold_cells=1)))
    classes = np.zeros(BOUNDS.shape, np.int8)
    row, column = BOUNDS.cell_of(0.0, 0.0)
    classes[row:row + edge, column:column + edge] = -1
    replica.write(layer, np.array([(row // 32, column // 32)], np.int32), classes)
    return replica.publish(layer, 1e6, 1.0)


def coverage(ear):
    return ear.call(GetCoverage, '/map/coverage', GetCoverage.Request())


def operator(*arguments):
    return subprocess.run([sys.executable, '-m', 'marl_nodes.fleet.commands', 'trust', *arguments],
                          capture_output=True, text=True, timeout=60, env=ros_environment(), check=False)


def test_a_verdict_outlives_the_map_node(processes, ear, tmp_path):
    def start():
        return processes.node('map_node', state_path=tmp_path / 'fleet.state', save_period_s=0.2)
    process = start()
    heard = square('one', 20)
    ear.until(lambda: coverage(ear).free_m2 == pytest.approx(400 * CELL_M2), also=lambda: ear.say(heard))
    before = coverage(ear).state_hash
    order = SetTrust.Request(robot='one', order='quarantine')
    assert ear.call(SetTrust, '/map/set_trust', order).success
    ear.until((tmp_path / 'fleet.state.trust.json').exists)
    ear.until((tmp_path / 'fleet.state').exists)
    process.send_signal(signal.SIGKILL)
    process.wait(10)

    start()
    ear.until(lambda: coverage(ear).state_hash == before)
    assert coverage(ear).free_m2 == 0.0
    order.order = 'reinstate'
    assert ear.call(SetTrust, '/map/set_trust', order).success
    ear.until(lambda: coverage(ear).free_m2 == pytest.approx(400 * CELL_M2))


def test_the_whole_fleet_is_told_and_who_cannot_be_reached_is_named(processes, ear, make_base, tmp_path):
    fleet = tmp_path / 'fleet.yaml'
    fleet.write_text('security: {mode: plain}\nrobots: {robot_1: {}, robot_2: {}}\n')
    processes.node('map_node')
    processes.node('robot_node', '/robot_1', policy='nearest')
    base, heard = make_base('robot_1'), square('liar', 20)

    def live():
        base.live()
        ear.say(heard)

    def asked(name):
        answer = ear.call(SetTrust, name, SetTrust.Request(robot='liar', order='reinstate'))
        return answer.success
    for name in ('/map/set_trust', '/robot_1/robot/set_trust'):
        ear.until(lambda name=name: asked(name), also=live)

    told = operator('liar', 'quarantine', '--timeout', '5')
    assert (told.returncode, told.stdout) == (0, 'liar: quarantine, obeyed by 2 of 2 nodes\n'), told.stderr
    ear.until(lambda: 'robot_1' in ear.diagnostics
              and 'liar is quarantined' in ear.diagnostics['robot_1'][1]['not trusted'], also=live)
    ear.until(lambda: 'map' in ear.diagnostics and 'liar is quarantined' in ear.diagnostics['map'][0], also=live)

    told = operator('liar', 'reinstate', '--fleet', str(fleet), '--timeout', '5')
    assert told.returncode == 1
    assert told.stdout == 'liar: reinstate, obeyed by 2 of 3 nodes\n'
    assert '/robot_2/robot/set_trust: does not answer' in told.stderr
    refused = operator('nobody', 'reinstate', '--timeout', '5')
    assert refused.returncode == 1
    assert "/robot_1/robot/set_trust: 'nobody' has no part in the map" in refused.stderr
