#!/usr/bin/env python3
"""The command line `marl_fleet`."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from math import isfinite
from pathlib import Path

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
  marl_fleet keys --fleet fleet.yaml                  make the keys that let only members speak
  marl_fleet watch                                    what a running fleet does, robot by robot
  marl_fleet trust robot_2 reinstate                  believe a robot again whose map was left out
  marl_fleet save house                               house.png and house.yaml of what it has mapped so far
  marl_fleet demo --robots 4 --world office:1         explore a simulated building, leave map and metrics in runs/
  marl_fleet chaos                                    the same with kills, partitions, loss and a liar

exit codes: 0 ended well, or stopped as asked (`up` and `watch` by Ctrl-C, SIGTERM or SIGHUP)
            1 a node failed for good, a demo was not completed, or a file could not be written
            2 the fleet file or the command line is wrong; nothing was started
          130 Ctrl-C before anything was started
"""

UP_EXAMPLES = """\
Each line of output begins with the name of its node; the same lines are kept in the log folder, beside the
parameters that each node was started with. A node that fails is started again after 1, 2, 4 ... seconds, and given
up after five failures in a row. A wrong parameter or file is not tried again.

Ctrl-C, SIGTERM and SIGHUP stop every node in good order: first the robots, which stand still before they go. Asked a
second time, it kills what still runs.

On real robots, start the node of each robot on its own computer with --only; nothing else has to run anywhere.
"""

NODES = ('robot_node', 'map_node', 'sim_node')
RESTARTS = ('never', 'on-failure', 'always')
LARGEST_DOMAIN = 232
INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells give it."""

DEMO = """\
Starts a simulator, a map node and the robots, each a process of its own, and ends when the map is complete: when it
shows 99 % of what can be reached and every robot says that nothing is left to explore. The folder of results holds
map.png and map.yaml (for map_server), trajectories, coverage and traffic as pictures, metrics.json, and the log and
parameters of every node; what an earlier run left of these in the folder is removed. Exit code 0 only if the map
became complete. A robot or map node that dies is started again; a simulator that dies ends the run, for a new one would
be another world. Ctrl-C ends the run and keeps what there is; a second one kills what still runs.
"""

CHAOS = """\
A demo with faults. Every event is printed when it happens and kept in metrics.json; missing.png and coverage.png show
what it did. Exit code 0 only if in the end the map is complete, its walls are where those of the world are, and the map
node and all robots hold the same, bit for bit.

A timeline is a YAML file; faults last until another event of the same kind replaces them:

  events:
  - {at_s: 5, links: {loss: 0.3, duplication: 0.1, delay_s: 1.0}}   everybody's; delay by up to so many seconds
  - {at_s: 10, lie: [robot_4]}                                      publishes walls that are not there
  - {at_s: 15, kill: [map, robot_1]}                                kill -9; they are started again
  - {at_s: 30, partition: [[robot_1, robot_2, map], [robot_3]]}     groups; those not named are one more
  - {at_s: 50, partition: [], lie: [], links: {}}                   all is well again
  - {at_s: 60, reinstate: [robot_4]}                                the operator believes it again

at_s is simulated time, delay_s passes on the wall clock. The nodes obey because they run with allow_faults:=true.
"""

KEYS = """\
Makes a private key for each robot and the map node, one group key, and a list of the public keys; then says what to
copy to which machine. The fleet file says where they are and how they are used: security: {mode: signed, keys: DIR}.
Keys that are there already are kept: run it again after a robot was added, with --rotate after a key got lost.
Modes, files, what is dropped and how SROS2 goes with it: docs/security.md
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    try:
        given = _parser().parse_args(arguments)
        from marl_nodes.fleet import verbs  # takes a second, in which Ctrl-C must be as quiet as in any other
        return verbs.run(given)
    except KeyboardInterrupt:
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='marl_fleet', description=DESCRIPTION, epilog=EXAMPLES,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(title='commands', required=True, metavar='COMMAND')
    _add_up(verbs)
    checking = verbs.add_parser('check', help='say what is wrong with a fleet file, without starting anything')
    checking.add_argument('file', metavar='FILE', help='fleet file')
    checking.set_defaults(verb='check')
    _add_demo(verbs)
    _add_keys(verbs)
    _add_tools(verbs)
    return parser


