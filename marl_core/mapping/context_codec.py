"""Codec made for maps: an arithmetic coder that expects each cell from the six beside and above it.

How likely a cell is free, unknown or occupied, given its neighbours, was counted once on maps of generated worlds
(scripts/train_codec.py) and is part of the format. Tiles of a batch that touch see each other's cells. Nothing is
learned while coding and only integers are used, so every machine decodes the same, whatever was lost before.
"""

import base64
import zlib

import numpy as np
from numba import njit
from numpy.typing import NDArray

from marl_core.errors import MessageError
from marl_core.mapping.bounds import TILE
from marl_core.mapping.context_table import TABLE
from marl_core.mapping.votes import TILE_CELLS

CONTEXTS = 4**6
"""Six neighbours that are FREE, UNKNOWN, OCCUPIED, or not part of the batch."""
OUTSIDE = 3
PROBABILITY_BITS = 12
ONE = 1 << PROBABILITY_BITS
_PAD_TOP, _PAD_LEFT, _PAD_RIGHT = 2, 2, 1
_MASK = (1 << 32) - 1
_LEAST_RANGE = 1 << 24


def limits_from_counts(counts: NDArray[np.integer]) -> NDArray[np.uint16]:
    """Upper limits of FREE and UNKNOWN on a scale of ONE, from how often each class followed a context.

    Args:
        counts: Shape: (CONTEXTS, 3).

    Returns:
        Shape: (CONTEXTS, 2). Every class keeps at least 1/ONE.
    """
    smoothed = counts + 0.4
    cumulated = np.cumsum(smoothed / smoothed.sum(axis=1, keepdims=True), axis=1)
    limits = np.rint(cumulated[:, :2] * ONE).astype(np.int64)
    limits[:, 0] = np.clip(limits[:, 0], 1, ONE - 2)
    limits[:, 1] = np.clip(limits[:, 1], limits[:, 0] + 1, ONE - 1)
    return limits.astype(np.uint16)


def text_of(limits: NDArray[np.uint16]) -> str:
    """A table as text for context_table.py."""
    return base64.b85encode(zlib.compress(limits.astype('<u2').T.tobytes(), 9)).decode()


def limits_of(text: str) -> NDArray[np.int64]:
    """Inverse of ``text_of``. Shape: (CONTEXTS, 2)."""
    limits = np.frombuffer(zlib.decompress(base64.b85decode(text)), '<u2').reshape(2, CONTEXTS)
    return np.ascontiguousarray(limits.T.astype(np.int64))


class Context:
    """See the module; the form of a Codec."""

    def __init__(self) -> None:
        self._limits = limits_of(TABLE)

    def pack(self, tiles: NDArray[np.int32], classes: NDArray[np.int8]) -> bytes:
        """See Codec."""
        order, neighbours = coding_order(tiles)
        out = np.empty(2 * classes.size + 16, np.uint8)
        window = _window()
        return out[:_pack(classes, order, neighbours, self._limits, window, out)].tobytes()

    def unpack(self, data: bytes, tiles: NDArray[np.int32]) -> NDArray[np.int8]:
        """See Codec. Bytes that are not too many decode to something; the checksum tells if it is right."""
        order, neighbours = coding_order(tiles)
        classes = np.empty((len(tiles), TILE_CELLS), np.int8)
        used = _unpack(np.frombuffer(data, np.uint8), order, neighbours, self._limits, _window(), classes)
        if used < len(data):
            raise MessageError('bad-data', f'{len(data) - used} bytes are left over')
        return classes


