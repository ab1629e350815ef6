#!/usr/bin/env python3
"""The command line `marl_fleet`."""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from marl_core.errors import MarlError
from marl_nodes.fleet.environment import restart_in_ros_environment
from marl_nodes.fleet.model import check_fleet, load_fleet, require_correct
from marl_nodes.fleet.nodes import FleetNode, nodes_of
from marl_nodes.fleet.processes import process_specs
from marl_nodes.fleet.supervisor import Restart, RestartPolicy, Supervisor

SHIPPED_POLICY = Path(__file__).resolve().parents[2] / 'models' / 'exported' / 'coordinator.onnx'

DESCRIPTION = """\
Start and check fleets of robots that explore and map together.

A fleet is one YAML file: its robots, the map node, and (without real robots) a simulator.
`ros2 launch marl_coordination fleet.launch.py fleet:=FILE` starts the same nodes from the same file.
"""

EXAMPLES = """\
examples:
  marl_fleet check config/fleets/demo.yaml            find mistakes before anything moves
  marl_fleet up --fleet config/fleets/demo.yaml       simulator, map node and every robot; Ctrl-C stops all
  marl_fleet up --fleet fleet.yaml --only robot_2     just one robot, on that robot's own computer
  marl_fleet watch                                    what a running fleet does, robot by robot
  marl_fleet save house                               house.png and house.yaml of what it has mapped so far
  marl_fleet demo --robots 4 --world office:1         explore a simulated building, leave map and metrics in runs/

exit codes: 0 stopped as asked, 1 a node failed for good or a demo was not completed,
            2 the fleet file or command line is wrong
"""

UP_EXAMPLES = """\
Each line of output begins with the name of its node; the same lines are kept in the log folder, beside the
parameters that each node was started with. A node that fails is started again after 1, 2, 4 ... seconds, and given
up after five failures in a row. A wrong parameter or file is not tried again.

On real robots, start the node of each robot on its own computer with --only; nothing else has to run anywhere.
"""

NODES = ('robot_node', 'map_node', 'sim_node')

