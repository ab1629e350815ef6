"""Starts processes, shows what they say under their names, restarts the ones that fail, and leaves none behind.

Each child leads a process group of its own, so Ctrl-C reaches only the supervisor, which then stops the children
in order. Should the supervisor be killed itself, the kernel tells the children (see marl_nodes.running).
"""

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import IO

from marl_nodes.fleet.environment import PARENT_VARIABLE
from marl_nodes.fleet.stopping import StopSignals

POLL_S = 0.1
KILLED_S = 10.0
"""So long may the kernel take to end a process that was killed [s]."""
READ_BYTES = 65536


class Restart(StrEnum):
    """Which ends of a process are followed by a new start."""

    NEVER = 'never'
    ON_FAILURE = 'on-failure'
    ALWAYS = 'always'


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """When and how often a process is started again.

    Attributes:
        restart: after which ends.
        delay_s: before the first restart [s]; doubles each time. At least 1 s, so that a new life of a robot has a
            new epoch.
        longest_delay_s: [s].
        limit: restarts in a row after which a process is given up.
        steady_s: a process that ran so long starts counting anew [s].
        hopeless: exit codes after which starting again would not help.
    """

    restart: Restart = Restart.ON_FAILURE
    delay_s: float = 1.0
    longest_delay_s: float = 30.0
    limit: int = 5
    steady_s: float = 30.0
    hopeless: tuple[int, ...] = (2,)


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """A process to keep running.

    Attributes:
        label: before each of its lines. arguments: command line.
        environment: complete. stop_order: lower ones are stopped first.
        log: file that gets its output as well.
        restart_note: said whenever it is started again; '' for nothing.
    """

    label: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    stop_order: int = 0
    log: Path | None = None
    restart_note: str = ''


@dataclass(slots=True)
class _Child:
    spec: ProcessSpec
    process: subprocess.Popen | None = None
    log: IO[bytes] | None = None
    rest: bytes = b''
    started_s: float = 0.0
    restarts: int = 0
    start_again_s: float | None = None
    gave_up: bool = False
    exit_codes: list[int] = field(default_factory=list)