def coding_order(tiles: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row by row, with where in the batch the tiles to the west, north-west, north and north-east are.

    North is the row that is coded before, at lower y.

    Returns:
        Indices in order, Shape: (N,); and for each of these four indices, -1 for no tile, Shape: (N, 4).
    """
    keys = tiles[:, 0].astype(np.int64) * 2**32 + tiles[:, 1]
    order = np.argsort(keys)
    ordered = keys[order]
    wanted = ordered[:, None] + np.array([-1, -2**32 - 1, -2**32, -2**32 + 1])
    found = np.minimum(np.searchsorted(ordered, wanted), ordered.size - 1)
    return order, np.where(ordered[found] == wanted, order[found], -1)


def _window() -> NDArray[np.int64]:
    return np.empty((TILE + _PAD_TOP, TILE + _PAD_LEFT + _PAD_RIGHT), np.int64)


@njit(cache=True, nogil=True)
def _surround(classes: NDArray[np.int8], neighbours: NDArray[np.int64], window: NDArray[np.int64]) -> None:
    """Fill the margin of a tile's window with the cells of its neighbours, as class + 1."""
    window[:_PAD_TOP, :] = OUTSIDE
    window[:, :_PAD_LEFT] = OUTSIDE
    window[:, TILE + _PAD_LEFT:] = OUTSIDE
    west, north_west, north, north_east = neighbours
    if west >= 0:
        for row in range(TILE):
            for k in range(_PAD_LEFT):
                window[_PAD_TOP + row, k] = classes[west, row * TILE + TILE - _PAD_LEFT + k] + 1
    for row in range(_PAD_TOP):
        start = (TILE - _PAD_TOP + row) * TILE
        if north_west >= 0:
            for k in range(_PAD_LEFT):
                window[row, k] = classes[north_west, start + TILE - _PAD_LEFT + k] + 1
        if north >= 0:
            for col in range(TILE):
                window[row, _PAD_LEFT + col] = classes[north, start + col] + 1
        if north_east >= 0:
            window[row, _PAD_LEFT + TILE] = classes[north_east, start] + 1


@njit(cache=True, nogil=True)
def _pack(classes: NDArray[np.int8], order: NDArray[np.int64], neighbours: NDArray[np.int64],
          limits: NDArray[np.int64], window: NDArray[np.int64], out: NDArray[np.uint8]) -> int:
    low, width, size = np.int64(0), np.int64(_MASK), 0
    for n in range(order.size):
        tile = order[n]
        _surround(classes, neighbours[n], window)
        for row in range(TILE):
            above, far = window[_PAD_TOP + row - 1], window[_PAD_TOP + row - 2]
            here = window[_PAD_TOP + row]
            for col in range(TILE):
                k = col + _PAD_LEFT
                context = (here[k - 1] | above[k] << 2 | above[k - 1] << 4 | above[k + 1] << 6
                           | here[k - 2] << 8 | far[k] << 10)
                value = np.int64(classes[tile, row * TILE + col]) + 1
                here[k] = value
                part = width >> PROBABILITY_BITS
                first, second = part * limits[context, 0], part * limits[context, 1]
                if value == 0:
                    width = first
                elif value == 1:
                    low += first
                    width = second - first
                else:
                    low += second
                    width -= second
                if low > _MASK:
                    low &= _MASK
                    _carry(out, size)
                while width < _LEAST_RANGE:
                    out[size] = low >> 24
                    size += 1
                    low = (low << 8) & _MASK
                    width <<= 8
    return _finish(low, width, out, size)


@njit(cache=True, nogil=True)
def _carry(out: NDArray[np.uint8], size: int) -> None:
    position = size - 1
    while out[position] == 255:
        out[position] = 0
        position -= 1
    out[position] += 1


@njit(cache=True, nogil=True)
def _finish(low: int, width: int, out: NDArray[np.uint8], size: int) -> int:
    """Append the shortest bytes that, followed by zeros, lie in the final interval. Returns the size."""
    for count in range(5):
        mask = (1 << (32 - 8 * count)) - 1
        value = (low + mask) & ~mask
        if value < low + width:
            if value > _MASK:
                value &= _MASK
                _carry(out, size)
            for k in range(count):
                out[size] = (value >> (24 - 8 * k)) & 255
                size += 1
            break
    while size > 0 and out[size - 1] == 0:
        size -= 1
    return size


@njit(cache=True, nogil=True)
def _unpack(data: NDArray[np.uint8], order: NDArray[np.int64], neighbours: NDArray[np.int64],
            limits: NDArray[np.int64], window: NDArray[np.int64], classes: NDArray[np.int8]) -> int:
    """Decode into ``classes``; returns how many bytes that takes at most."""
    code, width, offset = np.int64(0), np.int64(_MASK), 0
    while offset < 4:
        code = code << 8 | (np.int64(data[offset]) if offset < data.size else 0)
        offset += 1
    for n in range(order.size):
        tile = order[n]
        _surround(classes, neighbours[n], window)
        for row in range(TILE):
            above, far = window[_PAD_TOP + row - 1], window[_PAD_TOP + row - 2]
            here = window[_PAD_TOP + row]
            for col in range(TILE):
                k = col + _PAD_LEFT
                context = (here[k - 1] | above[k] << 2 | above[k - 1] << 4 | above[k + 1] << 6
                           | here[k - 2] << 8 | far[k] << 10)
                part = width >> PROBABILITY_BITS
                first, second = part * limits[context, 0], part * limits[context, 1]
                if code < first:
                    value = 0
                    width = first
                elif code < second:
                    value = 1
                    code -= first
                    width = second - first
                else:
                    value = 2
                    code -= second
                    width -= second
                here[k] = value
                classes[tile, row * TILE + col] = value - 1
                while width < _LEAST_RANGE:
                    code = code << 8 | (np.int64(data[offset]) if offset < data.size else 0)
                    offset += 1
                    width <<= 8
    return offset


@njit(cache=True, nogil=True)
def count_contexts(classes: NDArray[np.int8], order: NDArray[np.int64], neighbours: NDArray[np.int64],
                   counts: NDArray[np.int64]) -> None:
    """Count which class follows which context in a batch: what a table is made from. Shape: (CONTEXTS, 3)."""
    window = np.empty((TILE + _PAD_TOP, TILE + _PAD_LEFT + _PAD_RIGHT), np.int64)
    for n in range(order.size):
        _surround(classes, neighbours[n], window)
        for row in range(TILE):
            above, far = window[_PAD_TOP + row - 1], window[_PAD_TOP + row - 2]
            here = window[_PAD_TOP + row]
            for col in range(TILE):
                k = col + _PAD_LEFT
                context = (here[k - 1] | above[k] << 2 | above[k - 1] << 4 | above[k + 1] << 6
                           | here[k - 2] << 8 | far[k] << 10)
                here[k] = np.int64(classes[order[n], row * TILE + col]) + 1
                counts[context, here[k]] += 1
