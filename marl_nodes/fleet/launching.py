"""The nodes of a fleet file as `ros2 launch` starts them; imported by launch files only."""

from collections.abc import Callable, Sequence

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

from marl_nodes.fleet.model import Fleet, load_fleet, require_correct
from marl_nodes.fleet.nodes import FleetNode, require_few, robots_among

PACKAGE = 'marl_coordination'

Choose = Callable[[Fleet, LaunchContext], Sequence[FleetNode]]


def fleet_launch(choose: Choose, *arguments: DeclareLaunchArgument) -> LaunchDescription:
    """A launch description that takes a fleet file and starts some of its nodes.

    Args:
        choose: which nodes; called when the file is launched.
        arguments: more launch arguments.
    """
    def start(context: LaunchContext) -> list[Node]:
        path = LaunchConfiguration('fleet').perform(context)
        fleet = load_fleet(path)
        require_correct(fleet, path)
        nodes = choose(fleet, context)
        require_few(robots_among(nodes))
        return [_action(node) for node in nodes]

    return LaunchDescription([
        DeclareLaunchArgument(
            'fleet', description='YAML file of the fleet.',
            default_value=PathJoinSubstitution([FindPackageShare(PACKAGE), 'config', 'fleets', 'demo.yaml'])),
        *arguments,
        OpaqueFunction(function=start),
    ])


def _action(node: FleetNode) -> Node:
    return Node(package=PACKAGE, executable=node.executable, name=node.name, namespace=node.namespace,
                parameters=[node.parameters], ros_arguments=['--enclave', node.enclave], output='screen')
