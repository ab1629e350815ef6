"""The launch files, where ros2 launch is installed (it is not among the wheels on PyPI)."""

import importlib.util
from pathlib import Path

import pytest

pytest.importorskip('launch_ros', reason='launch_ros is not installed: it comes with a ROS 2 from packages')

from launch import LaunchContext  # noqa: E402
from launch.actions import DeclareLaunchArgument, OpaqueFunction  # noqa: E402

from marl_core.errors import ConfigError  # noqa: E402

ROOT = Path(__file__).parents[2]


def started(name, **arguments):
    spec = importlib.util.spec_from_file_location(name, ROOT / 'launch' / f'{name}.launch.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    context = LaunchContext()
    context.launch_configurations.update({'fleet': str(ROOT / 'config/fleets/demo.yaml'), **arguments})
    actions = []
    for entity in module.generate_launch_description().entities:
        assert isinstance(entity, DeclareLaunchArgument | OpaqueFunction)
        if isinstance(entity, OpaqueFunction):
            actions += entity.execute(context)
    return [action.node_executable for action in actions]


def test_the_fleet_starts_everything():
    assert started('fleet') == ['sim_node', 'map_node', 'robot_node', 'robot_node', 'robot_node']


def test_parts_start_alone():
    assert started('robot', robot='robot_2') == ['robot_node']
    assert started('map') == ['map_node']
    assert started('simulation') == ['sim_node']


def test_an_unknown_robot_is_named():
    with pytest.raises(ConfigError, match='robot_9'):
        started('robot', robot='robot_9')
