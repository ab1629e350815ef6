#!/usr/bin/env python3
"""One robot: scans and odometry in, velocity commands out, its own decisions in between.

A tick runs when a scan has arrived and odometry has caught up with it; the scan's stamp is the time. A watchdog on
the wall clock stops the robot when scans stay away. The mind itself is marl_core.agent.
"""

import signal

if __name__ == '__main__':  # Until run() listens, a signal ends this process in silence, imports or not.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields
from functools import wraps
from math import inf, isfinite

from geometry_msgs.msg import PoseWithCovarianceStamped, TwistStamped
from geometry_msgs.msg import Twist as TwistMessage
from marl_coordination.msg import RobotStatus
from marl_coordination.srv import SetTrust
from nav_msgs.msg import Odometry
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from sensor_msgs.msg import LaserScan as LaserScanMessage
from std_msgs.msg import Header

from marl_core.agent import Agent, AgentConfig
from marl_core.communication import wire
from marl_core.communication.authentication import MODES
from marl_core.config import load
from marl_core.decision.policies import POLICIES, FallbackPolicy, make_policy
from marl_core.errors import ConfigError, MarlError, MessageError
from marl_core.trace import TraceStep
from marl_core.types import STOP, LaserScan, Packet, Pose, Readings, RobotModel, Twist
from marl_nodes import conversions, qos
from marl_nodes.diagnostics import ERROR, IMPERSONATED, OK, WARN, Diagnostics, Drops, Durations, ReplicaHealth
from marl_nodes.faults import open_topics
from marl_nodes.key_files import load_seal
from marl_nodes.odometry import CLOCK_RESTART_S, OdometryTrack
from marl_nodes.parameters import declare, parameter, read
from marl_nodes.plausibility import require_plausible_odometry, require_plausible_scan
from marl_nodes.running import run
from marl_nodes.tick_record import TickRecord
from marl_nodes.transforms import MapToOdometry
from marl_nodes.trust_service import obey

WATCHDOG_PERIOD_S = 0.05
DIAGNOSTICS_PERIOD_S = 1.0
INBOX_LIMIT = 4096
"""Messages kept between two ticks: minutes of a large fleet's talk, should the lidar fail that long."""
FAILURES_LIMIT = 10
"""Ticks in a row that may fail before the process gives up, to be started afresh."""


Transition = Callable[['RobotNode', LifecycleState], TransitionCallbackReturn]


def _logged(transition: Transition) -> Transition:
    """Log what a transition raises; rclpy itself only says that the transition failed."""
    @wraps(transition)
    def logging_transition(node: 'RobotNode', state: LifecycleState) -> TransitionCallbackReturn:
        try:
            return transition(node, state)
        except Exception:
            node.get_logger().error(traceback.format_exc())
            raise
    return logging_transition


@dataclass(frozen=True)
class RobotParameters:
    """Parameters of robot_node."""

    robot_name: str = parameter('', 'Name in the fleet, unique. Empty: last part of the namespace.')
    model: str = parameter('', 'YAML file of the robot model (marl_core.types.RobotModel). Empty: its defaults.')
    agent_config: str = parameter('', 'YAML file that overrides marl_core.agent.AgentConfig. Empty: its defaults.')
    policy: str = parameter('minpos', f'Who chooses goals: {", ".join(POLICIES)}, or the path of an .onnx model.')
    fallback: str = parameter('minpos', 'Who chooses when the policy fails, likewise.')
    initial_pose: tuple[float, ...] = parameter(
        (0.0, 0.0, 0.0), 'Where odometry is zero: x [m], y [m], heading [rad; map frame].')
    map_frame: str = parameter('map', 'The frame that all robots of the fleet share.')
    fleet_namespace: str = parameter('/fleet', 'Namespace of the topics features, status and digest.')
    security_mode: str = parameter('', f'Who may speak: {", ".join(MODES)} (docs/security.md). Has to be chosen.')
    keys_path: str = parameter('', 'Folder of the files that marl_fleet keys made; not read in mode plain.')
    stamped_cmd_vel: bool = parameter(True, 'Publish cmd_vel as TwistStamped; false: as Twist.')
    scan_timeout_s: float = parameter(0.5, 'Stop when no scan was answered for so long [s; wall clock].', 0.05, 60.0)
    odometry_timeout_s: float = parameter(0.25, 'Odometry may end so long before a scan [s].', 0.0, 5.0)
    autostart: bool = parameter(True, 'Configure and activate at once, without a lifecycle manager.')
    trace_path: str = parameter('', 'File that records every tick for a replay (marl_core.trace). Empty: none.')
    epoch: int = parameter(0, "Which of the robot's lives this is, never used before. 0: seconds since 1970.",
                           0, 2**32 - 1)
    allow_faults: bool = parameter(False, 'Obey <fleet_namespace>/faults, for `marl_fleet chaos`; never on robots.')


