"""What bytes from strangers may do to each place that reads them: be refused by name, or mean something valid.

Each target takes any bytes, judges what came of them and raises AssertionError if that is not allowed; it returns how
much was taken for something valid: messages, batches, tiles or layers. Time and memory are judged by whoever calls
(fuzz.py), for they depend on the machine.
"""

import io
import struct
from pathlib import Path

import numpy as np

from marl_core.communication import wire
from marl_core.communication.authentication import Plain, unchecked
from marl_core.communication.communicator import Communicator
from marl_core.errors import MessageError
from marl_core.mapping import persistence
from marl_core.mapping.bounds import MapBounds
from marl_core.mapping.codec import CODECS, MAX_VERSION, DecodeLimits, decode, encode
from marl_core.mapping.layers import Urgency
from marl_core.mapping.replica import Replica, ReplicaConfig
from marl_core.mapping.votes import TILE_CELLS
from marl_core.types import (
    LayerDigest,
    LayerId,
    MapDigest,
    MapFeatures,
    Pose,
    RobotStatus,
    Twist,
    VersionRange,
)

BOUNDS = MapBounds(resolution_m=0.05, planning_factor=4, tiles_x=8, tiles_y=8)
ALL = np.argwhere(np.ones(BOUNDS.tiles_shape, bool)).astype(np.int32)
LIMITS = DecodeLimits(max_tiles=64)
EPOCH = 7
STAMP_S = 1.0
PACKETS = 8


def empty() -> Replica:
    """Who hears it all; its map is small, and no message may have more tiles."""
    return Replica(BOUNDS, 'map', None, ReplicaConfig(max_tiles_per_message=len(ALL)))


def said() -> tuple[Replica, list[MapFeatures]]:
    """A robot and all that it said: a few tiles at a time, later ones built on earlier ones."""
    random, messages = np.random.default_rng(1), []
    one = Replica(BOUNDS, 'ada', LayerId('ada', EPOCH), ReplicaConfig(urgency=Urgency(hold_cells=1)))
    classes = (random.integers(-1, 2, BOUNDS.shape) * (random.random(BOUNDS.shape) < 0.05)).astype(np.int8)
    for start in range(4):
        one.write(one.own, ALL[start:start + 3], np.roll(classes, start, axis=1))
        messages.append(one.publish(one.own, 60_000, STAMP_S, bases=None if start % 2 else ((1, 2),)))
    return one, messages


def packets(data: bytes) -> int:
    """Whole packets as they come from the air; the checksum is made right, or nothing else would ever be reached."""
    taken = 0
    for packet in (data, Plain().close(data[:wire.MAX_PACKET_BYTES]) if len(data) > 1 else data):
        try:
            header = wire.peek(packet)
            body = unchecked(packet)
            message = wire.decode(body, header)
        except MessageError:
            continue
        again = wire.encode(message, header.epoch, header.sequence)
        assert again[2:] == body[2:], 'a message has two encodings'
        taken += 1
    return taken


_SHORT_RANGE = struct.Struct('<BH')


def tiles(data: bytes) -> int:
    """What follows a packet's header: batches of tiles in every codec."""
    if len(data) < _SHORT_RANGE.size:
        return 0
    first, extent = _SHORT_RANGE.unpack_from(data)
    versions, taken = VersionRange(first + 1, first + 1 + extent), 0
    for codec in CODECS:
        try:
            batch = decode(data[_SHORT_RANGE.size:], versions, codec, LIMITS)
        except MessageError:
            continue
        assert batch.classes.shape == (len(batch.tiles), TILE_CELLS)
        assert np.isin(batch.classes, (-1, 0, 1, 2) if CODECS[codec].graded else (-1, 0, 1)).all()
        assert (np.diff(batch.versions) > 0).all()
        assert len(np.unique(batch.tiles, axis=0)) == len(batch.tiles)
        taken += 1
    return taken


_HELD = said()[1][:-1]
_RANGE = struct.Struct('<IH')


def joins(data: bytes) -> int:
    """Features of a layer of which some is held, so that bases are found; a map must stay what its layers say."""
    replica = empty()
    for message in _HELD:
        replica.join(message)
    if len(data) < _RANGE.size + 1:
        return 0
    first, extent = _RANGE.unpack_from(data)
    held = replica.layers[_HELD[0].layer].known[-1].last
    first = 1 + (held + first - 2**31 if first >= 2**31 else first) % MAX_VERSION
    versions = VersionRange(first, min(first + extent, MAX_VERSION))
    codec = wire.CODEC_NAMES[data[_RANGE.size] % len(wire.CODEC_NAMES)]
    layer = _HELD[0].layer if data[_RANGE.size] < 192 else LayerId('eve', EPOCH)
    before, taken = (replica.state_hash(), replica.fused.copy()), 0
    try:
        taken = replica.join(MapFeatures('eve', STAMP_S, layer, versions, BOUNDS.resolution_m, codec,
                                         data[_RANGE.size + 1:]))
    except MessageError:
        assert replica.state_hash() == before[0] and (replica.fused == before[1]).all(), 'refused, yet it left a trace'
    check_map(replica)
    return taken


