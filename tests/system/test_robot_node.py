"""robot_node as a process, over real DDS."""

import signal
from math import nan
from pathlib import Path

import pytest
from geometry_msgs.msg import PoseWithCovarianceStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from sensor_msgs.msg import LaserScan

from marl_core.agent import Agent
from marl_core.decision.policies import make_policy
from marl_core.trace import read_trace
from marl_core.types import STOP, MapFeatures, Pose, RobotModel, RobotStatus, Twist
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
    status = conversions.from_fleet_message(ear.heard['status'][-1], 'map')
    assert isinstance(status, RobotStatus)
    assert status.robot == 'robot_1'
    assert status.has_goal
    features = conversions.from_fleet_message(ear.heard['features'][0], 'map')
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


def test_it_survives_what_is_malformed_and_counts_it(robot, ear, messages):
    foreign = messages.RobotStatus(robot='stranger', activity=77)
    foreign.header.frame_id = 'map'
    lying = conversions.to_fleet_message(
        RobotStatus('liar', 1, robot.time_s, Pose(nan, 0.0, 0.0), Twist(0.0, 0.0)), 'map')
    garbage = messages.MapFeatures(robot='liar', codec='rle-zstd', resolution_m=0.05, data=bytes(range(100)))
    garbage.header.frame_id = 'map'
    garbage.layer.robot = 'liar'
    garbage.versions.first = garbage.versions.last = 1
    empty_scan = LaserScan(angle_increment=0.1, range_max=1.0)

    def attack():
        robot.live()
        ear.voices['status'].publish(foreign)
        ear.voices['status'].publish(lying)
        ear.voices['features'].publish(garbage)
        ear.voices['digest'].publish(messages.MapDigest(robot='x' * 1000))
        robot.scans.publish(empty_scan)

    def counted():
        values = ear.diagnostics.get('robot_1', ('', {}))[1]
        return all(values.get(f'dropped_{reason}', '0') != '0' for reason in ('activity', 'frame', 'scan')) \
            and values.get('dropped messages', '')
    ear.until(counted, also=attack)
    robot.commands.clear()
    ear.until(lambda: any(command != STOP for command in robot.commands), also=robot.live)
    assert robot.process.poll() is None


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
        return ear.heard['status'] and abs(ear.heard['status'][-1].y_m - robot.pose.y_m - 2.0) < 0.3
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
    stranger = conversions.to_fleet_message(
        RobotStatus('robot_2', 1, 100.0, Pose(2.0, 1.0, 0.0), Twist(0.1, 0.0), 4.0, 1.0, 2.0), 'map')

    def live():
        base.live()
        stranger.header.stamp = conversions.stamp_of(base.time_s)
        ear.voices['status'].publish(stranger)
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
