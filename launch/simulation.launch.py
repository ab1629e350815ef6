"""Start the simulator of a fleet alone: bases and lidars to try other nodes on."""

from launch import LaunchContext, LaunchDescription

from marl_core.errors import ConfigError
from marl_nodes.fleet.launching import fleet_launch
from marl_nodes.fleet.model import Fleet
from marl_nodes.fleet.nodes import FleetNode, simulation_node


def chosen(fleet: Fleet, context: LaunchContext) -> list[FleetNode]:
    if fleet.simulation is None:
        raise ConfigError('this fleet has no simulation: its robots are real')
    return [simulation_node(fleet)]


def generate_launch_description() -> LaunchDescription:
    return fleet_launch(chosen)
