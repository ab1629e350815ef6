"""The three topics on which a fleet talks: /fleet/features, /fleet/status and /fleet/digest.

Everybody publishes and subscribes there; messages carry their sender's name, and one's own are ignored. So a node
needs no list of who else exists, and robots may come and go.
"""

from collections import Counter
from collections.abc import Callable, Iterable

from marl_coordination import msg
from rclpy.node import Node

from marl_core.errors import MessageError
from marl_core.types import MapDigest, MapFeatures, Message, RobotStatus
from marl_nodes.conversions import FleetMessage, from_fleet_message, to_fleet_message
from marl_nodes.qos import FLEET

TOPICS = {'features': msg.MapFeatures, 'status': msg.RobotStatus, 'digest': msg.MapDigest}
KINDS = {MapFeatures: 'features', RobotStatus: 'status', MapDigest: 'digest'}


class FleetTopics:
    """A node's ends of the fleet's topics.

    Attributes:
        heard: messages taken in, by kind.
    """

    def __init__(self, node: Node, name: str, namespace: str, map_frame: str,
                 hear: Callable[[Message], None], refuse: Callable[[MessageError], None]) -> None:
        """Publish and subscribe.

        Args:
            node: whose topics these are.
            name: of the sender; messages under this name are ignored when heard.
            namespace: of the topics, for example ``/fleet``.
            map_frame: the frame that all share.
            hear: called with every message of somebody else.
            refuse: called with the error when one was malformed.
        """
        self.heard: Counter[str] = Counter()
        self._node, self._name, self._map_frame = node, name, map_frame
        self._hear, self._refuse = hear, refuse
        self._publishers = {kind: node.create_publisher(message, f'{namespace}/{kind}', FLEET)
                            for kind, message in TOPICS.items()}
        self._subscriptions = [node.create_subscription(message, f'{namespace}/{kind}', self._receive, FLEET)
                               for kind, message in TOPICS.items()]

    def send(self, outbox: Iterable[Message]) -> None:
        """Publish what a core wants to say."""
        for message in outbox:
            self._publishers[KINDS[type(message)]].publish(to_fleet_message(message, self._map_frame))

    def close(self) -> None:
        """Neither hear nor say any more."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        for publisher in self._publishers.values():
            self._node.destroy_publisher(publisher)

    def _receive(self, message: FleetMessage) -> None:
        if message.robot == self._name:
            return
        try:
            received = from_fleet_message(message, self._map_frame)
        except MessageError as error:
            self._refuse(error)
            return
        self.heard[KINDS[type(received)]] += 1
        self._hear(received)
