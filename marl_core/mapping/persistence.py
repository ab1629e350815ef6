"""Keeps a replica on disk, so that a map survives the process that held it.

A file is a row of records, each with its own checksum: a header, then for each layer the messages that a late
joiner would be sent, then a footer that counts them. Loading joins them, so a damaged file still gives what its
intact beginning holds, and the previous generation is joined on top. Saving writes beside the old file, waits
for the disk and only then swaps names: killed at any moment, the last or the last but one save is whole.

A file does not grow with time: only the newest version of a tile is kept, and the lives of robots that ended count
as layers like others, so it is bounded by ReplicaConfig.max_layers times the tiles of the map times 1.1 kB (and
1.5 MB per layer that was only heard in fragments). Read and written record by record, it takes no memory to speak of.
"""

import os
import struct
import time
import zlib
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from marl_core.errors import MapError, MessageError
from marl_core.mapping.replica import Replica
from marl_core.types import LayerId, MapFeatures, VersionRange
from marl_core.versions import Ranges, subtract

MAGIC = b'MARLMAP2'
CODEC = 'rle-zstd'
"""On disk, where bytes are cheap, tiles are coded by nothing that may be trained anew: old files stay readable."""
_FRAME = struct.Struct('<cII')
_HEADER = struct.Struct('<d')
_FOOTER = struct.Struct('<Id')
_FEATURES = struct.Struct('<qIIHH')
_MAX_RECORD_BYTES = 2**17


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
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if previous.exists() and fresh.exists() and not path.exists():
            os.replace(fresh, path)  # The last save was whole when it was killed, one step before its end.
        try:
            size_bytes = _write(replica, fresh)
        except (OSError, MapError):
            fresh.unlink(missing_ok=True)  # On a full disk every byte counts.
            raise
        if path.exists():
            os.replace(path, previous)
        os.replace(fresh, path)
        _settle(path.parent)
    except OSError as error:
        raise MapError(f'{path}: map cannot be saved ({error.strerror})') from error
    return size_bytes


def load(replica: Replica, path: str | Path) -> Recovered:
    """Join a saved map into a replica, from the newest intact records there are.

    Never fails for what the files hold: a replica that recovers nothing still works and is refilled by others.
    """
    files: list[str] = []
    problems: list[str] = []
    tiles, saved_at_s, complete = 0, None, False
    for number, candidate in enumerate(generations(Path(path))):
        try:
            with candidate.open('rb') as file:
                gained, stamp_s, whole = _join_file(replica, candidate, file, problems)
        except FileNotFoundError:
            if number == 0:
                problems.append(f'{candidate}: missing')
            continue
        except OSError as error:
            problems.append(f'{candidate}: cannot be read ({error.strerror})')
            continue
        if gained or whole:
            files.append(str(candidate))
        tiles += gained
        if whole:
            saved_at_s, complete = stamp_s, number < 2
            break
    return Recovered(tuple(files), complete, saved_at_s, tiles, replica.known_cells, tuple(problems))


def _join_file(replica: Replica, path: Path, file: BinaryIO, problems: list[str]) -> tuple[int, float | None, bool]:
    """Join the intact records of a file; returns (tiles gained, time of saving, whether it was whole)."""
    tiles, messages, stamp_s, header = 0, 0, None, False
    refused: dict[str, list[str]] = {}
    if file.read(len(MAGIC)) != MAGIC:
        problems.append(f'{path}: damaged at its first byte, or saved by another version')
        return 0, None, False
    for kind, body in _intact(file):
        if kind == b'H' and len(body) == _HEADER.size:
            resolution_m, = _HEADER.unpack(body)
            if not abs(resolution_m - replica.bounds.resolution_m) < 1e-9:
                problems.append(f'{path}: cells of {resolution_m} m, this map has {replica.bounds.resolution_m} m')
                return 0, None, False
            header = True
        elif kind == b'F' and header:
            messages += 1
            try:
                tiles += replica.join(_features_of(body, replica.bounds.resolution_m))
            except MessageError as error:
                refused.setdefault(error.reason, []).append(str(error)[:200])
        elif kind == b'E' and header and len(body) == _FOOTER.size:
            promised, saved_at_s = _FOOTER.unpack(body)
            if promised == messages:
                stamp_s = saved_at_s
    problems += [f'{path}: {len(errors)} records refused ({errors[0]})' for errors in refused.values()]
    if stamp_s is None:
        problems.append(f'{path}: damaged after {messages} intact records')
    return tiles, stamp_s, stamp_s is not None


def _write(replica: Replica, path: Path) -> int:
    """Write a whole file and wait until it is on the disk; returns its size [bytes]."""
    with path.open('wb') as file:
        size_bytes = sum(map(file.write, _records_of(replica)))
        file.flush()
        os.fsync(file.fileno())
    return size_bytes


def _settle(folder: Path) -> None:
    """Wait until names that were swapped in a folder are on the disk."""
    directory = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _records_of(replica: Replica) -> Iterator[bytes]:
    # The same layers seen by a replica that encodes for disk.
    archivist = copy(replica)
    archivist.config = replace(replica.config, codec=replica.codec_like(CODEC))
    yield MAGIC
    yield _record(b'H', _HEADER.pack(replica.bounds.resolution_m))
    messages = 0
    for layer, known in replica.digest():
        for message in _messages_of(archivist, layer, known):
            yield _record(b'F', _bytes_of(message))
            messages += 1
    yield _record(b'E', _FOOTER.pack(messages, time.time()))


def _messages_of(replica: Replica, layer: LayerId, known: Ranges) -> Iterator[MapFeatures]:
    while known:
        message = replica.answer(layer, known, replica.config.max_message_bytes, 0.0)
        if message is None:
            raise MapError(f'layer {layer} has a tile that does not fit {replica.config.max_message_bytes} bytes')
        yield message
        known = subtract(known, (message.versions,))


def _record(kind: bytes, body: bytes) -> bytes:
    return _FRAME.pack(kind, len(body), zlib.crc32(kind + body)) + body


def _intact(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Records up to the first that is damaged or cut off."""
    while len(frame := file.read(_FRAME.size)) == _FRAME.size:
        kind, size, checksum = _FRAME.unpack(frame)
        if size > _MAX_RECORD_BYTES:
            return
        body = file.read(size)
        if len(body) != size or zlib.crc32(kind + body) != checksum:
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
    if names_end > len(body):
        raise MessageError('truncated', 'a record ends within its names')
    try:
        robot = body[_FEATURES.size:_FEATURES.size + robot_bytes].decode()
        codec = body[_FEATURES.size + robot_bytes:names_end].decode()
    except UnicodeDecodeError as error:
        raise MessageError('bad-layer', 'a name is not UTF-8') from error
    return MapFeatures(robot, 0.0, LayerId(robot, epoch), VersionRange(first, last), resolution_m, codec,
                       body[names_end:])
