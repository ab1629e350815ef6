"""The last word before the motors: no commanded motion whose stopping way meets an obstacle, and no blind one.

A command passes when, driven for the reaction time and then braked, the round footprint keeps its margin from
every lidar point and every teammate. What is nearer already may not come nearer, so that a robot which got into
the margin can still turn and leave. Stopping is safe whenever the command before was: that is the invariant.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, inf, isfinite, nan, pi, radians, sin

import numpy as np
from numba import njit
from numpy.typing import NDArray

from marl_core.types import STOP, LaserScan, Pose, RobotModel, RobotStatus, Twist


@dataclass(frozen=True, slots=True)
class SafetyConfig:
    """What the filter assumes and how much room it keeps.

    Attributes:
        margin_m: kept between footprint and obstacles at creeping speed [m].
        margin_time_s: the margin grows with speed by this [s].
        reaction_s: from a scan to the wheels obeying: one control period and the latency of the motors [s].
        braking: part of the model's deceleration that is counted on (0..1].
        scan_timeout_s: an older scan stops the robot [s].
        future_tolerance_s: a scan stamped farther in the future is refused: clocks disagree [s].
        blind_sector_rad: beams without reading over a wider angle hide what may be there [rad].
        blind_cone_rad: only blind sectors within this angle of the direction of motion matter [rad].
        blind_speed_mps: largest speed into a blind sector [m/s]; 0 forbids it.
        teammate_margin_m: kept from teammates beyond ``margin_m`` [m].
        teammate_growth_mps: that margin grows with the age of the news by this [m/s],
        teammate_growth_max_m: but not beyond this [m].
        teammate_timeout_s: older news are ignored; the lidar still sees the teammate [s].
    """

    margin_m: float = 0.03
    margin_time_s: float = 0.1
    reaction_s: float = 0.2
    braking: float = 0.9
    scan_timeout_s: float = 0.5
    future_tolerance_s: float = 0.05
    blind_sector_rad: float = radians(20.0)
    blind_cone_rad: float = radians(50.0)
    blind_speed_mps: float = 0.05
    teammate_margin_m: float = 0.05
    teammate_growth_mps: float = 0.1
    teammate_growth_max_m: float = 0.3
    teammate_timeout_s: float = 5.0


PASSED = ''
"""Reason when a command passes as it is."""

_REASONS = (PASSED, 'obstacle', 'teammate', 'blind sector')
_OBSTACLE, _TEAMMATE, _BLIND = 1, 2, 3

_STEP_S, _MAX_STEPS = 0.04, 1000
"""Motion is looked at so finely, and not beyond: who does not stand after 40 s is told to stop."""

_FINEST_RAD = 1e-4
"""Beams nearer to each other are no lidar's (0.006 degrees), and count as blind."""

_TEAM_COLUMNS = 5
NOBODY = np.empty((0, _TEAM_COLUMNS))
"""No teammate known."""


def teammates_in_base(teammates: Sequence[RobotStatus], pose: Pose, now: float,
                      config: SafetyConfig = SafetyConfig()) -> NDArray[np.float64]:
    """Teammates as the filter takes them: where they should be now, seen from the robot.

    Args:
        teammates: what was heard of each last.
        pose: the robot's own [map frame].
        now: time [s].
        config: margins and time-out.

    Returns:
        x, y [m; base frame], velocity x, y [m/s; base frame], radius with its margins [m]; news that are too
        old, or not finite, are left out. Shape: (n, 5).
    """
    rows = np.empty((len(teammates), _TEAM_COLUMNS))
    used = 0
    ahead, left = cos(pose.heading_rad), sin(pose.heading_rad)
    for status in teammates:
        age_s = max(0.0, now - status.stamp_s)
        if age_s > config.teammate_timeout_s:
            continue
        x_mps = status.twist.linear_mps * cos(status.pose.heading_rad)
        y_mps = status.twist.linear_mps * sin(status.pose.heading_rad)
        moved_s = min(age_s, 1.0)  # nobody keeps course for long
        dx_m = status.pose.x_m + x_mps * moved_s - pose.x_m
        dy_m = status.pose.y_m + y_mps * moved_s - pose.y_m
        grown_m = min(config.teammate_growth_max_m, config.teammate_growth_mps * age_s)
        rows[used] = (ahead * dx_m + left * dy_m, -left * dx_m + ahead * dy_m, ahead * x_mps + left * y_mps,
                      -left * x_mps + ahead * y_mps, status.radius_m + config.teammate_margin_m + grown_m)
        used += bool(np.isfinite(rows[used]).all())
    return rows[:used]