def _add_up(verbs: 'argparse._SubParsersAction[argparse.ArgumentParser]') -> None:
    starting = verbs.add_parser('up', help='start the nodes of a fleet and keep them running',
                                description=UP_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    starting.add_argument('--fleet', required=True, metavar='FILE', help='fleet file')
    starting.add_argument('--only', action='append', metavar='NODE',
                          help="start just this node (a robot's name, map, or simulation); may be repeated")
    starting.add_argument('--restart', default='on-failure', choices=RESTARTS,
                          help='which ends of a node are followed by a new start (default: %(default)s)')
    starting.add_argument('--speed', type=_number(0.0), metavar='FACTOR',
                          help='simulated seconds per second, 0: as fast as the robots answer')
    starting.add_argument('--log', metavar='FOLDER', help='for logs and parameters (default: runs/FLEET-TIME)')
    _add_domain(starting)
    starting.add_argument('--localhost', action='store_true', help='talk within this machine only')
    starting.set_defaults(verb='up')


def _add_demo(verbs: 'argparse._SubParsersAction[argparse.ArgumentParser]') -> None:
    showing = verbs.add_parser(
        'demo', help='let a simulated fleet map a world, and leave map, pictures and metrics',
        description=DEMO, formatter_class=argparse.RawDescriptionHelpFormatter)
    _add_demo_options(showing, speed=0.0)
    showing.set_defaults(verb='demo')
    breaking = verbs.add_parser(
        'chaos', help='a demo in which nodes are killed, links fail and a robot lies; the map must be right in the end',
        description=CHAOS, formatter_class=argparse.RawDescriptionHelpFormatter)
    breaking.add_argument('--timeline', default='', metavar='FILE', help='what happens when (default: some of each)')
    _add_demo_options(breaking, speed=1.0)
    breaking.set_defaults(verb='chaos')


def _add_demo_options(showing: argparse.ArgumentParser, speed: float) -> None:
    showing.add_argument('--robots', type=int, default=4, metavar='N', help='default: %(default)s')
    showing.add_argument('--world', default='office:1', help='generator:seed, or the YAML file of a map for '
                                                             'map_server (default: %(default)s)')
    showing.add_argument('--policy', default=str(SHIPPED_POLICY), help='nearest, burgard, minpos, hungarian, voronoi, '
                         'mtsp, or a model that ends in .onnx (default: the one in models/exported)')
    showing.add_argument('--physics', default='pybullet', choices=['kinematic', 'pybullet'],
                         help='default: %(default)s, with wheeled robots')
    showing.add_argument('--seed', type=int, default=0, help='of sensor and wheel noise (default: %(default)s)')
    showing.add_argument('--speed', type=_number(0.0), default=speed, metavar='FACTOR',
                         help='simulated seconds per second; 0: as fast as the robots answer (default: %(default)g)')
    showing.add_argument('--output', default='', metavar='FOLDER', help='for the results (default: runs/TIME)')
    showing.add_argument('--fleet', default='', metavar='FILE',
                         help='fleet file with a simulation, instead of --robots, --world, --policy ...')
    showing.add_argument('--time-limit', type=_number(1.0), default=1800.0, metavar='S',
                         help='fail when the map is not complete by then [simulated s] (default: %(default)s)')
    _add_domain(showing)


def _add_keys(verbs: 'argparse._SubParsersAction[argparse.ArgumentParser]') -> None:
    making = verbs.add_parser('keys', help='make the keys with which the members of a fleet prove who they are',
                              description=KEYS, formatter_class=argparse.RawDescriptionHelpFormatter)
    making.add_argument('--fleet', required=True, metavar='FILE', help='fleet file')
    making.add_argument('--out', metavar='DIR', help='folder of the keys (default: the one that the fleet file names)')
    making.add_argument('--also', action='append', default=[], metavar='NAME',
                        help='a member that the fleet file does not name, such as a second map node; may be repeated')
    making.add_argument('--rotate', action='append', default=[], metavar='NAME',
                        help='replace the key of this member, or `group`; may be repeated')
    making.add_argument('--force', action='store_true', help='replace every key')
    making.add_argument('--sros2-policy', metavar='FILE',
                        help='make no keys, but write the policy of the fleet for `ros2 security`')
    making.set_defaults(verb='keys')


def _add_tools(verbs: 'argparse._SubParsersAction[argparse.ArgumentParser]') -> None:
    watching = verbs.add_parser('watch', help='show what a running fleet does, robot by robot')
    watching.add_argument('--namespace', default='/fleet', help="of the fleet's topics (default: %(default)s)")
    watching.add_argument('--period', type=_number(0.1), default=2.0, metavar='S',
                          help='between tables [s] (default: %(default)s)')
    _add_domain(watching)
    watching.set_defaults(verb='watch')
    saving = verbs.add_parser('save', help='save the map of a running fleet for map_server')
    saving.add_argument('path', metavar='PATH', help='PATH.png and PATH.yaml are written where the map node runs')
    saving.add_argument('--timeout', type=_number(0.1), default=10.0, metavar='S', help='[s] (default: %(default)s)')
    _add_domain(saving)
    saving.set_defaults(verb='save')
    trusting = verbs.add_parser('trust', help='have the fleet believe a robot again, or leave its map out')
    trusting.add_argument('robot', metavar='ROBOT')
    trusting.add_argument('order', choices=['reinstate', 'quarantine'])
    trusting.add_argument('--fleet', default='', metavar='FILE',
                          help='fleet file whose nodes must all be reached (default: ask whoever is there)')
    trusting.add_argument('--timeout', type=_number(0.1), default=10.0, metavar='S', help='[s] (default: %(default)s)')
    _add_domain(trusting)
    trusting.set_defaults(verb='trust')
    listing = verbs.add_parser('parameters', help='list the ROS parameters of the nodes, with defaults and meaning')
    listing.add_argument('nodes', nargs='*', metavar='NODE', help=', '.join(NODES))
    listing.set_defaults(verb='parameters')


def _add_domain(parser: argparse.ArgumentParser) -> None:
    # A default that is text is converted and refused like what is given.
    parser.add_argument('--domain', type=_domain, metavar='ID', default=os.environ.get('ROS_DOMAIN_ID') or None,
                        help='ROS_DOMAIN_ID (default: that of the environment)')


def _number(least: float) -> Callable[[str], float]:
    def convert(text: str) -> float:
        number = float(text)
        if not (isfinite(number) and number >= least):
            raise argparse.ArgumentTypeError(f'must be a number of {least:g} or more, got {text}')
        return number
    convert.__name__ = 'number'  # What argparse calls it when there is none.
    return convert


def _domain(text: str) -> int:
    if not (text.isdecimal() and int(text) <= LARGEST_DOMAIN):
        raise argparse.ArgumentTypeError(f'must be a whole number from 0 to {LARGEST_DOMAIN}, got {text}')
    return int(text)


if __name__ == '__main__':
    sys.exit(main())
