"""Messages as bytes. docs/wire-format.md is the specification, tests/vectors/wire-v1.json has examples.

Every message has exactly one encoding and nothing is believed before it is checked: lengths are bounded before memory
is taken, and bytes that are left over are refused.
"""

import struct
from math import isfinite, isnan, nan
from typing import NamedTuple

from marl_core.errors import MessageError
from marl_core.types import (
    Activity,
    LayerDigest,
    LayerId,
    MapDigest,
    MapFeatures,
    Message,
    Pose,
    RobotStatus,
    Twist,
    VersionRange,
)
from marl_core.versions import Ranges

VERSION = 1
KINDS = ('status', 'features', 'digest')
"""Names of the kinds; their place is their code in a packet's second byte."""
CODEC_NAMES = ('raw', 'rle-zstd', 'context', 'raw-graded', 'rle-zstd-graded', 'context-graded')
"""Codecs of tiles; their place is their code. A new one is appended, never inserted."""
MAX_PACKET_BYTES = 65_000
MAX_NAME_BYTES = 64
MAX_LAYERS = 255
MAX_RANGES = 8192
_KIND_OF = {RobotStatus: 0, MapFeatures: 1, MapDigest: 2}
_EPOCH = struct.Struct('<I')
_RESOLUTION = struct.Struct('<H')
_RESOLUTION_STEPS_PER_M = 1e4
_STATUS = struct.Struct('<6f')
_GOAL = struct.Struct('<2f')
_TO_GO = struct.Struct('<f')
_HAS_GOAL, _HAS_TO_GO = 0x10, 0x20
_FOREIGN_LAYER, _WHOLE = 0x01, 0x01
LATEST_S = 2.0**32
"""Stamps lie within this, before and after 0 [s]."""
_MAX_STAMP_US = round(LATEST_S * 1e6)
_MAX_VARINT_BITS = 56  # A stamp needs 54; what goes on is refused before it costs time.


class Header(NamedTuple):
    """What every packet begins with.

    Attributes:
        kind: index in KINDS. seal: index in authentication.MODES.
        robot: sender. epoch: which of its lives. sequence: number of the packet in that life, from 1.
        stamp_s: time of sending [s].
        size_bytes: where the body begins.
    """

    kind: int
    seal: int
    robot: str
    epoch: int
    sequence: int
    stamp_s: float
    size_bytes: int


def encode(message: Message, epoch: int, sequence: int) -> bytes:
    """A message without its seal.

    Args:
        message: what.
        epoch: of the sender, 0 to 2^32 - 1. sequence: from 1.

    Raises:
        MessageError: the message holds what no packet can carry.
    """
    kind = _KIND_OF[type(message)]
    out = bytearray((VERSION, kind))
    _put_name(out, message.robot)
    _put_epoch(out, epoch)
    _put(out, sequence)
    if not abs(message.stamp_s) < LATEST_S:
        raise MessageError('stamp', f'{message.stamp_s} s cannot be sent')
    stamp_us = round(message.stamp_s * 1e6)
    _put(out, -2 * stamp_us - 1 if stamp_us < 0 else 2 * stamp_us)
    try:
        _BODIES[kind](out, message, epoch)
    except (ValueError, OverflowError, struct.error) as error:
        raise MessageError('unsendable', f'{KINDS[kind]} of {message.robot}: a value does not fit ({error})') from error
    return bytes(out)


def kind_of(message: Message) -> int:
    """Index in KINDS."""
    return _KIND_OF[type(message)]


def envelope_bytes(robot: str, layer: LayerId) -> int:
    """Most that a features packet of a sender has beside its data and its seal."""
    return 2 + 1 + len(robot.encode()) + 4 + 5 + 8 + 1 + 1 + len(layer.robot.encode()) + 4 + 2 + 5 + 5


def peek(packet: bytes) -> Header:
    """Who claims to have sent a packet, without looking at its body.

    Raises:
        MessageError: ``oversized``, ``truncated``, ``foreign-version``, ``unknown-kind``, ``bad-name``,
            ``bad-number`` or ``stamp``.
    """
    if len(packet) > MAX_PACKET_BYTES:
        raise MessageError('oversized', f'{len(packet)} bytes, at most {MAX_PACKET_BYTES}')
    reader = _Reader(packet)
    version, kind = reader.byte(), reader.byte()
    if version != VERSION:
        raise MessageError('foreign-version', f'wire format {version}, this is {VERSION}')
    if kind & 15 >= len(KINDS):
        raise MessageError('unknown-kind', f'kind {kind & 15}; known: 0 to {len(KINDS) - 1}')
    robot, epoch, sequence = reader.name(), reader.epoch(), reader.number(2**32 - 1)
    folded = reader.number(2 * _MAX_STAMP_US)
    if not sequence:
        raise MessageError('bad-number', 'sequences begin at 1')
    stamp_us = -(folded >> 1) - 1 if folded & 1 else folded >> 1
    return Header(kind & 15, kind >> 4, robot, epoch, sequence, stamp_us / 1e6, reader.offset)


