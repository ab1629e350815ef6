"""The navigator: follows, stands still without a path, and frees itself from what it came too near to."""

from math import cos, hypot, inf, nan, pi, sin

import numpy as np
import pytest

from marl_core.decision.navigator import NOWHERE, NavigationConfig, Navigator
from marl_core.types import STOP, Activity, LaserScan, Pose, RobotModel, RobotStatus, Twist

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


def doorway(pose: Pose, stamp_s: float) -> LaserScan:
    """What is seen between walls 10 m apart, with one across at x = 0 that has a door of 1 m; 0.1 m thick."""
    angles = pose.heading_rad - pi + np.arange(360) * 2 * pi / 360
    along_m = np.arange(0.02, 8.0, 0.02)
    x_m = pose.x_m + np.cos(angles)[:, None] * along_m
    y_m = pose.y_m + np.sin(angles)[:, None] * along_m
    hit = (np.abs(x_m) > 5.0) | (np.abs(y_m) > 5.0) | ((np.abs(x_m) < 0.05) & (np.abs(y_m) > 0.5))
    ranges_m = np.where(hit.any(axis=1), along_m[hit.argmax(axis=1)], inf)
    return LaserScan(stamp_s, -pi, 2 * pi / 360, 0.0, 8.0, ranges_m.astype(np.float32))


def driven(pose: Pose, twist: Twist, for_s: float) -> Pose:
    heading_rad = pose.heading_rad + twist.angular_radps * for_s
    return Pose(pose.x_m + twist.linear_mps * for_s * cos(heading_rad),
                pose.y_m + twist.linear_mps * for_s * sin(heading_rad), heading_rad)


@pytest.mark.parametrize('heading_rad', [0.0, 1.0, pi / 2, pi, -2.0])
@pytest.mark.parametrize('x_m', [-0.3, 0.0, 0.3])
@pytest.mark.parametrize('activity', [Activity.DONE, Activity.IDLE])
def test_who_is_done_makes_way_in_a_doorway(x_m, heading_rad, activity) -> None:
    poses = {'done': Pose(x_m, 0.05, heading_rad), 'goes': Pose(-2.5, 0.0, 0.0)}
    twists = dict.fromkeys(poses, STOP)
    navigators = {name: Navigator(name, MODEL, NavigationConfig()) for name in poses}
    navigators['goes'].follow(np.array([[-2.5, 0.0], [3.0, 0.0]]))
    for step in range(400):
        now_s = 0.1 * step
        said = {'done': RobotStatus('done', 1, now_s, poses['done'], twists['done'], activity=activity),
                'goes': RobotStatus('goes', 1, now_s, poses['goes'], twists['goes'], 3.0, 0.0, nan, 0.2,
                                    Activity.EXPLORING)}
        twists = {name: navigators[name].command(now_s, pose, twists[name], doorway(pose, now_s), [
            status for other, status in said.items() if other != name]) for name, pose in poses.items()}
        poses = {name: driven(pose, twists[name], 0.1) for name, pose in poses.items()}
        apart_m = hypot(poses['done'].x_m - poses['goes'].x_m, poses['done'].y_m - poses['goes'].y_m)
        assert apart_m > 2 * MODEL.radius_m
        if poses['goes'].x_m > 2.5:
            break
    assert poses['goes'].x_m > 2.5
    assert twists['done'].linear_mps == 0.0


def test_who_is_done_stands_when_nobody_asks() -> None:
    navigator, here = Navigator('done', MODEL, NavigationConfig()), Pose(0.0, 0.0, 0.0)
    mates = [RobotStatus('far', 1, 0.0, Pose(-2.0, 0.0, 0.0), STOP, 3.0, 0.0, 5.0, 0.2, Activity.EXPLORING),
             RobotStatus('idle', 1, 0.0, Pose(-1.0, 0.0, 0.0), STOP),
             RobotStatus('passes', 1, 0.0, Pose(0.0, -1.0, 0.0), STOP, 3.0, -1.0, 3.0, 0.2, Activity.EXPLORING)]
    assert navigator.command(0.0, here, STOP, doorway(here, 0.0), mates) == STOP
