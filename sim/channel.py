"""A radio between robots that loses, doubles, delays and chokes, as its configuration says and its seed decides."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from math import hypot, inf

import numpy as np
from numpy.typing import NDArray

from marl_core.errors import SimulationError
from marl_core.types import Packet


@dataclass(frozen=True, slots=True)
class ChannelConfig:
    """How bad the radio is (default: perfect).

    Attributes:
        range_m: farthest receiver [m].
        loss: probability that a receiver does not get a message, for each one independently.
        duplication: probability that it gets it twice.
        delay_min_s, delay_max_s: time in the air, drawn evenly; so messages may overtake each other [s].
        bandwidth_bytes_per_s: what one sender can put on the air.
        queue_bytes: most that waits at a sender for its turn; what does not fit is dropped.

    Raises:
        ValueError: a value that no radio can have.
    """

    range_m: float = inf
    loss: float = 0.0
    duplication: float = 0.0
    delay_min_s: float = 0.0
    delay_max_s: float = 0.0
    bandwidth_bytes_per_s: float = inf
    queue_bytes: float = inf

    def __post_init__(self) -> None:
        for name in ('loss', 'duplication'):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f'{name} must be a probability, got {getattr(self, name)!r}')
        for name in ('range_m', 'bandwidth_bytes_per_s', 'queue_bytes'):
            if not getattr(self, name) > 0.0:
                raise ValueError(f'{name} must be positive, got {getattr(self, name)!r}')
        if not 0.0 <= self.delay_min_s <= self.delay_max_s < inf:
            raise ValueError('delay_min_s and delay_max_s must be finite with 0 <= min <= max, got '
                             f'{self.delay_min_s!r} and {self.delay_max_s!r}')


@dataclass(slots=True)
class ChannelCounts:
    """What became of the messages of all senders.

    Attributes:
        sent, sent_bytes: put on the air. choked: dropped because the sender's queue was full.
        delivered, lost, out_of_range, duplicated: counted once per receiver.
    """

    sent: int = 0
    sent_bytes: int = 0
    choked: int = 0
    delivered: int = 0
    lost: int = 0
    out_of_range: int = 0
    duplicated: int = 0


class Channel:
    """Broadcasts from each participant to all others.

    Attributes:
        counts: see ChannelCounts. sent_bytes: put on the air, by sender.
    """

    def __init__(self, config: ChannelConfig | None = None, names: Sequence[str] = (), seed: int = 0) -> None:
        """Open the radio.

        Args:
            config: None: perfect.
            names: participants, in the order of the rows of positions.
            seed: of losses, doubles and delays.
        """
        self.config, self.names = config or ChannelConfig(), tuple(names)
        self.counts, self.sent_bytes = ChannelCounts(), dict.fromkeys(self.names, 0)
        self._random = np.random.default_rng([seed, 0xC4A])
        self._air: dict[str, list[tuple[float, int, Packet]]] = {name: [] for name in self.names}
        self._free_s = dict.fromkeys(self.names, -inf)
        self._serial = 0

    def send(self, sender: str, packet: Packet, now_s: float,
             positions: NDArray[np.float64] | Mapping[str, Sequence[float]] | None = None) -> None:
        """Broadcast a packet.

        Args:
            sender: who.
            packet: what; its length takes time on the air.
            now_s: when [s].
            positions: where everybody is now [m]; rows in the order of ``names`` (N, 2), or by name. Whoever has no
                position is within reach of all; whoever is at NaN is gone and reaches nobody.

        Raises:
            SimulationError: an unknown sender.
        """
        config, size_bytes = self.config, len(packet)
        self._check(sender)
        # Drawn whether needed or not, so that one outcome never shifts the next ones.
        draws = self._random.random((len(self.names), 4))
        starts_s = max(now_s, self._free_s[sender])
        if config.bandwidth_bytes_per_s < inf:
            if (starts_s - now_s) * config.bandwidth_bytes_per_s + size_bytes > config.queue_bytes:
                self.counts.choked += 1
                return
            starts_s += size_bytes / config.bandwidth_bytes_per_s
            self._free_s[sender] = starts_s
        self.counts.sent += 1
        self.counts.sent_bytes += size_bytes
        self.sent_bytes[sender] += size_bytes
        for receiver, (loss, duplication, delay, second_delay) in zip(self.names, draws.tolist()):
            if receiver == sender:
                continue
            if not self._distance_m(sender, receiver, positions) <= config.range_m:
                self.counts.out_of_range += 1
            elif loss < config.loss:
                self.counts.lost += 1
            else:
                self._put(receiver, packet, starts_s, delay)
                if duplication < config.duplication:
                    self.counts.duplicated += 1
                    self._put(receiver, packet, starts_s, second_delay)

    def deliver(self, receiver: str, now_s: float) -> list[Packet]:
        """All that has arrived by now, in order of arrival; what arrives at once in order of sending.

        Raises:
            SimulationError: an unknown receiver.
        """
        self._check(receiver)
        air, arrived = self._air[receiver], []
        while air and air[0][0] <= now_s:
            arrived.append(heappop(air)[2])
        self.counts.delivered += len(arrived)
        return arrived

    def _put(self, receiver: str, packet: Packet, starts_s: float, delay: float) -> None:
        config = self.config
        arrives_s = starts_s + config.delay_min_s + delay * (config.delay_max_s - config.delay_min_s)
        self._serial += 1
        heappush(self._air[receiver], (arrives_s, self._serial, packet))

    def _distance_m(self, sender: str, receiver: str,
                    positions: NDArray[np.float64] | Mapping[str, Sequence[float]] | None) -> float:
        if positions is None:
            return 0.0
        if isinstance(positions, Mapping):
            here, there = positions.get(sender), positions.get(receiver)
        else:
            here, there = (positions[row] if row < len(positions) else None
                           for row in (self.names.index(sender), self.names.index(receiver)))
        if here is None or there is None:
            gone = any(place is not None and place[0] != place[0] for place in (here, there))
            return np.nan if gone else 0.0
        return hypot(here[0] - there[0], here[1] - there[1])

    def _check(self, name: str) -> None:
        if name not in self._air:
            raise SimulationError(f'the channel has no participant {name!r}; it has {", ".join(self.names)}')