def decode(data: bytes, header: Header) -> Message:
    """The message of an opened packet (without its seal), strictly.

    Args:
        data: as given to ``encode``, but for the seal's mark. header: from ``peek``.

    Raises:
        MessageError: as ``peek``, or ``bad-codec``, ``bad-range``, ``bad-digest``, ``bad-status``, ``not-finite``,
            ``bad-data``.
    """
    reader = _Reader(data)
    reader.offset = header.size_bytes
    message = _PARSERS[header.kind](reader, header)
    if reader.offset != len(data):
        raise MessageError('bad-data', f'{len(data) - reader.offset} bytes are left over')
    return message


def _put(out: bytearray, number: int) -> None:
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)


def _put_name(out: bytearray, name: str) -> None:
    data = name.encode()
    if not (1 <= len(data) <= MAX_NAME_BYTES and name.isprintable()):
        raise MessageError('bad-name', f'{name!r} is no name of a robot')
    out.append(len(data))
    out += data


def _put_epoch(out: bytearray, epoch: int) -> None:
    if not 0 <= epoch < 2**32:
        raise MessageError('bad-number', f'epoch {epoch} does not fit 32 bits')
    out += _EPOCH.pack(epoch)


def _put_status(out: bytearray, status: RobotStatus, epoch: int) -> None:
    goes, has_to_go = status.has_goal, not isnan(status.distance_to_go_m)
    out.append(int(status.activity) | (_HAS_GOAL if goes else 0) | (_HAS_TO_GO if has_to_go else 0))
    out += _STATUS.pack(*status.pose, *status.twist, status.radius_m)
    if goes:
        out += _GOAL.pack(status.goal_x_m, status.goal_y_m)
    if has_to_go:
        out += _TO_GO.pack(status.distance_to_go_m)
    _put(out, status.issued)


def _put_features(out: bytearray, features: MapFeatures, epoch: int) -> None:
    foreign = features.layer != (features.robot, epoch)
    if features.codec not in CODEC_NAMES:
        raise MessageError('bad-codec', f'{features.codec!r}; known: {", ".join(CODEC_NAMES)}')
    out.append((_FOREIGN_LAYER if foreign else 0) | CODEC_NAMES.index(features.codec) << 1)
    if foreign:
        _put_name(out, features.layer.robot)
        _put_epoch(out, features.layer.epoch)
    out += _RESOLUTION.pack(round(features.resolution_m * _RESOLUTION_STEPS_PER_M))
    _put(out, features.versions.first)
    _put(out, features.versions.last - features.versions.first)
    out += features.data


def _put_digest(out: bytearray, digest: MapDigest, epoch: int) -> None:
    out.append(_WHOLE if digest.whole else 0)
    _put(out, len(digest.layers))
    for layer, ranges in digest.layers:
        own = layer == (digest.robot, epoch)
        if own:
            out.append(0)
        else:
            _put_name(out, layer.robot)
            _put_epoch(out, layer.epoch)
        _put(out, len(ranges))
        end = 0
        for first, last in ranges:
            _put(out, first - end - 1)
            _put(out, last - first)
            end = last


def _take_status(reader: '_Reader', header: Header) -> RobotStatus:
    flags = reader.byte()
    if flags & 15 not in tuple(Activity) or flags & ~(15 | _HAS_GOAL | _HAS_TO_GO):
        raise MessageError('bad-status', f'activity and flags are {flags:#x}')
    always = x_m, y_m, heading_rad, linear_mps, angular_radps, radius_m = reader.struct(_STATUS)
    goal = reader.struct(_GOAL) if flags & _HAS_GOAL else (nan, nan)
    to_go_m = reader.struct(_TO_GO)[0] if flags & _HAS_TO_GO else nan
    given = (*always, *(goal if flags & _HAS_GOAL else ()), *((to_go_m,) if flags & _HAS_TO_GO else ()))
    if not all(map(isfinite, given)):
        raise MessageError('not-finite', f'{header.robot}: all that a status gives must be finite')
    return RobotStatus(header.robot, header.epoch, header.stamp_s, Pose(x_m, y_m, heading_rad),
                       Twist(linear_mps, angular_radps), *goal, to_go_m, radius_m, Activity(flags & 15),
                       reader.number(2**32 - 1))


