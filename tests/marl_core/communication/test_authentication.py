from hashlib import blake2b

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from marl_core.communication.authentication import (
    CHECKS_AT_ONCE,
    CHECKS_PER_S,
    MODES,
    GroupMac,
    Plain,
    Signed,
    unchecked,
)
from marl_core.communication.communicator import Communicator
from marl_core.communication.wire import encode
from marl_core.errors import ConfigError, MessageError
from marl_core.mapping.bounds import MapBounds, MapConfig
from marl_core.mapping.replica import Replica
from marl_core.types import Pose, RobotStatus, Twist

GROUP = bytes(range(32))
KEYS = {name: Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)
        for number, name in enumerate(('a', 'b', 'c', 'd'))}
PUBLIC = {name: key.public_key() for name, key in KEYS.items()}
DATA = b'\x01\x02what is said'


def signed(name='a', group=GROUP, key=None):
    return Signed(key or KEYS[name], PUBLIC, group)


def seals():
    return [Plain(), GroupMac(GROUP), signed()]


def reason(seal, packet, sender='a', now=0.0):
    with pytest.raises(MessageError) as refusal:
        seal.open(packet, sender, now)
    return refusal.value.reason


@pytest.mark.parametrize('seal', seals(), ids=MODES)
@given(body=st.binary(max_size=200), kind=st.integers(0, 15))
@settings(max_examples=50)
def test_what_was_closed_opens_again(seal, body, kind):
    packet = seal.close(bytes((1, kind)) + body)
    assert len(packet) == 2 + len(body) + seal.overhead_bytes
    assert seal.open(packet, 'a', 0.0) == bytes((1, kind | MODES.index(seal.mode) << 4)) + body


