"""Start one robot of a fleet, on the robot's own computer: robot:=robot_1."""

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration

from marl_core.errors import ConfigError
from marl_nodes.fleet.launching import fleet_launch
from marl_nodes.fleet.model import Fleet
from marl_nodes.fleet.nodes import FleetNode, robot_node


def chosen(fleet: Fleet, context: LaunchContext) -> list[FleetNode]:
    name = LaunchConfiguration('robot').perform(context)
    if name not in fleet.robots:
        raise ConfigError(f'robot:={name}: no such robot; the fleet has {", ".join(fleet.robots)}')
    return [robot_node(fleet, name)]


def generate_launch_description() -> LaunchDescription:
    return fleet_launch(chosen, DeclareLaunchArgument('robot', description='Name of the robot in the fleet file.'))
