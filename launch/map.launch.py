"""Start the map node of a fleet, anywhere in its network; robots do not need it."""

from launch import LaunchDescription

from marl_nodes.fleet.launching import fleet_launch
from marl_nodes.fleet.nodes import map_node


def generate_launch_description() -> LaunchDescription:
    return fleet_launch(lambda fleet, context: [map_node(fleet)])
