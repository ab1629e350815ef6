"""Who lacks what of what is held here, and when to say it.

A digest tells what its sender holds; whoever hears it and holds more may answer. So that not everybody does, each
waits for a random time first, the writer of a layer the shortest, and takes back what it hears another say.
"""

import zlib
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from marl_core.types import LayerDigest, LayerId, MapDigest, MapFeatures, VersionRange
from marl_core.versions import Ranges, normalized, subtract

MAX_LAYERS = 255
"""Layers of which it is remembered what was said of late."""


@dataclass(frozen=True, slots=True)
class AnswersConfig:
    """Waiting times and limits.

    Attributes:
        writer_backoff_s: longest wait of a layer's writer before it answers.
        backoff_s: shortest and longest wait of everybody else; the shortest is left out if the writer is not there.
        grace_s: what was said within this time is not taken as lost yet: the digest may be older than it.
        lossy_grace_s: likewise on a link that is known to lose; there, once too often is better than too late.
        forget_s: what a digest asked for is dropped if its sender repeats it no more.
        max_pending: lacks remembered, one per peer and layer.
    """

    writer_backoff_s: float = 0.3
    backoff_s: tuple[float, float] = (0.5, 1.5)
    grace_s: float = 1.0
    lossy_grace_s: float = 0.5
    forget_s: float = 8.0
    max_pending: int = 1024


@dataclass(slots=True)
class _Lack:
    ranges: Ranges
    due_s: float
    heard_at_s: float


class Answers:
    """Decides what to answer, and when. Random, but the same for the same name and the same calls."""

    def __init__(self, name: str, config: AnswersConfig | None = None) -> None:
        self._name = name
        self._config = config or AnswersConfig()
        self._random = np.random.default_rng(zlib.crc32(name.encode()))
        self._lacks: dict[LayerId, dict[str, _Lack]] = {}
        self._recent: dict[LayerId, deque[tuple[float, VersionRange]]] = {}

    @property
    def pending(self) -> bool:
        """Whether somebody is known to lack something."""
        return bool(self._lacks)

    def hear_digest(self, digest: MapDigest, lacking: tuple[LayerDigest, ...], now: float, lossy: bool = False,
                    coming: Ranges = (), present: Collection[str] | None = None) -> None:
        """Note what the sender of a digest lacks of what is held here.

        Args:
            digest: what was heard. lacking: what its sender lacks.
            now: time [s].
            lossy: whether the link is known to lose.
            coming: versions of the own layer that will be said again in any case.
            present: peers heard of late (None: all that there may be).
        """
        self._forget(now)
        grace_s = self._config.lossy_grace_s if lossy else self._config.grace_s
        wanted = {}
        for layer, ranges in lacking:
            left = self._without_recent(layer, ranges, now - grace_s)
            wanted[layer] = subtract(left, coming) if layer.robot == self._name else left
        spoken_of = list(self._lacks) if digest.whole else [entry.layer for entry in digest.layers]
        for layer in spoken_of:
            if not wanted.get(layer):
                self._drop(layer, digest.robot)
        for layer, ranges in wanted.items():
            known = self._lacks.get(layer, {}).get(digest.robot)
            if known is not None:
                known.ranges, known.heard_at_s = ranges, now
            elif ranges and sum(map(len, self._lacks.values())) < self._config.max_pending:
                self._lacks.setdefault(layer, {})[digest.robot] = _Lack(ranges, now + self._wait_s(layer, present), now)

    def hear_features(self, features: MapFeatures, now: float) -> None:
        """Take back what somebody else has just said; leave the rest of that layer to it for a while."""
        for lack in self._settle(features, now):
            lack.due_s = max(lack.due_s, now + self._wait_s(features.layer))

    def sent(self, features: MapFeatures, now: float) -> None:
        """Note what was sent from here."""
        self._settle(features, now)

    def due(self, now: float) -> list[tuple[LayerId, Ranges]]:
        """What should be said now, the longest overdue layer first; equal wishes of several peers are one."""
        self._forget(now)
        merged = []
        for layer, lacks in self._lacks.items():
            ready = [lack for lack in lacks.values() if lack.due_s <= now]
            if ready:
                ranges = normalized(versions for lack in ready for versions in lack.ranges)
                merged.append((min(lack.due_s for lack in ready), layer, ranges))
        return [(layer, ranges) for _, layer, ranges in sorted(merged)]

    def _settle(self, features: MapFeatures, now: float) -> list[_Lack]:
        """Remove what a message settles; returns what was touched and is not empty."""
        if features.layer not in self._recent and len(self._recent) >= MAX_LAYERS:
            del self._recent[next(iter(self._recent))]
        self._recent.setdefault(features.layer, deque(maxlen=32)).append((now, features.versions))
        touched = []
        for peer, lack in list(self._lacks.get(features.layer, {}).items()):
            remaining = subtract(lack.ranges, (features.versions,))
            if remaining == lack.ranges:
                continue
            lack.ranges = remaining
            if remaining:
                touched.append(lack)
            else:
                self._drop(features.layer, peer)
        return touched

    def _drop(self, layer: LayerId, peer: str) -> None:
        lacks = self._lacks.get(layer, {})
        lacks.pop(peer, None)
        if not lacks:
            self._lacks.pop(layer, None)

    def _without_recent(self, layer: LayerId, ranges: Ranges, since_s: float) -> Ranges:
        settled = normalized(versions for at_s, versions in self._recent.get(layer, ()) if at_s >= since_s)
        return subtract(ranges, settled)

    def _wait_s(self, layer: LayerId, present: Collection[str] | None = None) -> float:
        if layer.robot == self._name:
            return float(self._random.uniform(0.0, self._config.writer_backoff_s))
        shortest_s, longest_s = self._config.backoff_s
        absent = present is not None and layer.robot not in present
        return float(self._random.uniform(shortest_s, longest_s)) - (shortest_s if absent else 0.0)

    def _forget(self, now: float) -> None:
        oldest_s = now - self._config.forget_s
        for layer, lacks in list(self._lacks.items()):
            for peer in [peer for peer, lack in lacks.items() if lack.heard_at_s < oldest_s]:
                self._drop(layer, peer)
