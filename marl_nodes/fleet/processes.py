"""How the nodes of a fleet become processes: command lines, parameter files, environment."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from marl_core.errors import ConfigError
from marl_nodes.fleet.environment import ros_environment
from marl_nodes.fleet.nodes import FleetNode, require_few, robots_among
from marl_nodes.fleet.supervisor import ProcessSpec

WITHOUT_LOG_FILE = ('marl_fleet', '--ros-args', '--disable-external-lib-logs')
"""Arguments for rclpy where nothing is logged: it would fail where the home folder cannot be written."""


def process_specs(nodes: Sequence[FleetNode], folder: Path, localhost: bool = False) -> list[ProcessSpec]:
    """How to start nodes, with parameters and logs in ``folder``.

    Args:
        nodes: what to start.
        folder: made if it does not exist.
        localhost: talk within this machine only.

    Raises:
        ConfigError: there is no ROS 2, a folder cannot be written, or there are too many robots for one machine.
    """
    require_few(robots_among(nodes))
    environment = ros_environment()
    if localhost:
        environment['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    environment['PYTHONUNBUFFERED'] = '1'
    environment.setdefault('RCUTILS_CONSOLE_OUTPUT_FORMAT', '[{severity}] {message}')
    require_folder(folder)
    environment.setdefault('ROS_LOG_DIR', str((folder / 'ros').resolve()))
    require_folder(Path(environment['ROS_LOG_DIR']), 'ROS_LOG_DIR: ')
    return [ProcessSpec(node.label, _command(node, folder), environment, node.stop_order,
                        folder / f'{node.label}.log', node.restart_note) for node in nodes]


def require_folder(folder: Path, source: str = '') -> None:
    """Make a folder for results, unless it is there already.

    Args:
        folder: to make.
        source: who named it, at the beginning of errors.

    Raises:
        ConfigError: it cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f'{source}{folder}: cannot be made ({error.strerror})') from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(f'{source}{folder}: cannot be written')


def _command(node: FleetNode, folder: Path) -> tuple[str, ...]:
    path = folder / f'{node.label}.params.yaml'
    path.write_text(yaml.safe_dump({'/**': {'ros__parameters': node.parameters}}, sort_keys=False), encoding='utf-8')
    remaps = ('-r', f'__node:={node.name}', *(('-r', f'__ns:={node.namespace}') if node.namespace else ()))
    return (sys.executable, '-m', f'marl_nodes.{node.executable}', '--ros-args', *remaps, '--enclave', node.enclave,
            '--params-file', str(path.resolve()))
