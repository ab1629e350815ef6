"""Batches of tiles as bytes, for the radio and for disk.

Layout (integers are LEB128 varints unless said otherwise)::

    tiles                  count
    leans_on               count, then per range: distance from the previous end, length - 1
    versions               only if fewer than the range holds: distance from the previous version - 1
    coordinates            per tile: zigzag distance from the previous tile, y * 32 + min(x, 31); if x >= 31 then
                           x - 31 follows all of these
    classes                up to the codec

Nothing in a message is believed before it is checked: sizes are bounded before memory is taken. Damage is not found
here but by the checksum of what carries a batch: a packet, or a record on disk.
"""

import threading
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import zstandard
from numba import njit
from numpy.typing import NDArray

from marl_core.errors import MessageError
from marl_core.mapping.context_codec import Context
from marl_core.mapping.votes import TILE_CELLS
from marl_core.types import VersionRange
from marl_core.versions import Ranges

MAX_VERSION = 2**32 - 1
MAX_LEANS_ON = 1024
_FAR = 31


@dataclass(frozen=True, slots=True)
class TileBatch:
    """Tiles of one layer, ascending by version.

    Attributes:
        tiles: int32 signed coordinates (tile_y, tile_x); tile (0, 0) has its lower left corner at the origin of
            the map frame. Shape: (N, 2).
        versions: int64, strictly ascending. Shape: (N,).
        classes: int8 FREE, UNKNOWN or OCCUPIED, row by row. Shape: (N, TILE_CELLS).
        leans_on: versions above the batch's range in which the successors of what it leaves out are to be found.
    """

    tiles: NDArray[np.int32]
    versions: NDArray[np.int64]
    classes: NDArray[np.int8]
    leans_on: Ranges = ()


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """What a message may cost its receiver."""

    max_message_bytes: int = 60_000
    max_tiles: int = 1024


class Codec(Protocol):
    """How the classes of tiles become bytes."""

    def pack(self, tiles: NDArray[np.int32], classes: NDArray[np.int8]) -> bytes:
        """Encode classes -1, 0, 1, Shape: (N, TILE_CELLS), of N >= 1 tiles at coordinates, Shape: (N, 2)."""

    def unpack(self, data: bytes, tiles: NDArray[np.int32]) -> NDArray[np.int8]:
        """Decode the tiles at the coordinates given, Shape: (N, 2). Shape: (N, TILE_CELLS).

        Raises:
            MessageError: ``data`` is not what ``pack`` gives for that many tiles.
        """


class Raw:
    """Two bits per cell: what a codec has to beat, and a format that is easy to read elsewhere."""

    def pack(self, tiles: NDArray[np.int32], classes: NDArray[np.int8]) -> bytes:
        """See Codec."""
        codes = (classes + 1).astype(np.uint8).reshape(-1, 4)
        return (codes[:, 0] | codes[:, 1] << 2 | codes[:, 2] << 4 | codes[:, 3] << 6).tobytes()

    def unpack(self, data: bytes, tiles: NDArray[np.int32]) -> NDArray[np.int8]:
        """See Codec."""
        count = len(tiles)
        if len(data) != count * TILE_CELLS // 4:
            raise MessageError('truncated', f'{count} tiles take {count * TILE_CELLS // 4} bytes, got {len(data)}')
        quads = np.frombuffer(data, np.uint8)
        codes = np.empty((quads.size, 4), np.int8)
        for k in range(4):
            codes[:, k] = (quads >> (2 * k)) & 3
        if codes.size and codes.max() > 2:
            raise MessageError('bad-data', 'a cell has no class')
        codes -= 1
        return codes.reshape(count, TILE_CELLS)


