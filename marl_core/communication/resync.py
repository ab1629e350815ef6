"""Anti-entropy: who lacks what, who says it, and when.

A digest tells what its sender holds; whoever hears it and holds more may answer. So that not everybody does, each
waits for a random time first, the writer of a layer the shortest, and takes back what it hears another say.
"""

import zlib
from collections import deque
from dataclasses import dataclass

import numpy as np

from marl_core.errors import MessageError
from marl_core.types import LayerDigest, LayerId, MapDigest, MapFeatures, VersionRange
from marl_core.versions import Ranges, normalized, subtract, union


@dataclass(frozen=True, slots=True)
class ResyncConfig:
    """Waiting times and limits.

    Attributes:
        writer_backoff_s: longest wait of a layer's writer before it answers.
        backoff_s: shortest and longest wait of everybody else.
        grace_s: what was said within this time is not taken as lost yet: the digest may be older than it.
        forget_s: what a digest asked for is dropped if its sender repeats it no more.
        max_pending: lacks remembered, one per peer and layer.
        max_layers: entries of a digest accepted. max_ranges: ranges of all entries together.
    """

    writer_backoff_s: float = 0.3
    backoff_s: tuple[float, float] = (0.5, 1.5)
    grace_s: float = 1.0
    forget_s: float = 8.0
    max_pending: int = 1024
    max_layers: int = 255
    max_ranges: int = 8192


@dataclass(slots=True)
class _Lack:
    ranges: Ranges
    due_s: float
    heard_at_s: float


class AntiEntropy:
    """Decides what to answer, and when. Random, but the same for the same name and the same calls."""

    def __init__(self, name: str, config: ResyncConfig | None = None) -> None:
        self._name = name
        self._config = config or ResyncConfig()
        self._random = np.random.default_rng(zlib.crc32(name.encode()))
        self._lacks: dict[tuple[str, LayerId], _Lack] = {}
        self._recent: deque[tuple[float, LayerId, VersionRange]] = deque(maxlen=256)

    @property
    def pending(self) -> bool:
        """Whether somebody is known to lack something."""
        return bool(self._lacks)

    def check(self, digest: MapDigest) -> None:
        """Refuse a digest that makes no sense, before anything is computed from it.

        Raises:
            MessageError: ``own-name``, ``oversized`` or ``bad-digest``.
        """
        if digest.robot == self._name:
            raise MessageError('own-name', f'another replica calls itself {self._name}')
        if len(digest.layers) > self._config.max_layers \
                or sum(len(entry.ranges) for entry in digest.layers) > self._config.max_ranges:
            raise MessageError('oversized', f'digest of {len(digest.layers)} layers from {digest.robot!r}')
        for layer, ranges in digest.layers:
            previous = 0
            for first, last in ranges:
                if not (isinstance(first, int) and isinstance(last, int) and previous < first <= last < 2**32):
                    raise MessageError('bad-digest', f'ranges of {layer} must ascend, got {first}..{last}')
                previous = last

    def hear_digest(self, digest: MapDigest, lacking: tuple[LayerDigest, ...], now: float) -> None:
        """Note what the sender of a (checked) digest lacks of what is held here (``lacking``), at ``now`` [s]."""
        self._forget(now)
        wanted = {layer: self._without_recent(layer, ranges, now) for layer, ranges in lacking}
        for key in [key for key in self._lacks if key[0] == digest.robot and not wanted.get(key[1])]:
            del self._lacks[key]
        for layer, ranges in wanted.items():
            known = self._lacks.get((digest.robot, layer))
            if known is not None:
                known.ranges, known.heard_at_s = ranges, now
            elif ranges and len(self._lacks) < self._config.max_pending:
                self._lacks[digest.robot, layer] = _Lack(ranges, now + self._wait_s(layer), now)

    def hear_features(self, features: MapFeatures, now: float) -> None:
        """Take back what somebody else has just said; leave the rest of that layer to it for a while."""
        answered = self._settle(features, now)
        for lack in answered:
            lack.due_s = max(lack.due_s, now + self._wait_s(features.layer))

    def sent(self, features: MapFeatures, now: float) -> None:
        """Note what was sent from here."""
        self._settle(features, now)

    def due(self, now: float) -> list[tuple[LayerId, Ranges]]:
        """What should be said now, the longest overdue layer first; equal wishes of several peers are one."""
        self._forget(now)
        merged: dict[LayerId, tuple[float, Ranges]] = {}
        for (_, layer), lack in self._lacks.items():
            if lack.due_s <= now:
                due_s, ranges = merged.get(layer, (lack.due_s, ()))
                merged[layer] = (min(due_s, lack.due_s), union(ranges, lack.ranges))
        ordered = sorted(merged.items(), key=lambda item: (item[1][0], item[0]))
        return [(layer, ranges) for layer, (_, ranges) in ordered]

    def _settle(self, features: MapFeatures, now: float) -> list[_Lack]:
        """Remove what a message settles; returns what was touched and is not empty."""
        self._recent.append((now, features.layer, features.versions))
        touched = []
        for key, lack in list(self._lacks.items()):
            if key[1] != features.layer:
                continue
            remaining = subtract(lack.ranges, (features.versions,))
            if remaining == lack.ranges:
                continue
            lack.ranges = remaining
            if remaining:
                touched.append(lack)
            else:
                del self._lacks[key]
        return touched

    def _without_recent(self, layer: LayerId, ranges: Ranges, now: float) -> Ranges:
        settled = normalized(versions for at_s, which, versions in self._recent
                             if which == layer and now - at_s <= self._config.grace_s)
        return subtract(ranges, settled)

    def _wait_s(self, layer: LayerId) -> float:
        if layer.robot == self._name:
            return float(self._random.uniform(0.0, self._config.writer_backoff_s))
        return float(self._random.uniform(*self._config.backoff_s))

    def _forget(self, now: float) -> None:
        oldest_s = now - self._config.forget_s
        for key in [key for key, lack in self._lacks.items() if lack.heard_at_s < oldest_s]:
            del self._lacks[key]
