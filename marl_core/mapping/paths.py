"""Compares where robots say that they go with what their own layers say of these places.

Under a robot its own map is free, because it is there. One that moves over ground that its layer does not know, while
that layer gets no new versions and none are lacking here, sends an old map. So does one that looks from its own map
into what that does not know: its lidar sees there, or it would not drive on.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, hypot, isfinite, sin
from typing import NamedTuple

from marl_core.mapping.bounds import TILE, MapBounds
from marl_core.mapping.layers import Layer
from marl_core.mapping.replica import Replica
from marl_core.types import FREE, OCCUPIED, UNKNOWN, RobotStatus

STRIDE_M = 0.25
"""Least distance between the poses that are looked at, and what paths are counted in [m]."""

MAX_STRIDES = 4
"""A robot that was not heard for longer, or jumped, counts as having gone so far."""

LOOK_M, GAP_M = 2.0, 0.25
"""So far ahead a lidar sees, unless a wall is before; so much unknown on the way is what it would have seen [m]."""

LOOK_RAD = (-0.5, 0.0, 0.5)
"""Directions looked into, from where the robot heads; most of them must meet what is unknown [rad]."""

MAX_WAITING = 256
"""Poses kept of one robot until they are looked at."""


@dataclass(frozen=True, slots=True)
class PathConfig:
    """When a path is believed to be beyond its own map.

    Attributes:
        length_m: so much of the newest path counts [m].
        stray_m: so much of it beyond the map brings the score to 0.5, twice as much to 0 [m].
        lag_s: age of a pose when the layer must know the place, or have got new versions since [s].
    """

    length_m: float = 10.0
    stray_m: float = 1.0
    lag_s: float = 5.0

    def __post_init__(self) -> None:
        if not (self.length_m >= 2.0 * self.stray_m >= STRIDE_M and self.lag_s >= 0.0):
            raise ValueError(f'expected length_m >= 2 stray_m >= {STRIDE_M} and lag_s >= 0, got {self}')


class _Step(NamedTuple):
    x_m: float
    y_m: float
    heading_rad: float
    strides: int
    seen_s: float
    version: int


class _Path:
    """Poses of one life of a robot."""

    def __init__(self, epoch: int, steps: int) -> None:
        self.epoch = epoch
        self.last: _Step | None = None
        self.waiting: deque[_Step] = deque(maxlen=MAX_WAITING)
        self.is_known: deque[bool] = deque(maxlen=steps)


class PathWatch:
    """How well each robot's own layer keeps pace with where it goes."""

    def __init__(self, config: PathConfig) -> None:
        self._config = config
        self._paths: dict[str, _Path] = {}

    def score(self, robot: str) -> float:
        """From 1, where the robot's layer knows all of its newest path, to 0; 1 for lack of evidence."""
        path = self._paths.get(robot)
        strayed = path.is_known.count(False) if path is not None else 0
        return max(0.0, 1.0 - 0.5 * strayed * STRIDE_M / self._config.stray_m)

    def forget(self, robot: str) -> None:
        """Start anew with a robot."""
        self._paths.pop(robot, None)

    def update(self, replica: Replica, statuses: Sequence[RobotStatus], now: float) -> None:
        """Note where robots are, and look at where they were some time ago."""
        for status in statuses:
            layer = replica.layers.get((status.robot, status.epoch))
            if layer is None or not layer.known or not all(map(isfinite, status.pose)):
                continue
            path = self._paths.get(status.robot)
            if path is None or path.epoch < status.epoch:
                path = _Path(status.epoch, round(self._config.length_m / STRIDE_M))
                self._paths[status.robot] = path
            if path.epoch == status.epoch:
                self._note(path, layer, status, now)
                self._look(path, layer, status, replica.bounds, now)

    def _note(self, path: _Path, layer: Layer, status: RobotStatus, now: float) -> None:
        x_m, y_m, heading_rad = status.pose
        moved_m = hypot(x_m - path.last.x_m, y_m - path.last.y_m) if path.last is not None else STRIDE_M
        if moved_m >= STRIDE_M:
            strides = int(min(moved_m / STRIDE_M, MAX_STRIDES))
            path.last = _Step(x_m, y_m, heading_rad, strides, now, layer.known[-1].last)
            path.waiting.append(path.last)

    def _look(self, path: _Path, layer: Layer, status: RobotStatus, bounds: MapBounds, now: float) -> None:
        held = layer.known[-1].last
        while path.waiting and abs(now - path.waiting[0].seen_s) >= self._config.lag_s:
            step = path.waiting.popleft()
            is_known = held > step.version or held < status.issued or (
                _is_free(layer, bounds, step) and not _looks_beyond(layer, bounds, step))
            path.is_known.extend([is_known] * step.strides)


def _is_free(layer: Layer, bounds: MapBounds, step: _Step) -> bool:
    """Whether a layer has something free within a cell of a place; outside the map nothing is asked of it."""
    row, col = bounds.cell_of(step.x_m, step.y_m)
    around = [(y, x) for y in range(row - 1, row + 2) for x in range(col - 1, col + 2) if bounds.contains(y, x)]
    return not around or any(_class_at(layer, bounds, *cell) == FREE for cell in around)


def _looks_beyond(layer: Layer, bounds: MapBounds, step: _Step) -> bool:
    """Whether most of what lies ahead of a place, in sight of it, is unknown to a layer."""
    beyond = sum(_meets_unknown(layer, bounds, step, step.heading_rad + turn_rad) for turn_rad in LOOK_RAD)
    return 2 * beyond > len(LOOK_RAD)


def _meets_unknown(layer: Layer, bounds: MapBounds, step: _Step, direction_rad: float) -> bool:
    gap_m, ahead, left = 0.0, cos(direction_rad), sin(direction_rad)
    for count in range(1, round(LOOK_M / bounds.resolution_m) + 1):
        cell = bounds.cell_of(step.x_m + count * bounds.resolution_m * ahead,
                              step.y_m + count * bounds.resolution_m * left)
        if not bounds.contains(*cell) or _class_at(layer, bounds, *cell) == OCCUPIED:
            return False
        gap_m = gap_m + bounds.resolution_m if _class_at(layer, bounds, *cell) == UNKNOWN else 0.0
        if gap_m >= GAP_M - 1e-9:
            return True
    return False


def _class_at(layer: Layer, bounds: MapBounds, row: int, col: int) -> int:
    return int(layer.tiles[(row // TILE) * bounds.tiles_x + col // TILE, (row % TILE) * TILE + col % TILE])