class Supervisor:
    """Runs a set of processes until asked to stop.

    Use ``start``, then ``poll`` repeatedly, then ``stop``; or ``run``, which does all three.
    """

    def __init__(self, specs: Sequence[ProcessSpec], restart: RestartPolicy | None = None,
                 patience_s: float = 7.0, show: Callable[[str, str], None] | None = None) -> None:
        """Prepare; nothing is started yet.

        Args:
            specs: what to run, in the order of starting.
            restart: what to do when one ends.
            patience_s: how long a process may take to stop when asked, before it is killed [s].
            show: gets the label and each line of output; default: to standard output.
        """
        self._children = [_Child(spec) for spec in specs]
        self._restart, self._patience_s = restart or RestartPolicy(), patience_s
        self._show = LinePrinter([spec.label for spec in specs]) if show is None else show
        self._selector = selectors.DefaultSelector()

    @property
    def given_up(self) -> tuple[str, ...]:
        """Labels of processes that failed for good."""
        return tuple(child.spec.label for child in self._children if child.gave_up)

    @property
    def running(self) -> tuple[str, ...]:
        """Labels of processes that run now."""
        return tuple(child.spec.label for child in self._children if child.process is not None)

    @property
    def finished(self) -> bool:
        """Whether nothing runs and nothing will be started again."""
        return all(child.process is None and child.start_again_s is None for child in self._children)

    def pid_of(self, label: str) -> int | None:
        """Process id, None while it does not run."""
        child = next(child for child in self._children if child.spec.label == label)
        return child.process.pid if child.process is not None else None

    def exit_codes_of(self, label: str) -> tuple[int, ...]:
        """How each of its lives ended; negative: by that signal."""
        return tuple(next(child for child in self._children if child.spec.label == label).exit_codes)

    def run(self) -> int:
        """Start everything, serve until SIGINT, SIGTERM or SIGHUP or until nothing is left, and stop.

        Returns:
            0, or 1 when a process was given up.
        """
        with StopSignals() as signals:
            try:
                self.start()
                while not signals.asked and not self.finished:
                    self.poll(POLL_S)
                if signals.asked:
                    self._show('marl_fleet', 'stops every node; asked again, it kills what still runs')
            finally:
                self.stop(hurry=lambda: signals.hurried)
        return 1 if self.given_up else 0

    def start(self) -> None:
        """Start every process."""
        for child in self._children:
            self._launch(child)

    def poll(self, timeout_s: float) -> None:
        """Pass on output, notice ends, and start again what is due; waits up to ``timeout_s`` for output."""
        self._pass_on_output(timeout_s)
        now_s = time.monotonic()
        for child in self._children:
            if child.process is not None and child.process.poll() is not None:
                self._note_end(child, now_s)
            elif child.start_again_s is not None and now_s >= child.start_again_s:
                self._launch(child)

    def stop(self, hurry: Callable[[], bool] = lambda: False) -> None:
        """End every process: asked first, then killed; returns when none is left.

        The asking is by SIGTERM: a Python that is still importing dies of it without a word.

        Args:
            hurry: asked repeatedly; once true, what still runs is killed at once.
        """
        for child in self._children:
            child.start_again_s = None
        for order in sorted({child.spec.stop_order for child in self._children}):
            group = [child for child in self._children if child.spec.stop_order == order]
            self._signal(group, signal.SIGTERM)
            self._await_ends(group, self._patience_s, hurry)
            self._signal(group, signal.SIGKILL)
            self._await_ends(group, KILLED_S, lambda: False)

    def _await_ends(self, group: Sequence[_Child], patience_s: float, hurry: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + patience_s
        while any(child.process for child in group) and time.monotonic() < deadline_s and not hurry():
            self._pass_on_output(0.02)
            for child in group:
                if child.process is not None and child.process.poll() is not None:
                    self._bury(child)

    def _launch(self, child: _Child) -> None:
        child.start_again_s = None
        if child.spec.log is not None and child.log is None:
            child.log = child.spec.log.open('ab')
        environment = {**child.spec.environment, PARENT_VARIABLE: str(os.getpid())}
        child.process = subprocess.Popen(
            child.spec.arguments, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, start_new_session=True)
        child.started_s = time.monotonic()
        os.set_blocking(child.process.stdout.fileno(), False)
        self._selector.register(child.process.stdout, selectors.EVENT_READ, child)

    def _pass_on_output(self, timeout_s: float) -> None:
        if not self._selector.get_map():
            time.sleep(timeout_s)
            return
        for key, _ in self._selector.select(timeout_s):
            self._read(key.data)

    def _read(self, child: _Child) -> bool:
        """Pass on what a child said since; False if that was nothing."""
        data = child.process.stdout.read(READ_BYTES)
        if not data:
            if data == b'':  # Closed; None would mean that nothing is there yet.
                self._selector.unregister(child.process.stdout)
            return False
        self._keep(child, data)
        *lines, child.rest = (child.rest + data).split(b'\n')
        for line in lines:
            self._show(child.spec.label, line.decode(errors='replace'))
        return True

    def _keep(self, child: _Child, data: bytes) -> None:
        if child.log is None or child.log.closed:
            return
        try:
            child.log.write(data)
            child.log.flush()
        except OSError as error:  # A full disk is no reason to stop robots.
            self._show(child.spec.label, f'{child.spec.log}: cannot be written ({error.strerror}); it ends here')
            with contextlib.suppress(OSError):
                child.log.close()

    def _note_end(self, child: _Child, now_s: float) -> None:
        code = self._bury(child)
        policy = self._restart
        if now_s - child.started_s >= policy.steady_s:
            child.restarts = 0
        wanted = policy.restart is Restart.ALWAYS or (policy.restart is Restart.ON_FAILURE and code != 0)
        said = ending(code)
        if not wanted:
            child.gave_up = code != 0
            self._show(child.spec.label, said)
        elif code in policy.hopeless or child.restarts >= policy.limit:
            child.gave_up = True
            self._show(child.spec.label, f'{said}; not started again')
        else:
            delay_s = min(policy.delay_s * 2**child.restarts, policy.longest_delay_s)
            child.restarts += 1
            child.start_again_s = now_s + delay_s
            self._show(child.spec.label, f'{said}; starts again in {delay_s:.0f} s')
            if child.spec.restart_note:
                self._show(child.spec.label, child.spec.restart_note)

    def _bury(self, child: _Child) -> int:
        """Take leave of a process that ended: its last words, and whatever it left in its group."""
        process = child.process
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        while process.stdout in self._selector.get_map() and self._read(child):
            pass
        if process.stdout in self._selector.get_map():
            self._selector.unregister(process.stdout)
        process.stdout.close()
        if child.rest:
            self._show(child.spec.label, child.rest.decode(errors='replace'))
            child.rest = b''
        child.process = None
        child.exit_codes.append(process.returncode)
        return process.returncode

    def _signal(self, children: Sequence[_Child], number: int) -> None:
        for child in children:
            if child.process is not None:
                with contextlib.suppress(ProcessLookupError):
                    if number == signal.SIGKILL:
                        os.killpg(child.process.pid, number)
                    else:
                        child.process.send_signal(number)


def ending(code: int) -> str:
    """How a process ended, in words; negative: by that signal."""
    return f'ended with exit code {code}' if code >= 0 else f'was ended by {signal.Signals(-code).name}'


class LinePrinter:
    """Writes lines under the label of who said them, aligned, and coloured on a terminal."""

    _COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)

    def __init__(self, labels: Sequence[str]) -> None:
        width = max((len(label) for label in labels), default=0)
        coloured = sys.stdout.isatty() and 'NO_COLOR' not in os.environ
        self._prefixes = {}
        for number, label in enumerate(labels):
            prefix = f'{label:<{width}} |'
            colour = self._COLOURS[number % len(self._COLOURS)]
            self._prefixes[label] = f'\x1b[{colour}m{prefix}\x1b[0m' if coloured else prefix

    def __call__(self, label: str, line: str) -> None:
        """Write one line."""
        with contextlib.suppress(OSError):  # Nobody may be left to read it, and that must not stop the fleet.
            sys.stdout.write(f'{self._prefixes.get(label, label)} {line}\n')
            sys.stdout.flush()
