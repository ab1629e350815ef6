import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason='ROS 2 is not installed: pip install --group ros')
pytest.importorskip('marl_coordination.msg', reason='the messages are not built: pip install --no-build-isolation -e .')

from marl_nodes.fleet.environment import ros_environment  # noqa: E402


def test_what_is_set_is_kept():
    environment = ros_environment({'LD_LIBRARY_PATH': '/opt/mine', 'AMENT_PREFIX_PATH': '/opt/ros', 'HOME': '/h'})
    assert environment['AMENT_PREFIX_PATH'] == '/opt/ros'
    assert environment['HOME'] == '/h'
    assert environment['LD_LIBRARY_PATH'].split(os.pathsep)[-1] == '/opt/mine'


def test_twice_is_once():
    once = ros_environment({})
    assert ros_environment(once) == once


def test_a_command_finds_ros_however_it_was_started():
    import rclpy
    if not Path(rclpy.__file__).is_relative_to(sys.prefix):
        pytest.skip('ROS 2 is not from pip: its environment is sourced')
    bare = {name: value for name, value in os.environ.items() if name not in ('LD_LIBRARY_PATH', 'AMENT_PREFIX_PATH')}
    bare['_ROS_WHEELS_BOOTSTRAP_COMPLETE'] = '1'  # Without the help of the wheels' own start-up file.
    ended = subprocess.run([sys.executable, '-m', 'marl_nodes.fleet.commands', 'parameters', 'map_node'], env=bare,
                           capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    assert 'state_path' in ended.stdout
