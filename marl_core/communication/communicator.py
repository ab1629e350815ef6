"""One robot's link to the others: everything heard comes in here, every byte said goes out here."""

from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Protocol
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from marl_core.communication import wire
from marl_core.communication.authentication import Plain, Seal
from marl_core.communication.budget import Budget, SteadyClock, TokenBucket
from marl_core.communication.resync import AntiEntropy, ResyncConfig
from marl_core.communication.sequences import MAX_SENDERS, Sequences
from marl_core.communication.teammates import Teammate, Teammates, TeammatesConfig
from marl_core.communication.topology import Topology, TopologyConfig
from marl_core.errors import MessageError
from marl_core.types import Inbox, LayerDigest, LayerId, MapDigest, MapFeatures, Message, Packet, RobotStatus
from marl_core.versions import Ranges, covers

GOLDEN_RATIO = 0.6180339887498949
PARKED = 16
"""Features that wait for what they are coded against."""


class SharedLayer(Protocol):
    """What communication needs of one writer's part; see marl_core.mapping.layers.Layer."""

    known: Ranges


class SharedMap(Protocol):
    """What communication needs of a replica of the map; see marl_core.mapping.replica.Replica."""

    @property
    def own(self) -> LayerId | None:
        """The layer that this replica writes."""

    @property
    def layers(self) -> Mapping[LayerId, SharedLayer]:
        """What is held."""

    @property
    def waiting_tiles(self) -> int:
        """Own tiles that changed since they were last published."""

    def join(self, message: MapFeatures) -> int:
        """Take over tiles; raises MessageError."""

    def publish(self, layer: LayerId, budget_bytes: float, now: float,
                value: NDArray[np.floating] | None = None, bases: Ranges | None = (),
                seen_from: tuple[float, float] | None = None) -> MapFeatures | None:
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
    topology: TopologyConfig = field(default_factory=TopologyConfig)


@dataclass(slots=True)
class Traffic:
    """What one sender was heard to send, genuine packets only.

    Attributes:
        bytes_by_kind: by kind (status, features, digest). packets: of any kind. last_s: when the last one came [s].
    """

    bytes_by_kind: Counter[str] = field(default_factory=Counter)
    packets: int = 0
    last_s: float = -inf


