"""The environment that nodes need when ROS 2 came from pip; with a sourced ROS nothing is changed."""

import importlib.util
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from marl_core.errors import ConfigError

PARENT_VARIABLE = 'MARL_FLEET_PID'
"""Tells a child process whose death ends it (see marl_nodes.running)."""

_RESTARTED = 'MARL_FLEET_RESTARTED'


def ros_environment(base: Mapping[str, str] | None = None) -> dict[str, str]:
    """Environment in which a Python process can import rclpy and the messages.

    Raises:
        ConfigError: there is no ROS 2; says how to get one.
    """
    environment = dict(os.environ if base is None else base)
    found = importlib.util.find_spec('rclpy')
    if found is None or found.origin is None:
        raise ConfigError('rclpy is not installed: source a ROS 2, or `pip install --group ros` in the checkout')
    if importlib.util.find_spec('marl_coordination') is None:
        raise ConfigError('the messages of marl_coordination are not built: `pip install .` in the checkout')
    packages = Path(found.origin).parents[1]
    if packages.is_relative_to(sys.prefix):
        present = list(filter(None, environment.get('LD_LIBRARY_PATH', '').split(os.pathsep)))
        needed = map(str, (Path(sys.prefix) / 'lib', *sorted(packages.glob('ros_*.libs'))))
        environment['LD_LIBRARY_PATH'] = os.pathsep.join([*(path for path in needed if path not in present), *present])
        environment.setdefault('AMENT_PREFIX_PATH', sys.prefix)
    return environment


def restart_in_ros_environment() -> None:
    """Start this program anew if it cannot import rclpy as it is; the dynamic linker reads its paths only once.

    Raises:
        ConfigError: there is no ROS 2.
    """
    environment = ros_environment()
    restart = environment.get('LD_LIBRARY_PATH') != os.environ.get('LD_LIBRARY_PATH')
    os.environ.update(environment)
    if restart and _RESTARTED not in os.environ:
        sys.stdout.flush()
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**environment, _RESTARTED: '1'})
