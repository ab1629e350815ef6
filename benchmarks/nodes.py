"""What the ROS nodes cost as processes: the map node under a large fleet, and the start of a robot."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from benchmarks.rows import Row
from sim.worlds import load_world

PLAIN = ('--ros-args', '-p', 'security_mode:=plain')
ROBOTS, RATE_HZ, SECONDS = 32, 5.0, 20.0


def measure() -> list[Row]:
    """Start nodes in a DDS domain of their own, load them, and read their processor time from the kernel."""
    from marl_nodes.fleet.environment import ros_environment
    environment = ros_environment() | {'ROS_DOMAIN_ID': str(100 + os.getpid() % 100),
                                       'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'}
    with _process(environment, 'marl_nodes.map_node', *PLAIN) as node:
        with _process(environment, 'benchmarks.nodes', 'load') as load:
            time.sleep(8.0)  # discovery, and the first whole map
            before_s, started_s = _cpu_s(node.pid), time.monotonic()
            time.sleep(SECONDS)
            cores = (_cpu_s(node.pid) - before_s) / (time.monotonic() - started_s)
            if load.poll() is not None:
                raise RuntimeError('the load ended before the measurement did')
    start = subprocess.run([sys.executable, '-m', 'benchmarks.nodes', 'start'], env=environment, check=True,
                           capture_output=True, text=True)
    return [Row(f'map node, {ROBOTS} robots that explore and speak at {RATE_HZ:g} Hz', cores, 'cores', 0.5, False),
            Row('start of a robot node, warm cache', float(start.stdout), 's', 5.0, at_least=False)]


def load() -> None:
    """Publish what a large fleet says until killed."""
    import rclpy
    from marl_coordination.msg import Packet

    from marl_nodes import conversions, qos
    rclpy.init()
    node = rclpy.create_node('load')
    publisher = node.create_publisher(Packet, '/fleet/features', qos.FLEET)
    streams = [_packets(robot) for robot in range(ROBOTS)]
    due_s = time.monotonic()
    while True:
        for stream in streams:  # spread over the period, as robots are
            publisher.publish(conversions.packet_to_message(next(stream)))
            due_s += 1.0 / (RATE_HZ * ROBOTS)
            time.sleep(max(0.0, due_s - time.monotonic()))


def start() -> None:
    """Print the time from the start of a robot's process to its first command."""
    import rclpy
    from geometry_msgs.msg import TwistStamped
    from nav_msgs.msg import Odometry
    from sensor_msgs.msg import LaserScan

    from marl_core.types import LaserScan as Sweep
    from marl_core.types import Pose, Twist
    from marl_nodes import conversions, qos
    rclpy.init()
    node = rclpy.create_node('base')
    answers: list[TwistStamped] = []
    node.create_subscription(TwistStamped, '/one/cmd_vel', answers.append, qos.COMMAND)
    scans = node.create_publisher(LaserScan, '/one/scan', qos.SENSOR)
    odometry = node.create_publisher(Odometry, '/one/odom', qos.SENSOR)
    ranges = np.full(360, 2.0, np.float32)
    started_s = time.monotonic()
    with _process(dict(os.environ), 'marl_nodes.robot_node', *PLAIN, '-r', '__ns:=/one', '-p', 'policy:=burgard'):
        while not answers and time.monotonic() - started_s < 60.0:
            now_s = time.monotonic()
            odometry.publish(conversions.odometry_to_message(now_s, Pose(0.0, 0.0, 0.0), Twist(0.0, 0.0), 'one/odom',
                                                             'one/base_link'))
            scans.publish(conversions.scan_to_message(Sweep(now_s, -np.pi, np.pi / 180, 0.1, 8.0, ranges), 'one/lidar'))
            rclpy.spin_once(node, timeout_sec=0.05)
    sys.stdout.write(f'{time.monotonic() - started_s:.2f}\n')


def _packets(robot: int) -> Iterator[bytes]:
    """What a robot that explores says after each scan."""
    from benchmarks.sharing import BOUNDS, WORLDS, drive
    from marl_core.communication import wire
    from marl_core.communication.authentication import Plain
    from marl_core.mapping.replica import Replica
    from marl_core.types import LayerId
    layer, sequence, seal = LayerId(f'robot_{robot}', 1), 0, Plain()
    replica, world = Replica(BOUNDS, layer.robot, layer), load_world(WORLDS[robot % len(WORLDS)])
    for step in drive(world, 3600.0, seed=robot):
        replica.write(layer, step.tiles, step.own.classes)
        message = replica.publish(layer, 60_000.0, step.now, seen_from=(step.x_m, step.y_m))
        if message is not None:
            sequence += 1
            yield seal.close(wire.encode(message, layer.epoch, sequence))


@contextmanager
def _process(environment: dict[str, str], module: str, *arguments: str) -> Iterator[subprocess.Popen]:
    process = subprocess.Popen([sys.executable, '-m', module, *arguments], env=environment, start_new_session=True,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _cpu_s(pid: int) -> float:
    """Processor time that a process has used [s]."""
    fields = Path(f'/proc/{pid}/stat').read_text(encoding='utf-8').rpartition(')')[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


if __name__ == '__main__':
    {'load': load, 'start': start}[sys.argv[1]]()
