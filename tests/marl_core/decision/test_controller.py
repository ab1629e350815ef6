"""The follower arrives, stays near its path and within the model's limits."""

from math import cos, hypot, nan, pi, sin

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from marl_core.decision.controller import FollowerConfig, PathFollower, distance_to_go_m
from marl_core.types import STOP, Pose, RobotModel, Twist

MODEL, PERIOD_S, ORIGIN = RobotModel(), 0.1, Pose(0.0, 0.0, 0.0)


def drive(waypoints_m, pose=ORIGIN, longest_s=60.0):
    """Poses and commands until the follower says that it arrived and stands."""
    follower, now, poses, commands = PathFollower(MODEL), 0.0, [pose], [STOP]
    while now < longest_s:
        now += PERIOD_S
        command = follower.command(pose, waypoints_m, now)
        heading = pose.heading_rad + 0.5 * command.angular_radps * PERIOD_S
        pose = Pose(pose.x_m + command.linear_mps * PERIOD_S * cos(heading),
                    pose.y_m + command.linear_mps * PERIOD_S * sin(heading),
                    pose.heading_rad + command.angular_radps * PERIOD_S)
        poses.append(pose)
        commands.append(command)
        if follower.arrived(pose, waypoints_m) and command == STOP:
            break
    return np.array(poses), np.array(commands)


def off_path_m(points, waypoints_m):
    worst_m = 0.0
    for point in points:
        nearest_m = min(
            np.linalg.norm(point - (start + np.clip((point - start) @ (end - start) / max(
                1e-9, (end - start) @ (end - start)), 0, 1) * (end - start)))
            for start, end in zip(waypoints_m, waypoints_m[1:]))
        worst_m = max(worst_m, nearest_m)
    return worst_m


def test_straight_ahead_at_full_speed_and_on_time() -> None:
    poses, commands = drive(np.array([[0.0, 0.0], [5.0, 0.0]]))
    assert commands[:, 0].max() == pytest.approx(MODEL.max_linear_mps)
    assert np.abs(poses[:, 1]).max() < 1e-6
    assert hypot(poses[-1, 0] - 5.0, poses[-1, 1]) <= FollowerConfig().goal_tolerance_m
    assert len(poses) * PERIOD_S < 5.0 / MODEL.max_linear_mps + 3.0


@pytest.mark.parametrize('side', [1.0, -1.0])
def test_turns_in_place_when_the_path_leads_backwards(side) -> None:
    poses, commands = drive(np.array([[0.0, 0.0], [-2.0, side]]))
    assert np.sign(commands[2, 1]) == side
    first_move = np.flatnonzero(commands[:, 0] > 0.05)[0]
    assert hypot(*poses[first_move - 1, :2]) < 0.05
    assert abs(commands[:, 1]).max() <= MODEL.max_angular_radps
    assert hypot(poses[-1, 0] + 2.0, poses[-1, 1] - side) <= FollowerConfig().goal_tolerance_m


def test_a_sharp_corner_is_hardly_cut() -> None:
    waypoints_m = np.array([[0.0, 0.0], [2.0, 0.0], [2.0, 2.0]])
    poses, _ = drive(waypoints_m)
    assert off_path_m(poses[:, :2], waypoints_m) < 0.2


@settings(deadline=None, max_examples=40)
@example([(1.0, 0.0), (0.0, 1.0), (1.0, 0.0), (0.0, -1.0)], 0.0)
@given(st.lists(st.tuples(st.floats(-3, 3), st.floats(-3, 3)), min_size=1, max_size=5), st.floats(-pi, pi))
def test_arrives_within_limits_from_any_heading(corners, heading) -> None:
    waypoints_m = np.array([(0.0, 0.0), *corners])
    poses, commands = drive(waypoints_m, Pose(0.0, 0.0, heading), 120.0)
    assert hypot(*(poses[-1, :2] - waypoints_m[-1])) <= FollowerConfig().goal_tolerance_m
    assert commands[:, 0].min() >= 0.0
    assert commands[:, 0].max() <= MODEL.max_linear_mps
    assert np.abs(commands[:, 1]).max() <= MODEL.max_angular_radps
    # The first command may use the longest period, because there is none before it.
    changes = np.abs(np.diff(commands[1:], axis=0))
    assert changes[:, 0].max(initial=0.0) <= MODEL.max_linear_acceleration_mps2 * PERIOD_S + 1e-9
    assert changes[:, 1].max(initial=0.0) <= MODEL.max_angular_acceleration_radps2 * PERIOD_S + 1e-9


def test_without_a_path_it_slows_to_a_stop() -> None:
    follower = PathFollower(MODEL)
    follower.reset(Twist(0.5, 0.0))
    commands = [follower.command(Pose(0, 0, 0), np.empty((0, 2)), 0.1 * tick) for tick in range(8)]
    assert [command.linear_mps for command in commands[:3]] == pytest.approx([0.3, 0.2, 0.1])
    assert commands[-1] == STOP


def test_without_a_pose_it_stops() -> None:
    follower = PathFollower(MODEL)
    for tick in range(20):
        command = follower.command(Pose(nan, 0, 0), np.array([[0.0, 0.0], [1.0, 0.0]]), 0.1 * tick)
    assert command == STOP


def test_a_clock_that_stands_or_runs_back_changes_nothing() -> None:
    follower, path_m = PathFollower(MODEL), np.array([[0.0, 0.0], [5.0, 0.0]])
    first = follower.command(Pose(0, 0, 0), path_m, 10.0)
    assert follower.command(Pose(0, 0, 0), path_m, 10.0) == first
    assert follower.command(Pose(0, 0, 0), path_m, 5.0) == first


def test_distance_to_go_is_along_the_path() -> None:
    waypoints_m = np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 3.0]])
    assert distance_to_go_m(Pose(1.0, 0.5, 0.0), waypoints_m) == pytest.approx(0.5 + 3.0 + 3.0)
    assert distance_to_go_m(Pose(1.0, 0.5, 0.0), np.empty((0, 2))) == 0.0


def test_a_path_of_one_point_is_driven_to() -> None:
    poses, _ = drive(np.array([[1.0, 1.0]]))
    assert hypot(poses[-1, 0] - 1.0, poses[-1, 1] - 1.0) <= FollowerConfig().goal_tolerance_m
