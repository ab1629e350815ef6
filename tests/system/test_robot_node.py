"""robot_node as a process, over real DDS."""

import signal
from dataclasses import replace
from itertools import cycle
from math import inf, nan
from pathlib import Path

import numpy as np
import pytest
from geometry_msgs.msg import PoseWithCovarianceStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from sensor_msgs.msg import LaserScan

from marl_core.agent import Agent
from marl_core.decision.policies import make_policy
from marl_core.trace import read_trace
from marl_core.types import STOP, LayerId, MapFeatures, Pose, RobotModel, RobotStatus, Twist, VersionRange
from marl_nodes import conversions, qos


@pytest.fixture
def robot(processes, ear, make_base):
    """A robot that drives."""
    base = make_base('robot_1')
    base.process = processes.node('robot_node', '/robot_1', policy='nearest', scan_timeout_s=0.5)
    ear.until(lambda: any(command != STOP for command in base.commands), also=base.live)
    return base


def test_a_robot_explores_and_tells_the_fleet(robot, ear):
    start = robot.pose
    ear.until(lambda: abs(robot.pose.x_m - start.x_m) > 0.5 and all(ear.heard.values()), also=robot.live)
    status = ear.heard['status'][-1]
    assert isinstance(status, RobotStatus)
    assert status.robot == 'robot_1'
    assert status.has_goal
    features = ear.heard['features'][0]
    assert isinstance(features, MapFeatures)
    assert features.layer.robot == 'robot_1'
    assert features.layer.epoch == status.epoch > 1_700_000_000
    ear.until(lambda: 'robot_1' in ear.diagnostics, also=robot.live)
    summary, values = ear.diagnostics['robot_1']
    assert summary == 'exploring'
    assert float(values['tick_p99_ms']) >= float(values['tick_p50_ms']) > 0.0


def test_it_stops_when_scans_stay_away_and_goes_on_when_they_return(robot, ear):
    robot.commands.clear()
    ear.until(lambda: robot.commands[-3:] == [STOP] * 3)
    ear.until(lambda: ear.diagnostics.get('robot_1', ('',))[0] == 'no scan to answer, robot stopped')
    robot.commands.clear()
    ear.until(lambda: any(command != STOP for command in robot.commands), also=robot.live)


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_it_stops_before_it_goes(robot, ear, number):
    robot.process.send_signal(number)
    ear.until(lambda: robot.process.poll() is not None, also=robot.live)
    ear.until(lambda: robot.commands[-1] == STOP, timeout_s=2.0)
    assert robot.process.returncode == 0


def test_it_pauses_and_goes_on_by_lifecycle(robot, ear):
    def change(transition):
        return ear.call(ChangeState, '/robot_1/robot/change_state',
                        ChangeState.Request(transition=Transition(id=transition))).success
    assert change(Transition.TRANSITION_DEACTIVATE)
    ear.until(lambda: robot.commands[-1] == STOP, also=robot.live)
    robot.commands.clear()
    deadline_s = robot.time_s + 3.0
    ear.until(lambda: robot.time_s > deadline_s, also=robot.live)
    assert robot.commands == []
    assert change(Transition.TRANSITION_ACTIVATE)
    ear.until(lambda: any(command != STOP for command in robot.commands), also=robot.live)
    assert change(Transition.TRANSITION_ACTIVE_SHUTDOWN)
    ear.until(lambda: robot.commands[-1] == STOP, also=robot.live)


