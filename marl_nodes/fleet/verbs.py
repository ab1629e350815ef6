"""What each command of `marl_fleet` does."""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from marl_core.errors import ConfigError, MarlError
from marl_nodes.fleet.commands import NODES
from marl_nodes.fleet.enclaves import policy_of
from marl_nodes.fleet.environment import restart_in_ros_environment
from marl_nodes.fleet.keys import make_keys, member_names, report_of
from marl_nodes.fleet.model import Fleet, check_fleet, load_fleet, require_correct
from marl_nodes.fleet.nodes import FleetNode, nodes_of, require_few, robots_among, trust_services
from marl_nodes.fleet.processes import process_specs
from marl_nodes.fleet.supervisor import Restart, RestartPolicy, Supervisor

if TYPE_CHECKING:
    from marl_nodes.demo.session import DemoOptions


def run(given: argparse.Namespace) -> int:
    """Do what was asked for; returns the exit code."""
    if getattr(given, 'domain', None) is not None:
        os.environ['ROS_DOMAIN_ID'] = str(given.domain)
    try:
        return VERBS[given.verb](given)
    except MarlError as error:
        sys.stderr.write(f'marl_fleet: {error}\n')
        return 2
    except OSError as error:
        sys.stderr.write(f'marl_fleet: {error.filename or "the system"}: {error.strerror}\n')
        return 1


def check(given: argparse.Namespace) -> int:
    """`marl_fleet check`: say what is wrong with a fleet file, or what it starts."""
    fleet = load_fleet(given.file)
    problems = check_fleet(fleet) or _world_problems(fleet)
    for problem in problems:
        sys.stdout.write(f'{given.file}: {problem}\n')
    if problems:
        return 2
    sys.stdout.write(f'{given.file}: correct; starts {len(nodes_of(fleet))} nodes:\n')
    for node in nodes_of(fleet):
        sys.stdout.write(f'  {node.label:<16} {node.namespace}/{node.name} ({node.executable})\n')
    return 0


def _world_problems(fleet: Fleet) -> tuple[str, ...]:
    """What the simulator has against the fleet's world."""
    if fleet.simulation is None:
        return ()
    try:
        from marl_nodes.demo.world import world_of  # needs the simulator of a checkout
    except SystemExit:  # It said that there is none, as on a robot: worlds cannot be looked at here.
        return ()
    try:
        world_of(fleet)
    except MarlError as error:
        return (f'simulation: {error}',)
    return ()


def up(given: argparse.Namespace) -> int:
    """`marl_fleet up`: run the nodes of a fleet until asked to stop."""
    fleet = load_fleet(given.fleet)
    if given.speed is not None and fleet.simulation is not None:
        fleet = replace(fleet, simulation=replace(fleet.simulation, real_time_factor=given.speed))
    require_correct(fleet, given.fleet)
    nodes = _chosen(nodes_of(fleet), given.only)
    require_few(robots_among(nodes))
    for problem in _world_problems(fleet) if any(node.executable == 'sim_node' for node in nodes) else ():
        raise ConfigError(f'{given.fleet}: {problem}')
    folder = Path(given.log or Path('runs') / f'{Path(given.fleet).stem}-{time.strftime("%Y%m%d-%H%M%S")}')
    specs = process_specs(nodes, folder, given.localhost)
    sys.stdout.write(f'marl_fleet: starting {len(nodes)} nodes, logs in {folder}; Ctrl-C stops them\n')
    sys.stdout.flush()
    return Supervisor(specs, RestartPolicy(Restart(given.restart))).run()


def _chosen(nodes: Sequence[FleetNode], only: Sequence[str] | None) -> list[FleetNode]:
    if not only:
        return list(nodes)
    labels = [node.label for node in nodes]
    for label in only:
        if label not in labels:
            raise MarlError(f'--only {label}: no such node; the fleet has {", ".join(labels)}')
    return [node for node in nodes if node.label in only]


def demo(given: argparse.Namespace) -> int:
    """`marl_fleet demo`: let a simulated fleet map a world."""
    restart_in_ros_environment()
    from marl_nodes.demo.session import run  # needs ROS, and the simulator of a checkout
    return run(_demo_options(given))


def chaos(given: argparse.Namespace) -> int:
    """`marl_fleet chaos`: the same, with faults."""
    restart_in_ros_environment()
    from marl_nodes.demo.chaos import run  # needs ROS, and the simulator of a checkout
    return run(_demo_options(given), given.timeline)


def _demo_options(given: argparse.Namespace) -> 'DemoOptions':
    from marl_nodes.demo.session import DemoOptions
    return DemoOptions(given.robots, given.world, given.policy, given.physics, given.seed, given.speed,
                       given.output, given.fleet, given.time_limit)


def watch(given: argparse.Namespace) -> int:
    """`marl_fleet watch`: a line per robot, again and again."""
    restart_in_ros_environment()
    from marl_nodes.fleet.tools import watch_fleet  # needs ROS
    return watch_fleet(given.namespace, given.period)


def save(given: argparse.Namespace) -> int:
    """`marl_fleet save`: have the map node write its map."""
    restart_in_ros_environment()
    from marl_nodes.fleet.tools import save_map  # needs ROS
    return save_map(str(Path(given.path).resolve()), given.timeout)


def trust(given: argparse.Namespace) -> int:
    """`marl_fleet trust`: tell the map node and all robots whether to believe a robot."""
    expected = trust_services(load_fleet(given.fleet)) if given.fleet else ()
    restart_in_ros_environment()
    from marl_nodes.fleet.tools import set_trust  # needs ROS
    return set_trust(given.robot, given.order, expected, given.timeout)


def parameters(given: argparse.Namespace) -> int:
    """`marl_fleet parameters`: what every node can be told."""
    restart_in_ros_environment()
    from marl_nodes.fleet.tools import parameters_of  # needs ROS
    for node in given.nodes:
        if node not in NODES:
            raise MarlError(f'no node {node!r}; there are {", ".join(NODES)}')
    for node in given.nodes or NODES:
        sys.stdout.write(f'{node}\n{parameters_of(node)}\n')
    return 0


def keys(given: argparse.Namespace) -> int:
    """`marl_fleet keys`: make the keys of a fleet, or its policy for SROS2."""
    fleet = load_fleet(given.fleet)
    if given.sros2_policy:
        Path(given.sros2_policy).write_text(policy_of(fleet), encoding='utf-8')
        sys.stdout.write(f'{given.sros2_policy}: policy for SROS2, see docs/security.md\n')
        return 0
    if not (given.out or fleet.security.keys):
        raise MarlError(f'{given.fleet}: names no folder for keys (security: {{mode: signed, keys: FOLDER}}); '
                        'name one with --out')
    folder = Path(given.out or fleet.security.keys)
    sys.stdout.write(report_of(make_keys(folder, member_names(fleet, given.also), given.rotate, given.force)))
    if fleet.security.mode == 'plain':
        sys.stdout.write(f'{given.fleet} has mode plain: these keys are not used before it says mac or signed\n')
    return 0


VERBS = {'check': check, 'up': up, 'demo': demo, 'chaos': chaos, 'keys': keys, 'watch': watch, 'save': save,
         'trust': trust, 'parameters': parameters}
