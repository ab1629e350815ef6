"""Signals that ask a program to stop, noted instead of obeyed: what it started has to be ended first."""

import signal
import time
from types import FrameType, TracebackType
from typing import Self

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
ONE_REQUEST_S = 0.5
"""Signals within this time are one request: `timeout` and others send theirs to the process and to its group [s]."""


class StopSignals:
    """Notes SIGINT, SIGTERM and SIGHUP while it is entered.

    Attributes:
        asked: whether one came.
        hurried: whether another came later: somebody will not wait.
    """

    def __init__(self) -> None:
        self.asked = self.hurried = False
        self._first_s = 0.0
        self._previous: dict[int, object] = {}

    def __enter__(self) -> Self:
        for number in SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # Else nohup is meant to hold.
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        now_s = time.monotonic()
        if not self.asked:
            self.asked, self._first_s = True, now_s
        elif now_s - self._first_s > ONE_REQUEST_S:
            self.hurried = True
