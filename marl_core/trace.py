"""Records what an agent was given and what it commanded, so that a run can be played again anywhere.

One JSON object per line; arrays and bytes in base64. Floats survive exactly, so a replay through the same code gives
the same commands, bit for bit: that is how hosts are held together, and how a robot's bad day is studied at a desk.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from marl_core.errors import ConfigError
from marl_core.types import Inbox, LaserScan, Packet, Pose, Readings, Twist


@dataclass(frozen=True, slots=True)
class TraceStep:
    """One tick of an agent: its inputs, and the command that they led to."""

    readings: Readings
    inbox: tuple[Packet, ...]
    now_s: float
    command: Twist


class TraceWriter:
    """Appends ticks to a file; every line is whole, whenever the process ends."""

    def __init__(self, path: str | Path) -> None:
        """Open a file for writing.

        Raises:
            ConfigError: the file cannot be written.
        """
        try:
            self._file: IO[str] = Path(path).open('w', encoding='utf-8', buffering=1)  # noqa: SIM115 (close() is below)
        except OSError as error:
            raise ConfigError(f'{path}: the trace cannot be written ({error.strerror})') from error

    def write(self, readings: Readings, inbox: Inbox, now_s: float, command: Twist) -> None:
        """Append one tick."""
        scan = readings.scan
        line = {
            'now': now_s,
            'command': list(command),
            'pose': None if readings.pose is None else list(readings.pose),
            'twist': list(readings.twist),
            'scan': None if scan is None else [
                scan.stamp_s, scan.angle_min_rad, scan.angle_increment_rad, scan.range_min_m, scan.range_max_m,
                b64encode(scan.ranges_m.astype('<f4').tobytes()).decode()],
            'inbox': [b64encode(packet).decode() for packet in inbox],
        }
        self._file.write(json.dumps(line) + '\n')

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_trace(path: str | Path) -> Iterator[TraceStep]:
    """Read a trace tick by tick; a last line that was cut off ends it.

    Raises:
        ConfigError: the file cannot be read, or a line before the last is no tick.
    """
    try:
        lines = Path(path).read_text(encoding='utf-8').splitlines()
    except OSError as error:
        raise ConfigError(f'{path}: the trace cannot be read ({error.strerror})') from error
    for number, line in enumerate(lines, 1):
        try:
            yield _step(json.loads(line))
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines):
                return
            raise ConfigError(f'{path}: line {number} is no tick of a trace ({error})') from error


def _step(line: dict[str, Any]) -> TraceStep:
    scan = None
    if line['scan'] is not None:
        *numbers, ranges = line['scan']
        scan = LaserScan(*numbers, np.frombuffer(b64decode(ranges), '<f4'))
    pose = None if line['pose'] is None else Pose(*line['pose'])
    return TraceStep(Readings(scan, pose, Twist(*line['twist'])), tuple(map(b64decode, line['inbox'])), line['now'],
                     Twist(*line['command']))
