from math import pi

import numpy as np
import pytest

from marl_core.errors import MessageError
from marl_core.types import STOP, LaserScan, Pose, RobotModel, Twist
from marl_nodes.plausibility import require_plausible_odometry, require_plausible_scan

ORIGIN = Pose(0.0, 0.0, 0.0)
MODEL = RobotModel(max_linear_mps=0.5, max_angular_radps=1.5)


def scan(angle_min_rad=0.0, angle_increment_rad=pi / 90):
    return LaserScan(0.0, angle_min_rad, angle_increment_rad, 0.1, 8.0, np.ones(180, np.float32))


@pytest.mark.parametrize('angles', [
    (0.0, pi / 90), (pi, -pi / 90), (-2 * pi, 2 * pi / 99_999)], ids=['common', 'clockwise', 'finest'])
def test_sweeps_of_lidars_pass(angles):
    require_plausible_scan(scan(*angles))


@pytest.mark.parametrize('angles', [(0.0, 1e-45), (0.0, -1e-8), (3e38, pi / 90), (-20.0, pi / 90)])
def test_impossible_angles_are_refused(angles):
    with pytest.raises(MessageError, match='^scan: '):
        require_plausible_scan(scan(*angles))


def test_a_robot_that_is_pushed_passes():
    require_plausible_odometry(Pose(-1e6, 1e6, 3.0), Twist(-5.0, 15.0), MODEL)


@pytest.mark.parametrize(('pose', 'twist'), [
    (ORIGIN, Twist(5.1, 0.0)), (ORIGIN, Twist(0.0, -15.1)), (ORIGIN, Twist(-1e300, 0.0)),
    (Pose(1.1e6, 0.0, 0.0), STOP), (Pose(0.0, -1e300, 0.0), STOP)])
def test_impossible_bases_are_refused(pose, twist):
    with pytest.raises(MessageError, match='^odometry: '):
        require_plausible_odometry(pose, twist, MODEL)
