"""map_node within the test's own process: what it refuses."""

import pytest

rclpy = pytest.importorskip('rclpy', reason='ROS 2 is not installed: pip install --group ros')
pytest.importorskip('marl_coordination.msg', reason='the messages are not built: pip install --no-build-isolation -e .')

from rclpy.parameter import Parameter  # noqa: E402

from marl_nodes import map_node  # noqa: E402


@pytest.fixture
def node(monkeypatch):
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'OFF')
    context = rclpy.Context()
    rclpy.init(context=context)
    yield map_node.MapNode(context=context, parameter_overrides=[Parameter('security_mode', value='plain')])
    rclpy.shutdown(context=context)


@pytest.fixture
def said(monkeypatch):
    """What the node said about itself."""
    values = {}
    monkeypatch.setattr('marl_nodes.diagnostics.Diagnostics.publish',
                        lambda self, now, level, summary, newest: values.update(newest))
    return values


def test_a_flood_between_two_ticks_is_bounded_and_counted(node, said, monkeypatch):
    monkeypatch.setattr(map_node, 'INBOX_LIMIT', 3)
    for _ in range(5):
        node._hear(b'noise')
    node._tick()
    node._diagnose()
    assert said['dropped_inbox-full'] == '2'
    assert sum(node.communicator.drops.values()) == 3
    node._hear(b'noise')
    node._tick()
    assert sum(node.communicator.drops.values()) == 4
