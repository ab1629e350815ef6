"""Faults on order: what they do to packets and to a replica's claims, and that they can be refused."""

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='ROS 2 is not installed: pip install --group ros')
pytest.importorskip('marl_coordination.msg', reason='the messages are not built: pip install --no-build-isolation -e .')

from marl_core.communication import wire  # noqa: E402
from marl_core.communication.authentication import Plain  # noqa: E402
from marl_core.errors import ConfigError  # noqa: E402
from marl_core.mapping.bounds import MapBounds, MapConfig  # noqa: E402
from marl_core.mapping.layers import Urgency  # noqa: E402
from marl_core.mapping.replica import Replica, ReplicaConfig  # noqa: E402
from marl_core.types import FREE, OCCUPIED, UNKNOWN, LayerId, MapDigest  # noqa: E402
from marl_nodes.faults import FaultState, LinkFaults, Links, Scribe, phantom_walls  # noqa: E402

BOUNDS = MapBounds.from_config(MapConfig(width_m=12.8, height_m=12.8))


def packet_of(robot, sequence=1):
    return Plain().close(wire.encode(MapDigest(robot, 0.0, ()), 1, sequence))


def links_with(state, name='a'):
    heard = []
    links = Links(name, heard.append)
    links.state = state
    return links, heard


def test_without_faults_everything_passes_at_once_and_in_order():
    links, heard = links_with(FaultState())
    packets = [packet_of('b', number) for number in range(1, 100)] + [b'noise']
    for packet in packets:
        links.take(packet, 0.0)
    assert heard == packets


@pytest.mark.parametrize(('partition', 'hears'), [
    ((), {'a', 'b', 'c', 'd'}), ((('a', 'b'), ('c', 'd')), {'a', 'b'}), ((('c',),), {'a', 'b', 'd'}),
    ((('a',),), {'a'})])
def test_a_partition_lets_a_hear_only_its_own_group(partition, hears):
    links, heard = links_with(FaultState(partition))
    for robot in 'abcd':
        links.take(packet_of(robot), 0.0)
    assert {wire.peek(packet).robot for packet in heard} == hears


def test_loss_and_duplication_are_what_they_say():
    links, heard = links_with(FaultState(links=LinkFaults(loss=0.3, duplication=0.1)))
    for number in range(1, 4001):
        links.take(packet_of('b', number), 0.0)
    assert len(set(heard)) == pytest.approx(2800, abs=150)
    assert len(heard) - len(set(heard)) == pytest.approx(280, abs=80)


def test_delayed_packets_come_later_in_another_order_and_none_is_lost():
    links, heard = links_with(FaultState(links=LinkFaults(delay_s=2.0)))
    packets = [packet_of('b', number) for number in range(1, 51)]
    for packet in packets:
        links.take(packet, 10.0)
    links.release(10.0)
    assert heard == []
    links.release(11.0)
    assert 10 < len(heard) < 40
    links.release(12.0)
    assert heard != packets
    assert sorted(heard) == sorted(packets)


def test_what_is_wrong_travels_as_it_is():
    state = FaultState((('a',), ('b', 'map')), LinkFaults(0.3, 0.1, 2.0), ('b',))
    assert FaultState.from_json(state.to_json()) == state


@pytest.mark.parametrize(('text', 'named'), [
    ('{"los": 1}', 'los'), ('{"links": {"loss": 2}}', 'loss'), ('{"partition": [["a"], ["a"]]}', 'two groups'),
    ('{"partition": ["ab"]}', 'list of names'), ('{"lie": [1]}', 'list of names'), ('nonsense', 'faults'),
    ('{"links": {"delay_s": NaN}}', 'delay_s'), ('[]', 'mapping')])
def test_what_makes_no_sense_is_refused_by_name(text, named):
    with pytest.raises(ConfigError, match=named):
        FaultState.from_json(text)


def test_a_liar_publishes_walls_where_free_space_is_and_takes_all_of_them_back():
    layer = LayerId('a', 1)
    liar = Replica(BOUNDS, 'a', layer, ReplicaConfig(urgency=Urgency(hold_cells=1)))
    listener = Replica(BOUNDS, 'map')
    scribe = Scribe(liar)
    classes = np.zeros(BOUNDS.shape, np.int8)
    classes[:96, :96] = FREE
    classes[50, :96] = OCCUPIED
    tiles = np.argwhere(np.ones((3, 3))).astype(np.int32)

    def scanned(changed):
        liar.write(layer, changed, classes)
        while (message := liar.publish(layer, 60_000, 0.0)) is not None:
            listener.join(message)
        return listener.fused

    np.testing.assert_array_equal(scanned(tiles), classes)
    scribe.lie(True)
    told = scanned(tiles[:1]).copy()  # One tile changed, but all are lied about.
    walls = phantom_walls(BOUNDS, 'a')
    np.testing.assert_array_equal(told == OCCUPIED, (classes == OCCUPIED) | (walls & (classes == FREE)))
    assert ((told == OCCUPIED) & (classes == FREE)).sum() > 20
    np.testing.assert_array_equal(told == UNKNOWN, classes == UNKNOWN)
    assert liar.state_hash() == listener.state_hash()
    scribe.lie(False)
    np.testing.assert_array_equal(scanned(tiles[4:5]), classes)
    assert liar.state_hash() == listener.state_hash()
    before = classes.copy()
    scribe.is_still = True
    classes[:50, :50] = OCCUPIED
    np.testing.assert_array_equal(scanned(tiles), before)
    scribe.close()
    assert liar.write.__func__ is Replica.write
