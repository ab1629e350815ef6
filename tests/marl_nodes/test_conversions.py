from array import array
from math import inf, isnan, nan, pi

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='ROS 2 is not installed: pip install --group ros')
pytest.importorskip('marl_coordination.msg', reason='the messages are not built: pip install --no-build-isolation -e .')

from builtin_interfaces.msg import Time  # noqa: E402
from geometry_msgs.msg import PoseWithCovarianceStamped, Quaternion  # noqa: E402
from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from rclpy.serialization import deserialize_message, serialize_message  # noqa: E402
from sensor_msgs.msg import LaserScan as LaserScanMessage  # noqa: E402

from marl_core.errors import MessageError  # noqa: E402
from marl_core.types import Activity, LaserScan, Pose, RobotStatus, Twist  # noqa: E402
from marl_nodes import conversions  # noqa: E402

STATUS = RobotStatus('robot_1', 7, 12.5, Pose(1.5, -2.25, 0.5), Twist(0.25, -0.5), 3.0, 4.0, 6.5, 0.25,
                     Activity.EXPLORING, 321)

def over_the_wire(message):
    return deserialize_message(serialize_message(message), type(message))


@given(st.binary(max_size=300))
def test_packets_survive_the_wire(packet):
    assert conversions.packet_from_message(over_the_wire(conversions.packet_to_message(packet))) == packet


def test_a_status_says_to_operators_what_it_says_to_teammates():
    message = over_the_wire(conversions.status_to_message(STATUS, 'map'))
    assert (message.robot, message.epoch, message.issued, message.activity) == ('robot_1', 7, 321, 1)
    assert (message.x_m, message.y_m, message.heading_rad) == STATUS.pose
    assert (message.linear_mps, message.angular_radps) == STATUS.twist
    assert (message.goal_x_m, message.goal_y_m, message.distance_to_go_m) == (3.0, 4.0, 6.5)
    assert (message.radius_m, message.header.frame_id) == (0.25, 'map')
    assert conversions.seconds_of(message.header.stamp) == 12.5
    idle = conversions.status_to_message(RobotStatus('robot_1', 1, 0.0, Pose(0.0, 0.0, 0.0), Twist(0.0, 0.0)), 'map')
    assert isnan(over_the_wire(idle).goal_x_m)


@given(st.integers(1 - 2**31, 2**31 - 2), st.integers(0, 999_999_999))
def test_stamps_survive_to_a_microsecond(seconds, nanoseconds):
    stamp = conversions.stamp_of(conversions.seconds_of(Time(sec=seconds, nanosec=nanoseconds)))
    assert abs((stamp.sec - seconds) * 10**9 + stamp.nanosec - nanoseconds) <= 1000


@pytest.mark.parametrize('time_s', [nan, inf, 2.0**31, -(2.0**31)])
def test_times_that_fit_no_stamp_are_refused(time_s):
    with pytest.raises(MessageError, match='^stamp: .* does not fit'):
        conversions.stamp_of(time_s)


@pytest.mark.parametrize('stamp', [Time(sec=1, nanosec=1_000_000_000), Time(sec=2**31 - 1)])
def test_impossible_stamps_are_refused(stamp):
    with pytest.raises(MessageError, match='^stamp: sec is '):
        conversions.seconds_of(stamp)


def test_rounding_up_to_a_whole_second_carries():
    assert conversions.stamp_of(1.9999999999) == Time(sec=2, nanosec=0)


@given(st.floats(-pi + 1e-9, pi - 1e-9))
def test_headings_survive(heading_rad):
    assert conversions.heading_of(conversions.orientation_of(heading_rad)) == pytest.approx(heading_rad, abs=1e-9)


@pytest.mark.parametrize('orientation', [Quaternion(w=0.0), Quaternion(w=nan), Quaternion(w=1.0, z=1.0)])
def test_what_is_no_rotation_is_refused(orientation):
    with pytest.raises(MessageError, match='^orientation: '):
        conversions.heading_of(orientation)


