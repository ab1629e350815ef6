"""Between ROS messages and the core's types.

What comes from elsewhere is checked here only for what a type cannot hold (a foreign frame, an impossible
stamp, a shape that does not fit); what a value means is checked by the layer that uses it. Both raise
MessageError, which hosts count under its reason.

Never assign a numpy array to an array field: rclpy converts it element by element. Bytes go through at once.
"""

from array import array
from math import atan2, cos, isfinite, pi, sin

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Pose as PoseMessage
from geometry_msgs.msg import PoseWithCovarianceStamped, Quaternion, TwistStamped
from geometry_msgs.msg import Twist as TwistMessage
from marl_coordination import msg
from nav_msgs.msg import OccupancyGrid, Odometry
from numpy.typing import NDArray
from sensor_msgs.msg import LaserScan as LaserScanMessage
from std_msgs.msg import Header

from marl_core.errors import MessageError
from marl_core.types import LaserScan, Packet, Pose, RobotStatus, Twist

try:
    from map_msgs.msg import OccupancyGridUpdate
except ImportError:  # Not among the wheels on PyPI; ours has the same fields.
    from marl_coordination.msg import OccupancyGridUpdate

MAX_BEAMS = 100_000
LAST_SECOND = 2**31 - 1


def seconds_of(stamp: Time) -> float:
    """A ROS stamp in seconds [s].

    Raises:
        MessageError: ``stamp`` when its nanoseconds are a second or more, or it is the last second there is.
    """
    if stamp.nanosec >= 1_000_000_000 or stamp.sec == LAST_SECOND:  # Rounded up, that one would not fit back.
        raise MessageError('stamp', f'sec is {stamp.sec}, nanosec is {stamp.nanosec}')
    return stamp.sec + stamp.nanosec * 1e-9


def stamp_of(time_s: float) -> Time:
    """The ROS stamp nearest to a time [s].

    Raises:
        MessageError: ``stamp`` when the time is not finite or beyond 32 bits.
    """
    if not isfinite(time_s) or not -LAST_SECOND <= time_s <= LAST_SECOND:
        raise MessageError('stamp', f'{time_s} s does not fit a ROS stamp')
    seconds, nanoseconds = divmod(round(time_s * 1e9), 1_000_000_000)
    return Time(sec=seconds, nanosec=nanoseconds)


def heading_of(orientation: Quaternion) -> float:
    """Rotation about the vertical axis [rad].

    Raises:
        MessageError: ``orientation`` when the quaternion is not a rotation.
    """
    x, y, z, w = orientation.x, orientation.y, orientation.z, orientation.w
    if not abs(x * x + y * y + z * z + w * w - 1.0) < 0.01:
        raise MessageError('orientation', f'quaternion ({x}, {y}, {z}, {w}) is not a unit quaternion')
    return atan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))


def orientation_of(heading_rad: float) -> Quaternion:
    """The quaternion that turns about the vertical axis."""
    return Quaternion(z=sin(heading_rad / 2.0), w=cos(heading_rad / 2.0))


def scan_from_message(message: LaserScanMessage) -> LaserScan:
    """A lidar sweep.

    Raises:
        MessageError: ``scan`` or ``stamp`` when it cannot be a sweep.
    """
    beams = len(message.ranges)
    numbers = (message.angle_min, message.angle_increment, message.range_min, message.range_max)
    if not 0 < beams <= MAX_BEAMS:
        raise MessageError('scan', f'{beams} beams; 1 to {MAX_BEAMS} are possible')
    if not all(isfinite(number) for number in numbers) or message.angle_increment == 0.0:
        raise MessageError('scan', f'angles and range limits must be finite, got {numbers}')
    if not 0.0 <= message.range_min < message.range_max:
        raise MessageError('scan', f'range limits {message.range_min} to {message.range_max} m are empty')
    if abs(message.angle_increment) * (beams - 1) > 2.0 * pi + 0.1:
        raise MessageError('scan', f'{beams} beams of {message.angle_increment} rad are more than one turn')
    return LaserScan(seconds_of(message.header.stamp), message.angle_min, message.angle_increment,
                     message.range_min, message.range_max, np.array(message.ranges, np.float32))


def scan_to_message(scan: LaserScan, frame_id: str) -> LaserScanMessage:
    """A lidar sweep in the frame of its lidar."""
    beams = len(scan.ranges_m)
    return LaserScanMessage(
        header=Header(stamp=stamp_of(scan.stamp_s), frame_id=frame_id),
        angle_min=float(scan.angle_min_rad),
        angle_max=float(scan.angle_min_rad + (beams - 1) * scan.angle_increment_rad),
        angle_increment=float(scan.angle_increment_rad),
        range_min=float(scan.range_min_m),
        range_max=float(scan.range_max_m),
        ranges=array('f', np.asarray(scan.ranges_m, np.float32).tobytes()))


def pose_from_message(message: PoseMessage) -> Pose:
    """The planar part of a pose.

    Raises:
        MessageError: ``non_finite`` or ``orientation``.
    """
    if not (isfinite(message.position.x) and isfinite(message.position.y)):
        raise MessageError('non_finite', f'position ({message.position.x}, {message.position.y})')
    return Pose(message.position.x, message.position.y, heading_of(message.orientation))


