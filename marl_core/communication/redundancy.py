"""What is said again before anybody asks, and what all peers are known to hold.

A link that loses a third of all messages and takes seconds for the rest leaves no time to ask: the writer repeats
what it published until the probability that a peer misses every copy is negligible, or all peers said that they hold
it. On a link that loses nothing, nothing is repeated.
"""

from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from math import ceil, inf, log

from marl_core.types import VersionRange
from marl_core.versions import Ranges, covers, intersect, normalized, subtract, union


@dataclass(frozen=True, slots=True)
class RedundancyConfig:
    """How much is repeated, and whom it is for.

    Attributes:
        lossy_from: estimated loss from which a link is not trusted.
        missed_by: probability that a peer may miss every copy.
        spread_s: time over which the copies of a version are spread [s].
        max_copies: copies of a version at most, the first one included.
        fresh_s: a peer that was not heard for longer is not waited for [s].
        grace_s: a digest may be older than what was said within this time before it [s].
    """

    lossy_from: float = 0.05
    missed_by: float = 1e-4
    spread_s: float = 2.0
    max_copies: int = 20
    fresh_s: float = 12.0
    grace_s: float = 1.0

    def __post_init__(self) -> None:
        if not (0.0 < self.lossy_from < 1.0 and 0.0 < self.missed_by < 1.0):
            raise ValueError(f'lossy_from and missed_by must lie between 0 and 1, got {self}')
        if not (self.spread_s > 0.0 and self.fresh_s > 0.0 and self.max_copies >= 1 and self.grace_s >= 0.0):
            raise ValueError(f'spread_s and fresh_s must be positive, max_copies at least 1, got {self}')


class Holdings:
    """What peers hold of the own layer, by their digests.

    A peer is who was heard of late.
    """

    MAX_PEERS = 256

    def __init__(self, config: RedundancyConfig | None = None) -> None:
        self._config = config or RedundancyConfig()
        self._heard_s: dict[str, float] = {}
        self._held: dict[str, tuple[float, Ranges]] = {}
        self._said: deque[tuple[float, int]] = deque(maxlen=64)

    def hear(self, peer: str, now: float) -> bool:
        """Note that a peer said something; returns whether it had been silent (or unknown) until now."""
        silent = now - self._heard_s.get(peer, -inf) > self._config.fresh_s
        if silent and len(self._heard_s) >= self.MAX_PEERS and len(self.fresh(now)) >= self.MAX_PEERS:
            return False
        self._heard_s[peer] = now
        return silent

    def hear_digest(self, peer: str, ranges: Ranges, now: float) -> None:
        """Note what a peer says that it holds. The newest digest counts alone: a peer that restarted lost all."""
        self._held[peer] = (now, ranges)

    def said(self, versions: VersionRange, now: float) -> None:
        """Note a first publication."""
        self._said.append((now, versions.first))

    def fresh(self, now: float) -> Collection[str]:
        """Peers heard of late; forgets the others."""
        for peer in [peer for peer, heard_s in self._heard_s.items() if now - heard_s > self._config.fresh_s]:
            del self._heard_s[peer]
            self._held.pop(peer, None)
        return self._heard_s

    def confirmed(self, published: Ranges, trusting: bool, now: float) -> Ranges:
        """What every fresh peer holds of ``published``.

        Args:
            published: all of the own layer that was published.
            trusting: take what was said since a peer's last digest as held, as on a link that loses nothing.
            now: time [s].
        """
        peers = self.fresh(now)
        common = published if peers else ()
        for peer in peers:
            if not common or peer not in self._held:
                return ()
            heard_s, ranges = self._held[peer]
            if trusting:
                ranges = union(ranges, self._since(heard_s - self._config.grace_s, published))
            common = intersect(common, ranges)
        return common

    def _since(self, moment_s: float, published: Ranges) -> Ranges:
        first = next((first for said_s, first in self._said if said_s >= moment_s), None)
        return () if first is None else (VersionRange(first, published[-1].last),)


@dataclass(slots=True)
class _Copies:
    versions: VersionRange
    left: int
    until_s: float


class Repeats:
    """Which own versions are to be said again, and when.

    All of them are said in one pass, in several messages if the budget wants it so; then there is a pause. What did not
    get its copies in twice the time meant for them is left to answers: the link has no room for more than is asked for.
    """

    def __init__(self, config: RedundancyConfig | None = None) -> None:
        self._config = config or RedundancyConfig()
        self._open: deque[_Copies] = deque()
        self._pass: Ranges = ()
        self._left: Ranges = ()
        self._due_s = inf
        self._pause_s = inf

    @property
    def open(self) -> Ranges:
        """Versions that will be said again."""
        return normalized(entry.versions for entry in self._open)

    def copies(self, loss: float) -> int:
        """How often each version is said in all, for an estimated loss [0..1]."""
        if not loss >= self._config.lossy_from:
            return 1
        return min(self._config.max_copies, ceil(log(self._config.missed_by) / log(min(loss, 0.99))))

    def restart(self, ranges: Ranges, loss: float, now: float) -> None:
        """Plan anew: all of some ranges."""
        self._keep(())
        for versions in ranges:
            self.plan(versions, loss, now)

    def plan(self, versions: VersionRange, loss: float, now: float) -> None:
        """Say versions again as often as the loss [0..1] asks for."""
        repeats = self.copies(loss) - 1
        if not repeats:
            return
        self._pause_s = self._config.spread_s / repeats
        self._open.append(_Copies(versions, repeats, now + 2.0 * self._config.spread_s))
        self._due_s = min(self._due_s, now + self._pause_s)

    def due(self, now: float) -> Ranges:
        """What should be said again now."""
        self._keep(entry for entry in self._open if now <= entry.until_s)
        if now < self._due_s - 1e-6:
            return ()
        if not self._left:
            self._pass = self._left = self.open
        return self._left

    def said(self, versions: VersionRange, now: float) -> None:
        """Note a repetition of what was due, or of its newest part."""
        self._left = subtract(self._left, (versions,))
        if self._left:
            return
        for entry in self._open:
            entry.left -= covers(self._pass, (entry.versions,))
        self._due_s = max(self._due_s + self._pause_s, now)
        self._keep(entry for entry in self._open if entry.left > 0)

    def confirm(self, ranges: Ranges) -> None:
        """Leave out what everybody holds."""
        self._left = subtract(self._left, ranges)
        self._keep(entry for entry in self._open if subtract((entry.versions,), ranges))

    def _keep(self, entries: Iterable[_Copies]) -> None:
        self._open = deque(entries)
        if not self._open:
            self._left, self._due_s = (), inf
