#!/usr/bin/env python3
"""Simulated bases and lidars behind the topics of real ones: /clock, and scan, odom and cmd_vel of each robot.

The one node that needs a checkout: the simulator is no part of what robots install.
"""

import signal

if __name__ == '__main__':  # Until run() listens, a signal ends this process in silence, imports or not.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import contextlib
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
from geometry_msgs.msg import Twist as TwistMessage
from geometry_msgs.msg import TwistStamped
from marl_coordination.srv import ResetSimulation
from nav_msgs.msg import Odometry
from numpy.typing import NDArray
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rosgraph_msgs.msg import Clock as ClockMessage
from sensor_msgs.msg import LaserScan as LaserScanMessage

from marl_core.config import load
from marl_core.errors import ConfigError, MarlError, MessageError
from marl_core.types import STOP, Pose, Readings, RobotModel, Twist
from marl_nodes import conversions, qos
from marl_nodes.checkout import require_simulator
from marl_nodes.diagnostics import OK, WARN, Diagnostics, Drops, Durations
from marl_nodes.lockstep import Lockstep
from marl_nodes.parameters import declare, parameter
from marl_nodes.running import run

require_simulator()
from sim.sensors.odometry import OdometryNoise  # noqa: E402 - found by the line above.
from sim.simulation import Simulation  # noqa: E402
from sim.worlds import World, load_world  # noqa: E402

LOCKSTEP_CHECK_S = 0.01
DIAGNOSTICS_PERIOD_S = 1.0
COMMAND_LIFETIME_S = 0.5
"""Simulated bases stop when commands stay away for so long, as real ones do [s; simulated time]."""


@dataclass(frozen=True)
class SimulationParameters:
    """Parameters of sim_node."""

    robots: tuple[str, ...] = parameter(('robot_1',), 'Names of the robots, which are their namespaces.')
    models: tuple[str, ...] = parameter(('',), "YAML file of each robot's model; empty: the defaults.")
    stamped_cmd_vel: tuple[bool, ...] = parameter((True,), 'Whether each base wants TwistStamped or Twist.')
    starts: tuple[float, ...] = parameter(
        (math.nan,) * 3, 'x [m], y [m], heading [rad; map frame] of each robot; NaN: the world chooses.')
    world: str = parameter('office:1', 'generator:seed, or the path of a map_server YAML file.')
    physics: str = parameter('kinematic', 'kinematic or pybullet.')
    body: str = parameter('cylinder', 'cylinder or wheeled.')
    seed: int = parameter(0, 'Seed of sensor and wheel noise.')
    real_time_factor: float = parameter(
        1.0, 'Simulated seconds per second; 0: the next step as soon as every robot has answered.', 0.0, 1000.0)
    drift_along: float = parameter(0.0, 'Noise of odometry along the way [m per root of m].', 0.0, 10.0)
    drift_turn_rad: float = parameter(0.0, "Noise of odometry's heading [rad per root of m].", 0.0, 10.0)
    answer_timeout_s: float = parameter(0.25, 'With real_time_factor 0, wait so long for an answer [s; wall clock].',
                                        0.01, 60.0)
    start_timeout_s: float = parameter(60.0, 'Wait so long for every robot before the first step [s; wall clock].',
                                       0.0, 3600.0)
    trajectory_path: str = parameter('', 'CSV file for true and odometry poses at every step. Empty: none.')


@dataclass
class Command:
    """The newest command that a base got, and when [s; simulated time]."""

    twist: Twist = STOP
    time_s: float = -math.inf


