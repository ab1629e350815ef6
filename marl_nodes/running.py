"""How every node's process lives: starts, spins, stops cleanly on SIGINT and SIGTERM, and follows its parent.

rclpy's own signal handlers close the context at once, and then a robot can no longer be told to stop; so signals
only set a flag here, and a node's ``close`` runs while it can still publish.
"""

import ctypes
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Protocol

import rclpy
from rclpy.exceptions import NameValidationException, ParameterException
from rclpy.executors import SingleThreadedExecutor
from rclpy.logging import get_logger, get_logging_directory
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from marl_core.errors import MarlError
from marl_nodes.fleet.environment import PARENT_VARIABLE

EXIT_MISCONFIGURED = 2
"""Exit code when starting again would not help."""

DDS_PROFILES = 'FASTDDS_DEFAULT_PROFILES_FILE'
"""Names the file of settings that Fast DDS reads when the first node of a process starts; what a user set is kept."""

_PR_SET_PDEATHSIG = 1
_LONGEST_WAIT_S = 0.1  # A signal that comes while waiting for messages is seen after this time.


class Closable(Protocol):
    """A node that has something to do before it goes."""

    def close(self) -> None:
        """Leave the world safe and state saved; messages can still be sent."""


class StopRequest:
    """Becomes true on SIGINT or SIGTERM."""

    def __init__(self) -> None:
        self.made = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._make)

    def _make(self, number: int, frame: FrameType | None) -> None:
        self.made = True


def run(name: str, make_node: Callable[[], Node], arguments: Sequence[str] | None = None) -> int:
    """Run one node until it is asked to stop; its ``close`` is called in any case.

    Args:
        name: names the process in log lines before there is a node.
        make_node: builds the node, which has ``close`` (see Closable).
        arguments: command line; default that of the process.

    Returns:
        Exit code: 0 after a requested stop, EXIT_MISCONFIGURED for an error of this project's own, or a command line
        or file of parameters that ROS refuses.

    Raises:
        Exception: whatever a callback raised, after ``close``.
    """
    _follow_parent()
    os.environ.setdefault(DDS_PROFILES, str(Path(__file__).with_name('fastdds.xml')))
    stop = StopRequest()
    arguments = list(sys.argv if arguments is None else arguments)
    logs_to_files = _can_log_to_files()
    if not logs_to_files:
        arguments += ['--ros-args', '--disable-external-lib-logs']
    try:
        rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    except RuntimeError as error:
        get_logger(name).fatal(_without_source(str(error)))
        return EXIT_MISCONFIGURED
    try:
        if not logs_to_files:
            get_logger(name).warning('the folder of log files cannot be written (ROS_LOG_DIR, ROS_HOME or HOME); '
                                     'logging to the console only')
        try:
            node = make_node()
        except (MarlError, ParameterException, NameValidationException) as error:
            get_logger(name).fatal(str(error))
            return EXIT_MISCONFIGURED
        try:
            _spin(node, stop)
        finally:
            node.close()
            node.destroy_node()
        return 0
    finally:
        rclpy.shutdown()


def _can_log_to_files() -> bool:
    """Whether rclpy may open its log file; where it cannot, it would refuse to start."""
    try:
        folder = get_logging_directory()
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # RuntimeError: without HOME there is no folder to name.
        return False
    return os.access(folder, os.W_OK | os.X_OK)


def _without_source(text: str) -> str:
    """An error of rcl in one line, without the places in its source code."""
    return ' '.join(re.sub(r',? at \S+\.\w+:\d+', '', text).split())


def _spin(node: Node, stop: StopRequest) -> None:
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        while not stop.made and rclpy.ok():
            executor.spin_once(timeout_sec=_LONGEST_WAIT_S)
    finally:
        executor.shutdown()


def _follow_parent() -> None:
    """Ask the kernel for SIGTERM when marl_fleet dies, however it dies; no robot drives on unattended."""
    parent = os.environ.get(PARENT_VARIABLE)
    if parent is None or not sys.platform.startswith('linux'):
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):  # It died before the request.
        sys.exit(0)
