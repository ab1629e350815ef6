"""From a path to wheels: follow it, notice when that does not get on, and never hit anything."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import hypot, inf, nan

import numpy as np
from numpy.typing import NDArray

from marl_core.decision.controller import FollowerConfig, PathFollower, distance_to_go_m
from marl_core.decision.deadlock import (
    Advice,
    BlockedConfig,
    BlockedMonitor,
    WayMaker,
    who_asks_for,
    yield_command,
)
from marl_core.decision.safety import SafetyConfig, SafetyFilter, teammates_in_base
from marl_core.types import LaserScan, Pose, RobotModel, RobotStatus, Twist

NOWHERE = np.empty((0, 2))
"""A path without waypoints: stand still."""


@dataclass(frozen=True, slots=True)
class EscapeConfig:
    """How a robot frees itself that came too near to something, such as the jamb of a door.

    Attributes:
        after_s: so long must the safety filter have held the robot back [s].
        for_s: how long it drives the other way [s]. speed_mps: how fast [m/s].
    """

    after_s: float = 0.8
    for_s: float = 1.5
    speed_mps: float = 0.15


@dataclass(frozen=True, slots=True)
class NavigationConfig:
    """Settings of following, of freeing itself, of noticing a block, and of safety."""

    escape: EscapeConfig = field(default_factory=EscapeConfig)
    follower: FollowerConfig = field(default_factory=FollowerConfig)
    blocked: BlockedConfig = field(default_factory=BlockedConfig)
    safety: SafetyConfig = field(default_factory=SafetyConfig)


class Navigator:
    """Drives one robot along a path.

    Attributes:
        advice: what the last tick showed should be done about the path.
        reason: why the last command is not what the path wanted, '' when it is.
        distance_to_go_m: remaining path at the last tick [m], NaN without one.
    """

    def __init__(self, name: str, model: RobotModel, config: NavigationConfig) -> None:
        self._name, self._model, self._config = name, model, config
        self.reset()

    def reset(self) -> None:
        """Forget path, scan and clock: after the host's time ran backwards."""
        self._follower = PathFollower(self._model, self._config.follower)
        self._safety = SafetyFilter(self._model, self._config.safety)
        self._monitor = BlockedMonitor(self._name, self._model.radius_m, self._config.blocked)
        self._way_maker = WayMaker(self._model, self._config.blocked)
        self._waypoints_m = NOWHERE
        self._scan: LaserScan | None = None
        self._held_since_s = inf
        self._escapes_until_s = -inf
        self.advice = Advice.PROCEED
        self.reason = ''
        self.distance_to_go_m = nan

    def follow(self, waypoints_m: NDArray[np.float64]) -> None:
        """Take a new path (NOWHERE to stand still). Shape: (m, 2) [m; map frame]."""
        moved_goal = not (len(waypoints_m) and len(self._waypoints_m)
                          and hypot(*(waypoints_m[-1] - self._waypoints_m[-1])) < 1.0)
        if moved_goal and self.advice is not Advice.YIELD:
            self._monitor.reset()
        self._waypoints_m = waypoints_m
        self.advice = Advice.YIELD if self.advice is Advice.YIELD else Advice.PROCEED

    def command(self, now_s: float, pose: Pose, twist: Twist, scan: LaserScan | None,
                teammates: Sequence[RobotStatus]) -> Twist:
        """Velocity until the next tick.

        Args:
            now_s: the robot's clock [s]. pose: [map frame]. twist: measured velocity.
            scan: newest sweep if one came since the last tick.
            teammates: last heard of each.
        """
        going = len(self._waypoints_m) > 0
        self._scan = scan or self._scan
        self.distance_to_go_m = distance_to_go_m(pose, self._waypoints_m) if going else nan
        wanted = self._follower.command(pose, self._waypoints_m, now_s)
        self.advice = self._monitor.update(now_s, pose, wanted, self.distance_to_go_m, teammates)
        if self.advice is Advice.YIELD and self._monitor.blocker is not None:
            wanted = yield_command(pose, self._monitor.blocker, self._model, self._config.blocked)
        elif now_s < self._escapes_until_s:
            wanted = Twist(-self._config.escape.speed_mps, 0.0)
        elif not going:
            asks = who_asks_for(pose, self._model.radius_m, teammates, self._config.blocked)
            wanted = self._way_maker.command(pose, asks, self._scan)
        near = teammates_in_base(teammates, pose, now_s, self._config.safety)
        command, self.reason = self._safety.filter(wanted, scan, now_s, twist, near)
        self._notice_hold(now_s, wanted, command)
        self._follower.last_command = command  # it accelerates from what the wheels were told
        return command

    def _notice_hold(self, now_s: float, wanted: Twist, command: Twist) -> None:
        """Begin to back off when something other than a teammate has held the robot for long enough."""
        is_held = wanted.linear_mps > 0.0 and command.linear_mps <= 0.0 and self.reason == 'obstacle'
        if not is_held:
            self._held_since_s = inf
            return
        self._held_since_s = min(self._held_since_s, now_s)
        if now_s - self._held_since_s >= self._config.escape.after_s:
            self._held_since_s = inf
            self._escapes_until_s = now_s + self._config.escape.for_s
