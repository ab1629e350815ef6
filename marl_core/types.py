"""The values that layers, hosts and nodes exchange.

Frames follow REP 105, units REP 103: metres, seconds, radians, x forward, z up. ``map`` is the one frame
that all robots of a fleet share; ``base`` is a robot's own frame.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from math import isfinite, nan
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FREE, UNKNOWN, OCCUPIED = -1, 0, 1
"""Classes of a map cell as int8: the sign of its evidence."""
FAINT = 2
"""Graded evidence only: a cell of a layer that is occupied, but with less evidence than saturates."""


class Pose(NamedTuple):
    """A planar pose [m, m, rad; map frame unless said otherwise]."""

    x_m: float
    y_m: float
    heading_rad: float


class Twist(NamedTuple):
    """Velocity of a differential drive in its base frame: forward [m/s], counter-clockwise turn [rad/s]."""

    linear_mps: float
    angular_radps: float


STOP = Twist(0.0, 0.0)


@dataclass(frozen=True, slots=True)
class LaserScan:
    """One planar lidar sweep, as sensor_msgs/LaserScan.

    Attributes:
        stamp_s: time of measurement [s].
        angle_min_rad: direction of beam 0 [rad; lidar frame].
        angle_increment_rad: angle between beams, counter-clockwise positive [rad].
        range_min_m: readings below are not to be trusted [m].
        range_max_m: farthest range that the lidar can report [m].
        ranges_m: float32. Shape: (B,). REP 117: +inf nothing within range, -inf too close, NaN no reading.
    """

    stamp_s: float
    angle_min_rad: float
    angle_increment_rad: float
    range_min_m: float
    range_max_m: float
    ranges_m: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Readings:
    """What a robot's own sensors say at one tick; a part that has not arrived since the last tick is None.

    Attributes:
        scan: newest lidar sweep.
        pose: pose of the base when the scan was taken [map frame].
        twist: measured velocity.
    """

    scan: LaserScan | None = None
    pose: Pose | None = None
    twist: Twist = STOP


@dataclass(frozen=True, slots=True)
class LidarModel:
    """A planar lidar (defaults: 360 beams all round, 8 m, 2 cm noise)."""

    beams: int = 360
    field_of_view_rad: float = 6.283185307179586
    range_min_m: float = 0.12
    range_max_m: float = 8.0
    noise_std_m: float = 0.02
    dropout_probability: float = 0.0
    rate_hz: float = 10.0
    x_m: float = 0.0
    """Position ahead of the base frame's origin [m; base frame]."""
    height_m: float = 0.2

    def __post_init__(self) -> None:
        _require_positive(self, 'field_of_view_rad', 'range_max_m', 'rate_hz')
        if self.beams < 1:
            raise ValueError(f'beams must be at least 1, got {self.beams}')
        if not 0.0 <= self.range_min_m < self.range_max_m:
            raise ValueError(f'range_min_m must be from 0 to below range_max_m ({self.range_max_m}), '
                             f'got {self.range_min_m}')
        if not (isfinite(self.noise_std_m) and self.noise_std_m >= 0.0):
            raise ValueError(f'noise_std_m must be 0 or more, got {self.noise_std_m}')
        if not 0.0 <= self.dropout_probability <= 1.0:
            raise ValueError(f'dropout_probability must be from 0 to 1, got {self.dropout_probability}')


@dataclass(frozen=True, slots=True)
class RobotModel:
    """A differential-drive robot with a round (or circumscribed) footprint; one YAML file each in config/robots/."""

    model: str = 'generic'
    radius_m: float = 0.2
    height_m: float = 0.25
    mass_kg: float = 5.0
    wheel_radius_m: float = 0.035
    wheel_separation_m: float = 0.3
    max_linear_mps: float = 0.5
    max_angular_radps: float = 1.5
    max_linear_acceleration_mps2: float = 1.0
    max_angular_acceleration_radps2: float = 3.0
    lidar: LidarModel = field(default_factory=LidarModel)

    def __post_init__(self) -> None:
        _require_positive(self, 'radius_m', 'height_m', 'mass_kg', 'wheel_radius_m', 'wheel_separation_m',
                          'max_linear_mps', 'max_angular_radps', 'max_linear_acceleration_mps2',
                          'max_angular_acceleration_radps2')


def _require_positive(model: LidarModel | RobotModel, *names: str) -> None:
    for name in names:
        value = getattr(model, name)
        if not (isfinite(value) and value > 0.0):
            raise ValueError(f'{name} must be positive and finite, got {value}')


class LayerId(NamedTuple):
    """One writer's part of the shared map: a robot, and which of its lives (a restarted robot takes a new epoch)."""

    robot: str
    epoch: int


class VersionRange(NamedTuple):
    """Versions ``first`` to ``last``, both included."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class MapFeatures:
    """Compressed tiles of one layer: all that changed with versions in a range and is still current.

    A receiver that joins it knows everything of ``layer`` in ``versions``: a version in the range that has no
    tile here was replaced by a later one.

    Attributes:
        robot: who sends (the layer's writer, or a replica that passes on what it holds).
        stamp_s: time of sending [s].
        layer: whose evidence this is.
        versions: range of versions that the message settles.
        resolution_m: edge of a cell [m]; a foreign one is refused.
        codec: key in CODECS under which ``data`` was encoded.
        data: encoded tiles with their versions.
    """

    robot: str
    stamp_s: float
    layer: LayerId
    versions: VersionRange
    resolution_m: float
    codec: str
    data: bytes


class Activity(IntEnum):
    """What a robot is doing, as in RobotStatus.msg."""

    IDLE = 0
    EXPLORING = 1
    DONE = 2
    BLOCKED = 3
    FAULT = 4


@dataclass(frozen=True, slots=True)
class RobotStatus:
    """What a robot tells its teammates about itself.

    Attributes:
        robot: its name. epoch: which of its lives.
        stamp_s: when the pose was measured [s].
        pose: [map frame].
        twist: measured velocity.
        goal_x_m, goal_y_m: where it is going [m; map frame], NaN when nowhere.
        distance_to_go_m: length of its remaining path [m], NaN when it has no goal.
        radius_m: footprint radius [m].
        activity: see Activity.
        issued: highest version of its own layer that it has published, so that who hears it knows what it lacks.
    """

    robot: str
    epoch: int
    stamp_s: float
    pose: Pose
    twist: Twist
    goal_x_m: float = nan
    goal_y_m: float = nan
    distance_to_go_m: float = nan
    radius_m: float = 0.2
    activity: Activity = Activity.IDLE
    issued: int = 0

    @property
    def has_goal(self) -> bool:
        """Whether the robot is on its way somewhere."""
        return self.goal_x_m == self.goal_x_m


class LayerDigest(NamedTuple):
    """Which versions of a layer a replica holds: disjoint ascending ranges."""

    layer: LayerId
    ranges: tuple[VersionRange, ...]


@dataclass(frozen=True, slots=True)
class MapDigest:
    """What a replica holds, so that others can send it exactly what it lacks.

    Attributes:
        robot: the replica's name (a robot, or a map node).
        stamp_s: time of sending [s].
        layers: an entry for each layer that it speaks of.
        whole: True: of a layer that is not named nothing is held. False: nothing is said of layers not named.
    """

    robot: str
    stamp_s: float
    layers: tuple[LayerDigest, ...]
    whole: bool = True


Message = MapFeatures | RobotStatus | MapDigest
Packet = bytes
"""A sealed message as it travels (marl_core.communication.wire)."""
Inbox = Sequence[Packet]
Outbox = Sequence[Packet]
