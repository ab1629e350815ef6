"""The navigator: follows, stands still without a path, and frees itself from what it came too near to."""

from math import inf, pi

import numpy as np

from marl_core.decision.navigator import NOWHERE, NavigationConfig, Navigator
from marl_core.types import STOP, LaserScan, Pose, RobotModel, Twist

MODEL = RobotModel()
AHEAD = np.array([[0.0, 0.0], [3.0, 0.0]])


def scan(stamp_s: float, near_m: float | None = None) -> LaserScan:
    ranges = np.full(360, inf, np.float32)
    if near_m is not None:
        ranges[180] = near_m
    return LaserScan(stamp_s, -pi, 2 * pi / 360, 0.12, 8.0, ranges)


def drive(navigator: Navigator, seconds: float, near_m: float | None) -> list[Twist]:
    commands, twist = [], STOP
    for step in range(round(seconds * 10)):
        now_s = 0.1 * step
        twist = navigator.command(now_s, Pose(0.0, 0.0, 0.0), twist, scan(now_s, near_m), [])
        commands.append(twist)
    return commands


def test_it_follows_a_free_path_and_stands_without_one() -> None:
    navigator = Navigator('a', MODEL, NavigationConfig())
    navigator.follow(AHEAD)
    assert drive(navigator, 1.0, None)[-1].linear_mps > 0.3
    assert navigator.distance_to_go_m == 3.0
    navigator.reset()
    navigator.follow(NOWHERE)
    assert drive(navigator, 0.5, None)[-1] == STOP
    assert np.isnan(navigator.distance_to_go_m)


def test_held_by_an_obstacle_it_backs_off_and_tries_again() -> None:
    navigator = Navigator('a', MODEL, NavigationConfig())
    navigator.follow(AHEAD)
    speeds = [twist.linear_mps for twist in drive(navigator, 4.0, MODEL.radius_m + 0.01)]
    assert max(speeds) < 0.1
    assert speeds[3] == 0.0
    assert min(speeds[9:25]) < -0.1
    assert speeds[28] == 0.0


def test_after_a_reset_an_old_scan_is_forgotten() -> None:
    navigator = Navigator('a', MODEL, NavigationConfig())
    navigator.follow(AHEAD)
    drive(navigator, 0.5, None)
    navigator.reset()
    navigator.follow(AHEAD)
    assert navigator.command(0.0, Pose(0.0, 0.0, 0.0), STOP, None, []) == STOP
    assert navigator.reason == 'no scan yet'