class RleZstd:
    """Run lengths over the cells of all tiles, then zstd: general-purpose parts only."""

    LEVEL = 3

    def __init__(self) -> None:
        self._local = threading.local()

    def pack(self, tiles: NDArray[np.int32], classes: NDArray[np.int8]) -> bytes:
        """See Codec."""
        runs = np.empty(classes.size + 8, np.uint8)
        size = _runs_of(classes.reshape(-1), runs)
        return self._tools()[0].compress(runs[:size].tobytes())

    def unpack(self, data: bytes, tiles: NDArray[np.int32]) -> NDArray[np.int8]:
        """See Codec."""
        count = len(tiles)
        cells = np.empty(count * TILE_CELLS, np.int8)
        try:
            # Frames that announce their size would be given that much memory unseen.
            if zstandard.get_frame_parameters(data, format=zstandard.FORMAT_ZSTD1_MAGICLESS).content_size \
                    != zstandard.CONTENTSIZE_UNKNOWN:
                raise MessageError('bad-data', 'a frame must not announce its size')
            runs = self._tools()[1].decompress(data, max_output_size=cells.size + 8, allow_extra_data=False)
        except zstandard.ZstdError as error:
            raise MessageError('bad-data', f'zstd: {error}') from error
        if not _cells_of(np.frombuffer(runs, np.uint8), cells):
            raise MessageError('bad-data', f'runs do not fill {count} tiles exactly')
        return cells.reshape(count, TILE_CELLS)

    def _tools(self) -> tuple[zstandard.ZstdCompressor, zstandard.ZstdDecompressor]:
        # zstd contexts are costly to make and must not be shared between threads.
        if not hasattr(self._local, 'tools'):
            parameters = zstandard.ZstdCompressionParameters.from_level(
                self.LEVEL, write_content_size=False, write_checksum=False, write_dict_id=False,
                format=zstandard.FORMAT_ZSTD1_MAGICLESS, window_log=17)
            self._local.tools = (zstandard.ZstdCompressor(compression_params=parameters),
                                 zstandard.ZstdDecompressor(format=zstandard.FORMAT_ZSTD1_MAGICLESS,
                                                            max_window_size=2**20))
        return self._local.tools


CODECS: dict[str, Codec] = {'raw': Raw(), 'rle-zstd': RleZstd(), 'context': Context()}


def encode(batch: TileBatch, versions: VersionRange, codec: str) -> bytes:
    """Bytes of a batch that settles ``versions``; the inverse of ``decode``."""
    fields = [len(batch.tiles), len(batch.leans_on)]
    previous = versions.last
    for first, last in batch.leans_on:
        fields += [first - previous, last - first]
        previous = last
    if len(batch.tiles) < versions.last - versions.first + 1:
        fields += (np.diff(batch.versions, prepend=versions.first - 1) - 1).tolist()
    numbers = np.concatenate([np.array(fields, np.int64), *_steps_of(batch.tiles)])
    buffer = np.empty(10 * numbers.size, np.uint8)
    classes = CODECS[codec].pack(batch.tiles, batch.classes) if len(batch.tiles) else b''
    return buffer[:_write_varints(numbers, buffer)].tobytes() + classes


def decode(data: bytes, versions: VersionRange, codec: str, limits: DecodeLimits) -> TileBatch:
    """Read a batch, strictly: only what ``encode`` writes is accepted, in bounded time and memory.

    Raises:
        MessageError: ``bad-codec``, ``oversized``, ``truncated``, ``too-many-tiles``, ``bad-range``, ``duplicate-tile``
            or ``bad-data``.
    """
    if codec not in CODECS:
        raise MessageError('bad-codec', f'{codec!r}; known: {", ".join(CODECS)}')
    if len(data) > limits.max_message_bytes:
        raise MessageError('oversized', f'{len(data)} bytes, at most {limits.max_message_bytes}')
    reader = _Reader(data)
    count, leaning = reader.take(2).tolist()
    held = versions.last - versions.first + 1
    if count > limits.max_tiles:
        raise MessageError('too-many-tiles', f'{count} tiles, at most {limits.max_tiles}')
    if count > held or leaning > MAX_LEANS_ON:
        raise MessageError('bad-range', f'{count} tiles and {leaning} ranges for {held} versions')
    leans_on = _leans_on(reader.take(2 * leaning), versions)
    gaps = reader.take(count) if count < held else np.zeros(count, np.int64)
    numbers = versions.first - 1 + np.cumsum(np.minimum(gaps, MAX_VERSION) + 1)
    if count and numbers[-1] > versions.last:
        raise MessageError('bad-range', f'version {numbers[-1]} is outside {versions.first}..{versions.last}')
    tiles = _tiles_of(reader, count)
    rest = reader.rest()
    if not count and rest:
        raise MessageError('bad-data', f'{len(rest)} bytes of classes for no tiles')
    classes = CODECS[codec].unpack(rest, tiles) if count else np.empty((0, TILE_CELLS), np.int8)
    return TileBatch(tiles, numbers, classes, leans_on)


