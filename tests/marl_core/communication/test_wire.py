import json
from dataclasses import replace
from math import inf, nan
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import example, given
from hypothesis import strategies as st

from marl_core.communication import wire
from marl_core.communication.authentication import GroupMac, Plain, Signed
from marl_core.errors import MessageError
from marl_core.types import (
    Activity,
    LayerDigest,
    LayerId,
    MapDigest,
    MapFeatures,
    Pose,
    RobotStatus,
    Twist,
    VersionRange,
)
from marl_core.versions import normalized

VECTORS = json.loads((Path(__file__).parents[2] / 'vectors/wire-v1.json').read_text(encoding='utf-8'))
KEY = bytes(range(32))
PRIVATE = Ed25519PrivateKey.from_private_bytes(KEY)
SEALS = {'plain': Plain(), 'mac': GroupMac(KEY), 'signed': Signed(PRIVATE, {'a': PRIVATE.public_key()}, KEY)}
REASONS = {'oversized', 'truncated', 'foreign-version', 'unknown-kind', 'bad-name', 'bad-number', 'bad-codec',
           'bad-range', 'bad-layer', 'bad-digest', 'bad-status', 'not-finite', 'bad-data'}
STATUS = RobotStatus('a', 7, 0.0, Pose(1.5, -2.25, 0.5), Twist(0.25, -0.5), radius_m=0.25)
FEATURES = MapFeatures('a', 0.0, LayerId('a', 7), VersionRange(1, 17), 0.05, 'raw', b'\x00\x01')

numbers = st.integers(0, 2**32 - 1)
names = st.text(st.characters(codec='utf-8', exclude_categories=('C', 'Z')), min_size=1, max_size=16)
stamps = st.integers(1 - 2**32 * 10**6, 2**32 * 10**6 - 1).map(lambda stamp_us: stamp_us / 1e6)
metres = st.floats(-1e6, 1e6, width=32)
layer_ids = st.builds(LayerId, names, numbers)
version_ranges = st.tuples(st.integers(1, 2**32 - 1), st.integers(0, 2**16)).map(
    lambda ends: VersionRange(ends[0], min(sum(ends), 2**32 - 1)))
digest_layers = st.dictionaries(layer_ids, st.lists(version_ranges, max_size=6).map(normalized), max_size=6).map(
    lambda layers: tuple(LayerDigest(*entry) for entry in layers.items()))


def status_of(robot, epoch, stamp_s, numbers, goal, to_go_m, activity, issued):
    return RobotStatus(robot, epoch, stamp_s, Pose(*numbers[:3]), Twist(*numbers[3:5]), *(goal or (nan, nan)),
                       nan if to_go_m is None else to_go_m, numbers[5], activity, issued)


@st.composite
def messages(draw):
    robot, epoch, stamp_s = draw(names), draw(numbers), draw(stamps)
    own = st.just(LayerId(robot, epoch))
    return epoch, draw(st.one_of(
        st.builds(status_of, st.just(robot), st.just(epoch), st.just(stamp_s),
                  st.lists(metres, min_size=6, max_size=6), st.none() | st.tuples(metres, metres),
                  st.none() | metres, st.sampled_from(Activity), numbers),
        st.builds(MapFeatures, st.just(robot), st.just(stamp_s), own | layer_ids, version_ranges,
                  st.sampled_from((0.01, 0.025, 0.05, 0.1)), st.sampled_from(wire.CODEC_NAMES),
                  st.binary(max_size=99)),
        st.builds(MapDigest, st.just(robot), st.just(stamp_s), digest_layers, st.booleans())))


def message_of(plain, epoch):
    fields = {key: value for key, value in plain.items() if key not in ('kind', 'goal')}
    if plain['kind'] == 'features':
        return MapFeatures(**fields | {'layer': LayerId(*plain['layer']),
                                       'versions': VersionRange(*plain['versions']),
                                       'data': bytes.fromhex(plain['data'])})
    if plain['kind'] == 'digest':
        return MapDigest(**fields | {'layers': tuple(
            LayerDigest(LayerId(*layer), tuple(VersionRange(*ends) for ends in ranges))
            for layer, ranges in plain['layers'])})
    to_go_m = plain['distance_to_go_m']
    x_m, y_m = plain['goal'] or (nan, nan)
    return RobotStatus(**fields | {'pose': Pose(*plain['pose']), 'twist': Twist(*plain['twist']), 'goal_x_m': x_m,
                                   'goal_y_m': y_m, 'distance_to_go_m': nan if to_go_m is None else to_go_m,
                                   'activity': Activity(plain['activity'])}, epoch=epoch)


def read(data):
    return wire.decode(data, wire.peek(data))


@pytest.mark.parametrize('vector', VECTORS['packets'], ids=lambda vector: vector['name'])
def test_vectors_are_written_and_read_to_the_byte(vector):
    seal, packet = SEALS[vector['seal']], bytes.fromhex(vector['packet'])
    message = message_of(vector['message'], vector['epoch'])
    assert seal.close(wire.encode(message, vector['epoch'], vector['sequence'])).hex() == vector['packet']
    header = wire.peek(packet)
    assert header[:5] == (wire.KINDS.index(vector['message']['kind']), list(SEALS).index(vector['seal']),
                          message.robot, vector['epoch'], vector['sequence'])
    assert header.stamp_s == message.stamp_s
    # Text, because a NaN equals nothing.
    assert repr(wire.decode(seal.open(packet, message.robot, 0.0), header)) == repr(message)


