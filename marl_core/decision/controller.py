"""Path following for a differential drive: pure pursuit, turning in place where the path turns sharply."""

from dataclasses import dataclass
from math import atan2, cos, hypot, inf, isfinite, radians, sin, sqrt

import numpy as np
from numba import njit
from numpy.typing import NDArray

from marl_core.types import STOP, Pose, RobotModel, Twist


@dataclass(frozen=True, slots=True)
class FollowerConfig:
    """How a path is followed.

    Attributes:
        goal_tolerance_m: a path is done this near to its end [m].
        lookahead_min_m: how far ahead on the path the robot aims at least [m].
        lookahead_time_s: how far ahead it aims, as time at the present speed [s].
        turn_in_place_rad: heading error from which it only turns [rad]. Below, it slows with the error.
        turn_gain_per_s: turning speed per heading error when it only turns [1/s].
        lateral_acceleration_mps2: largest in curves [m/s2].
        braking: part of the model's deceleration that is planned with near the goal (0..1].
        longest_period_s: commands farther apart are limited as if they were this far apart [s].
    """

    goal_tolerance_m: float = 0.12
    lookahead_min_m: float = 0.25
    lookahead_time_s: float = 0.8
    turn_in_place_rad: float = radians(60.0)
    turn_gain_per_s: float = 3.0
    lateral_acceleration_mps2: float = 0.6
    braking: float = 0.7
    longest_period_s: float = 0.2


class PathFollower:
    """Turns pose and path into velocity; remembers only its last command, to limit acceleration."""

    def __init__(self, model: RobotModel, config: FollowerConfig = FollowerConfig()) -> None:
        self.model, self.config = model, config
        self.last_command = STOP
        self._last_s = -inf
        self._waypoints_m: NDArray[np.float64] | None = None
        self._leg = 0

    def reset(self, twist: Twist = STOP) -> None:
        """Start from a velocity: after a restart, or when something else commanded the robot."""
        self.last_command, self._last_s = twist, -inf

    def command(self, pose: Pose, waypoints_m: NDArray[np.float64], now: float) -> Twist:
        """Velocity that leads along a path, within the model's limits of velocity and acceleration.

        Args:
            pose: of the robot [map frame].
            waypoints_m: from start to goal [m; map frame]. Shape: (m, 2). Without any, the robot slows to a stop.
            now: time [s].
        """
        model, config = self.model, self.config
        elapsed_s = min(max(0.0, now - self._last_s), config.longest_period_s)
        self._last_s = now
        wanted = STOP
        if waypoints_m is not self._waypoints_m:
            self._waypoints_m, self._leg = waypoints_m, 0
        if len(waypoints_m) and all(map(isfinite, pose)):
            self._leg, *velocity = _pursue(
                pose.x_m, pose.y_m, pose.heading_rad, waypoints_m, self._leg, abs(self.last_command.linear_mps),
                model.max_linear_mps, model.max_angular_radps, config.braking * model.max_linear_acceleration_mps2,
                config.lateral_acceleration_mps2, config.goal_tolerance_m, config.lookahead_min_m,
                config.lookahead_time_s, config.turn_in_place_rad, config.turn_gain_per_s)
            wanted = Twist(*velocity)
        self.last_command = Twist(
            _approach(self.last_command.linear_mps, wanted.linear_mps,
                      model.max_linear_acceleration_mps2 * elapsed_s),
            _approach(self.last_command.angular_radps, wanted.angular_radps,
                      model.max_angular_acceleration_radps2 * elapsed_s))
        return self.last_command

    def arrived(self, pose: Pose, waypoints_m: NDArray[np.float64]) -> bool:
        """Whether the robot is at the end of a path (a path without waypoints has no end to be at)."""
        return len(waypoints_m) > 0 and hypot(waypoints_m[-1, 0] - pose.x_m, waypoints_m[-1, 1] - pose.y_m) <= (
            self.config.goal_tolerance_m)


def distance_to_go_m(pose: Pose, waypoints_m: NDArray[np.float64]) -> float:
    """Length of the path from the point on it that is nearest to the robot, and the way to that point [m]."""
    if not len(waypoints_m):
        return 0.0
    leg, part, off_m = _nearest_on_path(pose.x_m, pose.y_m, waypoints_m, 0, 0.0)
    return off_m + _remaining_m(waypoints_m, leg, part)


@njit(cache=True, nogil=True)
def _approach(last: float, wanted: float, change: float) -> float:
    return min(max(wanted, last - change), last + change)


