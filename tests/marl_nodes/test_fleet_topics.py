"""The fleet's topics within one process."""

import time

import pytest

rclpy = pytest.importorskip('rclpy', reason='ROS 2 is not installed: pip install --group ros')
pytest.importorskip('marl_coordination.msg', reason='the messages are not built: pip install --no-build-isolation -e .')

from rclpy.executors import SingleThreadedExecutor  # noqa: E402

from marl_core.communication import wire  # noqa: E402
from marl_core.communication.authentication import Plain  # noqa: E402
from marl_core.types import MapDigest, Pose, RobotStatus, Twist  # noqa: E402
from marl_nodes.conversions import packet_to_message  # noqa: E402
from marl_nodes.fleet_topics import AT_ONCE, FleetTopics  # noqa: E402
from marl_nodes.qos import FLEET  # noqa: E402


@pytest.fixture
def node(monkeypatch):
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'OFF')
    context = rclpy.Context()
    rclpy.init(context=context)
    yield rclpy.create_node('member', context=context)
    rclpy.shutdown(context=context)


def packets_of(message, count):
    return [Plain().close(wire.encode(message, 1, sequence + 1)) for sequence in range(count)]


def test_all_that_waits_is_heard_in_one_turn_and_in_order(node):
    heard = []
    topics = FleetTopics(node, '/fleet', heard.append)
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    deadline_s = time.monotonic() + 10.0
    while node.count_subscribers('/fleet/status') == 0 and time.monotonic() < deadline_s:
        time.sleep(0.01)
    packets = packets_of(RobotStatus('a', 1, 0.0, Pose(0.0, 0.0, 0.0), Twist(0.0, 0.0)), FLEET.depth)
    topics.send(packets)
    time.sleep(0.5)  # Until the middleware has handed them all over.
    while not heard and time.monotonic() < deadline_s:
        executor.spin_once(timeout_sec=0.1)
    assert heard == packets


def test_a_flood_does_not_keep_timers_waiting(node):
    heard = []

    class Flooded:
        def take_message(self, kind, raw):
            return endless, None
    topics = FleetTopics(node, '/fleet', heard.append)
    packet, = packets_of(MapDigest('a', 0.0, ()), 1)
    endless = packet_to_message(packet)
    topics._subscriptions = {'digest': type('Subscription', (), {'handle': Flooded()})}
    topics._receive('digest', endless)
    assert heard == [packet] * (1 + AT_ONCE)