def pose_to_message(pose: Pose) -> PoseMessage:
    """A planar pose in space."""
    message = PoseMessage(orientation=orientation_of(pose.heading_rad))
    message.position.x, message.position.y = float(pose.x_m), float(pose.y_m)
    return message


def twist_from_message(message: TwistMessage) -> Twist:
    """The part of a velocity that a differential drive has.

    Raises:
        MessageError: ``non_finite``.
    """
    if not (isfinite(message.linear.x) and isfinite(message.angular.z)):
        raise MessageError('non_finite', f'velocity ({message.linear.x}, {message.angular.z})')
    return Twist(message.linear.x, message.angular.z)


def twist_to_message(twist: Twist) -> TwistMessage:
    """A velocity of the base."""
    message = TwistMessage()
    message.linear.x, message.angular.z = float(twist.linear_mps), float(twist.angular_radps)
    return message


def command_to_message(twist: Twist, stamp_s: float, frame_id: str) -> TwistStamped:
    """A velocity command; the stamp is that of the scan that it answers."""
    return TwistStamped(header=Header(stamp=stamp_of(stamp_s), frame_id=frame_id), twist=twist_to_message(twist))


def odometry_from_message(message: Odometry) -> tuple[float, Pose, Twist]:
    """Time [s], pose [odometry frame] and measured velocity of the base.

    Raises:
        MessageError: any of the reasons above.
    """
    return (seconds_of(message.header.stamp), pose_from_message(message.pose.pose),
            twist_from_message(message.twist.twist))


def odometry_to_message(stamp_s: float, pose: Pose, twist: Twist, frame_id: str, child_frame_id: str) -> Odometry:
    """Odometry of the base ``child_frame_id`` in ``frame_id``."""
    message = Odometry(header=Header(stamp=stamp_of(stamp_s), frame_id=frame_id), child_frame_id=child_frame_id)
    message.pose.pose = pose_to_message(pose)
    message.twist.twist = twist_to_message(twist)
    return message


def correction_from_message(message: PoseWithCovarianceStamped, map_frame: str) -> tuple[float, Pose]:
    """Time [s] and pose [map frame] from a localizer such as AMCL.

    Raises:
        MessageError: ``frame`` when it is not in the map frame, or any of the reasons above.
    """
    _require_frame(message.header, map_frame)
    return seconds_of(message.header.stamp), pose_from_message(message.pose.pose)


def grid_to_message(percent: NDArray[np.int8], resolution_m: float, origin_x_m: float, origin_y_m: float,
                    stamp_s: float, map_frame: str) -> OccupancyGrid:
    """A map whose cell [0, 0] has its corner at the origin [m; map frame].

    ``percent`` is as Replica.occupancy gives it. Shape: (rows, columns).
    """
    stamp = stamp_of(stamp_s)
    message = OccupancyGrid(header=Header(stamp=stamp, frame_id=map_frame))
    message.info.map_load_time = stamp
    message.info.resolution = float(resolution_m)
    message.info.height, message.info.width = percent.shape
    message.info.origin = pose_to_message(Pose(origin_x_m, origin_y_m, 0.0))
    message.data = array('b', percent.tobytes())
    return message


def grid_update_to_message(percent: NDArray[np.int8], row: int, column: int, stamp_s: float,
                           map_frame: str) -> OccupancyGridUpdate:
    """A rectangle of the last published map; ``row`` and ``column`` of its first cell count in that map."""
    message = OccupancyGridUpdate(header=Header(stamp=stamp_of(stamp_s), frame_id=map_frame), x=column, y=row)
    message.height, message.width = percent.shape
    message.data = array('b', percent.tobytes())
    return message


def packet_to_message(packet: Packet) -> msg.Packet:
    """A packet as it goes over a topic of the fleet."""
    return msg.Packet(data=packet)


def packet_from_message(message: msg.Packet) -> Packet:
    """A packet as it came; what is in it is checked by whoever opens it."""
    return bytes(message.data)


def status_to_message(status: RobotStatus, map_frame: str) -> msg.RobotStatus:
    """What a robot says of itself, for people and their tools."""
    return msg.RobotStatus(
        header=Header(stamp=stamp_of(status.stamp_s), frame_id=map_frame), robot=status.robot, epoch=status.epoch,
        x_m=status.pose.x_m, y_m=status.pose.y_m, heading_rad=status.pose.heading_rad,
        linear_mps=status.twist.linear_mps, angular_radps=status.twist.angular_radps,
        goal_x_m=status.goal_x_m, goal_y_m=status.goal_y_m, distance_to_go_m=status.distance_to_go_m,
        radius_m=status.radius_m, activity=int(status.activity), issued=status.issued)


def _require_frame(header: Header, map_frame: str) -> None:
    if header.frame_id != map_frame:
        raise MessageError('frame', f'frame_id is {header.frame_id!r}, the fleet shares {map_frame!r}')