def _take_features(reader: '_Reader', header: Header) -> MapFeatures:
    flags = reader.byte()
    if flags >> 1 >= len(CODEC_NAMES):
        raise MessageError('bad-codec', f'code {flags >> 1}; known: 0 to {len(CODEC_NAMES) - 1}')
    layer = own = LayerId(header.robot, header.epoch)
    if flags & _FOREIGN_LAYER:
        layer = LayerId(reader.name(), reader.epoch())
        if layer == own:
            raise MessageError('bad-layer', 'the own layer is not named')
    resolution_m = reader.struct(_RESOLUTION)[0] / _RESOLUTION_STEPS_PER_M
    first = reader.number(2**32 - 1)
    last = first + reader.number(2**32 - 1)
    if not 1 <= first <= last < 2**32:
        raise MessageError('bad-range', f'{first} to {last} is no range of versions')
    return MapFeatures(header.robot, header.stamp_s, layer, VersionRange(first, last), resolution_m,
                       CODEC_NAMES[flags >> 1], reader.rest())


def _take_digest(reader: '_Reader', header: Header) -> MapDigest:
    flags, count = reader.byte(), reader.number(2**32 - 1)
    if flags & ~_WHOLE or count > MAX_LAYERS:
        raise MessageError('bad-digest', f'flags {flags:#x} and {count} layers; at most {MAX_LAYERS} are possible')
    layers, left = [], MAX_RANGES
    own = LayerId(header.robot, header.epoch)
    for _ in range(count):
        named = not reader.skips_zero()
        layer = LayerId(reader.name(), reader.epoch()) if named else own
        if named and layer == own:
            raise MessageError('bad-layer', 'the own layer is not named')
        size = reader.number(left)
        left -= size
        layers.append(LayerDigest(layer, _take_ranges(reader, size)))
    if len({layer for layer, _ in layers}) < count:
        raise MessageError('bad-digest', 'a layer is named twice')
    return MapDigest(header.robot, header.stamp_s, tuple(layers), bool(flags & _WHOLE))


def _take_ranges(reader: '_Reader', count: int) -> Ranges:
    ranges, end = [], 0
    for number in range(count):
        gap = reader.number(2**32 - 1)
        first = end + 1 + gap
        end = first + reader.number(2**32 - 1)
        if end >= 2**32 or (number and not gap):  # Touching ranges would be one range.
            raise MessageError('bad-digest', f'range {first} to {end} cannot follow')
        ranges.append(VersionRange(first, end))
    return tuple(ranges)


_BODIES = (_put_status, _put_features, _put_digest)
_PARSERS = (_take_status, _take_features, _take_digest)


class _Reader:
    """Takes bytes off a packet; never beyond its end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.offset = 0

    def byte(self) -> int:
        """One byte."""
        if self.offset >= len(self._data):
            raise MessageError('truncated', f'{len(self._data)} bytes end too early')
        self.offset += 1
        return self._data[self.offset - 1]

    def number(self, largest: int) -> int:
        """A varint in its shortest form."""
        number, shift = 0, 0
        while True:
            byte = self.byte()
            number |= (byte & 127) << shift
            shift += 7
            if number > largest or shift > _MAX_VARINT_BITS:
                raise MessageError('bad-number', f'a number is beyond {largest}')
            if byte < 128:
                break
        if byte == 0 and shift > 7:
            raise MessageError('bad-number', 'a number is longer than it needs to be')
        return number

    def struct(self, layout: struct.Struct) -> tuple[float, ...]:
        """Fields of fixed size."""
        self.offset += layout.size
        if self.offset > len(self._data):
            raise MessageError('truncated', f'{len(self._data)} bytes end too early')
        return layout.unpack_from(self._data, self.offset - layout.size)

    def epoch(self) -> int:
        """Which life of a robot."""
        return int(self.struct(_EPOCH)[0])

    def name(self) -> str:
        """A robot's name."""
        size = self.byte()
        data = self._data[self.offset:self.offset + size]
        self.offset += size
        try:
            name = data.decode()
        except UnicodeDecodeError as error:
            raise MessageError('bad-name', f'{data!r} is no text') from error
        if not 1 <= size <= MAX_NAME_BYTES or len(data) < size or not name.isprintable():
            raise MessageError('bad-name', f'{name!r} is no name of a robot')
        return name

    def skips_zero(self) -> bool:
        """Whether the next byte is 0, which is taken then."""
        if self.offset < len(self._data) and self._data[self.offset] == 0:
            self.offset += 1
            return True
        return False

    def rest(self) -> bytes:
        """All that is left."""
        rest = bytes(self._data[self.offset:])
        self.offset = len(self._data)
        return rest
