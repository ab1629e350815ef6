"""Start every node of a fleet: simulator (if the file has one), map node and robots."""

from launch import LaunchDescription

from marl_nodes.fleet.launching import fleet_launch
from marl_nodes.fleet.nodes import nodes_of


def generate_launch_description() -> LaunchDescription:
    return fleet_launch(lambda fleet, context: nodes_of(fleet))
