"""What a robot's own sensors cannot have measured, whatever they say.

A type holds these numbers, but the work that they cause grows with them: a driver that divides by zero, or a base that
slips its units, must cost a message and not the robot's attention.
"""

from math import pi

from marl_core.errors import MessageError
from marl_core.types import LaserScan, Pose, RobotModel, Twist

FASTEST_RATIO = 10.0
"""Measured velocities beyond so many times the model's limits are wrong; a slope or a collision explains less."""
FARTHEST_M = 1e6
"""Odometry beyond this is wrong; single precision has no centimetres left there [m]."""
NARROWEST_BEAM_RAD = 2.0 * pi / 100_000
"""Beams closer together are wrong [rad]."""


def require_plausible_scan(scan: LaserScan) -> None:
    """Refuse a sweep of impossible angles.

    Raises:
        MessageError: ``scan``.
    """
    if abs(scan.angle_increment_rad) < NARROWEST_BEAM_RAD or abs(scan.angle_min_rad) > 4.0 * pi:
        raise MessageError('scan', f'beams from {scan.angle_min_rad} rad in steps of {scan.angle_increment_rad} rad '
                           'are no sweep')


def require_plausible_odometry(pose: Pose, twist: Twist, model: RobotModel) -> None:
    """Refuse a base that is faster, or farther away, than the robot can be.

    Raises:
        MessageError: ``odometry``.
    """
    if (abs(twist.linear_mps) > FASTEST_RATIO * model.max_linear_mps
            or abs(twist.angular_radps) > FASTEST_RATIO * model.max_angular_radps):
        raise MessageError('odometry', f'{twist.linear_mps} m/s and {twist.angular_radps} rad/s are beyond a robot of '
                           f'{model.max_linear_mps} m/s and {model.max_angular_radps} rad/s')
    if max(abs(pose.x_m), abs(pose.y_m)) > FARTHEST_M:
        raise MessageError('odometry', f'({pose.x_m}, {pose.y_m}) m is farther than {FARTHEST_M:.0f} m away')