@pytest.mark.parametrize('vector', VECTORS['packets'], ids=lambda vector: vector['name'])
def test_the_layout_of_a_vector_is_its_packet(vector):
    data = bytearray.fromhex(''.join(line.split('  ')[0] for line in vector['layout']))
    data[1] |= list(SEALS).index(vector['seal']) << 4
    assert vector['packet'].startswith(data.hex())
    assert len(vector['packet']) // 2 == len(data) + SEALS[vector['seal']].overhead_bytes


@pytest.mark.parametrize('vector', VECTORS['refused'], ids=lambda vector: vector['name'])
def test_what_is_wrong_is_refused_for_the_reason_given(vector):
    with pytest.raises(MessageError) as error:
        read(bytes.fromhex(vector['data']))
    assert error.value.reason == vector['reason']


@given(messages(), st.integers(1, 2**32 - 1))
def test_what_is_written_is_read(told, sequence):
    epoch, message = told
    data = wire.encode(message, epoch, sequence)
    header = wire.peek(data)
    assert (header.robot, header.epoch, header.sequence, header.stamp_s) == (
        message.robot, epoch, sequence, message.stamp_s)
    assert repr(wire.decode(data, header)) == repr(message)


@given(messages(), st.integers(1, 2**32 - 1), st.data())
def test_cut_short_it_is_no_message_but_for_the_data_of_features(told, sequence, draw):
    epoch, message = told
    data = wire.encode(message, epoch, sequence)
    floor = wire.peek(data).size_bytes
    end = draw.draw(st.integers(0, len(data) - 1))
    if isinstance(message, MapFeatures) and end >= len(data) - len(message.data):
        assert read(data[:end]).data == message.data[:end - len(data)]  # The checksum finds that, not the layout.
        return
    with pytest.raises(MessageError) as error:
        read(data[:end])
    assert error.value.reason in ({'truncated', 'bad-name'} if end < floor else REASONS)


@given(messages(), st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=3))
def test_mutated_bytes_are_refused_or_are_the_one_encoding_of_what_they_say(told, mutations):
    epoch, message = told
    data = bytearray(wire.encode(message, epoch, 300))
    for place, value in mutations:
        data[place % len(data)] = value
    check_strict(bytes(data))


@given(st.binary(max_size=200))
@example(b'\x01\x00\x01a\x07\x00\x00\x00' + b'\x80' * 190)
def test_noise_is_refused_or_is_the_one_encoding_of_what_it_says(noise):
    check_strict(noise)
    check_strict(b'\x01' + noise)


def check_strict(data):
    try:
        header = wire.peek(data)
        message = wire.decode(data, header)
    except MessageError as error:
        reason = error.reason
    else:
        reason = None
    if reason is not None:
        assert reason in REASONS
        return
    again = bytearray(wire.encode(message, header.epoch, header.sequence))
    again[1] |= header.seal << 4
    assert bytes(again) == data


def test_a_packet_has_a_largest_size():
    largest = b'\x01' * wire.MAX_PACKET_BYTES
    with pytest.raises(MessageError, match='bad-name'):
        wire.peek(largest)
    with pytest.raises(MessageError, match='oversized'):
        wire.peek(largest + b'\x01')


@pytest.mark.parametrize(('message', 'reason'), [
    (replace(STATUS, stamp_s=nan), 'stamp'), (replace(STATUS, stamp_s=inf), 'stamp'),
    (replace(STATUS, stamp_s=-2.0**32), 'stamp'), (replace(STATUS, robot=''), 'bad-name'),
    (replace(STATUS, robot='é' * 33), 'bad-name'), (replace(STATUS, robot='a\nb'), 'bad-name'),
    (replace(FEATURES, codec='jpeg'), 'bad-codec'), (replace(FEATURES, layer=LayerId('', 1)), 'bad-name'),
    (replace(FEATURES, layer=LayerId('b', 2**32)), 'bad-number')])
def test_what_no_packet_can_carry_is_not_written(message, reason):
    with pytest.raises(MessageError) as error:
        wire.encode(message, 7, 1)
    assert error.value.reason == reason


@given(messages())
def test_the_envelope_of_features_is_bounded(told):
    epoch, message = told
    if isinstance(message, MapFeatures):
        size_bytes = len(wire.encode(message, epoch, 2**32 - 1))
        assert size_bytes - len(message.data) <= wire.envelope_bytes(message.robot, message.layer)


def test_resolutions_of_usual_maps_come_through_as_they_are():
    for resolution_m in (0.01, 0.02, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0):
        assert read(wire.encode(replace(FEATURES, resolution_m=resolution_m), 7, 1)).resolution_m == resolution_m


def test_a_status_has_single_precision():
    status = replace(STATUS, pose=Pose(0.1, 0.2, 0.3))
    assert read(wire.encode(status, 7, 1)).pose == tuple(float(np.float32(value)) for value in status.pose)
