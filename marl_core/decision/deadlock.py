"""What to do when a robot wants to move and does not get on, mostly because a teammate stands in its way.

Of two robots that block each other exactly one must give way, and they must agree which without talking: the
one whose name comes later yields. If that does not help within a time, the other one acts as well, because a
teammate may be broken.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from math import atan2, cos, hypot, inf, isfinite, pi, sin

import numpy as np
from numpy.typing import NDArray

from marl_core.types import STOP, Activity, LaserScan, Pose, RobotModel, RobotStatus, Twist


class Advice(Enum):
    """What the agent should do next.

    Attributes:
        PROCEED: nothing is wrong, or waiting is right.
        REPLAN_AROUND: plan again with teammates as obstacles (``teammate_discs``); said once.
        YIELD: back away from ``blocker`` (``yield_command``); said as long as it is to last.
        GIVE_UP_GOAL: choose another candidate than this; said once.
    """

    PROCEED = 'proceed'
    REPLAN_AROUND = 'replan around'
    YIELD = 'yield'
    GIVE_UP_GOAL = 'give up goal'


@dataclass(frozen=True, slots=True)
class BlockedConfig:
    """When a robot counts as blocked, and how patient it is.

    Attributes:
        timeout_s: without moving or turning for this long, a robot is blocked [s].
        moved_m: what counts as moving [m].
        turned_rad: what counts as turning [rad],
        turns: but not more often than this in one place.
        cleared_m: this far from where it was blocked, a robot is past the trouble [m].
        near_m: a teammate within this of the robot's edge can be what blocks it [m].
        patience: the first by name waits so many time-outs before it acts, too.
        yield_s: how long a robot backs away [s].
        yield_speed_mps: how fast [m/s].
        futile_s: a goal that did not come nearer for this long is given up, however busy the robot was [s].
        aside_room_m: who makes way wants so much room in a direction [m]. aside_speed_mps: how fast it goes [m/s].
    """

    timeout_s: float = 3.0
    moved_m: float = 0.15
    turned_rad: float = 0.5
    turns: int = 6
    cleared_m: float = 1.5
    near_m: float = 1.0
    patience: float = 3.0
    yield_s: float = 3.0
    yield_speed_mps: float = 0.15
    futile_s: float = 30.0
    aside_room_m: float = 0.6
    aside_speed_mps: float = 0.3


_PASSING_M = 0.3
"""Wanted between two robots that pass each other [m]."""

_ASIDE_RAD = (pi / 2, pi / 3, pi / 6, 0.0)
"""Directions tried by who makes way, from the side to straight away from who asks [rad]."""

_BESIDE_M = 0.05
"""Kept at both sides on the way aside [m]."""


class BlockedMonitor:
    """Watches one robot and escalates while it stands: replan around, yield, give up the goal.

    Attributes:
        blocker: the teammate that was in the way when the robot was last found blocked, None without.
    """

    def __init__(self, name: str, radius_m: float = 0.2, config: BlockedConfig = BlockedConfig()) -> None:
        self.name, self.radius_m, self.config = name, radius_m, config
        self.blocker: RobotStatus | None = None
        self._last_s = -inf
        self.reset()

    def reset(self) -> None:
        """Forget everything: a new goal (not: a new path to the same)."""
        self._place: Pose | None = None
        self._waiting_since_s = self._nearer_since_s = self._yield_until_s = -inf
        self._nearest_m = self._last_to_go_m = inf
        self._turns_left = self.config.turns
        self._blocked_at: Pose | None = None
        self._steps_taken = 0

    def update(self, now: float, pose: Pose, command: Twist, distance_to_go_m: float,
               teammates: Sequence[RobotStatus]) -> Advice:
        """Judge progress; call it every tick.

        Args:
            now: time [s].
            pose: of the robot [map frame].
            command: what the path follower wants, before the safety filter; who wants nothing is not blocked.
            distance_to_go_m: remaining path [m], NaN without a goal.
            teammates: last heard of each.
        """
        backwards, self._last_s = now < self._last_s, now
        if backwards or not isfinite(distance_to_go_m):
            self.reset()
            return Advice.PROCEED
        if now < self._yield_until_s:
            return Advice.YIELD
        if self._place is None or self._moved(pose) or command == STOP:
            self._place, self._waiting_since_s = self._place or pose, now
        if self._is_futile(now, distance_to_go_m):
            return self._give_up()
        if self._blocked_at is not None and _apart_m(pose, self._blocked_at) > self.config.cleared_m:
            self._blocked_at, self._steps_taken = None, 0
        waited = (now - self._waiting_since_s) / self.config.timeout_s
        if waited < 1.0:
            return Advice.PROCEED
        self.blocker = self._find_blocker(pose, teammates)
        return self._escalate(waited, now, pose)

    def _escalate(self, waited: float, now: float, pose: Pose) -> Advice:
        """The next step, if its time has come; ``waited`` counts time-outs since the last step or motion."""
        may_wait = self.blocker is not None and self._steps_taken == 0 and not self._yields_to(self.blocker)
        if waited < (self.config.patience if may_wait else 1.0):
            return Advice.PROCEED
        steps = (Advice.REPLAN_AROUND, Advice.GIVE_UP_GOAL) if self.blocker is None else (
            Advice.REPLAN_AROUND, Advice.YIELD, Advice.GIVE_UP_GOAL)
        advice = steps[min(self._steps_taken, len(steps) - 1)]
        if advice is Advice.GIVE_UP_GOAL:
            return self._give_up()
        self._blocked_at = self._blocked_at or pose
        self._steps_taken += 1
        self._waiting_since_s = now
        if advice is Advice.YIELD:
            self._yield_until_s = self._waiting_since_s = now + self.config.yield_s
        return advice

    def _give_up(self) -> Advice:
        self.reset()
        return Advice.GIVE_UP_GOAL

    def _moved(self, pose: Pose) -> bool:
        """Whether the robot left its place, or turned in it; a robot that turns for ever does not get on."""
        assert self._place is not None
        if _apart_m(pose, self._place) >= self.config.moved_m:
            self._place, self._turns_left = pose, self.config.turns
            return True
        turned_rad = pose.heading_rad - self._place.heading_rad
        if abs(atan2(sin(turned_rad), cos(turned_rad))) < self.config.turned_rad or not self._turns_left:
            return False
        self._place = Pose(self._place.x_m, self._place.y_m, pose.heading_rad)
        self._turns_left -= 1
        return True

    def _is_futile(self, now: float, distance_to_go_m: float) -> bool:
        """Whether the goal did not come nearer for long, on whatever path."""
        replanned = distance_to_go_m > self._last_to_go_m + self.config.moved_m
        self._last_to_go_m = distance_to_go_m
        if replanned:
            self._nearest_m = distance_to_go_m
        elif distance_to_go_m <= self._nearest_m - self.config.moved_m:
            self._nearest_m, self._nearer_since_s = distance_to_go_m, now
        return now - self._nearer_since_s > self.config.futile_s

    def _yields_to(self, teammate: RobotStatus) -> bool:
        """The later name yields, and everybody yields to a robot that cannot move itself."""
        broken = teammate.activity in (Activity.FAULT, Activity.DONE, Activity.IDLE)
        return broken or teammate.robot < self.name

    def _find_blocker(self, pose: Pose, teammates: Sequence[RobotStatus]) -> RobotStatus | None:
        """The nearest teammate within reach, wherever it is: while turning, the way is not where the robot looks."""
        nearest_m, nearest = self.config.near_m, None
        for status in teammates:
            gap_m = _apart_m(status.pose, pose) - status.radius_m - self.radius_m
            if gap_m < nearest_m:
                nearest_m, nearest = gap_m, status
        return nearest


def teammate_discs(pose: Pose, teammates: Sequence[RobotStatus], radius_m: float, within_m: float = 4.0,
                   margin_m: float = 0.1) -> NDArray[np.float64]:
    """Where a robot's centre must not plan to be: teammates near enough to be still there on arrival.

    Args:
        pose: of the robot [map frame].
        teammates: last heard of each.
        radius_m: footprint of the robot itself [m].
        within_m: farther teammates will have moved on [m].
        margin_m: kept beyond both footprints [m].

    Returns:
        x, y, radius [m; map frame]; the radius includes the robot's own. Shape: (n, 3).
    """
    discs = [(status.pose.x_m, status.pose.y_m, status.radius_m + radius_m + margin_m) for status in teammates
             if _apart_m(status.pose, pose) <= within_m]
    return np.array(discs, np.float64).reshape(-1, 3)


def yield_command(pose: Pose, blocker: RobotStatus, model: RobotModel, config: BlockedConfig = BlockedConfig(),
                  ) -> Twist:
    """Velocity that leads away from a teammate: backwards from one ahead, forwards from one behind.

    Args:
        pose: of the robot [map frame].
        blocker: the teammate.
        model: of the robot.
        config: speed.
    """
    bearing_rad = atan2(blocker.pose.y_m - pose.y_m, blocker.pose.x_m - pose.x_m) - pose.heading_rad
    bearing_rad = atan2(sin(bearing_rad), cos(bearing_rad))
    speed_mps = min(config.yield_speed_mps, model.max_linear_mps)
    # Turn so that the teammate comes to lie straight ahead (or straight behind).
    if cos(bearing_rad) >= 0.0:
        return Twist(-speed_mps, 0.5 * model.max_angular_radps * sin(bearing_rad))
    return Twist(speed_mps, -0.5 * model.max_angular_radps * sin(bearing_rad))


def who_asks_for(pose: Pose, radius_m: float, teammates: Sequence[RobotStatus],
                 config: BlockedConfig = BlockedConfig()) -> RobotStatus | None:
    """The nearest teammate that is on its way and has a robot that stands here ahead of it, None without.

    Args:
        pose: of the robot that stands [map frame].
        radius_m: its footprint [m].
        teammates: last heard of each.
        config: how near is near.
    """
    asking = [(gap_m, mate.robot, mate) for mate in teammates
              if mate.activity is Activity.EXPLORING and mate.has_goal and _is_in_the_way(mate, pose, radius_m)
              and (gap_m := _apart_m(mate.pose, pose) - mate.radius_m - radius_m) < config.near_m]
    return min(asking)[2] if asking else None


def _is_in_the_way(mate: RobotStatus, pose: Pose, radius_m: float) -> bool:
    """Whether a robot stands on, or close to, the straight way of a teammate: ahead of it, or before its goal."""
    x_m, y_m = pose.x_m - mate.pose.x_m, pose.y_m - mate.pose.y_m
    goal_x_m, goal_y_m = mate.goal_x_m - mate.pose.x_m, mate.goal_y_m - mate.pose.y_m
    for direction_rad, length_m in ((mate.pose.heading_rad, inf),
                                    (atan2(goal_y_m, goal_x_m), hypot(goal_x_m, goal_y_m))):
        along_m = x_m * cos(direction_rad) + y_m * sin(direction_rad)
        beside_m = abs(y_m * cos(direction_rad) - x_m * sin(direction_rad))
        if 0.0 < along_m < length_m and beside_m < mate.radius_m + radius_m + _PASSING_M:
            return True
    return False


class WayMaker:
    """Clears the way of a teammate: to a side where there is room, else on ahead of it.

    In a doorway there is room only ahead; behind it, at a side. A direction once chosen is kept until a better one
    opens or it ends, or the robot would waver between two sides that are alike.
    """

    def __init__(self, model: RobotModel, config: BlockedConfig = BlockedConfig()) -> None:
        self._model, self._config = model, config
        self._kept: tuple[int, float] | None = None

    def command(self, pose: Pose, mate: RobotStatus | None, scan: LaserScan | None) -> Twist:
        """Velocity of a robot that has nowhere to go itself; STOP if nobody asks for its place.

        Args:
            pose: of the robot [map frame].
            mate: who asks for its place, None if nobody does.
            scan: newest sweep.
        """
        if mate is None or scan is None:
            self._kept = None
            return STOP
        self._kept = self._choose(pose, mate, scan)
        if self._kept is None:
            return STOP
        speed_mps = min(self._config.aside_speed_mps, self._model.max_linear_mps)
        return _drive_towards(self._kept[1] - pose.heading_rad, speed_mps, self._model)

    def _choose(self, pose: Pose, mate: RobotStatus, scan: LaserScan) -> tuple[int, float] | None:
        """Rank and direction [rad; map frame] of the best way with room; None without."""
        angles = pose.heading_rad + scan.angle_min_rad + scan.angle_increment_rad * np.arange(len(scan.ranges_m))
        seen = np.isfinite(scan.ranges_m) & (scan.ranges_m > 0.0)
        x_m = scan.ranges_m[seen] * np.cos(angles[seen]) + self._model.lidar.x_m * cos(pose.heading_rad)
        y_m = scan.ranges_m[seen] * np.sin(angles[seen]) + self._model.lidar.x_m * sin(pose.heading_rad)
        away_rad = atan2(pose.y_m - mate.pose.y_m, pose.x_m - mate.pose.x_m)
        for rank, turned_rad in enumerate(_ASIDE_RAD):
            if self._kept is not None and self._kept[0] <= rank and _room_m(
                    x_m, y_m, self._kept[1], self._model.radius_m) >= self._config.moved_m:
                return self._kept
            room_m, direction_rad = max((_room_m(x_m, y_m, direction_rad, self._model.radius_m), direction_rad)
                                        for direction_rad in (away_rad + turned_rad, away_rad - turned_rad))
            if room_m >= self._config.aside_room_m:
                return rank, direction_rad
        return None


def _room_m(x_m: NDArray[np.float64], y_m: NDArray[np.float64], direction_rad: float, radius_m: float) -> float:
    """How far a robot may drive in a direction before it touches one of these points, relative to it [m]."""
    along_m = x_m * cos(direction_rad) + y_m * sin(direction_rad)
    beside_m = np.abs(y_m * cos(direction_rad) - x_m * sin(direction_rad))
    return float(np.min(along_m[(along_m > 0.0) & (beside_m < radius_m + _BESIDE_M)], initial=inf)) - radius_m


def _drive_towards(direction_rad: float, speed_mps: float, model: RobotModel) -> Twist:
    """Turn first, then drive, in reverse if that is the nearer way to turn."""
    backwards = cos(direction_rad) < 0.0
    off_rad = atan2(sin(direction_rad), cos(direction_rad)) if not backwards else atan2(
        -sin(direction_rad), -cos(direction_rad))
    linear_mps = 0.0 if abs(off_rad) > 0.5 else -speed_mps if backwards else speed_mps
    return Twist(linear_mps, max(-1.0, min(1.0, 2.0 * off_rad)) * model.max_angular_radps)


def _apart_m(first: Pose, second: Pose) -> float:
    return hypot(first.x_m - second.x_m, first.y_m - second.y_m)
