"""Batches of tiles as bytes, for the radio and for disk.

Layout (integers are LEB128 varints unless said otherwise)::

    form                   count of tiles * 8 + (4 if it leans on ranges) + what it builds on: 0 nothing, 1 all
                           versions before, 2 versions 1 to some number
    leans_on               only if any: count, then per range: distance from the previous end, length - 1
    builds on              only if 2: first version - 1 - that number
    versions               only if fewer than the range holds: distance from the previous version - 1
    coordinates, classes   up to the codec

Nothing in a message is believed before it is checked: sizes are bounded before memory is taken. Damage is not found
here but by the checksum of what carries a batch: a packet, or a record on disk.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import zstandard
from numba import njit
from numpy.typing import NDArray

from marl_core.errors import MapError, MessageError
from marl_core.mapping.bases import Bases
from marl_core.mapping.context_codec import Context
from marl_core.mapping.coordinates import checked
from marl_core.mapping.votes import TILE_CELLS
from marl_core.types import OCCUPIED, VersionRange
from marl_core.versions import Ranges

MAX_VERSION = 2**32 - 1
MAX_LEANS_ON = 1024
_LEANS = 4
_BUILDS_NOTHING, _BUILDS_ALL, _BUILDS_SOME = range(3)


@dataclass(frozen=True, slots=True)
class TileBatch:
    """Tiles of one layer, ascending by version.

    Attributes:
        tiles: int32 signed coordinates (tile_y, tile_x); tile (0, 0) has its lower left corner at the origin of
            the map frame. Shape: (N, 2).
        versions: int64, strictly ascending. Shape: (N,).
        classes: int8 FREE, UNKNOWN, OCCUPIED or, in graded codecs, FAINT, row by row. Shape: (N, TILE_CELLS).
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
    """How tiles become bytes.

    Attributes:
        builds: whether it makes use of bases; if not, it is never given any.
        graded: whether cells may be FAINT; if not, they are refused.
    """

    builds: bool
    graded: bool

    def pack(self, tiles: NDArray[np.int32], classes: NDArray[np.int8], bases: Bases | None,
             origin: tuple[int, int] | None) -> bytes:
        """Encode N >= 1 tiles.

        Args:
            tiles: coordinates. Shape: (N, 2).
            classes: -1, 0, 1 and, if graded, 2. Shape: (N, TILE_CELLS).
            bases: what all who read it hold.
            origin: row and column of where the robot sees from [cells; map frame], if known. It changes the size.
        """

    def unpack(self, data: bytes, count: int, bases: Bases | None) -> tuple[NDArray[np.int32], NDArray[np.int8]]:
        """Coordinates and classes of ``count`` tiles. Shapes: (count, 2) and (count, TILE_CELLS).

        Raises:
            MessageError: ``data`` is not what ``pack`` gives for that many tiles, or ``missing-base``.
        """


class Raw:
    """Two bits per cell: what a codec has to beat, and a format that is easy to read elsewhere."""

    builds = False

    def __init__(self, graded: bool) -> None:
        self.graded = graded

    def pack(self, tiles: NDArray[np.int32], classes: NDArray[np.int8], bases: Bases | None,
             origin: tuple[int, int] | None) -> bytes:
        """See Codec."""
        codes = (classes + 1).astype(np.uint8).reshape(-1, 4)
        return _written_tiles(tiles) + (codes[:, 0] | codes[:, 1] << 2 | codes[:, 2] << 4 | codes[:, 3] << 6).tobytes()

    def unpack(self, data: bytes, count: int, bases: Bases | None) -> tuple[NDArray[np.int32], NDArray[np.int8]]:
        """See Codec."""
        tiles, data = _read_tiles(data, count)
        if len(data) != count * TILE_CELLS // 4:
            raise MessageError('truncated', f'{count} tiles take {count * TILE_CELLS // 4} bytes, got {len(data)}')
        quads = np.frombuffer(data, np.uint8)
        codes = np.empty((quads.size, 4), np.int8)
        for k in range(4):
            codes[:, k] = (quads >> (2 * k)) & 3
        if codes.size and codes.max() > OCCUPIED + 1 + self.graded:
            raise MessageError('bad-data', 'a cell has no class')
        codes -= 1
        return tiles, codes.reshape(count, TILE_CELLS)


