"""How much a robot may say, and the clock by which that is measured."""

from dataclasses import dataclass
from math import inf, isfinite


@dataclass(frozen=True, slots=True)
class Budget:
    """Bytes and periods of one sender.

    Attributes:
        rate_bytes_per_s: sustained rate, headers included.
        burst_bytes: most that can be said at once after a silence; no message is larger.
        status_period_s: between two RobotStatus. feature_period_s: between two messages of new tiles.
        digest_period_s: between two digests, on average.
        answer_share: part of the rate that is for digests and answers while new tiles wait too.
        answer_bytes: an answer waits until it may be this large (or all that is left is smaller), because small
            ones are mostly header.
    """

    rate_bytes_per_s: float = 4000.0
    burst_bytes: float = 8000.0
    status_period_s: float = 0.5
    feature_period_s: float = 1.0
    digest_period_s: float = 2.0
    answer_share: float = 0.3
    answer_bytes: float = 1200.0

    def __post_init__(self) -> None:
        for name in ('rate_bytes_per_s', 'status_period_s', 'feature_period_s', 'digest_period_s'):
            if not (isfinite(getattr(self, name)) and getattr(self, name) > 0.0):
                raise ValueError(f'{name} must be positive and finite, got {getattr(self, name)!r}')
        if not 0.0 < self.answer_share < 1.0:
            raise ValueError(f'answer_share must lie between 0 and 1, got {self.answer_share!r}')
        if not self.answer_bytes > 0.0:
            raise ValueError(f'answer_bytes must be positive, got {self.answer_bytes!r}')
        # What does not compress takes 0.4 kB per tile; a smaller burst could hardly ever say it.
        least_bytes = max(2000.0, 1.5 * self.reserved_bytes)
        if not least_bytes <= self.burst_bytes < inf:
            raise ValueError(f'burst_bytes must be finite and at least {least_bytes:g}, 1.5 times what answers '
                             f'take per feature period, got {self.burst_bytes!r}')

    @property
    def reserved_bytes(self) -> float:
        """What new tiles leave in the bucket while a digest or an answer waits."""
        return max(self.answer_bytes, self.answer_share * self.rate_bytes_per_s * self.feature_period_s)

    def accrued_bytes(self, until_features_s: float) -> float:
        """What answers leave in the bucket while new tiles wait, so long before these are due [s]."""
        waited_s = min(max(self.feature_period_s - until_features_s, 0.0), self.feature_period_s)
        return (1.0 - self.answer_share) * self.rate_bytes_per_s * waited_s


MAP_NODE_BUDGET = Budget(rate_bytes_per_s=40_000.0, burst_bytes=60_000.0, answer_bytes=8000.0)
"""A map node is mains-powered and serves late joiners."""


class TokenBucket:
    """Allows ``rate`` on average and ``burst`` at once.

    Attributes:
        burst_bytes: capacity; the bucket starts full.
    """

    def __init__(self, rate_bytes_per_s: float, burst_bytes: float) -> None:
        self.burst_bytes = burst_bytes
        self._rate_bytes_per_s = rate_bytes_per_s
        self._held_bytes = burst_bytes
        self._now: float | None = None

    def available(self, now: float) -> float:
        """Bytes that may be sent at ``now`` [s]. A time that is not later than the last, or NaN, adds nothing."""
        if self._now is None:
            self._now = now if isfinite(now) else None
        elif isfinite(now):
            elapsed_s = max(0.0, now - self._now)
            self._held_bytes = min(self.burst_bytes, self._held_bytes + elapsed_s * self._rate_bytes_per_s)
            self._now = now
        return self._held_bytes

    def spend(self, size_bytes: float, now: float) -> bool:
        """Take bytes out; False, and nothing is taken, if there are not so many."""
        if not 0.0 <= size_bytes <= self.available(now):
            return False
        self._held_bytes -= size_bytes
        return True


class SteadyClock:
    """The host's clock without its faults: a step back or a time that is not a number is no progress.

    After a step back the clock goes on from where it was, so ages and periods stay right.

    Attributes:
        now_s: the host's time plus all steps back so far [s].
        faults: how many readings were not later in time, or not finite.
    """

    def __init__(self) -> None:
        self.now_s = 0.0
        self.faults = 0
        self._host_s: float | None = None

    def advance(self, host_s: float) -> float:
        """Take a reading of the host's clock; returns ``now_s``."""
        if not isfinite(host_s):
            self.faults += 1
        elif self._host_s is None:
            self.now_s = self._host_s = host_s
        else:
            if host_s < self._host_s:
                self.faults += 1
            self.now_s += max(0.0, host_s - self._host_s)
            self._host_s = host_s
        return self.now_s
