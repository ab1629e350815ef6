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

PLAIN = ('--ros-args', '-p', 'security_mode:=plain')
ROBOTS, RATE_HZ, SECONDS, TILES = 32, 5.0, 20.0, 12


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
    return [Row(f'map node, {ROBOTS} robots at {RATE_HZ:g} Hz, {TILES} tiles each', cores, 'cores', 0.5, False),
            Row('start of a robot node, warm cache', float(start.stdout), 's', 5.0, at_least=False)]


def load() -> None:
    """Publish what a large fleet says until killed."""
    import rclpy
    from marl_coordination.msg import MapFeatures

    from marl_nodes import conversions, qos
    rclpy.init()
    node = rclpy.create_node('load')
    publisher = node.create_publisher(MapFeatures, '/fleet/features', qos.FLEET)
    streams = [_features(robot) for robot in range(ROBOTS)]
    due_s = time.monotonic()
    while True:
        for stream in streams:  # spread over the period, as robots are
            publisher.publish(conversions.to_fleet_message(next(stream), 'map'))
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


def _features(robot: int) -> Iterator:
    """Messages of a robot that redraws a dozen tiles of its own corner of the map again and again."""
    from marl_core.mapping.bounds import TILE, MapBounds, MapConfig
    from marl_core.mapping.replica import Replica
    from marl_core.types import LayerId
    bounds, random = MapBounds.from_config(MapConfig()), np.random.default_rng(robot)
    layer = LayerId(f'robot_{robot}', 1)
    replica, classes = Replica(bounds, layer.robot, layer), np.zeros(bounds.shape, np.int8)
    rows, cols = np.divmod(np.arange(TILES), 4)
    tiles = np.column_stack((30 + 3 * (robot // 8) + rows, 30 + 4 * (robot % 8) + cols)).astype(np.int32)
    now_s = 0.0
    while True:
        for ty, tx in tiles:
            part = classes[ty * TILE:(ty + 1) * TILE, tx * TILE:(tx + 1) * TILE]
            part[:] = -1
            part[random.integers(TILE)] = 1
            part[:, random.integers(TILE)] = 1
        replica.write(layer, tiles, classes)
        now_s += 1.0 / RATE_HZ
        message = replica.publish(layer, 60_000.0, now_s)
        if message is not None:
            yield message


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