def _steps_of(tiles: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Coordinates as numbers: one byte for a tile near the one before, and what is left of long steps along x."""
    steps = np.diff(tiles.astype(np.int64), axis=0, prepend=0)
    zigzag = np.where(steps < 0, -2 * steps - 1, 2 * steps)
    near = np.minimum(zigzag[:, 1], _FAR)
    return zigzag[:, 0] * (_FAR + 1) + near, zigzag[near == _FAR, 1] - _FAR


def _tiles_of(reader: '_Reader', count: int) -> NDArray[np.int32]:
    """Inverse of ``_steps_of``. Shape: (count, 2)."""
    near = reader.take(count)
    zigzag = np.stack((near // (_FAR + 1), near % (_FAR + 1)), axis=1)
    is_far = zigzag[:, 1] == _FAR
    zigzag[is_far, 1] += reader.take(int(np.count_nonzero(is_far)))
    tiles = np.cumsum(np.where(zigzag & 1, -(zigzag >> 1) - 1, zigzag >> 1), axis=0)
    if count and (np.abs(tiles) > 2**30).any():
        raise MessageError('outside-bounds', 'a tile is further away than any map reaches')
    if np.unique(tiles[:, 0] * 2**32 + tiles[:, 1]).size != count:
        raise MessageError('duplicate-tile', 'a batch names a tile twice')
    return tiles.astype(np.int32)


def _leans_on(fields: NDArray[np.int64], versions: VersionRange) -> Ranges:
    ranges, previous = [], versions.last
    for gap, extent in fields.reshape(-1, 2).tolist():
        first = previous + gap
        previous = first + extent
        # Touching ranges would be one range; only the first may touch what the batch itself settles.
        if previous > MAX_VERSION or gap < (2 if ranges else 1):
            raise MessageError('bad-range', 'ranges that the batch leans on must ascend')
        ranges.append(VersionRange(first, previous))
    return tuple(ranges)


class _Reader:
    def __init__(self, body: bytes) -> None:
        self._body = body
        self._bytes = np.frombuffer(body, np.uint8)
        self._offset = 0

    def take(self, count: int) -> NDArray[np.int64]:
        numbers = np.empty(count, np.int64)
        self._offset = _read_varints(self._bytes, self._offset, numbers)
        if self._offset < 0:
            raise MessageError('truncated', f'{len(self._body)} bytes end within a number')
        return numbers

    def rest(self) -> bytes:
        return self._body[self._offset:]


@njit(cache=True, nogil=True)
def _write_varints(numbers: NDArray[np.int64], out: NDArray[np.uint8]) -> int:
    size = 0
    for number in numbers:
        while number > 127:
            out[size] = (number & 127) | 128
            number >>= 7
            size += 1
        out[size] = number
        size += 1
    return size


@njit(cache=True, nogil=True)
def _read_varints(data: NDArray[np.uint8], offset: int, out: NDArray[np.int64]) -> int:
    """Offset behind the numbers read, or -1 if the data ends first or a number has more than 42 bits."""
    for n in range(out.size):
        number, shift = np.int64(0), 0
        while True:
            if offset >= data.size or shift > 35:
                return -1
            byte = np.int64(data[offset])
            offset += 1
            number |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        out[n] = number
    return offset


@njit(cache=True, nogil=True)
def _runs_of(cells: NDArray[np.int8], out: NDArray[np.uint8]) -> int:
    """Runs as bytes ``class + 1 | length << 2``; length 0: ``length - 64`` follows as a varint. Returns the size."""
    size, start = 0, 0
    while start < cells.size:
        end = start + 1
        while end < cells.size and cells[end] == cells[start]:
            end += 1
        length = end - start
        code = np.uint8(cells[start] + 1)
        if length < 64:
            out[size] = code | (length << 2)
            size += 1
        else:
            out[size] = code
            size += 1
            length -= 64
            while length > 127:
                out[size] = (length & 127) | 128
                length >>= 7
                size += 1
            out[size] = length
            size += 1
        start = end
    return size


@njit(cache=True, nogil=True)
def _cells_of(runs: NDArray[np.uint8], cells: NDArray[np.int8]) -> bool:
    """Inverse of ``_runs_of``; False unless the runs are well formed and fill ``cells`` exactly."""
    filled, offset = 0, 0
    while offset < runs.size:
        code, length = np.int64(runs[offset] & 3), np.int64(runs[offset] >> 2)
        offset += 1
        if code == 3:
            return False
        if length == 0:
            shift = 0
            while True:
                if offset >= runs.size or shift > 28:
                    return False
                length |= np.int64(runs[offset] & 127) << shift
                shift += 7
                offset += 1
                if runs[offset - 1] < 128:
                    break
            length += 64
        if length > cells.size - filled:
            return False
        cells[filled:filled + length] = code - 1
        filled += length
    return filled == cells.size