SETTABLE = frozenset(entry.name for entry in fields(RobotParameters)) - {'robot_name', 'autostart'}
"""Parameters that may be set while the node is unconfigured; every life is configured from them anew."""


class RobotNode(LifecycleNode):
    """Adapter between ROS and one Agent."""

    def __init__(self, **options: object) -> None:
        """Declare parameters; with ``autostart``, come up.

        Raises:
            MarlError: a parameter, file or policy cannot be used.
        """
        super().__init__('robot', **options)
        self.parameters = declare(self, RobotParameters, settable=SETTABLE)
        self.add_on_set_parameters_callback(self._may_set)
        self.name = self.parameters.robot_name or self.get_namespace().rpartition('/')[2] or 'robot'
        self.agent: Agent | None = None
        self.is_driving = False
        self.drops, self.tick_durations = Drops(), Durations()
        self._refusal: MarlError | None = None
        self._epoch = 0
        self._life, self._drive = ExitStack(), ExitStack()  # What cleanup and deactivate undo.
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._diagnostics, self._health = Diagnostics(self, self.name), ReplicaHealth()
        self.create_timer(DIAGNOSTICS_PERIOD_S, self._diagnose, clock=self._steady)
        if self.parameters.autostart:
            self._come_up()

    def _come_up(self) -> None:
        configured = self.trigger_configure()
        if self._refusal is not None:
            raise self._refusal
        if configured != TransitionCallbackReturn.SUCCESS or self.trigger_activate() != configured:
            raise RuntimeError(f'{self.name}: a transition failed; the reason is in the log')

    def _may_set(self, changes: Sequence[Parameter]) -> SetParametersResult:
        """Parameters hold for a life: what is set between two lives counts from on_configure."""
        names = [change.name for change in changes if change.name in SETTABLE]
        if names and self.agent is not None:
            return SetParametersResult(successful=False, reason=f'{", ".join(names)}: can be set while the node is '
                                       'unconfigured; deactivate and clean up first')
        return SetParametersResult(successful=True)

    # -- lifecycle ----------------------------------------------------------------------------------------------

    @_logged
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load model, policy and agent, and open the topics that outlive a pause."""
        self.parameters = given = read(self, RobotParameters)
        try:
            agent = self._make_agent()
            self._record = TickRecord(self, given.trace_path)
        except MarlError as error:
            self._refusal = error
            if not given.autostart:  # Otherwise the process ends with this error.
                self.get_logger().error(str(error))
            return TransitionCallbackReturn.FAILURE
        self._life.callback(self._record.close)
        self.agent, self._refusal, self._epoch = agent, None, agent.epoch
        self.drops, self.tick_durations = Drops(), Durations()
        self.track = OdometryTrack(Pose(*given.initial_pose))
        self._inbox: list[Packet] = []
        self._ticked_s, self._now_s = time.monotonic(), 0.0
        self._failures = self._failures_in_a_row = 0
        kind = TwistStamped if given.stamped_cmd_vel else TwistMessage
        self._command_publisher = self.create_publisher(kind, 'cmd_vel', qos.COMMAND)
        self._life.callback(self.destroy_publisher, self._command_publisher)
        self._status_publisher = self.create_publisher(RobotStatus, '~/status', qos.FLEET)
        self._life.callback(self.destroy_publisher, self._status_publisher)
        self._life.callback(self.destroy_service, self.create_service(SetTrust, '~/set_trust', self._on_set_trust))
        self._transforms = MapToOdometry(self, given.map_frame)
        self._life.callback(self._transforms.close)
        self.get_logger().info(f'{self.name}: policy {agent.policy.name}, epoch {agent.epoch}')
        return super().on_configure(state)

    @_logged
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Listen, and drive."""
        self._ticked_s = self._waiting_since_s = time.monotonic()
        self._scan: LaserScan | None = None
        self._scanned_s = -inf
        self._frames: dict[str, str] = {}
        self._fleet = open_topics(self, self.parameters.fleet_namespace, self._hear, self.agent.world.replica,
                                  self.parameters.allow_faults)
        self._drive.callback(self._fleet.close)
        for kind, topic, listener, profile in (
                (Odometry, 'odom', self._on_odometry, qos.SENSOR),
                (PoseWithCovarianceStamped, 'pose', self._on_correction, qos.CORRECTION),
                (LaserScanMessage, 'scan', self._on_scan, qos.SENSOR)):
            self._drive.callback(self.destroy_subscription, self.create_subscription(kind, topic, listener, profile))
        self._drive.callback(self.destroy_timer,
                             self.create_timer(WATCHDOG_PERIOD_S, self._watch, clock=self._steady))
        self._drive.callback(self._command, STOP)  # The last is the first to be undone.
        self.is_driving = True
        return super().on_activate(state)

    @_logged
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop the robot and listen no more; the map is kept."""
        self._stop_driving()
        return super().on_deactivate(state)

    @_logged
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Forget everything."""
        self._forget()
        return super().on_cleanup(state)

    @_logged
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop the robot."""
        self.close()
        return super().on_shutdown(state)

    @_logged
    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop the robot and forget everything, so that the node can be configured anew."""
        self.close()
        self._forget()
        return super().on_error(state)

    def close(self) -> None:
        """Leave the robot standing; called before the process ends, whatever ends it."""
        was_driving = self.is_driving
        self._stop_driving()
        if was_driving:
            self._command_publisher.wait_for_all_acked(Duration(seconds=0.5))

    def _make_agent(self) -> Agent:
        given = self.parameters
        if len(given.initial_pose) != 3 or not all(map(isfinite, given.initial_pose)):
            raise ConfigError(f'initial_pose needs x, y and heading, finite, got {given.initial_pose}')
        model = load(RobotModel, given.model) if given.model else RobotModel()
        config = load(AgentConfig, given.agent_config) if given.agent_config else AgentConfig()
        epoch = max(given.epoch or int(time.time()), self._epoch + 1)  # A second life of this process is another one.
        seal = load_seal(given.security_mode, given.keys_path, self.name)
        policy = FallbackPolicy(make_policy(given.policy), make_policy(given.fallback))
        return Agent(self.name, epoch, model, policy, config, seal)

    def _stop_driving(self) -> None:
        self.is_driving = False
        self._drive.close()

    def _forget(self) -> None:
        self.agent = None
        self._life.close()

    def _on_set_trust(self, request: SetTrust.Request, response: SetTrust.Response) -> SetTrust.Response:
        return obey(self.agent.trust, self.agent.world.replica, request, response)

    # -- what arrives -------------------------------------------------------------------------------------------

    def _hear(self, packet: Packet) -> None:
        if len(self._inbox) < INBOX_LIMIT:
            self._inbox.append(packet)
        else:
            self._refuse(MessageError('inbox-full', f'{INBOX_LIMIT} messages wait for the next scan'))

    def _refuse(self, error: MessageError) -> None:
        if self.drops.count(error.reason):
            self.get_logger().warning(f'{error} (further ones are only counted)')

    def _on_scan(self, message: LaserScanMessage) -> None:
        try:
            scan = conversions.scan_from_message(message)
            require_plausible_scan(scan)
            self._require_same_frame('scan', message.header)
            if self._scanned_s - CLOCK_RESTART_S < scan.stamp_s <= self._scanned_s:
                raise MessageError('scan-late', f'{scan.stamp_s:.3f} s came after {self._scanned_s:.3f} s')
        except MessageError as error:
            self._refuse(error)
            return
        if self._scan is None:  # A newer scan takes the place of one that waits, and its patience.
            self._waiting_since_s = time.monotonic()
        self._scan = scan
        self._tick_when_odometry_is_there()

    def _on_odometry(self, message: Odometry) -> None:
        try:
            stamp_s, pose, twist = conversions.odometry_from_message(message)
            require_plausible_odometry(pose, twist, self.agent.model)
            self._require_same_frame('odom', message.header)
            if not self.track.add(stamp_s, pose, twist):
                raise MessageError('odometry-late', f'{stamp_s:.3f} s came after {self.track.newest_s:.3f} s')
        except MessageError as error:
            self._refuse(error)
            return
        self._tick_when_odometry_is_there()

    def _require_same_frame(self, topic: str, header: Header) -> None:
        """Two lidars or two odometries on one topic would make one useless map."""
        first = self._frames.setdefault(topic, header.frame_id)
        if header.frame_id != first:
            raise MessageError('frame', f'{topic} came in frame {first!r} first, now in {header.frame_id!r}')

    def _on_correction(self, message: PoseWithCovarianceStamped) -> None:
        try:
            stamp_s, pose = conversions.correction_from_message(message, self.parameters.map_frame)
            if not self.track.correct(stamp_s, pose, self.parameters.odometry_timeout_s):
                raise MessageError('correction-late', f'no odometry is known for the pose of {stamp_s:.3f} s')
        except MessageError as error:
            self._refuse(error)

    # -- the tick -----------------------------------------------------------------------------------------------

    def _tick_when_odometry_is_there(self) -> None:
        if self._scan is not None and self.track.newest_s is not None and self.track.newest_s >= self._scan.stamp_s:
            self._tick(self._scan)

    def _watch(self) -> None:
        """Answer a scan that odometry does not catch up with, and stop when there is nothing to answer."""
        now_s = time.monotonic()
        if self._scan is not None and now_s - self._waiting_since_s > self.parameters.odometry_timeout_s:
            self._tick(self._scan)
        if now_s - self._ticked_s > self.parameters.scan_timeout_s:
            self._command(STOP)

    def _tick(self, scan: LaserScan) -> None:
        self._scan = None
        pose = self.track.pose_in_map(scan.stamp_s, self.parameters.odometry_timeout_s)
        if pose is None:
            self._refuse(MessageError('no-odometry', f'none near the scan of {scan.stamp_s:.3f} s'))
            return
        self._ticked_s, self._now_s = time.monotonic(), scan.stamp_s
        self._scanned_s = scan.stamp_s
        inbox, self._inbox = self._inbox, []
        readings = Readings(scan, pose, self.track.twist)
        try:
            command, outbox = self.agent.tick(readings, inbox, scan.stamp_s)
        except Exception as error:  # noqa: BLE001 - whatever it is, the robot must stop first.
            self._command(STOP)
            self._note_failure(error)
            return
        self._failures_in_a_row = 0
        self._command(command)
        self._fleet.send(outbox)
        self._tell_operators(outbox)
        self._record.add(TraceStep(readings, inbox, scan.stamp_s, command))
        self._transforms.publish(scan.stamp_s, self._frames.get('odom', ''), self.track.odometry_in_map)
        self.tick_durations.add(time.monotonic() - self._ticked_s)

    def _tell_operators(self, outbox: Sequence[Packet]) -> None:
        """What teammates are told of this robot, in a form that tools read."""
        if any(wire.KINDS[wire.peek(packet).kind] == 'status' for packet in outbox):
            self._status_publisher.publish(conversions.status_to_message(self.agent.status, self.parameters.map_frame))

    def _note_failure(self, error: Exception) -> None:
        self._failures += 1
        self._failures_in_a_row += 1
        self.get_logger().error(f'tick failed, robot stopped: {error}\n{traceback.format_exc()}')
        if self._failures_in_a_row >= FAILURES_LIMIT:
            raise error

    def _command(self, twist: Twist) -> None:
        if self.parameters.stamped_cmd_vel:
            self._command_publisher.publish(
                conversions.command_to_message(twist, self._now_s, f'{self.name}/base_link'))
        else:
            self._command_publisher.publish(conversions.twist_to_message(twist))

    # -- health -------------------------------------------------------------------------------------------------

    def _diagnose(self) -> None:
        if self.agent is None:
            level, summary = (OK, 'not configured') if self._refusal is None else (ERROR, str(self._refusal))
            self._diagnostics.publish(self.get_clock().now(), level, summary, {})
            return
        age_s = time.monotonic() - self._ticked_s
        level, summary = OK, 'paused'
        if self._failures_in_a_row:
            level, summary = ERROR, 'ticks fail, robot stopped'
        elif self.is_driving and age_s > self.parameters.scan_timeout_s:
            level, summary = WARN, 'no scan to answer, robot stopped'
        elif self.agent.communicator.drops.get('own-name'):
            level, summary = WARN, f'somebody else speaks as {self.name}: every robot needs a name of its own'
        elif self.agent.communicator.drops.get('impersonated'):
            level, summary = WARN, IMPERSONATED
        elif self.is_driving:
            summary = self.agent.activity.name.lower()
        values = {'scan_age_s': f'{age_s:.2f}', 'failed_ticks': str(self._failures),
                  **self.tick_durations.values('tick'), **self.agent.diagnostics(),
                  **self._health.values(self.agent.world.replica, self.agent.communicator, self.drops.by_reason,
                                        self._now_s)}
        self._diagnostics.publish(self.get_clock().now(), level, summary, values)


def main() -> int:
    """Entry point of the process."""
    return run('robot', RobotNode)


if __name__ == '__main__':
    sys.exit(main())