def test_it_survives_what_is_malformed_and_counts_it(robot, ear):
    lying = RobotStatus('liar', 1, robot.time_s, Pose(nan, 0.0, 0.0), Twist(0.0, 0.0))
    garbage = MapFeatures('liar', robot.time_s, LayerId('liar', 1), VersionRange(1, 1), 0.05, 'rle-zstd',
                          bytes(range(100)))
    namesake = RobotStatus('robot_1', 1, robot.time_s, Pose(0.0, 0.0, 0.0), Twist(0.0, 0.0))
    empty_scan = LaserScan(angle_increment=0.1, range_max=1.0)

    def attack():
        robot.live()
        for message in (lying, garbage, namesake):
            ear.say(message)
        for packet in (b'', bytes(20), bytes(70_000), bytes((1, 1, 200)) + b'x' * 200):
            ear.shout(packet)
        robot.scans.publish(empty_scan)

    def counted():
        values = ear.diagnostics.get('robot_1', ('', {}))[1]
        reasons = ('not-finite', 'bad-data', 'own-name', 'truncated', 'foreign-version', 'oversized', 'bad-name')
        return values.get('dropped_scan', '0') != '0' and all(
            values.get(f'dropped_{reason}', '0') != '0' for reason in reasons)
    ear.until(counted, also=attack)
    robot.commands.clear()
    ear.until(lambda: any(command != STOP for command in robot.commands), also=robot.live)
    assert robot.process.poll() is None


def broken_scans(base):
    """Sweeps that no lidar of this robot made, and the reasons for which they are refused."""
    def scan(**changes):
        message = conversions.scan_to_message(base.sweep(), 'lidar')
        for name, value in changes.items():
            setattr(message, name, value)
        return message
    late = scan()
    late.header.stamp = conversions.stamp_of(base.time_s - 1.0)
    foreign = scan()
    foreign.header.frame_id = 'rear_lidar'
    foreign.header.stamp = conversions.stamp_of(base.time_s + 0.1)
    return {'scan': [scan(angle_increment=nan), scan(angle_increment=1e-44), scan(angle_min=3e38), scan(range_max=inf),
                     scan(ranges=[]), scan(ranges=[1.0] * 1000)],
            'scan-late': [late], 'frame': [foreign], 'no-odometry': [stamped(scan(), base.time_s + 3600.0)]}


def broken_odometry(base):
    """Samples that no base of this kind measured, and the reasons for which they are refused."""
    def odometry(pose=base.pose, twist=STOP, time_s=base.time_s + 0.1, frame='odom'):
        return conversions.odometry_to_message(time_s, pose, twist, frame, '')
    turned = odometry()
    turned.pose.pose.orientation.w = 3.0
    return {'non_finite': [odometry(Pose(nan, 0.0, 0.0)), odometry(twist=Twist(inf, 0.0))], 'orientation': [turned],
            'odometry': [odometry(twist=Twist(1e9, 0.0)), odometry(Pose(0.0, -1e30, 0.0))],
            'odometry-late': [odometry(time_s=base.time_s - 0.5)], 'frame': [odometry(frame='visual_odom')]}


def stamped(message, time_s):
    message.header.stamp = conversions.stamp_of(time_s)
    return message


@pytest.mark.parametrize(('topic', 'broken'), [('scans', broken_scans), ('odometry', broken_odometry)])
def test_broken_sensors_stop_it_and_are_counted_until_they_work_again(robot, ear, topic, broken):
    voice, messages = getattr(robot, topic), broken(robot)
    queue = cycle(message for kind in messages.values() for message in kind)

    def counted():
        values = ear.diagnostics.get('robot_1', ('', {}))[1]
        return all(values.get(f'dropped_{reason}', '0') != '0' for reason in messages)
    ear.until(lambda: counted() and robot.commands[-3:] == [STOP] * 3, also=lambda: voice.publish(next(queue)))
    ear.until(lambda: ear.diagnostics['robot_1'][0] == 'no scan to answer, robot stopped',
              also=lambda: voice.publish(next(queue)))
    robot.commands.clear()
    ear.until(lambda: any(command != STOP for command in robot.commands), also=robot.live)
    assert robot.process.poll() is None


def test_blind_and_crowded_sweeps_drive_it_nowhere(robot, ear):
    """Beams that are all NaN hide everything, and negative ones are nearer than the lidar can tell."""
    sweep = robot.sweep
    for range_m in (nan, -1.0):
        robot.sweep = lambda range_m=range_m: replace(
            sweep(), ranges_m=np.full(len(sweep().ranges_m), range_m, np.float32))
        ear.until(lambda: len(robot.commands) > 3 and all(command.linear_mps == 0.0 for command in robot.commands[-5:]),
                  also=robot.live)
        robot.commands.clear()
    robot.sweep = sweep
    ear.until(lambda: any(command.linear_mps > 0.0 for command in robot.commands), also=robot.live)


