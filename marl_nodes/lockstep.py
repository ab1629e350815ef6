"""When a simulation may take its next step: as soon as every robot has answered the last one."""

from collections.abc import Iterable, Sequence


class Lockstep:
    """Waits for every robot's answer to a step, but not for ever for any of them.

    A robot that let ``timeout_s`` pass ``patience`` times in a row is no longer waited for until it speaks again.
    Times are wall-clock seconds of the caller, so that tests need no waiting.
    """

    def __init__(self, robots: Sequence[str], timeout_s: float = 0.25, patience: int = 4) -> None:
        self._timeout_s = timeout_s
        self._patience = patience
        self._missed = dict.fromkeys(robots, 0)
        self._waiting: set[str] = set()
        self._stamp_ns = 0
        self._deadline_s = 0.0

    @property
    def silent(self) -> tuple[str, ...]:
        """Robots that are no longer waited for."""
        return tuple(robot for robot, missed in self._missed.items() if missed >= self._patience)

    def begin(self, stamp_ns: int, asked: Iterable[str], now_s: float) -> None:
        """Scans went out with this stamp to the robots ``asked``; from now on their answers are waited for."""
        self._stamp_ns = stamp_ns
        self._deadline_s = now_s + self._timeout_s
        self._waiting = {robot for robot in asked if self._missed[robot] < self._patience}

    def heard(self, robot: str, stamp_ns: int | None) -> None:
        """A command came; None when it carries no stamp, and then counts as the answer to the newest step."""
        if robot not in self._missed:
            return
        self._missed[robot] = 0
        if stamp_ns is None or stamp_ns >= self._stamp_ns:
            self._waiting.discard(robot)

    def ready(self, now_s: float) -> bool:
        """Whether the next step may be taken; robots that are late by then count as having missed this one."""
        if not self._waiting:
            return True
        if now_s < self._deadline_s:
            return False
        for robot in self._waiting:
            self._missed[robot] += 1
        self._waiting.clear()
        return True
