"""Arithmetic coder for yes and no, in whole numbers only: every machine writes and reads the same bits.

One function codes a decision whichever way the coder runs, so that what walks over data to write it is the very
code that walks over it to read it.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

PROBABILITY_BITS = 16
CERTAIN = 1 << PROBABILITY_BITS
"""Probabilities are whole numbers from 1 to CERTAIN - 1."""
STEPS_PER_NAT = 256
"""Log-odds are whole numbers of this resolution."""
MAX_LOG_ODDS = 11 * STEPS_PER_NAT
_MASK = (1 << 32) - 1
_LEAST_WIDTH = 1 << 24
_STRIPPED = 4
"""Zeros at the end that need not be written, so that a reader knows soon when something is missing."""
_LOW, _WIDTH, _CODE, _POSITION, _READS = range(5)

Coder = NDArray[np.int64]


def logistic_table() -> NDArray[np.int64]:
    """Probabilities on a scale of CERTAIN of log-odds from -MAX_LOG_ODDS to MAX_LOG_ODDS. Shape: (2 * MAX + 1,).

    From one rounded constant by exact arithmetic: a library's exponential may differ in the last digit.
    """
    one = 1 << 60
    shrink = 1_148_426_689_630_428_644  # exp(-1 / STEPS_PER_NAT) * 2^60
    powers = [one]
    for _ in range(MAX_LOG_ODDS):
        powers.append(powers[-1] * shrink >> 60)
    upper = [min(max((CERTAIN * one + (one + power) // 2) // (one + power), 1), CERTAIN - 1) for power in powers]
    return np.array([CERTAIN - p for p in upper[:0:-1]] + upper, np.int64)


def writer() -> Coder:
    """State of a coder that writes."""
    return np.array((0, _MASK, 0, 0, 0), np.int64)


def reader(data: NDArray[np.uint8]) -> Coder:
    """State of a coder that reads; data that ends early continues as zeros."""
    code = int.from_bytes(bytes(data[:4]).ljust(4, b'\0'), 'big')
    return np.array((0, _MASK, code, 4, 1), np.int64)


def reads(coder: Coder) -> bool:
    """Whether a coder reads."""
    return bool(coder[_READS])


def position(coder: Coder) -> int:
    """Bytes written, or read (a reader is up to four ahead)."""
    return int(coder[_POSITION])


@njit(cache=True, nogil=True)
def code_bit(coder: Coder, data: NDArray[np.uint8], probability: int, bit: int) -> int:
    """Write ``bit``, or read one; returns it.

    Args:
        coder: state, changed.
        data: written (two bytes per decision suffice), or read.
        probability: of 1, on a scale of CERTAIN.
        bit: 0 or 1; not looked at by a coder that reads.
    """
    part = (coder[_WIDTH] >> PROBABILITY_BITS) * probability
    if coder[_READS]:
        bit = 1 if coder[_CODE] < part else 0
    if bit:
        coder[_WIDTH] = part
    else:
        coder[_WIDTH] -= part
        if coder[_READS]:
            coder[_CODE] -= part
        else:
            coder[_LOW] += part
            if coder[_LOW] > _MASK:
                coder[_LOW] &= _MASK
                _carry(data, coder[_POSITION])
    while coder[_WIDTH] < _LEAST_WIDTH:
        coder[_WIDTH] <<= 8
        if coder[_READS]:
            byte = np.int64(data[coder[_POSITION]]) if coder[_POSITION] < data.size else 0
            coder[_CODE] = coder[_CODE] << 8 | byte
        else:
            data[coder[_POSITION]] = coder[_LOW] >> 24
            coder[_LOW] = (coder[_LOW] << 8) & _MASK
        coder[_POSITION] += 1
    return bit


@njit(cache=True, nogil=True)
def is_starved(coder: Coder, data: NDArray[np.uint8]) -> bool:
    """Whether a reader has gone on further than any data that were written let it."""
    return coder[_READS] == 1 and coder[_POSITION] > data.size + 4 + _STRIPPED


@njit(cache=True, nogil=True)
def finish(coder: Coder, data: NDArray[np.uint8]) -> int:
    """Append few bytes that, followed by zeros, lie in the final interval. Returns the size."""
    low, size = coder[_LOW], coder[_POSITION]
    least = size - _STRIPPED
    for count in range(5):
        mask = (1 << (32 - 8 * count)) - 1
        value = (low + mask) & ~mask
        if value < low + coder[_WIDTH]:
            if value > _MASK:
                value &= _MASK
                _carry(data, size)
            for k in range(count):
                data[size] = (value >> (24 - 8 * k)) & 255
                size += 1
            break
    while size > max(least, 0) and data[size - 1] == 0:
        size -= 1
    return size


@njit(cache=True, nogil=True)
def _carry(data: NDArray[np.uint8], size: int) -> None:
    position = size - 1
    while data[position] == 255:
        data[position] = 0
        position -= 1
    data[position] += 1
