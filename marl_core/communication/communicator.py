"""One robot's link to the others: everything heard comes in here, every byte said goes out here."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from marl_core.communication.budget import Budget, SteadyClock, TokenBucket
from marl_core.communication.resync import AntiEntropy, ResyncConfig
from marl_core.communication.teammates import Teammate, Teammates, TeammatesConfig
from marl_core.errors import MessageError
from marl_core.types import Inbox, LayerDigest, LayerId, MapDigest, MapFeatures, Message, RobotStatus
from marl_core.versions import Ranges

KINDS: Mapping[type, str] = {RobotStatus: 'status', MapFeatures: 'features', MapDigest: 'digest'}


class SharedMap(Protocol):
    """What communication needs of a replica of the map; see marl_core.mapping.replica.Replica."""

    @property
    def own(self) -> LayerId | None:
        """The layer that this replica writes."""

    @property
    def waiting_tiles(self) -> int:
        """Own tiles that changed since they were last published."""

    def join(self, message: MapFeatures) -> int:
        """Take over tiles; raises MessageError."""

    def publish(self, layer: LayerId, budget_bytes: float, now: float,
                value: NDArray[np.floating] | None = None) -> MapFeatures | None:
        """Put waiting own tiles into a message."""

    def answer(self, layer: LayerId, ranges: Ranges, budget_bytes: float, now: float) -> MapFeatures | None:
        """Pass on what is held."""

    def digest(self) -> tuple[LayerDigest, ...]:
        """What is known of each layer."""

    def lacks(self, other: MapDigest) -> tuple[LayerDigest, ...]:
        """What another lacks that is known here."""


@dataclass(frozen=True, slots=True)
class CommunicationConfig:
    """Settings of all parts of communication."""

    budget: Budget = field(default_factory=Budget)
    teammates: TeammatesConfig = field(default_factory=TeammatesConfig)
    resync: ResyncConfig = field(default_factory=ResyncConfig)


class Communicator:
    """Turns the state to share and what is heard into what to say, within one budget.

    In order: own status, new tiles, digest, answers; new tiles and answers leave each other a share if both wait.

    Attributes:
        sent, sent_bytes: messages and bytes by kind (status, features, digest, answer).
        received: messages heard by kind (status, features, digest).
        drops: messages refused, by reason.
    """

    def __init__(self, name: str, config: CommunicationConfig | None = None) -> None:
        self._name = name
        self._budget = (config or CommunicationConfig()).budget
        self._teammates = Teammates(name, (config or CommunicationConfig()).teammates)
        self._resync = AntiEntropy(name, (config or CommunicationConfig()).resync)
        self._bucket = TokenBucket(self._budget.rate_bytes_per_s, self._budget.burst_bytes)
        self._clock = SteadyClock()
        self._stamp_s = 0.0
        self._random = np.random.default_rng(zlib.crc32(f'{name} digests'.encode()))
        self._due_s = dict.fromkeys(('status', 'features', 'digest'), -float('inf'))
        self.sent: dict[str, int] = {}
        self.sent_bytes: dict[str, int] = {}
        self.received: dict[str, int] = {}
        self.drops: dict[str, int] = {}

    @property
    def clock_faults(self) -> int:
        """How often the host's clock ran backwards or was not a number."""
        return self._clock.faults

    def teammates(self, now: float) -> list[Teammate]:
        """Teammates heard of late, by name."""
        return self._teammates.fresh(self._advance(now))

    def receive(self, inbox: Inbox, shared: SharedMap, now: float) -> int:
        """Take in all that was heard; returns how many tiles were new. What is wrong is dropped and counted."""
        steady_s = self._advance(now)
        tiles = 0
        for message in inbox:
            kind = KINDS.get(type(message))
            try:
                if kind is None:
                    raise MessageError('unknown-kind', f'{type(message).__name__} is no message')
                _count(self.received, kind)
                tiles += self._take(message, shared, steady_s)
            except MessageError as error:
                _count(self.drops, error.reason)
        return tiles

    def send(self, status: RobotStatus | None, shared: SharedMap, now: float,
             value: NDArray[np.floating] | None = None) -> list[Message]:
        """Say what is due and fits the budget.

        Args:
            status: the own status (None for a map node).
            shared: the replica.
            now: the host's time [s].
            value: worth of each tile to the others, see Replica.publish. Shape: (tiles_y, tiles_x).
        """
        steady_s = self._advance(now)
        outbox: list[Message] = []
        if status is not None and self._is_due('status', steady_s):
            self._post(outbox, status, 'status', steady_s, self._budget.status_period_s)
        if shared.own is not None and self._is_due('features', steady_s):
            self._send_features(outbox, shared, steady_s, value)
        if self._is_due('digest', steady_s):
            self._send_digest(outbox, shared, steady_s)
        self._send_answers(outbox, shared, steady_s)
        return outbox

    def _take(self, message: Message, shared: SharedMap, now: float) -> int:
        if isinstance(message, RobotStatus):
            self._teammates.hear(message, now)
            return 0
        if isinstance(message, MapDigest):
            self._resync.check(message)
            self._resync.hear_digest(message, shared.lacks(message), now)
            return 0
        if message.robot == self._name:
            raise MessageError('own-name', f'another replica calls itself {self._name}')
        tiles = shared.join(message)
        self._resync.hear_features(message, now)
        return tiles

    def _send_features(self, outbox: list[Message], shared: SharedMap, now: float,
                       value: NDArray[np.floating] | None) -> None:
        waiting = self._resync.pending or self._is_due('digest', now)
        reserved_bytes = self._budget.reserved_bytes if waiting else 0.0
        message = shared.publish(shared.own, self._bucket.available(now) - reserved_bytes, self._stamp_s, value)
        if message is not None and self._post(outbox, message, 'features', now, self._budget.feature_period_s):
            self._resync.sent(message, now)

    def _send_digest(self, outbox: list[Message], shared: SharedMap, now: float) -> None:
        entries = shared.digest()
        message = MapDigest(self._name, self._stamp_s, entries)
        while message.size_bytes > self._bucket.burst_bytes:
            # Saying less than one holds is safe: others then repeat what is not needed.
            _count(self.drops, 'digest-cut')
            entries = tuple(entry._replace(ranges=entry.ranges[len(entry.ranges) // 2:]) for entry in entries) \
                if any(len(entry.ranges) > 1 for entry in entries) else entries[:len(entries) // 2]
            message = MapDigest(self._name, self._stamp_s, entries)
        # Uneven periods, so that replicas that started together do not talk at the same time for ever.
        self._post(outbox, message, 'digest', now, self._budget.digest_period_s * self._random.uniform(0.9, 1.1))

    def _send_answers(self, outbox: list[Message], shared: SharedMap, now: float) -> None:
        reserved_bytes = self._budget.accrued_bytes(self._due_s['features'] - now) if shared.waiting_tiles else 0.0
        for layer, ranges in self._resync.due(now):
            available_bytes = self._bucket.available(now) - reserved_bytes
            message = shared.answer(layer, ranges, available_bytes, self._stamp_s)
            if message is None:
                continue
            is_last = len(ranges) == 1 and message.versions.first <= ranges[0].first
            if available_bytes < self._budget.answer_bytes and not is_last:
                return
            if self._post(outbox, message, 'answer', now, 0.0):
                self._resync.sent(message, now)

    def _post(self, outbox: list[Message], message: Message, kind: str, now: float, period_s: float) -> bool:
        """Send a message if the budget allows; only then does its period start anew."""
        if not self._bucket.spend(message.size_bytes, now):
            return False
        outbox.append(message)
        _count(self.sent, kind)
        _count(self.sent_bytes, kind, message.size_bytes)
        if kind in self._due_s:
            self._due_s[kind] = now + period_s
        return True

    def _is_due(self, kind: str, now: float) -> bool:
        # Ticks come at multiples of their period, give or take rounding.
        return now >= self._due_s[kind] - 1e-6

    def _advance(self, now: float) -> float:
        if isfinite(now):
            self._stamp_s = now
        return self._clock.advance(now)


def _count(counters: dict[str, int], key: str, amount: int = 1) -> None:
    counters[key] = counters.get(key, 0) + amount
