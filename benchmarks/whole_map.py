"""A whole map in one message: against general compression, and against an estimate of what is possible."""

from statistics import fmean

import numpy as np
import zstandard
from numba import njit
from numpy.typing import NDArray

from benchmarks.rows import CLOCK, Row
from benchmarks.sharing import BOUNDS, DURATION_S, LAYER, WORLDS, drive
from marl_core.mapping.grid import OccupancyMap
from marl_core.mapping.replica import Replica, ReplicaConfig
from marl_core.types import VersionRange
from sim.worlds import load_world

# Neighbours coded before a cell, nearest first; each context of the estimate takes some of them.
TEMPLATE = np.array(((0, -1), (-1, 0), (-1, -1), (-1, 1), (0, -2), (-2, 0), (-1, -2), (-1, 2), (-2, -1), (-2, 1),
                     (0, -3), (-3, 0), (-2, -2), (-2, 2), (0, -4), (-4, 0), (-1, -3), (-1, 3), (0, -6), (-6, 0)))
CONTEXTS = np.array([[place < count for place in range(20)] for count in (2, 4, 6, 8, 10, 12, 16)] + [
    [place in (0, 4, 10, 14, 18, 1) for place in range(20)], [place in (1, 5, 11, 15, 19, 0) for place in range(20)],
    [place in (2, 12, 3, 13, 0, 1) for place in range(20)]], np.uint8)
TABLE_BITS = 20
LEARNING_RATE = 0.02


def measure() -> list[Row]:
    """Maps of explored worlds that no weight was made from, as one answer to somebody who holds nothing."""
    sizes, estimates, general, seconds = [], [], [], []
    for name in WORLDS:
        for step in drive(load_world(name), DURATION_S):
            own = step.own
        size, encode_s = _answer(own)
        sizes.append(size)
        seconds.append(encode_s)
        row0, row1, col0, col1 = own.known_window
        window = np.ascontiguousarray(own.classes[row0:row1, col0:col1])
        estimates.append(mixing_bits(window, TEMPLATE, CONTEXTS) / 8)
        codes = (window + 1).astype(np.uint8)
        general.append(min(len(zstandard.ZstdCompressor(19).compress(data)) for data in (codes, _packed(codes))))
    size, estimate, zstd = fmean(sizes), fmean(estimates), fmean(general)
    return [
        Row('whole map in one message', size, 'B', 1.25 * estimate, at_least=False,
            peer='an estimate by mixing ten contexts', ratio=estimate / size, ratio_target=0.8),
        Row('whole map in one message', size, 'B', 0.55 * zstd, at_least=False, peer='zstd -19', ratio=zstd / size,
            ratio_target=1.0 / 0.55),
        Row('whole map in one message, encode', 1e3 * fmean(seconds), 'ms', 250.0, at_least=False),
    ]


def _answer(own: OccupancyMap) -> tuple[int, float]:
    """Data of the answer that gives all of a map [bytes], and the CPU time to encode it [s]."""
    config = ReplicaConfig(max_tiles_per_message=1024)
    keeper, late = Replica(BOUNDS, LAYER.robot, LAYER, config), Replica(BOUNDS, 'late', config=config)
    keeper.write(LAYER, np.argwhere(np.ones(BOUNDS.tiles_shape, bool)).astype(np.int32), own.classes)
    while keeper.publish(LAYER, 60_000, 0.0) is not None:
        pass
    started_s = CLOCK()
    message = keeper.answer(LAYER, (VersionRange(1, keeper.issued),), 60_000, 0.0)
    seconds = CLOCK() - started_s
    late.join(message)
    if (late.fused != own.classes).any():
        raise AssertionError('the receiver holds another map')
    return len(message.data), seconds


def _packed(codes: NDArray[np.uint8]) -> bytes:
    """Two bits per cell."""
    quads = np.pad(codes.reshape(-1), (0, -codes.size % 4)).reshape(-1, 4)
    return (quads[:, 0] | quads[:, 1] << 2 | quads[:, 2] << 4 | quads[:, 3] << 6).tobytes()


@njit(cache=True)
def mixing_bits(classes: NDArray[np.int8], template: NDArray[np.int64], contexts: NDArray[np.uint8]) -> float:
    """Bits that a map takes when contexts that learn as they go are mixed; no code is written.

    Args:
        classes: a map. Shape: (rows, cols).
        template: row and column of neighbours relative to a cell. Shape: (K, 2).
        contexts: which of them each context looks at. Shape: (C, K).
    """
    rows, cols = classes.shape
    number = contexts.shape[0]
    chances = np.full((number, 1 << TABLE_BITS), 0.5)
    seen = np.zeros((number, 1 << TABLE_BITS))
    weights = np.full((2 * 9, number), 0.3)
    places, inputs = np.empty(number, np.int64), np.empty(number)
    near, total = np.empty(template.shape[0], np.int64), 0.0
    for row in range(rows):
        for col in range(cols):
            for k in range(template.shape[0]):
                y, x = row + template[k, 0], col + template[k, 1]
                near[k] = classes[y, x] + 1 if y >= 0 and 0 <= x < cols else 1
            for decision in range(2):
                value = classes[row, col]
                if decision == 1 and value == 0:
                    break
                bit = value != 0 if decision == 0 else value == 1
                chosen, dot = decision * 9 + near[0] * 3 + near[1], 0.0
                for c in range(number):
                    key = np.int64(c * 2 + decision)
                    for k in range(template.shape[0]):
                        if contexts[c, k]:
                            key = key * 3 + near[k]
                    key = (key * 2654435761) & 0x7FFFFFFFFFFF
                    places[c] = (key ^ key >> 21) & ((1 << TABLE_BITS) - 1)
                    chance = chances[c, places[c]]
                    inputs[c] = np.log(chance / (1.0 - chance)) * min(1.0, 0.4 * seen[c, places[c]])
                    dot += weights[chosen, c] * inputs[c]
                chance = min(max(1.0 / (1.0 + np.exp(-dot)), 1e-5), 1.0 - 1e-5)
                total -= np.log2(chance if bit else 1.0 - chance)
                for c in range(number):
                    weights[chosen, c] += LEARNING_RATE * (bit - chance) * inputs[c]
                    step = (bit - chances[c, places[c]]) / (seen[c, places[c]] + 1.5)
                    chances[c, places[c]] = min(max(chances[c, places[c]] + step, 2e-5), 1.0 - 2e-5)
                    seen[c, places[c]] = min(seen[c, places[c]] + 1.0, 250.0)
    return total