def test_a_clock_that_begins_anew_is_followed(robot, ear):
    robot.time_s = 10.0
    robot.commands.clear()
    ear.until(lambda: any(command != STOP for command in robot.commands), also=robot.live)
    ear.until(lambda: 'clock-backwards' in ear.diagnostics.get('robot_1', ('', {}))[1].get('faults', ''),
              also=robot.live)


def test_a_model_that_is_refused_can_be_replaced_by_lifecycle(processes, ear, tmp_path):
    path = tmp_path / 'candidate.onnx'
    path.write_bytes(b'no model')
    process = processes.node('robot_node', '/robot_1', policy=path, autostart=False)

    def change(transition):
        return ear.call(ChangeState, '/robot_1/robot/change_state',
                        ChangeState.Request(transition=Transition(id=transition))).success
    assert not change(Transition.TRANSITION_CONFIGURE)
    ear.until(lambda: 'candidate.onnx: cannot be loaded' in ear.diagnostics.get('robot_1', ('',))[0])
    assert 'candidate.onnx: cannot be loaded' in Path(process.log_path).read_text()
    request = SetParameters.Request(parameters=[Parameter('policy', value='nearest').to_parameter_msg()])
    assert ear.call(SetParameters, '/robot_1/robot/set_parameters', request).results[0].successful
    assert change(Transition.TRANSITION_CONFIGURE)
    ear.until(lambda: ear.diagnostics['robot_1'][1].get('policy') == 'nearest')
    assert process.poll() is None


def test_a_localizer_corrects_where_it_is(robot, ear):
    localizer = ear.node.create_publisher(PoseWithCovarianceStamped, '/robot_1/pose', qos.UPDATES)
    correction = PoseWithCovarianceStamped()
    correction.header.frame_id = 'map'

    def correct():
        robot.live()
        correction.header.stamp = conversions.stamp_of(robot.time_s - 0.05)
        correction.pose.pose = conversions.pose_to_message(robot.pose._replace(y_m=robot.pose.y_m + 2.0))
        localizer.publish(correction)

    def corrected():
        return ear.heard['status'] and abs(ear.heard['status'][-1].pose.y_m - robot.pose.y_m - 2.0) < 0.3
    ear.until(corrected, also=correct)


@pytest.mark.parametrize(('parameters', 'words'), [
    ({'policy': 'wisest'}, ['wisest', 'minpos']),
    ({'polcy': 'minpos'}, ['polcy', 'policy']),
    ({'scan_timeout_s': '-1.0'}, ['scan_timeout_s'])], ids=['value', 'name', 'range'])
def test_what_is_misconfigured_is_named_and_not_tried_again(processes, parameters, words):
    process = processes.node('robot_node', '/robot_1', **parameters)
    assert process.wait(30) == 2
    said = Path(process.log_path).read_text()
    for word in words:
        assert word in said


def test_a_recorded_trace_gives_the_same_commands_without_ros(processes, ear, make_base, tmp_path):
    """Parity of hosts: what the node fed its agent, fed to an agent of the test's own."""
    base, path = make_base('robot_1'), tmp_path / 'trace.jsonl'
    process = processes.node('robot_node', '/robot_1', policy='burgard', epoch=7, trace_path=path)
    stranger = RobotStatus('robot_2', 1, 100.0, Pose(2.0, 1.0, 0.0), Twist(0.1, 0.0), 4.0, 1.0, 2.0)

    def live():
        base.live()
        ear.say(replace(stranger, stamp_s=base.time_s))
    ear.until(lambda: len(base.commands) > 80, also=live)
    process.send_signal(signal.SIGTERM)
    process.wait(20)

    agent = Agent('robot_1', 7, RobotModel(), make_policy('burgard'))
    steps = list(read_trace(path))
    commands = [agent.tick(step.readings, step.inbox, step.now_s)[0] for step in steps]
    assert len(steps) > 50
    assert any(step.inbox for step in steps)
    assert commands == [step.command for step in steps]
    assert any(command != STOP for command in commands)
