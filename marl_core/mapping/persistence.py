"""Keeps a replica on disk, so that a map survives the process that held it.

A file is a row of records, each with its own checksum: a header, then for each layer the messages that a late
joiner would be sent, then a footer that counts them. Loading joins them, so a damaged file still gives what its
intact beginning holds, and the previous generation is joined on top. Saving writes beside the old file, waits
for the disk and only then swaps names: killed at any moment, the last or the last but one save is whole.
"""

import json
import os
import struct
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from marl_core.errors import MapError, MessageError
from marl_core.mapping.codec import MAX_VERSION
from marl_core.mapping.replica import Replica
from marl_core.types import LayerId, MapFeatures, VersionRange
from marl_core.versions import Ranges, subtract

MAGIC = b'MARLMAP1'
_FRAME = struct.Struct('<cII')
_FEATURES = struct.Struct('<qIIHH')
_MAX_RECORD_BYTES = 2**26


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a load brought back.

    Attributes:
        files: files that something came from, newest first.
        complete: whether the newest file was whole; if not, changes since ``saved_at_s`` may be missing.
        saved_at_s: wall-clock time of the newest whole save [s since 1970], or None.
        tiles: tiles that were new to the replica.
        known_cells: cells known in the fused map after loading.
        problems: what was wrong, one sentence each, naming the file.
    """

    files: tuple[str, ...]
    complete: bool
    saved_at_s: float | None
    tiles: int
    known_cells: int
    problems: tuple[str, ...]

    def __str__(self) -> str:
        source = ' and '.join(self.files) or 'nothing'
        found = f'{self.tiles} tiles, {self.known_cells} known cells from {source}'
        return '; '.join((found, *self.problems))


def generations(path: Path) -> tuple[Path, Path, Path]:
    """Where a map may be found, in the order of trust: the last save, one that was cut short, the one before."""
    return path, path.with_name(path.name + '.new'), path.with_name(path.name + '.previous')


def save(replica: Replica, path: str | Path) -> int:
    """Write everything published that a replica holds; returns the size of the file [bytes].

    Own evidence that waits to be published is not part of the shared state and is not saved.

    Raises:
        MapError: the file cannot be written; the old one is then as it was.
    """
    path, fresh, previous = generations(Path(path))
    data = b''.join(_records_of(replica))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with fresh.open('wb') as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            os.replace(path, previous)
        os.replace(fresh, path)
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise MapError(f'{path}: map cannot be saved ({error.strerror})') from error
    return len(data)


def load(replica: Replica, path: str | Path) -> Recovered:
    """Join a saved map into a replica, from the newest intact records there are.

    Never fails for what the files hold: a replica that recovers nothing still works and is refilled by others.
    """
    files: list[str] = []
    problems: list[str] = []
    tiles, saved_at_s, complete = 0, None, False
    for number, candidate in enumerate(generations(Path(path))):
        try:
            data = candidate.read_bytes()
        except FileNotFoundError:
            if number == 0:
                problems.append(f'{candidate}: missing')
            continue
        except OSError as error:
            problems.append(f'{candidate}: cannot be read ({error.strerror})')
            continue
        gained, stamp_s, whole = _join_file(replica, candidate, data, problems)
        if gained or whole:
            files.append(str(candidate))
        tiles += gained
        if whole:
            saved_at_s, complete = stamp_s, number < 2
            break
    return Recovered(tuple(files), complete, saved_at_s, tiles, replica.known_cells, tuple(problems))


def _join_file(replica: Replica, path: Path, data: bytes, problems: list[str]) -> tuple[int, float | None, bool]:
    """Join the intact records of a file; returns (tiles gained, time of saving, whether it was whole)."""
    tiles, messages, stamp_s, header = 0, 0, None, False
    refused: dict[str, int] = {}
    for kind, body in _intact(data):
        if kind == b'H':
            # A header record is ours and its checksum holds; only a foreign geometry is to be expected.
            resolution_m = json.loads(body)['resolution_m']
            if abs(resolution_m - replica.bounds.resolution_m) > 1e-9:
                problems.append(f'{path}: cells of {resolution_m} m, this map has {replica.bounds.resolution_m} m')
                return 0, None, False
            header = True
        elif kind == b'F' and header:
            messages += 1
            try:
                tiles += replica.join(_features_of(body, replica.bounds.resolution_m))
            except MessageError as error:
                refused[str(error)] = refused.get(str(error), 0) + 1
        elif kind == b'E' and header:
            footer = json.loads(body)
            if footer['messages'] == messages:
                stamp_s = footer['saved_at_s']
    problems += [f'{path}: {count} records refused ({reason})' for reason, count in refused.items()]
    if stamp_s is None:
        problems.append(f'{path}: damaged after {messages} intact records')
    return tiles, stamp_s, stamp_s is not None


def _records_of(replica: Replica) -> Iterator[bytes]:
    yield MAGIC
    yield _record(b'H', json.dumps({'resolution_m': replica.bounds.resolution_m, 'name': replica.name}).encode())
    messages = 0
    for layer, known in replica.digest():
        for message in _messages_of(replica, layer, known):
            yield _record(b'F', _bytes_of(message))
            messages += 1
    yield _record(b'E', json.dumps({'messages': messages, 'saved_at_s': time.time()}).encode())


def _messages_of(replica: Replica, layer: LayerId, known: Ranges) -> Iterator[MapFeatures]:
    while known:
        message = replica.answer(layer, known, replica.config.max_message_bytes, 0.0)
        if message is None:
            raise MapError(f'layer {layer} has a tile that does not fit {replica.config.max_message_bytes} bytes')
        yield message
        known = subtract(known, (message.versions,))


def _record(kind: bytes, body: bytes) -> bytes:
    return _FRAME.pack(kind, len(body), zlib.crc32(kind + body)) + body


def _intact(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Records up to the first that is damaged or cut off."""
    if not data.startswith(MAGIC):
        return
    offset = len(MAGIC)
    while offset + _FRAME.size <= len(data):
        kind, size, checksum = _FRAME.unpack_from(data, offset)
        offset += _FRAME.size
        body = data[offset:offset + size]
        offset += size
        if size > _MAX_RECORD_BYTES or len(body) != size or zlib.crc32(kind + body) != checksum:
            return
        yield kind, body


def _bytes_of(message: MapFeatures) -> bytes:
    robot, codec = message.layer.robot.encode(), message.codec.encode()
    return _FEATURES.pack(message.layer.epoch, *message.versions, len(robot), len(codec)) \
        + robot + codec + message.data


def _features_of(body: bytes, resolution_m: float) -> MapFeatures:
    """Inverse of _bytes_of.

    Raises:
        MessageError: ``truncated`` or ``bad-layer``.
    """
    if len(body) < _FEATURES.size:
        raise MessageError('truncated', 'a record ends within its fields')
    epoch, first, last, robot_bytes, codec_bytes = _FEATURES.unpack_from(body)
    names_end = _FEATURES.size + robot_bytes + codec_bytes
    if first > MAX_VERSION or names_end > len(body):
        raise MessageError('truncated', 'a record ends within its names')
    try:
        robot = body[_FEATURES.size:_FEATURES.size + robot_bytes].decode()
        codec = body[_FEATURES.size + robot_bytes:names_end].decode()
    except UnicodeDecodeError as error:
        raise MessageError('bad-layer', 'a name is not UTF-8') from error
    return MapFeatures(robot, 0.0, LayerId(robot, epoch), VersionRange(first, last), resolution_m, codec,
                       body[names_end:])