class SimulationNode(Node):
    """Adapter between ROS and one Simulation."""

    def __init__(self, **options: object) -> None:
        """Build the world and the robots in it.

        Raises:
            MarlError: a parameter, world or model cannot be used.
        """
        super().__init__('simulation', **options)
        self.parameters = given = declare(self, SimulationParameters)
        self._world = load_world(given.world)
        self._models = _models(given)
        self._starts = start_poses(self._world, self._models, given.starts)
        self.simulation = self._make_simulation(given.seed)
        self._seed, self._time_offset_s = given.seed, 0.0
        self._commands = {robot: Command() for robot in given.robots}
        self._lockstep = Lockstep(given.robots, given.answer_timeout_s) if given.real_time_factor == 0.0 else None
        self._is_started = False
        self._born_s = self._diagnosed_s = time.monotonic()
        self._diagnosed_time_s = 0.0
        self.drops, self.step_durations = Drops(), Durations()
        self._open_topics(given)
        self._trajectory = _open_trajectory(given.trajectory_path)
        self._diagnostics = Diagnostics(self, 'simulation')
        self.create_service(ResetSimulation, '~/reset', self._on_reset)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        period_s = self.simulation.step_s / given.real_time_factor if given.real_time_factor else LOCKSTEP_CHECK_S
        self.create_timer(period_s, self._on_timer, clock=steady)
        self.create_timer(DIAGNOSTICS_PERIOD_S, self._diagnose, clock=steady)
        self.get_logger().info(f'world {given.world}, {len(given.robots)} robots, {given.physics}')

    @property
    def time_s(self) -> float:
        """Simulated time; never runs backwards [s]."""
        return self._time_offset_s + self.simulation.time_s

    def close(self) -> None:
        """Finish the trajectory file."""
        self._close_trajectory()
        self.simulation.close()

    def _make_simulation(self, seed: int) -> Simulation:
        given = self.parameters
        return Simulation(self._world, list(zip(given.robots, self._models)), self._starts,
                          physics=given.physics, body=given.body, seed=seed,
                          odometry=OdometryNoise(given.drift_along, given.drift_turn_rad))

    def _open_topics(self, given: SimulationParameters) -> None:
        self._clock_publisher = self.create_publisher(ClockMessage, '/clock', qos.CLOCK)
        self._scan_publishers = {robot: self.create_publisher(LaserScanMessage, f'/{robot}/scan', qos.SENSOR)
                                 for robot in given.robots}
        self._odometry_publishers = {robot: self.create_publisher(Odometry, f'/{robot}/odom', qos.SENSOR)
                                     for robot in given.robots}
        self._command_subscriptions = {
            robot: self.create_subscription(
                TwistStamped if stamped else TwistMessage, f'/{robot}/cmd_vel',
                lambda message, robot=robot: self._on_command(robot, message), qos.COMMAND)
            for robot, stamped in zip(given.robots, given.stamped_cmd_vel)}

    # -- commands and time --------------------------------------------------------------------------------------

    def _on_command(self, robot: str, message: TwistStamped | TwistMessage) -> None:
        stamped = isinstance(message, TwistStamped)
        try:
            twist = conversions.twist_from_message(message.twist if stamped else message)
        except MessageError as error:
            if self.drops.count(error.reason):
                self.get_logger().warning(f'{robot}: {error}')
            return
        self._commands[robot] = Command(twist, self.time_s)
        if self._lockstep is not None:
            stamp = message.header.stamp if stamped else None
            self._lockstep.heard(robot, stamp.sec * 1_000_000_000 + stamp.nanosec if stamped else None)
            self._on_timer()

    def _on_timer(self) -> None:
        if not self._is_started:
            self._is_started = self._everybody_is_there() or self._waited_long_enough()
        elif self._lockstep is None or self._lockstep.ready(time.monotonic()):
            self._step()

    def _everybody_is_there(self) -> bool:
        return all(self._scan_publishers[robot].get_subscription_count()
                   and self._odometry_publishers[robot].get_subscription_count()
                   and self.count_publishers(f'/{robot}/cmd_vel') for robot in self.parameters.robots)

    def _waited_long_enough(self) -> bool:
        if time.monotonic() - self._born_s < self.parameters.start_timeout_s:
            return False
        self.get_logger().warning('not every robot came; starting without')
        return True

    def _step(self) -> None:
        began_s, time_s = time.monotonic(), self.time_s
        fresh = [command.twist if time_s - command.time_s <= COMMAND_LIFETIME_S else STOP
                 for command in self._commands.values()]
        readings = self.simulation.step(np.array(fresh, np.float64))
        self.step_durations.add(time.monotonic() - began_s)
        stamp = conversions.stamp_of(self.time_s)
        if self._lockstep is not None:
            asked = [robot for robot, reading in zip(self.parameters.robots, readings) if reading.scan is not None]
            self._lockstep.begin(stamp.sec * 1_000_000_000 + stamp.nanosec, asked, time.monotonic())
        self._clock_publisher.publish(ClockMessage(clock=stamp))
        for robot, pose, reading in zip(self.parameters.robots, self.simulation.odometry, readings):
            self._publish(robot, Pose(*pose), reading)
        self._note_trajectory()

    def _publish(self, robot: str, odometry: Pose, reading: Readings) -> None:
        self._odometry_publishers[robot].publish(conversions.odometry_to_message(
            self.time_s, odometry, reading.twist, f'{robot}/odom', f'{robot}/base_link'))
        if reading.scan is not None:
            message = conversions.scan_to_message(reading.scan, f'{robot}/lidar')
            message.header.stamp = conversions.stamp_of(self._time_offset_s + reading.scan.stamp_s)
            self._scan_publishers[robot].publish(message)

    # -- duties -------------------------------------------------------------------------------------------------

    def _on_reset(self, request: ResetSimulation.Request,
                  response: ResetSimulation.Response) -> ResetSimulation.Response:
        seed = int(request.seed) or self._seed
        try:
            fresh = self._make_simulation(seed)
        except MarlError as error:
            response.message = str(error)
            return response
        self._time_offset_s = self.time_s
        self.simulation.close()
        self.simulation, self._seed = fresh, seed
        self._commands = {robot: Command() for robot in self.parameters.robots}
        response.success = True
        return response

    def _note_trajectory(self) -> None:
        if self._trajectory is None:
            return
        try:
            for robot, true, odometry in zip(
                    self.parameters.robots, self.simulation.true_poses, self.simulation.odometry):
                numbers = ','.join(f'{number:.4f}' for number in (*true, *odometry))
                self._trajectory.write(f'{self.time_s:.3f},{robot},{numbers}\n')
        except OSError as error:  # A full disk ends the record, not the world.
            self.get_logger().error(f'{self.parameters.trajectory_path}: the record ends here ({error.strerror})')
            self._close_trajectory()

    def _close_trajectory(self) -> None:
        trajectory, self._trajectory = self._trajectory, None
        if trajectory is not None:
            with contextlib.suppress(OSError):  # What a full disk did not take was logged when it was written.
                trajectory.close()

    def _diagnose(self) -> None:
        now_s, time_s = time.monotonic(), self.time_s
        factor = (time_s - self._diagnosed_time_s) / (now_s - self._diagnosed_s)
        self._diagnosed_s, self._diagnosed_time_s = now_s, time_s
        silent = self._lockstep.silent if self._lockstep is not None else ()
        summary = f'no answer from {", ".join(silent)}' if silent else 'runs'
        if not self._is_started:
            summary = 'waits for every robot'
        self._diagnostics.publish(self.get_clock().now(), WARN if silent else OK, summary, {
            'time [s]': f'{time_s:.1f}', 'real time factor': f'{factor:.2f}',
            'collisions': str(int(self.simulation.collisions)),
            **self.step_durations.values('step'), **self.drops.values()})


