"""The policy for SROS2 allows what the nodes do, and not what they do not."""

from fnmatch import fnmatchcase
from xml.etree import ElementTree

import pytest

from marl_nodes.fleet.enclaves import policy_of
from marl_nodes.fleet.model import Fleet, MapEntry, RobotEntry, SecurityEntry, SimulationEntry
from marl_nodes.fleet.nodes import nodes_of, trust_services

PLAIN = SecurityEntry('plain')
SIMULATED = Fleet({'robot_1': RobotEntry(), 'robot_2': RobotEntry()}, simulation=SimulationEntry(), security=PLAIN)
REAL = Fleet({'robot_1': RobotEntry((0.0, 0.0, 0.0))}, namespace='/north', map=MapEntry(enabled=False), security=PLAIN)


def rules_of(fleet):
    """(enclave, kind, verb) -> full names as sros2's template resolves them."""
    rules = {}
    for enclave in ElementTree.fromstring(policy_of(fleet)).iter('enclave'):
        profile = enclave.find('profiles/profile')
        namespace, name = profile.get('ns').rstrip('/'), profile.get('node')
        for group in profile:
            (verb, allowed), = group.items()
            assert allowed == 'ALLOW'
            rules[enclave.get('path'), group.tag, verb] = [
                text if text.startswith('/') else
                f'{namespace}/{name}{text[1:]}' if text.startswith('~') else f'{namespace}/{text}'
                for text in (entry.text for entry in group)]
    return rules


def allows(rules, enclave, kind, verb, name):
    return any(fnmatchcase(name, pattern) for pattern in rules.get((enclave, kind, verb), ()))


def test_the_enclaves_of_a_fleet():
    def enclaves(fleet):
        return [entry.get('path') for entry in ElementTree.fromstring(policy_of(fleet)).iter('enclave')]
    assert enclaves(SIMULATED) == ['/simulation', '/map', '/robot_1/robot', '/robot_2/robot', '/operator']
    assert enclaves(REAL) == ['/robot_1/robot', '/robot_1/drivers', '/operator']
    assert [node.enclave for node in nodes_of(SIMULATED)] == enclaves(SIMULATED)[:-1]


def test_one_grant_in_full():
    rules = rules_of(REAL)
    assert rules['/robot_1/robot', 'topics', 'publish'] == [
        '/north/features', '/north/status', '/north/digest', '/robot_1/cmd_vel', '/tf',
        '/rosout', '/diagnostics', '/parameter_events', '/robot_1/robot/*']
    assert rules['/robot_1/robot', 'topics', 'subscribe'] == [
        '/north/features', '/north/status', '/north/digest', '/robot_1/odom', '/robot_1/pose', '/robot_1/scan',
        '/parameter_events', '/clock']
    assert rules['/robot_1/robot', 'services', 'reply'] == ['/robot_1/robot/*']


@pytest.mark.parametrize(('enclave', 'kind', 'verb', 'name'), [
    ('/robot_1/robot', 'topics', 'publish', '/robot_2/cmd_vel'), ('/robot_1/robot', 'topics', 'publish', '/clock'),
    ('/robot_1/robot', 'topics', 'publish', '/map'), ('/robot_1/robot', 'topics', 'subscribe', '/robot_2/scan'),
    ('/robot_1/robot', 'services', 'reply', '/robot_2/robot/set_parameters'),
    ('/robot_1/robot', 'services', 'request', '/robot_2/robot/set_parameters'),
    ('/map', 'topics', 'publish', '/robot_1/cmd_vel'), ('/operator', 'topics', 'publish', '/fleet/features'),
    ('/operator', 'topics', 'publish', '/robot_1/cmd_vel'), ('/simulation', 'topics', 'publish', '/fleet/status')])
def test_what_is_nobodys_business_is_not_allowed(enclave, kind, verb, name):
    assert not allows(rules_of(SIMULATED), enclave, kind, verb, name)


@pytest.fixture
def running(monkeypatch):
    """The nodes of a simulated fleet of one, in this process."""
    rclpy = pytest.importorskip('rclpy', reason='ROS 2 is not installed: pip install --group ros')
    pytest.importorskip('marl_coordination.msg', reason='the messages are not built')
    from rclpy.parameter import Parameter

    from marl_nodes.map_node import MapNode
    from marl_nodes.robot_node import RobotNode
    from marl_nodes.sim_node import SimulationNode
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'OFF')
    context = rclpy.Context()
    rclpy.init(context=context)
    kinds = {'robot_node': RobotNode, 'map_node': MapNode, 'sim_node': SimulationNode}
    fleet = Fleet({'robot_1': RobotEntry()}, simulation=SimulationEntry(), security=PLAIN)
    nodes = {entry.enclave: kinds[entry.executable](
        context=context, parameter_overrides=[Parameter(key, value=value) for key, value in entry.parameters.items()],
        **({'namespace': entry.namespace} if entry.namespace else {})) for entry in nodes_of(fleet)}
    yield fleet, nodes
    for node in nodes.values():
        node.destroy_node()
    rclpy.shutdown(context=context)


def test_nodes_use_what_they_are_allowed_and_no_more(running):
    fleet, nodes = running
    rules = rules_of(fleet)
    for enclave, node in nodes.items():
        assert node.get_fully_qualified_name() == enclave
        for kind, verb, query in (('topics', 'publish', node.get_publisher_names_and_types_by_node),
                                  ('topics', 'subscribe', node.get_subscriber_names_and_types_by_node),
                                  ('services', 'reply', node.get_service_names_and_types_by_node),
                                  ('services', 'request', node.get_client_names_and_types_by_node)):
            used = [name for name, _ in query(node.get_name(), node.get_namespace())]
            for name in used:
                assert allows(rules, enclave, kind, verb, name), (enclave, verb, name)
            for name in rules.get((enclave, kind, verb), ()):
                # What every node may use, and /tf where tf2 is not installed.
                if '*' not in name and name not in ('/tf', '/clock', '/parameter_events', '/diagnostics'):
                    assert name in used, (enclave, verb, name)


def test_all_who_judge_can_be_told_whom_to_believe():
    assert trust_services(SIMULATED) == ('/map/set_trust', '/robot_1/robot/set_trust',
                                         '/robot_2/robot/set_trust')
    assert trust_services(REAL) == ('/robot_1/robot/set_trust',)