@njit(cache=True, nogil=True)
def _nearest_on_path(x_m: float, y_m: float, waypoints_m: NDArray[np.float64], current_leg: int,
                     reluctance_m: float) -> tuple[int, float, float]:
    """Leg, position on it [0..1] and distance [m] of the nearest point; the later one where a path meets itself.

    Legs before the current one count as farther by ``reluctance_m``: on a path that comes near itself, a robot would
    go round in circles if it began again with every leg that happens to be near.
    """
    best_leg, best_part = 0, 0.0
    best_m = hypot(waypoints_m[0, 0] - x_m, waypoints_m[0, 1] - y_m)
    least_m = best_m + (reluctance_m if current_leg > 0 else 0.0)
    for leg in range(waypoints_m.shape[0] - 1):
        start_x_m, start_y_m = waypoints_m[leg, 0], waypoints_m[leg, 1]
        along_x_m, along_y_m = waypoints_m[leg + 1, 0] - start_x_m, waypoints_m[leg + 1, 1] - start_y_m
        squared_m2 = along_x_m * along_x_m + along_y_m * along_y_m
        part = 0.0
        if squared_m2 > 0.0:
            part = ((x_m - start_x_m) * along_x_m + (y_m - start_y_m) * along_y_m) / squared_m2
            part = min(1.0, max(0.0, part))
        apart_m = hypot(start_x_m + part * along_x_m - x_m, start_y_m + part * along_y_m - y_m)
        counted_m = apart_m + (reluctance_m if leg < current_leg else 0.0)
        if counted_m <= least_m + 1e-9:
            best_leg, best_part, best_m, least_m = leg, part, apart_m, counted_m
    return best_leg, best_part, best_m


@njit(cache=True, nogil=True)
def _remaining_m(waypoints_m: NDArray[np.float64], leg: int, part: float) -> float:
    total_m = 0.0
    for index in range(leg, waypoints_m.shape[0] - 1):
        leg_m = hypot(waypoints_m[index + 1, 0] - waypoints_m[index, 0],
                      waypoints_m[index + 1, 1] - waypoints_m[index, 1])
        total_m += leg_m * (1.0 - part) if index == leg else leg_m
    return total_m


@njit(cache=True, nogil=True)
def _point_ahead(waypoints_m: NDArray[np.float64], leg: int, part: float, ahead_m: float) -> tuple[float, float]:
    """The point that lies a way further along the path, or its end."""
    for index in range(leg, waypoints_m.shape[0] - 1):
        start_x_m, start_y_m = waypoints_m[index, 0], waypoints_m[index, 1]
        along_x_m, along_y_m = waypoints_m[index + 1, 0] - start_x_m, waypoints_m[index + 1, 1] - start_y_m
        leg_m = hypot(along_x_m, along_y_m)
        from_part = part if index == leg else 0.0
        if leg_m * (1.0 - from_part) >= ahead_m and leg_m > 0.0:
            at = from_part + ahead_m / leg_m
            return start_x_m + at * along_x_m, start_y_m + at * along_y_m
        ahead_m -= leg_m * (1.0 - from_part)
    return waypoints_m[-1, 0], waypoints_m[-1, 1]


@njit(cache=True, nogil=True)
def _pursue(x_m: float, y_m: float, heading_rad: float, waypoints_m: NDArray[np.float64], leg: int, speed_mps: float,
            max_linear_mps: float, max_angular_radps: float, deceleration_mps2: float, lateral_mps2: float,
            tolerance_m: float, lookahead_min_m: float, lookahead_time_s: float, turn_in_place_rad: float,
            turn_gain_per_s: float) -> tuple[int, float, float]:
    """Leg that the robot is on, given the one it was on, and the velocity wanted."""
    leg, part, off_m = _nearest_on_path(x_m, y_m, waypoints_m, leg, lookahead_min_m)
    to_go_m = off_m + _remaining_m(waypoints_m, leg, part)
    goal_m = hypot(waypoints_m[-1, 0] - x_m, waypoints_m[-1, 1] - y_m)
    if goal_m <= tolerance_m and to_go_m <= 2.0 * tolerance_m:
        return leg, 0.0, 0.0
    lookahead_m = max(lookahead_min_m, lookahead_time_s * speed_mps)
    aim_x_m, aim_y_m = _point_ahead(waypoints_m, leg, part, lookahead_m)
    dx_m, dy_m = aim_x_m - x_m, aim_y_m - y_m
    error_rad = atan2(dy_m, dx_m) - heading_rad
    error_rad = atan2(sin(error_rad), cos(error_rad))
    if abs(error_rad) >= turn_in_place_rad:
        turn_radps = min(max_angular_radps, turn_gain_per_s * abs(error_rad))
        return leg, 0.0, turn_radps if error_rad > 0.0 else -turn_radps
    curvature = 2.0 * sin(error_rad) / max(1e-3, hypot(dx_m, dy_m))
    # Slow down towards the goal, with heading error and in curves; a slow robot also cuts corners less.
    linear_mps = min(max_linear_mps, sqrt(2.0 * deceleration_mps2 * max(0.0, to_go_m - 0.5 * tolerance_m)))
    linear_mps *= 1.0 - abs(error_rad) / turn_in_place_rad
    if abs(curvature) > 1e-6:
        linear_mps = min(linear_mps, sqrt(lateral_mps2 / abs(curvature)), max_angular_radps / abs(curvature))
    angular_radps = linear_mps * curvature
    # Almost standing, an arc would take for ever: turn towards the path instead.
    least_radps = turn_gain_per_s * error_rad * (1.0 - linear_mps / max_linear_mps) * 0.5
    if abs(least_radps) > abs(angular_radps):
        angular_radps = least_radps
    return leg, linear_mps, min(max_angular_radps, max(-max_angular_radps, angular_radps))