def check_map(replica: Replica) -> None:
    """The fused map of a replica without weights is the vote of its layers, and what is held is what is known."""
    free, occupied = (sum((layer.seen == value).astype(np.int64) for layer in replica.layers.values())
                      for value in (-1, 1))
    classes = np.where((occupied > 0) & (occupied >= free), 1, np.where(free > 0, -1, 0)) \
        if replica.layers else np.zeros((ALL.shape[0], TILE_CELLS), np.int8)
    rows, cols = BOUNDS.tiles_shape
    raster = classes.reshape(rows, cols, 32, 32).swapaxes(1, 2).reshape(BOUNDS.shape)
    assert (replica.fused == raster).all()
    assert replica.known_cells == np.count_nonzero(raster)


def links(data: bytes) -> int:
    """A whole participant: a few packets, cut by two bytes of length each, with right checksums."""
    replica, link = empty(), Communicator('map', 1)
    stream, heard = io.BytesIO(data), []
    while len(heard) < PACKETS and (size := stream.read(2)):
        heard.append(Plain().close(chunk) if len(chunk := stream.read(int.from_bytes(size, 'little') % 600)) > 1
                     else chunk)
    link.receive(heard, replica, 2.0)
    counted = sum(link.drops.values()) + link.ignored + sum(sender.packets for sender in link.traffic.values())
    assert counted >= len(heard), 'something went by uncounted'
    check_map(replica)
    for packet in link.send(None, replica, 3.0):
        wire.decode(unchecked(packet), wire.peek(packet))
    return sum(sender.packets for sender in link.traffic.values())


def files(data: bytes, folder: Path = Path('/dev/shm')) -> int:
    """A file of a saved map; frames are made right, or nothing behind the first checksum would ever be reached."""
    path, taken = folder / f'marl-fuzz-{id(files):x}.map', 0
    for content in (data, persistence.MAGIC + _framed(data)):
        path.write_bytes(content)
        replica = empty()
        recovered = persistence.load(replica, path)
        path.unlink()
        assert recovered.complete or recovered.problems
        check_map(replica)
        taken += len(replica.layers)
    return taken


def _framed(data: bytes) -> bytes:
    """Records from bytes: kind, size in two bytes, body."""
    stream, out = io.BytesIO(data), b''
    while len(head := stream.read(3)) == 3:
        out += persistence._record(head[:1], stream.read(int.from_bytes(head[1:], 'little')))
    return out


def seeds(target: str) -> list[bytes]:
    """Valid inputs to begin with."""
    one, messages = said()
    status = RobotStatus('ada', EPOCH, STAMP_S, Pose(1.0, 2.0, 3.0), Twist(0.1, 0.2), 4.0, 5.0, 6.0, issued=6)
    digest = MapDigest('ada', STAMP_S, (*one.digest(), LayerDigest(LayerId('bob', 1), ((2, 5), (9, 9)))))
    spoken = [wire.encode(message, EPOCH, number) for number, message in enumerate((status, digest, *messages), 1)]
    if target == 'packets':
        return spoken
    if target == 'tiles':
        plain = decode(messages[0].data, messages[0].versions, messages[0].codec, LIMITS)
        written = [(messages[0].versions, encode(plain, messages[0].versions, codec)) for codec in CODECS]
        return [_SHORT_RANGE.pack(versions.first - 1, versions.last - versions.first) + data
                for versions, data in (*((message.versions, message.data) for message in messages), *written)]
    if target == 'joins':
        return [_RANGE.pack(message.versions.first - 1, message.versions.last - message.versions.first) + b'\x02'
                + message.data for message in messages]
    if target == 'links':
        return [b''.join(struct.pack('<H', len(packet)) + packet for packet in spoken if len(packet) < 600)]
    frame_bytes = persistence._FRAME.size
    return [b''.join(record[:1] + struct.pack('<H', len(record) - frame_bytes) + record[frame_bytes:]
                     for record in list(persistence._records_of(one))[1:])]


TARGETS = {'packets': packets, 'tiles': tiles, 'joins': joins, 'links': links, 'files': files}