@pytest.mark.parametrize('mode', range(3), ids=MODES)
@given(data=st.data())
@settings(max_examples=100)
def test_every_flipped_bit_is_noticed(mode, data):
    seal = seals()[mode]
    packet = bytearray(seal.close(DATA))
    bit = data.draw(st.integers(0, 8 * len(packet) - 1))
    packet[bit // 8] ^= 1 << bit % 8
    expected = 'unsigned' if 12 <= bit < 16 else 'corrupt' if seal.mode == 'plain' else 'forged'
    assert reason(seal, bytes(packet)) == expected


@pytest.mark.parametrize('seal', seals(), ids=MODES)
@given(packet=st.binary(max_size=120))
@settings(max_examples=100)
def test_noise_is_refused_whatever_its_length(seal, packet):
    assert reason(seal, packet) in ('corrupt', 'unsigned', 'forged')


def test_one_packet_byte_for_byte():
    data = b'\x01\x22' + DATA[2:]
    data_and_signature = data + KEYS['a'].sign(data)
    assert signed().close(DATA) == data_and_signature + blake2b(data_and_signature, key=GROUP, digest_size=8).digest()
    data = b'\x01\x12' + DATA[2:]
    assert GroupMac(GROUP).close(DATA) == data + blake2b(data, key=GROUP, digest_size=12).digest()


def test_overhead_is_what_is_promised():
    assert [seal.overhead_bytes for seal in seals()] == [4, 12, 72]


@pytest.mark.parametrize('receiver', range(3), ids=MODES)
@pytest.mark.parametrize('sender', range(3), ids=MODES)
def test_another_kind_of_seal_is_unsigned(receiver, sender):
    if receiver != sender:
        packet = seals()[sender].close(DATA + bytes(80))
        assert reason(seals()[receiver], packet) == 'unsigned'


def test_who_lacks_the_group_key_forges():
    other = bytes(32)
    assert reason(GroupMac(GROUP), GroupMac(other).close(DATA)) == 'forged'
    assert reason(signed(), signed(group=other).close(DATA)) == 'forged'


def test_a_member_cannot_speak_as_another():
    assert reason(signed('a'), signed('b').close(DATA), sender='c') == 'impersonated'
    assert signed('a').open(signed('b').close(DATA), 'b', 0.0)[2:] == DATA[2:]


def test_names_that_are_no_members_are_unknown():
    stranger = signed(key=Ed25519PrivateKey.generate())
    assert reason(signed(), stranger.close(DATA), sender='mallory') == 'unknown-sender'


def test_wrong_signatures_under_one_name_cost_a_bounded_number_of_checks():
    seal, forged, honest = signed('a'), signed('b').close(DATA), signed('d').close(DATA)
    reasons = []
    for number in range(10_000):  # One second of them.
        reasons.append(reason(seal, forged, 'c', number * 1e-4))
        if number % 200 == 0:
            seal.open(honest, 'd', number * 1e-4)  # Others are heard whenever they speak.
    assert set(reasons) == {'impersonated', 'unchecked'}
    assert reasons.count('impersonated') == pytest.approx(CHECKS_AT_ONCE + CHECKS_PER_S, abs=2)
    assert seal.open(signed('c').close(DATA), 'c', 2.0)[2:] == DATA[2:]  # The name is free again once it stops.


def test_packets_of_members_with_another_signature_are_strangers_work():
    packet = signed('c').close(DATA)
    other = KEYS['d'].sign(DATA)
    assert reason(signed(), packet[:-72] + other + packet[-8:], 'c') == 'forged'


def test_strangers_do_not_use_up_the_checks_of_a_name():
    seal, forged = signed('a'), signed('c', group=bytes(32)).close(DATA)
    assert {reason(seal, forged, 'c') for _ in range(10_000)} == {'forged'}
    assert seal.open(signed('c').close(DATA), 'c', 0.0)[2:] == DATA[2:]


def test_a_member_that_floods_under_its_own_name_costs_no_more():
    seal, flood = signed('a'), signed('c').close(DATA)
    for _ in range(int(CHECKS_AT_ONCE)):
        seal.open(flood, 'c', 0.0)
    assert reason(seal, flood, 'c') == 'unchecked'
    assert seal.open(signed('d').close(DATA), 'd', 0.0)


def test_a_group_key_of_the_wrong_length_is_named():
    with pytest.raises(ConfigError, match='32 bytes, got 31'):
        GroupMac(bytes(31))
    with pytest.raises(ConfigError, match='32 bytes, got 0'):
        signed(group=b'')


@pytest.mark.parametrize('seal', seals(), ids=MODES)
def test_who_watches_needs_no_keys(seal):
    assert unchecked(seal.close(DATA))[2:] == DATA[2:]


@pytest.mark.parametrize(('packet', 'reason'), [
    (b'', 'unsigned'), (b'\x01', 'unsigned'), (b'\x01\x30' + bytes(80), 'unsigned'),
    (b'\x01\x20' + bytes(71), 'corrupt'), (b'\x01\x00', 'corrupt')])
def test_who_watches_is_not_deceived_by_lengths(packet, reason):
    with pytest.raises(MessageError) as refusal:
        unchecked(packet)
    assert refusal.value.reason == reason


# -- what a communicator makes of it ---------------------------------------------------------------------------------

SHARED = Replica(MapBounds.from_config(MapConfig()), 'a')


def said(robot, sequence, seal, epoch=5):
    """A packet under a robot's name."""
    status = RobotStatus(robot, epoch, sequence * 1e-3, Pose(1.0, 2.0, 0.0), Twist(0.1, 0.0))
    return seal.close(encode(status, epoch, sequence))


def hears(receiver, *packets, now=0.0):
    """(Teammates heard, drops by reason) of what came."""
    before = dict(receiver.drops)
    receiver.receive(packets, SHARED, now)
    return ({teammate.status.robot for teammate in receiver.teammates(now)},
            {reason: number - before.get(reason, 0) for reason, number in receiver.drops.items()
             if number != before.get(reason, 0)})


def test_members_hear_each_other_and_nobody_else():
    receiver = Communicator('a', 1, seal=signed('a'))
    heard, drops = hears(
        receiver, said('b', 1, signed('b')),
        said('c', 1, Plain()), said('c', 1, GroupMac(GROUP)), said('c', 1, signed('c', group=bytes(32))),
        said('c', 1, signed('b')), said('mallory', 1, signed('b')), b'noise', b'')
    assert heard == {'b'}
    assert drops == {'unsigned': 2, 'forged': 1, 'impersonated': 1, 'unknown-sender': 1, 'foreign-version': 1,
                     'truncated': 1}


def test_a_forged_packet_does_not_use_up_the_sequence_of_the_right_one():
    receiver = Communicator('a', 1, seal=signed('a'))
    forged = [said('b', 7, signed('b', group=bytes(32))), said('b', 7, signed('c')), said('b', 2**32 - 1, signed('c')),
              said('b', 1, signed('c'), epoch=2**32 - 1)]
    assert hears(receiver, *forged) == (set(), {'forged': 1, 'impersonated': 3})
    assert hears(receiver, said('b', 7, signed('b'))) == ({'b'}, {})


def test_replays_are_heard_once():
    receiver = Communicator('a', 1, seal=signed('a'))
    packets = [said('b', sequence, signed('b')) for sequence in range(1, 6)]
    assert hears(receiver, *packets, *packets, *reversed(packets))[1] == {'repeated': 10}


@pytest.mark.parametrize('kind', [GroupMac, lambda group: signed('b')], ids=['mac', 'signed'])
def test_an_earlier_life_is_never_heard_again(kind):
    receiver = Communicator('a', 1, seal=kind(GROUP))
    seal = kind(GROUP)
    recorded = [said('b', sequence, seal, epoch=4) for sequence in range(1, 4)]
    receiver.receive((said('b', 1, seal, epoch=5),), SHARED, 0.0)
    for now in (1.0, 10.0, 10_000.0):  # However long the robot has been silent.
        assert hears(receiver, *recorded, now=now)[1] == {'epoch-rollback': 3}


def test_a_flood_under_one_name_does_not_touch_the_others():
    receiver, sequences = Communicator('a', 1, seal=signed('a')), iter(range(1, 10**6))
    for tick in range(10):
        flood = [said('b', next(sequences), signed('c')) for _ in range(300)]
        heard, drops = hears(receiver, *flood[:150], said('d', tick + 1, signed('d')), *flood[150:], now=0.1 * tick)
        assert heard == {'d'}
        assert sum(drops.values()) == 300
    assert set(receiver.drops) == {'impersonated', 'unchecked'}
