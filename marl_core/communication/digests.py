"""When a replica says what it holds, and of which layers.

A digest is a request as much as a report. It comes early when something is known to exist and not held, rarely when
all is quiet, and it stays small however many layers there are: it speaks of some layers at a time.
"""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from math import inf

import numpy as np

from marl_core.types import LayerDigest, LayerId, VersionRange
from marl_core.versions import Ranges, intersect, subtract


@dataclass(frozen=True, slots=True)
class DigestConfig:
    """Waiting times and size.

    Attributes:
        early_s: shortest and longest wait for something that is missing, before the first request [s], and
            between requests.
        eager_s: after so long, each request that brings nothing doubles the wait [s].
        meet_s: shortest and longest wait after a peer was heard again [s].
        idle_s: period when nothing has changed for ``idle_after_s`` [s].
        layers: most layers in one digest.
        max_layers: layers remembered because others speak of them.
    """

    early_s: tuple[float, float] = (0.3, 0.5)
    eager_s: float = 5.0
    meet_s: tuple[float, float] = (0.1, 0.5)
    idle_s: float = 5.0
    idle_after_s: float = 10.0
    layers: int = 12
    max_layers: int = 255

    def __post_init__(self) -> None:
        for name in ('early_s', 'meet_s'):
            shortest, longest = getattr(self, name)
            if not 0.0 <= shortest <= longest:
                raise ValueError(f'{name} must be a shortest and a longest wait, got {getattr(self, name)!r}')
        if not (self.idle_s > 0.0 and self.layers >= 1 and self.max_layers >= 1):
            raise ValueError(f'idle_s must be positive, layers and max_layers at least 1, got {self}')


@dataclass(slots=True)
class _Gap:
    missing: Ranges
    ask_s: float
    pause_s: float
    since_s: float


class DigestSchedule:
    """Random, but the same for the same name and the same calls."""

    def __init__(self, name: str, period_s: float, config: DigestConfig | None = None) -> None:
        self._config = config or DigestConfig()
        self._period_s = period_s
        self._random = np.random.default_rng(zlib.crc32(f'{name} digests'.encode()))
        self._gaps: dict[LayerId, _Gap] = {}
        self._exists: dict[LayerId, int] = {}
        self._said: dict[LayerId, int] = {}
        self._count = 0
        self._due_s = -inf
        self._meet_s = inf
        self._last_s = -inf
        self._changed_s = -inf

    @property
    def missing(self) -> dict[LayerId, Ranges]:
        """What is known to exist and not held, by layer."""
        return {layer: gap.missing for layer, gap in self._gaps.items()}

    def exists(self, layer: LayerId, version: int, known: Ranges, wait_s: float, now: float) -> None:
        """Note that somebody spoke of a version of a layer.

        Args:
            layer: whose. version: the highest that is spoken of. known: what is held of the layer.
            wait_s: how long what is missing may still be on its way [s].
            now: time [s].
        """
        if layer not in self._exists and (not version or len(self._exists) >= self._config.max_layers):
            return
        self._exists[layer] = max(version, self._exists.get(layer, 0))
        self._update(layer, known, wait_s, now)

    def changed(self, now: float) -> None:
        """Note that something is new here: digests come at their usual period for a while."""
        self._changed_s = now

    def meet(self, now: float) -> None:
        """Note that a peer is heard again (or for the first time)."""
        self._meet_s = min(self._meet_s, max(now + self._random.uniform(*self._config.meet_s),
                                             self._last_s + 0.5 * self._period_s))

    def is_due(self, now: float) -> bool:
        """Whether it is time for a digest; an early one if ``is_regular`` is not."""
        return self.is_regular(now) or any(gap.ask_s <= now + 1e-6 for gap in self._gaps.values())

    def is_regular(self, now: float) -> bool:
        """Whether it is time for a digest of more than what is missing."""
        idle = not self._gaps and now - self._changed_s > self._config.idle_after_s
        due_s = self._due_s + (self._config.idle_s - self._period_s if idle else 0.0)
        return now + 1e-6 >= min(due_s, self._meet_s)

    def compose(self, held: Iterable[LayerDigest], now: float) -> tuple[tuple[LayerDigest, ...], bool]:
        """What to say now, and whether it is about everything that is held."""
        entries = {entry.layer: entry for entry in held}
        whole = self.is_regular(now) and len(entries) <= self._config.layers
        if whole:
            return tuple(entries.values()), True
        gaps = sorted(self._gaps, key=self._turn)
        rest = sorted((layer for layer in entries if layer not in self._gaps), key=self._turn)
        most = self._config.layers
        if self.is_regular(now):
            # What is missing first, but a third of the room is left for what others may lack.
            gaps = gaps[:max(most - len(rest), most * 2 // 3)]
            chosen = [*gaps, *rest[:most - len(gaps)]]
        else:
            chosen = gaps[:most]
        return tuple(entries.get(layer, LayerDigest(layer, ())) for layer in chosen), False

    def said(self, layers: Iterable[LayerDigest], whole: bool, now: float) -> None:
        """Note a digest that was sent."""
        if self.is_regular(now):
            # Uneven periods, so that replicas that started together do not talk at the same time for ever.
            self._due_s = now + self._period_s * self._random.uniform(0.9, 1.1)
            self._meet_s = inf
        self._last_s = now
        self._count += 1
        for layer in self._gaps if whole else [entry.layer for entry in layers]:
            self._said[layer] = self._count
            gap = self._gaps.get(layer)
            if gap is not None:
                gap.ask_s = now + gap.pause_s * self._random.uniform(0.8, 1.2)
                if now - gap.since_s > self._config.eager_s:
                    gap.pause_s *= 2.0

    def _turn(self, layer: LayerId) -> tuple[int, LayerId]:
        return self._said.get(layer, 0), layer

    def _update(self, layer: LayerId, known: Ranges, wait_s: float, now: float) -> None:
        missing = subtract((VersionRange(1, self._exists[layer]),), known)
        gap = self._gaps.get(layer)
        if not missing:
            self._gaps.pop(layer, None)
        elif gap is None or not intersect(gap.missing, missing):
            first_s = self._random.uniform(*self._config.early_s)
            self._gaps[layer] = _Gap(missing, now + wait_s + first_s, self._config.early_s[1], now + wait_s)
        else:
            if missing != gap.missing and subtract(gap.missing, missing):
                gap.pause_s, gap.since_s = self._config.early_s[1], now  # Something came: the link works.
            gap.missing = missing