DEMO = """\
Starts a simulator, a map node and the robots, each a process of its own, and ends when the map is complete: when it
shows 99 % of what can be reached and every robot says that nothing is left to explore. The folder of results holds
map.png and map.yaml (for map_server), trajectories, coverage and traffic as pictures, metrics.json, and the log and
parameters of every node. Exit code 0 only if the map became complete.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = _parser()
    given = parser.parse_args(arguments)
    try:
        return given.run(given)
    except MarlError as error:
        sys.stderr.write(f'marl_fleet: {error}\n')
        return 2


def check(given: argparse.Namespace) -> int:
    """`marl_fleet check`: say what is wrong with a fleet file, or what it starts."""
    fleet = load_fleet(given.file)
    problems = check_fleet(fleet)
    for problem in problems:
        sys.stdout.write(f'{given.file}: {problem}\n')
    if problems:
        return 2
    sys.stdout.write(f'{given.file}: correct; starts {len(nodes_of(fleet))} nodes:\n')
    for node in nodes_of(fleet):
        sys.stdout.write(f'  {node.label:<16} {node.namespace}/{node.name} ({node.executable})\n')
    return 0


def up(given: argparse.Namespace) -> int:
    """`marl_fleet up`: run the nodes of a fleet until asked to stop."""
    fleet = load_fleet(given.fleet)
    if given.speed is not None and fleet.simulation is not None:
        fleet = replace(fleet, simulation=replace(fleet.simulation, real_time_factor=given.speed))
    require_correct(fleet, given.fleet)
    nodes = _chosen(nodes_of(fleet), given.only)
    folder = Path(given.log or Path('runs') / f'{Path(given.fleet).stem}-{time.strftime("%Y%m%d-%H%M%S")}')
    specs = process_specs(nodes, folder, given.domain, given.localhost)
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
    from marl_nodes.demo.session import DemoOptions, run  # needs ROS, and the simulator of a checkout
    return run(DemoOptions(given.robots, given.world, given.policy, given.physics, given.seed, given.speed,
                           given.output, given.fleet, given.time_limit))


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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='marl_fleet', description=DESCRIPTION, epilog=EXAMPLES,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(title='commands', required=True, metavar='COMMAND')
    _add_up(verbs)
    checking = verbs.add_parser('check', help='say what is wrong with a fleet file, without starting anything')
    checking.add_argument('file', metavar='FILE', help='fleet file')
    checking.set_defaults(run=check)
    _add_demo(verbs)
    _add_tools(verbs)
    return parser


def _add_up(verbs: 'argparse._SubParsersAction[argparse.ArgumentParser]') -> None:
    starting = verbs.add_parser('up', help='start the nodes of a fleet and keep them running',
                                description=UP_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    starting.add_argument('--fleet', required=True, metavar='FILE', help='fleet file')
    starting.add_argument('--only', action='append', metavar='NODE',
                          help="start just this node (a robot's name, map, or simulation); may be repeated")
    starting.add_argument('--restart', default='on-failure', choices=[str(choice) for choice in Restart],
                          help='which ends of a node are followed by a new start (default: %(default)s)')
    starting.add_argument('--speed', type=float, metavar='FACTOR',
                          help='simulated seconds per second, 0: as fast as the robots answer')
    starting.add_argument('--log', metavar='FOLDER', help='for logs and parameters (default: runs/FLEET-TIME)')
    starting.add_argument('--domain', type=int, metavar='ID', default=_domain_of_environment(),
                          help='ROS_DOMAIN_ID of the nodes (default: that of the environment)')
    starting.add_argument('--localhost', action='store_true', help='talk within this machine only')
    starting.set_defaults(run=up)


def _add_demo(verbs: 'argparse._SubParsersAction[argparse.ArgumentParser]') -> None:
    showing = verbs.add_parser(
        'demo', help='let a simulated fleet map a world, and leave map, pictures and metrics',
        description=DEMO, formatter_class=argparse.RawDescriptionHelpFormatter)
    showing.add_argument('--robots', type=int, default=4, metavar='N', help='default: %(default)s')
    showing.add_argument('--world', default='office:1', help='generator:seed, or the YAML file of a map for '
                                                             'map_server (default: %(default)s)')
    showing.add_argument('--policy', default=str(SHIPPED_POLICY), help='nearest, burgard, minpos, hungarian, voronoi, '
                         'mtsp, or a model that ends in .onnx (default: the one in models/exported)')
    showing.add_argument('--physics', default='pybullet', choices=['kinematic', 'pybullet'],
                         help='default: %(default)s, with wheeled robots')
    showing.add_argument('--seed', type=int, default=0, help='of sensor and wheel noise (default: %(default)s)')
    showing.add_argument('--speed', type=float, default=0.0, metavar='FACTOR',
                         help='simulated seconds per second; 0, the default: as fast as the robots answer')
    showing.add_argument('--output', default='', metavar='FOLDER', help='for the results (default: runs/TIME)')
    showing.add_argument('--fleet', default='', metavar='FILE',
                         help='fleet file with a simulation, instead of --robots, --world, --policy ...')
    showing.add_argument('--time-limit', type=float, default=1800.0, metavar='S',
                         help='fail when the map is not complete by then [simulated s] (default: %(default)s)')
    showing.set_defaults(run=demo)


def _add_tools(verbs: 'argparse._SubParsersAction[argparse.ArgumentParser]') -> None:
    watching = verbs.add_parser('watch', help='show what a running fleet does, robot by robot')
    watching.add_argument('--namespace', default='/fleet', help="of the fleet's topics (default: %(default)s)")
    watching.add_argument('--period', type=float, default=2.0, metavar='S', help='between tables [s] (default: 2)')
    watching.set_defaults(run=watch)
    saving = verbs.add_parser('save', help='save the map of a running fleet for map_server')
    saving.add_argument('path', metavar='PATH', help='PATH.png and PATH.yaml are written where the map node runs')
    saving.add_argument('--timeout', type=float, default=10.0, metavar='S', help='[s] (default: %(default)s)')
    saving.set_defaults(run=save)
    listing = verbs.add_parser('parameters', help='list the ROS parameters of the nodes, with defaults and meaning')
    listing.add_argument('nodes', nargs='*', metavar='NODE', help=', '.join(NODES))
    listing.set_defaults(run=parameters)


def _domain_of_environment() -> int | None:
    domain = os.environ.get('ROS_DOMAIN_ID', '')
    return int(domain) if domain.isdigit() else None


if __name__ == '__main__':
    sys.exit(main())