class RleZstd:
    """Run lengths over the cells of all tiles, then zstd: general-purpose parts only."""

    LEVEL = 3
    builds = False

    def __init__(self, graded: bool) -> None:
        self.graded = graded
        self._local = threading.local()

    def pack(self, tiles: NDArray[np.int32], classes: NDArray[np.int8], bases: Bases | None,
             origin: tuple[int, int] | None) -> bytes:
        """See Codec."""
        runs = np.empty(classes.size + 8, np.uint8)
        size = _runs_of(classes.reshape(-1), runs)
        return _written_tiles(tiles) + self._tools()[0].compress(runs[:size].tobytes())

    def unpack(self, data: bytes, count: int, bases: Bases | None) -> tuple[NDArray[np.int32], NDArray[np.int8]]:
        """See Codec."""
        tiles, data = _read_tiles(data, count)
        cells = np.empty(count * TILE_CELLS, np.int8)
        try:
            # Frames that announce their size would be given that much memory unseen.
            if zstandard.get_frame_parameters(data, format=zstandard.FORMAT_ZSTD1_MAGICLESS).content_size \
                    != zstandard.CONTENTSIZE_UNKNOWN:
                raise MessageError('bad-data', 'a frame must not announce its size')
            runs = self._tools()[1].decompress(data, max_output_size=cells.size + 8, allow_extra_data=False)
        except zstandard.ZstdError as error:
            raise MessageError('bad-data', f'zstd: {error}') from error
        if not _cells_of(np.frombuffer(runs, np.uint8), OCCUPIED + 1 + self.graded, cells):
            raise MessageError('bad-data', f'runs do not fill {count} tiles exactly')
        return tiles, cells.reshape(count, TILE_CELLS)

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


GRADED = '-graded'
"""Ends the names of the codecs that a fleet with graded evidence uses, and no other fleet."""
CODECS: dict[str, Codec] = {
    'raw': Raw(False), 'rle-zstd': RleZstd(False), 'context': Context(),
    f'raw{GRADED}': Raw(True), f'rle-zstd{GRADED}': RleZstd(True), f'context{GRADED}': Context(graded=True),
}


def encode(batch: TileBatch, versions: VersionRange, codec: str, bases: Bases | None = None,
           origin: tuple[int, int] | None = None) -> bytes:
    """Bytes of a batch that settles ``versions``; the inverse of ``decode``.

    Args:
        batch: what.
        versions: which versions it settles.
        codec: key in CODECS.
        bases: what of the layer all who read it hold, for codecs that make use of it.
        origin: row and column of where the robot sees from [cells; map frame].

    Raises:
        MapError: a cell is FAINT, and the codec is not graded.
    """
    if not CODECS[codec].graded and (batch.classes > OCCUPIED).any():
        raise MapError(f'{codec} has no FAINT cells; a map of graded evidence takes {codec}{GRADED}')
    last = bases.last if bases is not None and CODECS[codec].builds and len(batch.tiles) else 0
    kind = (_BUILDS_SOME if bases.is_marked else _BUILDS_ALL) if last else _BUILDS_NOTHING
    fields = [len(batch.tiles) << 3 | (_LEANS if batch.leans_on else 0) | kind]
    previous = versions.last
    if batch.leans_on:
        fields.append(len(batch.leans_on))
    for low, high in batch.leans_on:
        fields += [low - previous, high - low]
        previous = high
    if kind == _BUILDS_SOME:
        fields.append(versions.first - 1 - last)
    if len(batch.tiles) < versions.last - versions.first + 1:
        fields += (np.diff(batch.versions, prepend=versions.first - 1) - 1).tolist()
    packed = CODECS[codec].pack(batch.tiles, batch.classes, bases if last else None, origin) \
        if len(batch.tiles) else b''
    return _written(np.array(fields, np.int64)) + packed