class Communicator:
    """Turns the state to share and what is heard into what to say, within one budget.

    In order: own status, new tiles, digest, answers, repetitions; new tiles and answers leave each other a share if
    both wait, repetitions leave both theirs.

    Attributes:
        sent, sent_bytes: packets and their bytes by kind (status, features, digest, answer, repeat).
        traffic: what was heard, by sender.
        drops: packets refused, by reason.
        ignored: packets left alone because their sender is not listened to.
    """

    def __init__(self, name: str, epoch: int, config: CommunicationConfig | None = None,
                 seal: Seal | None = None) -> None:
        """Args: name, epoch: of the sender, and which of its lives. seal: closes and opens packets (None: plain)."""
        self._name, self._epoch = name, epoch
        self._seal = seal or Plain()
        config = config or CommunicationConfig()
        self._budget = config.budget
        self._teammates = Teammates(name, config.teammates)
        self._topology = Topology(config.topology)
        self._resync = AntiEntropy(name, self._budget.digest_period_s, config.resync)
        self._bucket = TokenBucket(self._budget.rate_bytes_per_s, self._budget.burst_bytes)
        self._sequences, self._sequence = Sequences(self._seal.strict), 0
        self._parked: deque[MapFeatures] = deque(maxlen=PARKED)
        self._clock = SteadyClock()
        self._stamp_s = 0.0
        self._first_after_s = {'status': 0.0, 'features': _phase(name) * self._budget.feature_period_s}
        self._due_s: dict[str, float] = {}
        self.sent: dict[str, int] = {}
        self.sent_bytes: dict[str, int] = {}
        self.traffic: dict[str, Traffic] = {}
        self.drops: dict[str, int] = {}
        self.ignored = 0

    @property
    def clock_faults(self) -> int:
        """How often the host's clock ran backwards or was not a number."""
        return self._clock.faults

    @property
    def loss(self) -> float:
        """Part of the others' packets that did not arrive here of late [0..1]."""
        return self._sequences.loss

    @property
    def missing(self) -> dict[LayerId, Ranges]:
        """What others spoke of and is not held here, by layer."""
        return self._resync.missing

    def teammates(self, now: float) -> list[Teammate]:
        """Teammates heard of late, by name."""
        return self._teammates.fresh(self._advance(now))

    def receive(self, inbox: Inbox, shared: SharedMap, now: float) -> int:
        """Take in all that was heard; returns how many tiles were new. What is wrong is dropped and counted."""
        steady_s = self._advance(now)
        tiles = 0
        for packet in inbox:
            try:
                message = self._open(packet, steady_s)
                if message is not None:
                    self._note(message, len(packet))
                    tiles += self._take(message, shared, steady_s)
            except MessageError as error:
                _count(self.drops, error.reason)
        return tiles

    def send(self, status: RobotStatus | None, shared: SharedMap, now: float,
             value: Callable[[], NDArray[np.floating]] | None = None) -> list[Packet]:
        """Say what is due and fits the budget.

        Args:
            status: the own status (None for a map node).
            shared: the replica.
            now: the host's time [s].
            value: gives the worth of each tile to the others, see Replica.publish, when new tiles are due.
                Shape: (tiles_y, tiles_x).
        """
        steady_s = self._advance(now)
        self._resync.loss = self.loss
        if status is not None:
            self._topology.choose(status, self._teammates, steady_s)
        outbox: list[Packet] = []
        if status is not None and self._is_due('status', steady_s):
            self._post(outbox, status, 'status', steady_s, self._budget.status_period_s)
        if shared.own is not None and self._is_due('features', steady_s):
            self._send_features(outbox, status, shared, steady_s, value)
        if self._resync.digest_due(steady_s):
            self._send_digest(outbox, shared, steady_s)
        self._send_answers(outbox, shared, steady_s)
        if shared.own is not None:
            self._send_repeats(outbox, shared, steady_s)
        return outbox

    def _open(self, packet: Packet, now: float) -> Message | None:
        """The message of a packet, cheap checks first; None for what is not listened to and the own voice's echo."""
        header = wire.peek(packet)
        if header.robot == self._name:
            if header.epoch == self._epoch and header.sequence <= self._sequence:
                return None
            self._seal.open(packet, header.robot, now)  # strangers must not be able to raise this alarm
            raise MessageError('own-name', f'another replica calls itself {self._name}')
        self._sequences.check(header.robot, header.epoch, header.sequence, now)
        data = self._seal.open(packet, header.robot, now)
        self._sequences.accept(header.robot, header.epoch, header.sequence, now)
        if wire.KINDS[header.kind] != 'status' and not self._topology.hears(header.robot):
            self.ignored += 1
            return None
        self._resync.hear(header.robot, now)
        return wire.decode(data, header)

    def _note(self, message: Message, size_bytes: int) -> None:
        if message.robot not in self.traffic and len(self.traffic) >= MAX_SENDERS:
            return  # Names that come and go must not fill the memory.
        sender = self.traffic.setdefault(message.robot, Traffic())
        sender.bytes_by_kind[wire.KINDS[wire.kind_of(message)]] += size_bytes
        sender.packets += 1
        sender.last_s = self._stamp_s

    def _take(self, message: Message, shared: SharedMap, now: float) -> int:
        def known(layer: LayerId) -> Ranges:
            return shared.layers[layer].known if layer in shared.layers else ()

        if isinstance(message, RobotStatus):
            self._teammates.hear(message, now)
            self._resync.hear_status(message, known, now)
            return 0
        if isinstance(message, MapDigest):
            self._resync.hear_digest(message, shared.lacks(message), shared.own, known, now)
            return 0
        self._require_issued(message, now)
        # Most of what a lossy link brings was heard before.
        tiles = 0 if covers(known(message.layer), (message.versions,)) else self._join(message, shared)
        self._resync.hear_features(message, known, now)
        return tiles

    def _require_issued(self, features: MapFeatures, now: float) -> None:
        """Nobody may pass on versions that a writer who is there has not published by its own word.

        Genuine ones that overtake the writer's status are asked for again.
        """
        issued = self._teammates.issued(features.layer, now) if features.layer.robot != features.robot else None
        if issued is not None and features.versions.last > issued:
            raise MessageError('invented', f'{features.robot} passes on version {features.versions.last} of '
                               f'{features.layer.robot}, who has published {issued}')

    def _join(self, features: MapFeatures, shared: SharedMap) -> int:
        """Take over tiles, and what was heard before and had to wait for them."""
        try:
            tiles = shared.join(features)
        except MessageError as error:
            if error.reason != 'missing-base':
                raise
            self._parked.append(features)
            return 0
        for waiting in [parked for parked in self._parked if parked.layer == features.layer]:
            self._parked.remove(waiting)
            tiles += self._join(waiting, shared)
        return tiles

    def _send_features(self, outbox: list[Packet], status: RobotStatus | None, shared: SharedMap, now: float,
                       value: Callable[[], NDArray[np.floating]] | None) -> None:
        if not shared.waiting_tiles:
            return
        waiting = self._resync.pending or self._resync.digest_due(now)
        reserved_bytes = self._budget.reserved_bytes if waiting else 0.0
        available_bytes = self._bucket.available(now) - reserved_bytes - self._envelope_bytes(shared.own)
        message = shared.publish(shared.own, available_bytes, self._stamp_s, value() if value is not None else None,
                                 self._resync.confirmed(shared.layers[shared.own].known, now),
                                 status.pose[:2] if status is not None else None)
        if message is not None and self._post(outbox, message, 'features', now, self._budget.feature_period_s):
            self._resync.published(message, now)

    def _send_digest(self, outbox: list[Packet], shared: SharedMap, now: float) -> None:
        entries, whole = self._resync.compose_digest(shared.digest(), now)
        message = MapDigest(self._name, self._stamp_s, entries, whole)
        while self._size_bytes(message) > self._bucket.burst_bytes:
            # Saying less than one holds is safe: others then repeat what is not needed.
            _count(self.drops, 'digest-cut')
            entries = tuple(entry._replace(ranges=entry.ranges[len(entry.ranges) // 2:]) for entry in entries) \
                if any(len(entry.ranges) > 1 for entry in entries) else entries[:len(entries) // 2]
            message = MapDigest(self._name, self._stamp_s, entries, whole)
        if self._post(outbox, message, 'digest', now):
            self._resync.digest_said(entries, whole, now)

    def _send_answers(self, outbox: list[Packet], shared: SharedMap, now: float) -> None:
        reserved_bytes = self._budget.accrued_bytes(self._due_s['features'] - now) if shared.waiting_tiles else 0.0
        for layer, ranges in self._resync.answers_due(now):
            available_bytes = self._bucket.available(now) - reserved_bytes
            message = shared.answer(layer, ranges, available_bytes - self._envelope_bytes(layer), self._stamp_s)
            if message is None:
                continue
            is_last = len(ranges) == 1 and message.versions.first <= ranges[0].first
            if available_bytes < self._budget.answer_bytes and not is_last:
                return
            if self._post(outbox, message, 'answer', now):
                self._resync.answered(message, now)

    def _send_repeats(self, outbox: list[Packet], shared: SharedMap, now: float) -> None:
        ranges = self._resync.repeats_due(shared.layers[shared.own].known, now)
        if not ranges:
            return
        reserved_bytes = self._budget.reserved_bytes + self._envelope_bytes(shared.own)
        if shared.waiting_tiles:
            reserved_bytes += self._budget.accrued_bytes(self._due_s['features'] - now)
        message = shared.answer(shared.own, ranges, self._bucket.available(now) - reserved_bytes, self._stamp_s)
        if message is not None and self._post(outbox, message, 'repeat', now):
            self._resync.repeated(message, now)

    def _post(self, outbox: list[Packet], message: Message, kind: str, now: float, period_s: float = 0.0) -> bool:
        """Send a message if the budget allows; only then does its period start anew."""
        try:
            packet = self._seal.close(wire.encode(message, self._epoch, self._sequence + 1))
        except MessageError as error:  # A status with a stamp that no packet can carry, for example.
            _count(self.drops, error.reason)
            return False
        if not self._bucket.spend(len(packet), now):
            return False
        self._sequence += 1
        outbox.append(packet)
        _count(self.sent, kind)
        _count(self.sent_bytes, kind, len(packet))
        if period_s:
            self._due_s[kind] = now + period_s
        return True

    def _size_bytes(self, message: Message) -> int:
        return len(wire.encode(message, self._epoch, self._sequence + 1)) + self._seal.overhead_bytes

    def _envelope_bytes(self, layer: LayerId) -> int:
        return wire.envelope_bytes(self._name, layer) + self._seal.overhead_bytes

    def _is_due(self, kind: str, now: float) -> bool:
        # Ticks come at multiples of their period, give or take rounding.
        return now >= self._due_s.setdefault(kind, now + self._first_after_s[kind]) - 1e-6

    def _advance(self, now: float) -> float:
        if abs(now) < wire.LATEST_S:
            self._stamp_s = now
        return self._clock.advance(now)


def _phase(name: str) -> float:
    """When in a period a robot speaks [0..1), so that robots that start together do not all speak at once."""
    return crc32(name.encode()) * GOLDEN_RATIO % 1.0


def _count(counters: dict[str, int], key: str, amount: int = 1) -> None:
    counters[key] = counters.get(key, 0) + amount
