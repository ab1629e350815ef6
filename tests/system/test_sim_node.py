"""sim_node as a process, driven by the test instead of robots."""

from pathlib import Path

import pytest
from geometry_msgs.msg import TwistStamped
from marl_coordination.srv import ResetSimulation
from nav_msgs.msg import Odometry
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import LaserScan

from marl_core.types import Twist
from marl_nodes import conversions, qos


class Driver:
    """Commands the one robot of a simulation, and hears what its sensors say."""

    def __init__(self, ear):
        self.answered = 0
        self.scans = ear.listen(LaserScan, '/r/scan', qos.SENSOR)
        self.odometry = ear.listen(Odometry, '/r/odom', qos.SENSOR)
        self.clock = ear.listen(Clock, '/clock', qos.CLOCK)
        self.voice = ear.node.create_publisher(TwistStamped, '/r/cmd_vel', qos.COMMAND)

    @property
    def time_s(self):
        return conversions.seconds_of(self.clock[-1].clock) if self.clock else 0.0

    @property
    def pose(self):
        return conversions.odometry_from_message(self.odometry[-1])[1]

    def drive(self, twist):
        """Answer every new scan with this command."""
        def answer():
            if len(self.scans) != self.answered:
                self.answered = len(self.scans)
                stamp_s = conversions.seconds_of(self.scans[-1].header.stamp)
                self.voice.publish(conversions.command_to_message(twist, stamp_s, ''))
        return answer


@pytest.fixture
def driver(processes, ear):
    driver = Driver(ear)
    driver.process = processes.node(
        'sim_node', robots='[r]', world='rooms:1@8x6', real_time_factor=0.0, answer_timeout_s=0.3)
    ear.until(lambda: driver.scans and driver.odometry and driver.clock)
    return driver


def test_time_goes_on_as_fast_as_commands_answer_scans(driver, ear):
    start = driver.pose
    ear.until(lambda: driver.time_s >= 5.0, also=driver.drive(Twist(0.0, 1.0)))
    stamps = [conversions.seconds_of(scan.header.stamp) for scan in driver.scans]
    assert stamps == pytest.approx([0.1 * (step + 1) for step in range(len(stamps))], abs=1e-6)
    assert len(driver.scans[-1].ranges) == 360
    assert driver.odometry[-1].twist.twist.angular.z == pytest.approx(1.0, abs=0.01)
    assert driver.pose.x_m == pytest.approx(start.x_m, abs=0.01)


def test_who_does_not_answer_is_left_behind_and_stands_still(driver, ear):
    ear.until(lambda: driver.time_s >= 2.0, also=driver.drive(Twist(0.0, 1.0)))
    silent_s = driver.time_s
    ear.until(lambda: ear.diagnostics.get('simulation', ('',))[0] == 'no answer from r')
    ear.until(lambda: driver.time_s >= silent_s + 2.0)
    assert driver.odometry[-1].twist.twist.angular.z == pytest.approx(0.0, abs=0.01)


def test_a_reset_puts_robots_back_and_time_goes_on(driver, ear):
    start = driver.pose
    ear.until(lambda: abs(driver.pose.heading_rad - start.heading_rad) > 0.5, also=driver.drive(Twist(0.0, 1.0)))
    before_s = driver.time_s
    assert ear.call(ResetSimulation, '/simulation/reset', ResetSimulation.Request(seed=5)).success
    count = len(driver.odometry)
    ear.until(lambda: len(driver.odometry) > count + 1, also=driver.drive(Twist(0.0, 0.0)))
    assert driver.pose == pytest.approx(start, abs=0.15)
    assert driver.time_s > before_s


@pytest.mark.parametrize(('parameters', 'words'), [
    ({'world': 'castle:1'}, ['castle']),
    ({'trajectory_path': '/dev/null/way.csv'}, ['trajectory_path', '/dev/null/way.csv'])], ids=['world', 'trajectory'])
def test_what_is_misconfigured_is_named(processes, parameters, words):
    process = processes.node('sim_node', robots='[r]', **parameters)
    assert process.wait(30) == 2
    said = Path(process.log_path).read_text()
    assert 'Traceback' not in said
    for word in words:
        assert word in said
