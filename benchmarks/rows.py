"""What a benchmark returns, and the clock that all of them share."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from time import perf_counter, thread_time

CLOCK = thread_time
"""CPU seconds of the calling thread: other jobs on the machine hardly disturb it."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Attributes:
        name: what was measured.
        value: the measured figure. unit: its unit.
        target: the figure that the project promises. at_least: whether more is better.
        peer: name of what it is compared with in the same run, or ''.
        ratio: how many times better than the peer (None without a peer).
        ratio_target: the promised ratio, or None.
    """

    name: str
    value: float
    unit: str
    target: float
    at_least: bool = True
    peer: str = ''
    ratio: float | None = None
    ratio_target: float | None = None

    @property
    def met(self) -> bool:
        """Whether the value and the ratio reach what is promised."""
        reached = self.value >= self.target if self.at_least else self.value <= self.target
        return reached and (self.ratio_target is None or (self.ratio is not None and self.ratio >= self.ratio_target))


def seconds_per_call(call: Callable[[], object], at_least_s: float = 0.3, repeats: int = 5,
                     wall: bool = False) -> float:
    """Median over repeats of the time of one call [s], CPU time of this thread unless ``wall``.

    The call runs once before anything is measured, so that compilation does not count.
    """
    clock = perf_counter if wall else CLOCK
    call()
    times = []
    for _ in range(repeats):
        calls, started = 0, clock()
        while (elapsed := clock() - started) < at_least_s / repeats or calls == 0:
            call()
            calls += 1
        times.append(elapsed / calls)
    return median(times)
