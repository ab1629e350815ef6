"""Looking at a running fleet where there is no `ros2` command: status, saving the map, parameters of the nodes."""

import importlib
import sys
import time
from collections.abc import Callable, Collection
from dataclasses import fields
from math import degrees
from typing import Any

import numpy as np
import rclpy
from marl_coordination.srv import SaveMap, SetTrust
from numpy.typing import NDArray
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node

from marl_nodes.fleet.processes import WITHOUT_LOG_FILE
from marl_nodes.map_view import areas_m2
from marl_nodes.monitor import Monitor
from marl_nodes.trust_service import tell

PARAMETERS = {'robot_node': 'RobotParameters', 'map_node': 'MapParameters', 'sim_node': 'SimulationParameters'}
SHOW_UP_S = 1.5
"""Nodes that discovery did not find so long after the last one are taken to be out of reach."""
SAME_DOMAIN = '(same ROS_DOMAIN_ID and ROS_AUTOMATIC_DISCOVERY_RANGE as the fleet?)'


def watch_fleet(namespace: str, period_s: float) -> int:
    """Write a table of all robots every ``period_s`` until Ctrl-C."""
    def serve(context: Context) -> int:
        monitor = Monitor((), namespace, 'map', _known_m2, context)
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(monitor)
        due_s = time.monotonic() + period_s
        while True:
            executor.spin_once(timeout_sec=0.1)
            if time.monotonic() >= due_s:
                due_s += period_s
                sys.stdout.write(table_of(monitor) + '\n')
                sys.stdout.flush()
    return _with_context(serve)


def table_of(monitor: Monitor) -> str:
    """What is known of each robot now, as text."""
    lines = [f'{"robot":<16} {"activity":<10} {"x [m]":>8} {"y [m]":>8} {"heading":>8} {"way [m]":>8} '
             f'{"sent [kB]":>10}']
    for robot, record in sorted(monitor.records.items()):
        x_m, y_m, heading_rad = record.pose
        lines.append(f'{robot:<16} {record.activity.name.lower():<10} {x_m:8.2f} {y_m:8.2f} '
                     f'{degrees(heading_rad):7.0f}\N{DEGREE SIGN} {record.travelled_m:8.1f} '
                     f'{record.bytes_by_kind.total() / 1000.0:10.1f}')
    mapped = f'{monitor.coverage[-1][1]:.1f} m2 mapped' if monitor.map is not None else 'no map heard'
    lines.append(f'{len(monitor.records)} robots, {mapped}, time {monitor.time_s:.1f} s\n')
    return '\n'.join(lines)


def save_map(path: str, timeout_s: float) -> int:
    """Ask the map node to write its map; returns the exit code."""
    return _ask_map_node(SaveMap, '/map/save_map', SaveMap.Request(path=path), timeout_s)


def set_trust(robot: str, order: str, expected: Collection[str], timeout_s: float) -> int:
    """Tell every node that judges whether to believe a robot; returns the exit code, 0 if all of them obey.

    Args:
        robot, order: of the service.
        expected: full names of the services that should be there; if none are given, those that show up soon are
            asked.
        timeout_s: for finding them, and again for their answers [s].
    """
    def ask(context: Context) -> int:
        node = Node('operator', context=context)
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(node)
        found = _services_of(SetTrust, node, expected, timeout_s)
        said: dict[str, SetTrust.Response] = {}
        untold = [node.create_client(SetTrust, name) for name in found]
        deadline_s = time.monotonic() + timeout_s
        while len(said) < len(found) and time.monotonic() < deadline_s:
            untold = tell(untold, robot, order, said.__setitem__)
            executor.spin_once(timeout_sec=0.1)
        silent = sorted({*expected, *found} - said.keys())
        refused = [(name, answer) for name, answer in said.items() if not answer.success]
        obeyed = len(said) - len(refused)
        sys.stdout.write(f'{robot}: {order}, obeyed by {obeyed} of {len({*expected, *found})} nodes\n')
        for name, answer in refused:
            sys.stderr.write(f'marl_fleet: {name}: {answer.message}\n')
        for name in silent:
            sys.stderr.write(f'marl_fleet: {name}: does not answer within {timeout_s:.0f} s\n')
        if not (found or expected):
            sys.stderr.write(f'marl_fleet: nobody who judges was found within {timeout_s:.0f} s {SAME_DOMAIN}\n')
        return 0 if obeyed and not (refused or silent) else 1
    return _with_context(ask)


def _services_of(kind: type, node: Node, expected: Collection[str], timeout_s: float) -> list[str]:
    """Names of the services of a type: once those expected are there, else once some are and no more show up."""
    type_name = f'marl_coordination/srv/{kind.__name__}'
    began_s = changed_s = time.monotonic()
    found: list[str] = []
    while time.monotonic() - began_s < timeout_s:
        now = sorted(name for name, types in node.get_service_names_and_types() if type_name in types)
        if now != found:
            found, changed_s = now, time.monotonic()
        if found and (set(expected) <= set(found) if expected else time.monotonic() - changed_s >= SHOW_UP_S):
            break
        time.sleep(0.1)
    return found


def _ask_map_node(kind: type, service: str, request: Any, timeout_s: float) -> int:
    """Call a service whose answer has ``success`` and ``message``, and say what it says."""
    def ask(context: Context) -> int:
        node = Node('operator', context=context)
        client = node.create_client(kind, service)
        if not client.wait_for_service(timeout_sec=timeout_s):
            sys.stderr.write(f'marl_fleet: no map node answers within {timeout_s:.0f} s {SAME_DOMAIN}\n')
            return 1
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(node)
        future = client.call_async(request)
        executor.spin_until_future_complete(future, timeout_sec=timeout_s)
        answer = future.result() if future.done() else kind.Response(message='the map node did not answer')
        (sys.stdout if answer.success else sys.stderr).write(f'{answer.message}\n')
        return 0 if answer.success else 1
    return _with_context(ask)


def parameters_of(node: str) -> str:
    """Name, default and meaning of each parameter of a node, one a line."""
    kind = getattr(importlib.import_module(f'marl_nodes.{node}'), PARAMETERS[node])
    width = max(len(entry.name) for entry in fields(kind))
    return ''.join(f'  {entry.name:<{width}}  {entry.metadata["description"]} (default: {entry.default!r})\n'
                   for entry in fields(kind))


def _known_m2(classes: NDArray[np.int8], resolution_m: float, origin_x_m: float, origin_y_m: float) -> float:
    free_m2, occupied_m2, _ = areas_m2(classes, resolution_m)
    return free_m2 + occupied_m2


def _with_context(serve: Callable[[Context], int]) -> int:
    context = Context()
    rclpy.init(args=list(WITHOUT_LOG_FILE), context=context)
    try:
        return serve(context)
    except (KeyboardInterrupt, ExternalShutdownException):
        return 0
    finally:
        rclpy.try_shutdown(context=context)
