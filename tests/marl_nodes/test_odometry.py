from math import pi

import pytest

from marl_core.types import STOP, Pose, Twist
from marl_nodes.odometry import OdometryTrack, compose, inverse

ORIGIN = Pose(0.0, 0.0, 0.0)


def test_compose_turns_then_moves():
    assert compose(Pose(1.0, 2.0, pi / 2), Pose(3.0, 0.0, 0.0)) == pytest.approx(Pose(1.0, 5.0, pi / 2))


def test_inverse_undoes_compose():
    pose = Pose(1.0, 2.0, 2.5)
    assert compose(pose, inverse(pose)) == pytest.approx(ORIGIN, abs=1e-12)
    assert compose(inverse(pose), pose) == pytest.approx(ORIGIN, abs=1e-12)


def test_a_pose_between_samples_is_interpolated_across_half_a_turn():
    track = OdometryTrack(ORIGIN)
    track.add(1.0, Pose(2.0, -1.0, pi - 0.1), STOP)
    track.add(2.0, Pose(3.0, 3.0, -pi + 0.1), STOP)
    assert track.pose_in_map(1.25, 0.1) == pytest.approx(Pose(2.25, 0.0, pi - 0.05))


def test_shortly_before_the_first_sample_its_pose_counts():
    track = OdometryTrack(ORIGIN)
    track.add(1.0, Pose(2.0, -1.0, 0.5), Twist(9.0, 0.0))
    track.add(2.0, Pose(3.0, 3.0, 0.0), STOP)
    assert track.pose_in_map(0.9, 0.2) == pytest.approx(Pose(2.0, -1.0, 0.5))
    assert track.pose_in_map(0.7, 0.2) is None


def test_beyond_the_newest_sample_the_velocity_goes_on_but_not_far():
    track = OdometryTrack(ORIGIN)
    track.add(1.0, Pose(2.0, 0.0, pi / 2), Twist(0.5, 0.0))
    assert track.pose_in_map(1.2, 0.25) == pytest.approx(Pose(2.0, 0.1, pi / 2))
    assert track.pose_in_map(1.3, 0.25) is None


def test_nothing_is_known_before_the_first_sample():
    track = OdometryTrack(ORIGIN)
    assert track.pose_in_map(0.0, 1.0) is None
    assert track.newest_s is None
    assert track.twist == STOP


def test_the_odometry_frame_lies_in_the_map():
    track = OdometryTrack(Pose(10.0, 5.0, pi / 2))
    track.add(0.0, Pose(1.0, 0.0, 0.0), STOP)
    assert track.pose_in_map(0.0, 0.0) == pytest.approx(Pose(10.0, 6.0, pi / 2))


def test_a_correction_moves_what_follows():
    track = OdometryTrack(ORIGIN)
    track.add(0.0, ORIGIN, STOP)
    track.add(1.0, Pose(1.0, 0.0, 0.0), STOP)
    assert track.correct(0.5, Pose(5.0, 5.0, pi / 2), 0.1)
    assert track.pose_in_map(1.0, 0.0) == pytest.approx(Pose(5.0, 5.5, pi / 2))


def test_a_correction_of_an_unknown_time_changes_nothing():
    track = OdometryTrack(ORIGIN)
    track.add(5.0, ORIGIN, STOP)
    assert not track.correct(1.0, Pose(5.0, 5.0, 0.0), 0.1)
    assert track.odometry_in_map == ORIGIN


def test_late_samples_are_dropped_and_a_restarted_clock_empties_the_track():
    track = OdometryTrack(ORIGIN, keep_s=2.0)
    assert track.add(10.0, Pose(1.0, 0.0, 0.0), STOP)
    assert not track.add(9.5, Pose(9.0, 0.0, 0.0), STOP)
    assert not track.add(10.0, Pose(9.0, 0.0, 0.0), STOP)
    assert track.newest_s == 10.0
    assert track.add(0.1, Pose(0.0, 3.0, 0.0), STOP)
    assert track.newest_s == 0.1
    assert track.pose_in_map(0.1, 0.0) == pytest.approx(Pose(0.0, 3.0, 0.0))
    assert track.pose_in_map(10.0, 0.1) is None


def test_old_samples_are_forgotten():
    track = OdometryTrack(ORIGIN, keep_s=2.0)
    for step in range(100):
        track.add(0.1 * step, ORIGIN, STOP)
    assert track.pose_in_map(7.0, 0.0) is None
    assert track.pose_in_map(8.0, 0.05) is not None
