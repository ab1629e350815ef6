"""How the nodes of a fleet become processes: command lines, parameter files, environment."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from marl_core.errors import ConfigError
from marl_nodes.fleet.environment import ros_environment
from marl_nodes.fleet.nodes import FleetNode
from marl_nodes.fleet.supervisor import ProcessSpec


def process_specs(nodes: Sequence[FleetNode], folder: Path, domain: int | None = None,
                  localhost: bool = False) -> list[ProcessSpec]:
    """How to start nodes, with parameters and logs in ``folder``.

    Args:
        nodes: what to start.
        folder: made if it does not exist.
        domain: ROS_DOMAIN_ID; None keeps that of the environment.
        localhost: talk within this machine only.

    Raises:
        ConfigError: there is no ROS 2, or the folder cannot be written.
    """
    environment = ros_environment()
    if domain is not None:
        environment['ROS_DOMAIN_ID'] = str(domain)
    if localhost:
        environment['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    environment['PYTHONUNBUFFERED'] = '1'
    environment.setdefault('RCUTILS_CONSOLE_OUTPUT_FORMAT', '[{severity}] {message}')
    require_folder(folder)
    environment.setdefault('ROS_LOG_DIR', str((folder / 'ros').resolve()))
    return [ProcessSpec(node.label, _command(node, folder), environment, node.stop_order, folder / f'{node.label}.log')
            for node in nodes]


def require_folder(folder: Path) -> None:
    """Make a folder for results, unless it is there already.

    Raises:
        ConfigError: it cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f'{folder}: cannot be made ({error.strerror})') from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(f'{folder}: cannot be written')


def _command(node: FleetNode, folder: Path) -> tuple[str, ...]:
    path = folder / f'{node.label}.params.yaml'
    path.write_text(yaml.safe_dump({'/**': {'ros__parameters': node.parameters}}, sort_keys=False), encoding='utf-8')
    remaps = ('-r', f'__node:={node.name}', *(('-r', f'__ns:={node.namespace}') if node.namespace else ()))
    return (sys.executable, '-m', f'marl_nodes.{node.executable}', '--ros-args', *remaps,
            '--params-file', str(path.resolve()))