def test_a_scan_survives_the_wire_with_its_special_ranges():
    ranges = np.array([1.0, inf, -inf, nan, 7.5], np.float32)
    scan = LaserScan(4.5, -1.0, 0.5, 0.125, 8.0, ranges)
    received = conversions.scan_from_message(over_the_wire(conversions.scan_to_message(scan, 'robot_1/lidar')))
    assert received.ranges_m.dtype == np.float32
    np.testing.assert_array_equal(received.ranges_m, ranges)
    assert received.stamp_s == 4.5
    assert (received.angle_min_rad, received.angle_increment_rad) == (-1.0, 0.5)
    assert (received.range_min_m, received.range_max_m) == (0.125, 8.0)


def test_a_scan_message_names_its_last_angle():
    scan = LaserScan(0.0, -1.0, 0.5, 0.125, 8.0, np.ones(5, np.float32))
    assert conversions.scan_to_message(scan, '').angle_max == pytest.approx(1.0)


@pytest.mark.parametrize('change', [
    {'ranges': array('f')}, {'angle_increment': 0.0}, {'angle_increment': nan}, {'angle_min': inf},
    {'range_min': 9.0}, {'range_min': -1.0}, {'range_max': nan}, {'angle_increment': 3.0}])
def test_what_is_no_scan_is_refused(change):
    message = LaserScanMessage(angle_min=-1.0, angle_increment=0.5, range_min=0.1, range_max=8.0, ranges=[1.0] * 5)
    conversions.scan_from_message(message)
    for name, value in change.items():
        setattr(message, name, value)
    with pytest.raises(MessageError) as refusal:
        conversions.scan_from_message(message)
    assert refusal.value.reason == 'scan'


def test_odometry_survives_the_wire():
    pose, twist = Pose(1.0, -2.0, 3.0), Twist(0.5, -0.25)
    message = conversions.odometry_to_message(9.5, pose, twist, 'robot_1/odom', 'robot_1/base_link')
    stamp_s, received, velocity = conversions.odometry_from_message(over_the_wire(message))
    assert stamp_s == 9.5
    assert received == pytest.approx(pose)
    assert velocity == twist


@pytest.mark.parametrize(('break_it', 'words'), [
    (lambda message: setattr(message.pose.pose.position, 'x', nan), '^non_finite: position'),
    (lambda message: setattr(message.twist.twist.angular, 'z', inf), '^non_finite: velocity'),
    (lambda message: setattr(message.pose.pose.orientation, 'w', 7.0), '^orientation: ')])
def test_broken_odometry_is_refused(break_it, words):
    message = conversions.odometry_to_message(9.5, Pose(0.0, 0.0, 0.0), Twist(0.0, 0.0), 'odom', 'base_link')
    break_it(message)
    with pytest.raises(MessageError, match=words):
        conversions.odometry_from_message(message)


def test_a_correction_must_be_in_the_map_frame():
    message = PoseWithCovarianceStamped()
    message.header.frame_id = 'map'
    message.pose.pose.orientation.w = 1.0
    assert conversions.correction_from_message(message, 'map') == (0.0, Pose(0.0, 0.0, 0.0))
    message.header.frame_id = 'odom'
    with pytest.raises(MessageError, match="^frame: .*'odom'.*'map'"):
        conversions.correction_from_message(message, 'map')


def test_a_grid_counts_cells_as_ros_does():
    percent = np.array([[0, -1, 100], [-1, -1, 4]], np.int8)
    message = over_the_wire(conversions.grid_to_message(percent, 0.05, -3.0, 2.0, 1.5, 'map'))
    assert list(message.data) == [0, -1, 100, -1, -1, 4]
    assert (message.info.width, message.info.height) == (3, 2)
    assert (message.info.origin.position.x, message.info.origin.position.y) == (-3.0, 2.0)
    assert message.info.resolution == pytest.approx(0.05)


def test_a_grid_update_says_where_it_belongs():
    percent = np.array([[100, 0, -1]], np.int8)[:, ::-1]
    message = over_the_wire(conversions.grid_update_to_message(percent, 4, 7, 1.5, 'map'))
    assert (message.x, message.y, message.width, message.height) == (7, 4, 3, 1)
    assert list(message.data) == [-1, 0, 100]
