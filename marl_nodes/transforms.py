"""map -> odometry on /tf for RViz and Nav2, where tf2_msgs is installed (it is not among the wheels on PyPI)."""

from geometry_msgs.msg import TransformStamped
from rclpy.node import Node

from marl_core.types import Pose
from marl_nodes.conversions import orientation_of, stamp_of

try:
    from tf2_msgs.msg import TFMessage
except ImportError:
    TFMessage = None

TF_DEPTH = 100


class MapToOdometry:
    """Broadcasts where a robot's odometry frame lies in the map; does nothing without tf2_msgs."""

    def __init__(self, node: Node, map_frame: str) -> None:
        self._node, self._map_frame = node, map_frame
        self._publisher = node.create_publisher(TFMessage, '/tf', TF_DEPTH) if TFMessage is not None else None

    def publish(self, stamp_s: float, odometry_frame: str, odometry_in_map: Pose) -> None:
        """Send the transform of this moment."""
        if self._publisher is None or not odometry_frame:
            return
        transform = TransformStamped(child_frame_id=odometry_frame)
        transform.header.stamp = stamp_of(stamp_s)
        transform.header.frame_id = self._map_frame
        transform.transform.translation.x = odometry_in_map.x_m
        transform.transform.translation.y = odometry_in_map.y_m
        transform.transform.rotation = orientation_of(odometry_in_map.heading_rad)
        self._publisher.publish(TFMessage(transforms=[transform]))

    def close(self) -> None:
        """Broadcast no more."""
        if self._publisher is not None:
            self._node.destroy_publisher(self._publisher)
