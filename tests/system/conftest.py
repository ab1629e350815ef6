"""Real processes that talk over DDS on this machine only, and a hand-made base and lidar to give them a body."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from math import cos, inf, sin

import numpy as np
import pytest

rclpy = pytest.importorskip('rclpy', reason='ROS 2 is not installed: pip install --group ros')
pytest.importorskip('marl_coordination.msg', reason='the messages are not built: pip install --no-build-isolation -e .')

# Before the first rclpy.init, for this process and its children: nobody else's topics, and nothing beyond loopback.
os.environ['ROS_DOMAIN_ID'] = str(1 + os.getpid() % 100)
os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'

from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from geometry_msgs.msg import TwistStamped  # noqa: E402
from marl_coordination import msg  # noqa: E402
from nav_msgs.msg import Odometry  # noqa: E402
from sensor_msgs.msg import LaserScan  # noqa: E402

from marl_core.communication import wire  # noqa: E402
from marl_core.communication.authentication import Plain  # noqa: E402
from marl_core.errors import MessageError  # noqa: E402
from marl_core.types import STOP, Pose, Twist  # noqa: E402
from marl_core.types import LaserScan as Sweep  # noqa: E402
from marl_nodes import conversions, qos  # noqa: E402
from marl_nodes.fleet.environment import PARENT_VARIABLE, ros_environment  # noqa: E402

STEP_S = 0.1
BEAMS = 180
RANGE_M = 4.0


def pytest_collection_modifyitems(items):
    for item in items:
        if 'tests/system' in str(item.path):
            item.add_marker(pytest.mark.system)


class Processes:
    """Nodes as processes of their own; all are gone when the test ends."""

    def __init__(self, folder):
        self._folder = folder
        self._started = []

    def start(self, executable, *arguments, name=None):
        log = (self._folder / f'{len(self._started)}-{name or executable}.log').open('w')
        process = subprocess.Popen(
            [sys.executable, '-m', f'marl_nodes.{executable}', *arguments], stdout=log, stderr=subprocess.STDOUT,
            env={**ros_environment(), PARENT_VARIABLE: str(os.getpid())}, start_new_session=True)
        process.log_path = log.name
        log.close()
        self._started.append(process)
        return process

    def node(self, executable, namespace='', **parameters):
        if executable != 'sim_node':
            parameters.setdefault('security_mode', 'plain')
        arguments = ['--ros-args']
        if namespace:
            arguments += ['-r', f'__ns:={namespace}']
        for name, value in parameters.items():
            arguments += ['-p', f'{name}:={value}']
        return self.start(executable, *arguments)

    def close(self):
        for process in self._started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture
def processes(tmp_path):
    started = Processes(tmp_path)
    yield started
    started.close()


class Ear:
    """A node of the test's own that hears the fleet's topics, diagnostics and services."""

    def __init__(self, context):
        self.node = rclpy.create_node('ear', context=context)
        self.executor = rclpy.executors.SingleThreadedExecutor(context=context)
        self.executor.add_node(self.node)
        self.seal = Plain()
        self.heard = {kind: [] for kind in wire.KINDS}
        self.voices = {kind: self.node.create_publisher(msg.Packet, f'/fleet/{kind}', qos.FLEET)
                       for kind in wire.KINDS}
        self._sequences = {}
        for kind in wire.KINDS:
            self.node.create_subscription(msg.Packet, f'/fleet/{kind}', self._open, qos.FLEET)
        self.diagnostics = {}
        self.node.create_subscription(DiagnosticArray, '/diagnostics', self._note, qos.DIAGNOSTICS)

    def _open(self, message):
        packet = bytes(message.data)
        with suppress(MessageError):  # Of its own voice, when a test shouts what nodes must refuse.
            header = wire.peek(packet)
            data = self.seal.open(packet, header.robot, time.monotonic())
            self.heard[wire.KINDS[header.kind]].append(wire.decode(data, header))

    def say(self, message, epoch=1):
        """Speak as whoever the message says."""
        sequence = self._sequences[message.robot, epoch] = self._sequences.get((message.robot, epoch), 0) + 1
        self.shout(self.seal.close(wire.encode(message, epoch, sequence)))

    def shout(self, packet):
        """Publish any bytes."""
        self.voices['features'].publish(msg.Packet(data=packet))

    def _note(self, array):
        for status in array.status:
            self.diagnostics[status.hardware_id] = (
                status.message, {entry.key: entry.value for entry in status.values})

    def listen(self, kind, topic, profile):
        received = []
        self.node.create_subscription(kind, topic, received.append, profile)
        return received

    def until(self, condition, timeout_s=30.0, also=lambda: None):
        deadline_s = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline_s, 'nothing came of it in time'
            self.executor.spin_once(timeout_sec=0.02)
            also()

    def call(self, kind, name, request):
        """Ask until somebody answers: a server that was killed stays visible for a while and takes questions along."""
        client = self.node.create_client(kind, name)
        futures, next_s = [], [0.0]

        def ask():
            if time.monotonic() >= next_s[0] and client.service_is_ready():
                next_s[0] = time.monotonic() + 2.0
                futures.append(client.call_async(request))
        self.until(lambda: any(future.done() for future in futures), also=ask)
        self.node.destroy_client(client)
        return next(future for future in futures if future.done()).result()


class Base:
    """A body for robot_node in a room of 16 x 8 m around the origin: turns commands into odometry and scans."""

    def __init__(self, ear, robot, period_s=0.05):
        self._ear, self._period_s, self._next_s = ear, period_s, 0.0
        self.pose, self.command, self.commands, self.time_s = Pose(-4.0, 0.0, 0.0), STOP, [], 100.0
        node = ear.node
        self.scans = node.create_publisher(LaserScan, f'/{robot}/scan', qos.SENSOR)
        self.odometry = node.create_publisher(Odometry, f'/{robot}/odom', qos.SENSOR)
        node.create_subscription(TwistStamped, f'/{robot}/cmd_vel', self._obey, qos.COMMAND)

    def _obey(self, message):
        self.command = conversions.twist_from_message(message.twist)
        self.commands.append(self.command)

    def live(self):
        """One step of life whenever it is time."""
        if time.monotonic() < self._next_s:
            return
        self._next_s = time.monotonic() + self._period_s
        self.time_s += STEP_S
        x_m, y_m, heading_rad = self.pose
        speed_mps, turn_radps = self.command
        self.pose = Pose(x_m + STEP_S * speed_mps * cos(heading_rad), y_m + STEP_S * speed_mps * sin(heading_rad),
                         heading_rad + STEP_S * turn_radps)
        self.odometry.publish(conversions.odometry_to_message(self.time_s, self.pose, Twist(*self.command), 'odom', ''))
        self.scans.publish(conversions.scan_to_message(self.sweep(), 'lidar'))

    def sweep(self):
        angles = self.pose.heading_rad + np.arange(BEAMS) * (2 * np.pi / BEAMS)
        with np.errstate(divide='ignore'):
            to_x = np.maximum((8.0 - self.pose.x_m) / np.cos(angles), (-8.0 - self.pose.x_m) / np.cos(angles))
            to_y = np.maximum((4.0 - self.pose.y_m) / np.sin(angles), (-4.0 - self.pose.y_m) / np.sin(angles))
        ranges = np.minimum(to_x, to_y)
        ranges[ranges > RANGE_M] = inf
        return Sweep(self.time_s, 0.0, 2 * np.pi / BEAMS, 0.1, RANGE_M, ranges.astype(np.float32))


@pytest.fixture
def ear():
    context = rclpy.Context()
    rclpy.init(context=context)
    yield Ear(context)
    rclpy.shutdown(context=context)


@pytest.fixture
def make_base(ear):
    return lambda robot, **options: Base(ear, robot, **options)