class SafetyFilter:
    """Lets a command pass, slows it, or stops the robot, and says why."""

    def __init__(self, model: RobotModel, config: SafetyConfig = SafetyConfig()) -> None:
        self.model, self.config = model, config
        self._scan: LaserScan | None = None
        self._last_s = -inf
        self._geometry = (0, nan, nan)
        self._cosines = self._sines = np.empty(0)
        self._points_m = np.empty((0, 2))

    def filter(self, command: Twist, scan: LaserScan | None, now: float, twist: Twist,
               teammates: NDArray[np.float64] = NOBODY) -> tuple[Twist, str]:
        """Pass a command on as far as it is safe.

        Args:
            command: wanted velocity.
            scan: newest lidar sweep, or None when none came since the last call (the last one is kept).
            now: time [s], in the clock that stamps the scans.
            twist: measured velocity.
            teammates: from ``teammates_in_base``. Shape: (n, 5).

        Returns:
            The velocity to drive, and why it is not the wanted one (PASSED when it is).
        """
        if scan is not None:
            self._scan = scan
        stopped = self._why_stop(command, now, twist)
        self._last_s = max(self._last_s, now) if isfinite(now) else self._last_s
        if stopped:
            return STOP, stopped
        assert self._scan is not None
        model, config = self.model, self.config
        self._prepare(self._scan)
        linear_mps, angular_radps, reason = _filter(
            _within(command.linear_mps, model.max_linear_mps), _within(command.angular_radps, model.max_angular_radps),
            twist.linear_mps, twist.angular_radps, self._scan.ranges_m, self._cosines, self._sines,
            self._scan.range_min_m, self._scan.range_max_m, model.lidar.x_m, max(0.0, now - self._scan.stamp_s),
            teammates, self._points_m, model.radius_m, config.margin_m, config.margin_time_s, config.reaction_s,
            config.braking * model.max_linear_acceleration_mps2, config.braking * model.max_angular_acceleration_radps2,
            self._scan.angle_min_rad, self._scan.angle_increment_rad, config.blind_sector_rad, config.blind_cone_rad,
            config.blind_speed_mps)
        passed = Twist(linear_mps, angular_radps)
        if reason == 0 and passed != command:
            return passed, 'limits of the model'
        return passed, _REASONS[reason]

    def _why_stop(self, command: Twist, now: float, twist: Twist) -> str:
        """Reason to stop at once, '' without."""
        if not (isfinite(command.linear_mps) and isfinite(command.angular_radps)):
            return 'command is not finite'
        if not (isfinite(twist.linear_mps) and isfinite(twist.angular_radps)):
            return 'measured velocity is not finite'
        if not now >= self._last_s:
            return 'clock ran backwards'
        if self._scan is None:
            return 'no scan yet'
        age_s = now - self._scan.stamp_s
        if not age_s <= self.config.scan_timeout_s:
            return 'scan is stale'
        if age_s < -self.config.future_tolerance_s:
            return 'scan is from the future'
        if np.isnan(self._scan.ranges_m).all():
            return 'scan is empty'
        return ''

    def _prepare(self, scan: LaserScan) -> None:
        """Directions of beams are computed once per lidar, not per scan."""
        geometry = (len(scan.ranges_m), scan.angle_min_rad, scan.angle_increment_rad)
        if geometry != self._geometry:
            angles = scan.angle_min_rad + scan.angle_increment_rad * np.arange(geometry[0])
            self._geometry, self._cosines, self._sines = geometry, np.cos(angles), np.sin(angles)
            self._points_m = np.empty((geometry[0], 2))


def _within(value: float, limit: float) -> float:
    return min(limit, max(-limit, value))