def decode(data: bytes, versions: VersionRange, codec: str, limits: DecodeLimits,
           bases: Callable[[int], Bases] | None = None) -> TileBatch:
    """Read a batch, strictly: only what ``encode`` writes is accepted, in bounded time and memory.

    Args:
        data: what ``encode`` gave.
        versions, codec: as given to ``encode``.
        limits: of what it may cost.
        bases: gives what is held of the layer's versions up to the number given; raises MessageError if they are
            not all known.

    Raises:
        MessageError: ``bad-codec``, ``oversized``, ``truncated``, ``too-many-tiles``, ``bad-range``,
            ``outside-bounds``, ``duplicate-tile``, ``bad-data`` or ``missing-base``.
    """
    if codec not in CODECS:
        raise MessageError('bad-codec', f'{codec!r}; known: {", ".join(CODECS)}')
    if len(data) > limits.max_message_bytes:
        raise MessageError('oversized', f'{len(data)} bytes, at most {limits.max_message_bytes}')
    reader = _Reader(data)
    form, = reader.take(1).tolist()
    count, kind = form >> 3, form & 3
    held = versions.last - versions.first + 1
    if count > limits.max_tiles:
        raise MessageError('too-many-tiles', f'{count} tiles, at most {limits.max_tiles}')
    leaning, = reader.take(1).tolist() if form & _LEANS else (0,)
    if count > held or leaning > MAX_LEANS_ON or (form & _LEANS and not leaning):
        raise MessageError('bad-range', f'{count} tiles and {leaning} ranges for {held} versions')
    leans_on = _leans_on(reader.take(2 * leaning), versions)
    last = _last_base(reader, kind, versions.first)
    if last and not (count and CODECS[codec].builds):
        raise MessageError('bad-data', f'{codec} with {count} tiles builds on nothing')
    gaps = reader.take(count) if count < held else np.zeros(count, np.int64)
    numbers = versions.first - 1 + np.cumsum(np.minimum(gaps, MAX_VERSION) + 1)
    if count and numbers[-1] > versions.last:
        raise MessageError('bad-range', f'version {numbers[-1]} is outside {versions.first}..{versions.last}')
    rest = reader.rest()
    if not count:
        if rest:
            raise MessageError('bad-data', f'{len(rest)} bytes of classes for no tiles')
        return TileBatch(np.empty((0, 2), np.int32), numbers, np.empty((0, TILE_CELLS), np.int8), leans_on)
    if last and bases is None:
        raise MessageError('missing-base', f'builds on versions up to {last}, nothing is held')
    tiles, classes = CODECS[codec].unpack(rest, count, bases(last) if last else None)
    return TileBatch(tiles, numbers, classes, leans_on)


def _last_base(reader: '_Reader', kind: int, first: int) -> int:
    """Highest version that a message builds on, 0 for none."""
    if kind == _BUILDS_NOTHING:
        return 0
    distance = int(reader.take(1)[0]) if kind == _BUILDS_SOME else 0
    last = first - 1 - distance
    if kind > _BUILDS_SOME or last < 1 or (kind == _BUILDS_SOME and not distance):
        raise MessageError('bad-range', f'version {first} cannot build on {last} (kind {kind})')
    return last


def _written(numbers: NDArray[np.int64]) -> bytes:
    buffer = np.empty(10 * numbers.size, np.uint8)
    return buffer[:_write_varints(numbers, buffer)].tobytes()


def _written_tiles(tiles: NDArray[np.int32]) -> bytes:
    """Zigzag steps along y and x from each tile to the next."""
    steps = np.diff(tiles.astype(np.int64), axis=0, prepend=0)
    return _written(np.where(steps < 0, -2 * steps - 1, 2 * steps).reshape(-1))


def _read_tiles(data: bytes, count: int) -> tuple[NDArray[np.int32], bytes]:
    """Inverse of ``_written_tiles``, with what follows. Shape: (count, 2)."""
    reader = _Reader(data)
    zigzag = reader.take(2 * count).reshape(count, 2)
    tiles = np.cumsum(np.where(zigzag & 1, -(zigzag >> 1) - 1, zigzag >> 1), axis=0)
    return checked(tiles), reader.rest()


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
def _cells_of(runs: NDArray[np.uint8], highest: int, cells: NDArray[np.int8]) -> bool:
    """Inverse of ``_runs_of``; False unless the runs are well formed and fill ``cells`` exactly."""
    filled, offset = 0, 0
    while offset < runs.size:
        code, length = np.int64(runs[offset] & 3), np.int64(runs[offset] >> 2)
        offset += 1
        if code > highest:
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