def start_poses(world: World, models: tuple[RobotModel, ...], given: tuple[float, ...]) -> NDArray[np.float64]:
    """Starts as given, and where they are NaN as the world chooses. Shape: (N, 3).

    Raises:
        MarlError: another number of starts than robots, or no room for them.
    """
    starts = np.array(given, np.float64)
    if starts.size != 3 * len(models):
        raise ConfigError(f'starts: {len(models)} robots need {3 * len(models)} numbers, got {starts.size}')
    starts = starts.reshape(-1, 3)
    open_ones = np.isnan(starts).any(axis=1)
    if open_ones.any():
        starts[open_ones] = world.start_poses(len(models), max(model.radius_m for model in models))[open_ones]
    return starts


def _models(given: SimulationParameters) -> tuple[RobotModel, ...]:
    for name in ('models', 'stamped_cmd_vel'):
        if len(getattr(given, name)) != len(given.robots):
            raise ConfigError(f'{name}: {len(given.robots)} robots need as many, got {len(getattr(given, name))}')
    return tuple(load(RobotModel, path) if path else RobotModel() for path in given.models)


def _open_trajectory(path: str) -> TextIO | None:
    if not path:
        return None
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        # As long-lived as the node, which closes it; whole lines, whenever the process ends.
        file = Path(path).open('w', encoding='utf-8', buffering=1)  # noqa: SIM115
        file.write('time_s,robot,x_m,y_m,heading_rad,odometry_x_m,odometry_y_m,odometry_heading_rad\n')
    except OSError as error:
        raise ConfigError(f'trajectory_path: {path}: cannot be written ({error.strerror})') from error
    return file


def main() -> int:
    """Entry point of the process."""
    return run('simulation', SimulationNode)


if __name__ == '__main__':
    sys.exit(main())
