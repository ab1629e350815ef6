"""The three topics on which a fleet talks: /fleet/features, /fleet/status and /fleet/digest.

Everybody publishes and subscribes there; packets say whose they are, and who opens them passes over its own. So a node
needs no list of who else exists, and robots may come and go. The topic only sorts packets for those who watch.
"""

from collections.abc import Callable, Iterable
from functools import partial

from marl_coordination import msg
from rclpy.node import Node

from marl_core.communication import wire
from marl_core.types import Packet
from marl_nodes.conversions import packet_from_message, packet_to_message
from marl_nodes.qos import FLEET

AT_ONCE = 256
"""Packets taken before timers and sensors have their turn again: some 6 ms."""


class FleetTopics:
    """A node's ends of the fleet's topics."""

    def __init__(self, node: Node, namespace: str, hear: Callable[[Packet], None]) -> None:
        """Publish and subscribe.

        Args:
            node: whose topics these are.
            namespace: of the topics, for example ``/fleet``.
            hear: called with every packet, own ones included.
        """
        self._node, self._hear = node, hear
        self._publishers = {kind: node.create_publisher(msg.Packet, f'{namespace}/{kind}', FLEET)
                            for kind in wire.KINDS}
        self._subscriptions = {
            kind: node.create_subscription(msg.Packet, f'{namespace}/{kind}', partial(self._receive, kind), FLEET)
            for kind in wire.KINDS}

    def send(self, outbox: Iterable[Packet]) -> None:
        """Publish what a core wants to say."""
        for packet in outbox:
            self._publishers[wire.KINDS[wire.peek(packet).kind]].publish(packet_to_message(packet))

    def close(self) -> None:
        """Neither hear nor say any more."""
        for subscription in self._subscriptions.values():
            self._node.destroy_subscription(subscription)
        for publisher in self._publishers.values():
            self._node.destroy_publisher(publisher)

    def _receive(self, kind: str, message: msg.Packet) -> None:
        self._hear(packet_from_message(message))
        # To come here takes the executor ten times as long as to take a packet; in a flood honest ones would be lost.
        for _ in range(AT_ONCE):
            taken = self._subscriptions[kind].handle.take_message(msg.Packet, False)
            if taken is None:
                return
            self._hear(packet_from_message(taken[0]))
