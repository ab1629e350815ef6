from math import pi

import numpy as np
import pytest

from marl_core.config import from_mapping
from marl_core.errors import ConfigError
from sim.sensors.odometry import Odometry, OdometryNoise

SQUARE = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 0.0, pi / 2], [1.0, 1.0, pi / 2], [1.0, 1.0, pi],
                   [0.0, 1.0, -pi], [0.0, 1.0, -pi / 2], [0.0, 0.0, -pi / 2]])


def drive(odometry: Odometry, poses: np.ndarray) -> np.ndarray:
    for pose in poses:
        odometry.update(np.tile(pose, (len(odometry.poses), 1)))
    return odometry.poses


def test_without_drift_the_estimate_is_the_true_pose_to_the_bit() -> None:
    rng = np.random.default_rng(1)
    poses = rng.normal(size=(4, 3))
    odometry = Odometry(poses, OdometryNoise())
    for _ in range(50):
        poses = poses + rng.normal(size=(4, 3))
        odometry.update(poses)
        assert np.array_equal(odometry.poses, poses)


def test_errors_of_distance_grow_with_the_distance() -> None:
    straight = np.column_stack([np.linspace(0, 10, 101), np.zeros(101), np.zeros(101)])
    one, ten = (Odometry(np.zeros((2000, 3)), OdometryNoise(distance=0.02), seed=3) for _ in range(2))
    error_one = drive(one, straight[:11])[:, 0] - 1.0
    error_ten = drive(ten, straight)[:, 0] - 10.0
    np.testing.assert_allclose(error_ten, 10 * error_one, atol=1e-9)
    assert error_one.std() == pytest.approx(0.02, rel=0.1)
    assert not ten.poses[:, 1:].any()


def test_errors_of_turns_and_of_heading_while_driving() -> None:
    turning = np.column_stack([np.zeros(41), np.zeros(41), np.linspace(0, 4 * pi, 41)])
    turned = drive(Odometry(np.zeros((2000, 3)), OdometryNoise(turn=0.01), seed=1), turning)
    assert turned[:, 2].std() == pytest.approx(0.01 * 4 * pi, rel=0.1)
    straight = np.column_stack([np.linspace(0, 10, 101), np.zeros(101), np.zeros(101)])
    bent = drive(Odometry(np.zeros((2000, 3)), OdometryNoise(heading_radpm=0.01), seed=1), straight)
    assert bent[:, 2].std() == pytest.approx(0.1, rel=0.1)
    # An arc: the heading at half of the way points to the end.
    np.testing.assert_allclose(np.arctan2(bent[:, 1], bent[:, 0]), bent[:, 2] / 2, atol=1e-9)


def test_a_loop_around_the_rear_of_the_angle_range_closes() -> None:
    tiny = Odometry(np.zeros((1, 3)), OdometryNoise(distance=1e-12))
    np.testing.assert_allclose(drive(tiny, SQUARE), [[0.0, 0.0, -pi / 2]], atol=1e-9)


def test_a_seed_says_everything_and_a_removed_robot_keeps_its_last_estimate() -> None:
    noise = OdometryNoise(0.1, 0.1, 0.1)
    first, second, other = (Odometry(np.zeros((2, 3)), noise, seed) for seed in (5, 5, 6))
    assert np.array_equal(drive(first, SQUARE), drive(second, SQUARE))
    assert not np.array_equal(drive(other, SQUARE), first.poses)
    before = first.poses.copy()
    first.update(np.array([[np.nan] * 3, [5.0, 0.0, 0.0]]))
    assert np.array_equal(first.poses[0], before[0])
    assert not np.array_equal(first.poses[1], before[1])
    first.reset(np.zeros((2, 3)))
    assert not first.poses.any()


def test_negative_deviations_are_refused() -> None:
    with pytest.raises(ConfigError, match='must not be negative'):
        from_mapping(OdometryNoise, {'turn': -0.1})