@njit(cache=True, nogil=True)
def _filter(linear_mps: float, angular_radps: float, now_mps: float, now_radps: float, ranges_m: NDArray[np.float32],
            cosines: NDArray[np.float64], sines: NDArray[np.float64], range_min_m: float, range_max_m: float,
            lidar_x_m: float, age_s: float, teammates: NDArray[np.float64], points_m: NDArray[np.float64],
            radius_m: float, margin_m: float, margin_time_s: float, reaction_s: float, braking_mps2: float,
            braking_radps2: float, angle_min_rad: float, increment_rad: float, blind_sector_rad: float,
            blind_cone_rad: float, blind_speed_mps: float) -> tuple[float, float, int]:
    """Try the command, then slower ones with the same turn, then the turn alone, then stop."""
    reason = 0
    if abs(linear_mps) > blind_speed_mps and _heads_into_blind(
            ranges_m, angle_min_rad, increment_rad, linear_mps < 0.0, blind_sector_rad, blind_cone_rad):
        linear_mps = blind_speed_mps if linear_mps > 0.0 else -blind_speed_mps
        reason = _BLIND
    fastest_mps = max(abs(linear_mps), abs(now_mps))
    # Nothing farther than this from the robot's centre can matter before it stands.
    horizon_m = (fastest_mps * reaction_s + 0.5 * fastest_mps * fastest_mps / braking_mps2
                 + radius_m + margin_m + margin_time_s * fastest_mps + 0.05)
    near = _near_points(ranges_m, cosines, sines, range_min_m, range_max_m, lidar_x_m, now_mps, now_radps, age_s,
                        horizon_m, points_m)
    for step in range(9):
        slower_mps = linear_mps * (1.0 - step / 8.0)
        met = _meets(slower_mps, angular_radps, now_mps, now_radps, points_m, near, teammates, radius_m, margin_m,
                     margin_time_s, reaction_s, braking_mps2, braking_radps2)
        if met == 0:
            return slower_mps, angular_radps, reason
        reason = met
        if linear_mps == 0.0:
            break
    return 0.0, 0.0, reason


@njit(cache=True, nogil=True)
def _near_points(ranges_m: NDArray[np.float32], cosines: NDArray[np.float64], sines: NDArray[np.float64],
                 range_min_m: float, range_max_m: float, lidar_x_m: float, now_mps: float, now_radps: float,
                 age_s: float, horizon_m: float, points_m: NDArray[np.float64]) -> int:
    """Write obstacle points near the robot, in the base frame of now; returns their number."""
    turned_rad = now_radps * age_s
    moved_x_m = now_mps * age_s * cos(0.5 * turned_rad)
    moved_y_m = now_mps * age_s * sin(0.5 * turned_rad)
    ahead, left = cos(turned_rad), sin(turned_rad)
    reach_m = horizon_m + abs(lidar_x_m) + abs(now_mps) * age_s
    count = 0
    for beam in range(ranges_m.shape[0]):
        range_m = float(ranges_m[beam])
        if not range_m <= reach_m or range_m == 0.0 or range_m >= range_max_m:  # also NaN; 0 is no reading
            continue
        range_m = max(range_m, range_min_m)  # too close to tell: there at the latest (also -inf)
        x_m = lidar_x_m + range_m * cosines[beam] - moved_x_m
        y_m = range_m * sines[beam] - moved_y_m
        if x_m * x_m + y_m * y_m > horizon_m * horizon_m:
            continue
        points_m[count, 0] = ahead * x_m + left * y_m
        points_m[count, 1] = -left * x_m + ahead * y_m
        count += 1
    return count


@njit(cache=True, nogil=True)
def _meets(linear_mps: float, angular_radps: float, now_mps: float, now_radps: float, points_m: NDArray[np.float64],
           near: int, teammates: NDArray[np.float64], radius_m: float, margin_m: float, margin_time_s: float,
           reaction_s: float, braking_mps2: float, braking_radps2: float) -> int:
    """Drive the command for the reaction time, then brake; returns what comes too near, 0 for nothing."""
    # A robot speeds up at once at worst, but slows down no faster than it brakes.
    v_mps, w_radps = _at_once(now_mps, linear_mps), _at_once(now_radps, angular_radps)
    x_m, y_m, heading_rad, t_s = 0.0, 0.0, 0.0, 0.0
    for _ in range(_MAX_STEPS):
        if not (t_s < reaction_s or v_mps != 0.0 or w_radps != 0.0):
            return 0
        obeying = t_s < reaction_s
        before_mps = v_mps
        v_mps = _towards(v_mps, linear_mps if obeying else 0.0, braking_mps2 * _STEP_S)
        w_radps = _towards(w_radps, angular_radps if obeying else 0.0, braking_radps2 * _STEP_S)
        if v_mps == 0.0 and before_mps == 0.0 and not obeying:
            return 0  # what is left is turning, which a round footprint may
        moved_m = 0.5 * (before_mps + v_mps) * _STEP_S
        x_m += moved_m * cos(heading_rad + 0.5 * w_radps * _STEP_S)
        y_m += moved_m * sin(heading_rad + 0.5 * w_radps * _STEP_S)
        heading_rad += w_radps * _STEP_S
        t_s += _STEP_S
        kept_m = radius_m + margin_m + margin_time_s * abs(v_mps)
        for index in range(near):
            if _nearer(points_m[index, 0], points_m[index, 1], x_m, y_m, kept_m):
                return _OBSTACLE
        for row in range(teammates.shape[0]):
            mate_x_m, mate_y_m, together_m = teammates[row, 0], teammates[row, 1], teammates[row, 4] + kept_m
            # It may stop where it is, or go on as it goes.
            if _nearer(mate_x_m, mate_y_m, x_m, y_m, together_m):
                return _TEAMMATE
            if _closes_in(mate_x_m, mate_y_m, teammates[row, 2], teammates[row, 3], x_m, y_m, t_s, together_m):
                return _TEAMMATE
    return _OBSTACLE  # who does not stand by then meets something


