"""What nodes say about their copy of the shared map."""

from collections import Counter

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='ROS 2 is not installed: pip install --group ros')
pytest.importorskip('marl_coordination.msg', reason='the messages are not built: pip install --no-build-isolation -e .')

from marl_core.communication.communicator import Communicator  # noqa: E402
from marl_core.mapping.bounds import MapBounds, MapConfig  # noqa: E402
from marl_core.mapping.replica import Replica  # noqa: E402
from marl_core.types import FREE, LayerId, VersionRange  # noqa: E402
from marl_nodes.diagnostics import Drops, ReplicaHealth, in_words  # noqa: E402

BOUNDS = MapBounds.from_config(MapConfig(width_m=12.8, height_m=12.8))
A, B = LayerId('a', 1), LayerId('b', 1)


class Radio(Communicator):
    """One that is told what it lacks."""

    missing = {}


def test_what_is_missing_is_counted_from_when_it_was_first_missed():
    health, radio, replica = ReplicaHealth(), Radio('map', 1), Replica(BOUNDS, 'map')

    def said(now_s, **missing):
        radio.missing = {LayerId(robot, 1): tuple(VersionRange(*entry) for entry in ranges)
                         for robot, ranges in missing.items()}
        values = health.values(replica, radio, Counter(), now_s)
        return values['convergence'], values['tiles_missing'], values['oldest_missing_s']

    nothing = 'lacks nothing known of', '0', '0.0'
    assert said(10.0) == nothing
    assert said(11.0, a=[(1, 5)]) == ('lacks 5 of a', '5', '0.0')
    assert said(13.0, a=[(1, 2), (6, 7)], b=[(1, 1)]) == ('lacks 4 of a, 1 of b', '5', '2.0')
    assert said(14.0, a=[(6, 6)]) == ('lacks 1 of a', '1', '1.0')
    assert said(15.0, b=[(1, 1)]) == ('lacks 1 of b', '1', '0.0')
    assert said(5.0, b=[(1, 1)])[2] == '0.0'  # A clock that was set back.
    assert said(16.0) == nothing


def test_what_node_and_communicator_refuse_for_one_reason_counts_together():
    radio, drops = Radio('a', 1), Drops()
    radio.receive([b'', b'\2'], Replica(BOUNDS, 'a'), 0.0)
    assert [drops.count(reason) for reason in ('truncated', 'scan', 'scan')] == [True, True, False]
    values = ReplicaHealth().values(Replica(BOUNDS, 'a'), radio, drops.by_reason, 0.0)
    assert {key: count for key, count in values.items() if key.startswith('dropped_')} == {
        'dropped_scan': '2', 'dropped_truncated': '3'}


def test_replicas_that_hold_the_same_say_the_same():
    writer, listener = Replica(BOUNDS, 'a', A), Replica(BOUNDS, 'map')
    said = [ReplicaHealth(), ReplicaHealth()]

    def hashes():
        return [health.values(replica, Radio('a', 1), Counter(), 0.0)['state_hash']
                for health, replica in zip(said, (writer, listener))]
    empty = hashes()
    assert empty[0] == empty[1]
    writer.write(A, np.array([(0, 0)], np.int32), np.full(BOUNDS.shape, FREE, np.int8))
    message = writer.publish(A, 60_000, 0.0)
    ahead = hashes()
    assert ahead[0] != ahead[1] == empty[1]
    listener.join(message)
    assert hashes() == [ahead[0]] * 2


def test_counts_in_words():
    assert in_words({'status': 2, 'digest': 10}) == 'digest: 10, status: 2'
    assert in_words({}) == ''