@njit(cache=True, nogil=True)
def _nearer(point_x_m: float, point_y_m: float, x_m: float, y_m: float, kept_m: float) -> bool:
    """Whether the robot, now at the origin, came nearer to a point than both ``kept_m`` and where it started."""
    apart_m2 = (point_x_m - x_m) ** 2 + (point_y_m - y_m) ** 2
    return apart_m2 < kept_m * kept_m and apart_m2 < point_x_m * point_x_m + point_y_m * point_y_m - 1e-9


@njit(cache=True, nogil=True)
def _closes_in(mate_x_m: float, mate_y_m: float, mate_x_mps: float, mate_y_mps: float, x_m: float, y_m: float,
               t_s: float, kept_m: float) -> bool:
    """Whether the own motion brings the robot too near to a teammate that goes on; not if standing were as bad."""
    there_x_m, there_y_m = mate_x_m + mate_x_mps * t_s, mate_y_m + mate_y_mps * t_s
    apart_m2 = (there_x_m - x_m) ** 2 + (there_y_m - y_m) ** 2
    return apart_m2 < kept_m * kept_m and apart_m2 < there_x_m * there_x_m + there_y_m * there_y_m - 1e-9


@njit(cache=True, nogil=True)
def _at_once(now: float, wanted: float) -> float:
    """The faster of two velocities, if they have one direction; else the present one, which must end first."""
    if now * wanted < 0.0:
        return now
    return wanted if abs(wanted) > abs(now) else now


@njit(cache=True, nogil=True)
def _towards(value: float, wanted: float, change: float) -> float:
    return min(max(wanted, value - change), value + change)


@njit(cache=True, nogil=True)
def _heads_into_blind(ranges_m: NDArray[np.float32], angle_min_rad: float, increment_rad: float, backwards: bool,
                      sector_rad: float, cone_rad: float) -> bool:
    """Whether a run of directions without reading, wider than a sector, reaches into the cone of motion.

    Directions beyond the field of view have no reading either. Walks once around, from the direction opposite
    to the motion, in steps of one beam.
    """
    beams = ranges_m.shape[0]
    width_rad = abs(increment_rad)
    if not _FINEST_RAD <= width_rad <= 2.0 * pi:
        return True
    steps = int(2.0 * pi / width_rad + 0.5)
    straight_rad = pi if backwards else 0.0
    allowed = int(sector_rad / width_rad)
    run, in_cone = 0, False
    for step in range(2 * steps):  # twice around, for the run that contains the start
        off_rad = (step % steps) * width_rad - pi
        beam = int(round(((straight_rad + off_rad - angle_min_rad) % (2.0 * pi)) / width_rad))
        if increment_rad < 0.0:
            beam = int(round(((angle_min_rad - straight_rad - off_rad) % (2.0 * pi)) / width_rad))
        if beam == steps and beams <= steps:
            beam = 0
        if beam < beams and not (np.isnan(ranges_m[beam]) or ranges_m[beam] == 0.0):
            run, in_cone = 0, False
            continue
        run += 1
        in_cone = in_cone or abs(off_rad) <= cone_rad
        if in_cone and run > allowed:
            return True
        if step >= steps and run > steps:
            return in_cone
    return False
