"""Nothing that the filter lets pass may touch an obstacle; and it must not hold a robot for ever."""

from dataclasses import replace
from math import cos, hypot, inf, nan, pi, sin

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marl_core.decision.safety import NOBODY, PASSED, SafetyConfig, SafetyFilter, teammates_in_base
from marl_core.types import STOP, LaserScan, Pose, RobotModel, RobotStatus, Twist

MODEL = RobotModel()
FORWARD, BACK, TURN = Twist(0.5, 0.0), Twist(-0.5, 0.0), Twist(0.0, 1.0)
ORIGIN = Pose(0.0, 0.0, 0.0)
BEAMS = 360
ANGLES = -pi + np.arange(BEAMS) * 2 * pi / BEAMS


def scan(ranges_m=8.5, stamp_s=0.0):
    return LaserScan(stamp_s, -pi, 2 * pi / BEAMS, 0.12, 8.0, np.broadcast_to(ranges_m, BEAMS).astype(np.float32))


def scan_of_discs(discs, pose=ORIGIN, stamp_s=0.0):
    """Exact ranges to round obstacles (x, y, radius) in the map frame."""
    ranges_m = np.full(BEAMS, inf)
    directions = np.column_stack((np.cos(ANGLES + pose.heading_rad), np.sin(ANGLES + pose.heading_rad)))
    for x_m, y_m, radius_m in discs:
        to_m = np.array((x_m - pose.x_m, y_m - pose.y_m))
        along_m = directions @ to_m
        inside = radius_m ** 2 - (to_m @ to_m - along_m ** 2)
        hit_m = along_m - np.sqrt(np.maximum(inside, 0.0))
        ranges_m = np.where((inside >= 0) & (hit_m > 0), np.minimum(ranges_m, hit_m), ranges_m)
    return scan(ranges_m, stamp_s)


def filtered(command, seen, twist=STOP, now=0.0, teammates=NOBODY, **changes):
    return SafetyFilter(MODEL, SafetyConfig(**changes)).filter(command, seen, now, twist, teammates)


@pytest.mark.parametrize('command', [FORWARD, BACK, TURN, Twist(0.3, -0.7), STOP])
@pytest.mark.parametrize('nothing_m', [8.5, inf, 5.0])
def test_open_space_lets_everything_pass(command, nothing_m) -> None:
    assert filtered(command, scan(nothing_m), command) == (command, PASSED)


def test_limits_of_the_model() -> None:
    assert filtered(Twist(9.0, -9.0), scan()) == (Twist(0.5, -1.5), 'limits of the model')


@pytest.mark.parametrize('distance_m', [0.24, 0.3, 0.4, 0.47, 0.5, 0.8, 2.0])
def test_a_wall_ahead_slows_so_that_the_robot_can_stop(distance_m) -> None:
    safe, reason = filtered(FORWARD, scan_of_discs([(distance_m + 1.0, 0.0, 1.0)]))
    free_m = distance_m - MODEL.radius_m
    stopping_m = safe.linear_mps * 0.2 + safe.linear_mps ** 2 / (2 * MODEL.max_linear_acceleration_mps2)
    assert stopping_m <= free_m
    assert (reason == PASSED) == (safe == FORWARD)
    # Radius 0.2, reaction 0.5 * 0.2, braking 0.5**2 / (2 * 0.9), margin 0.03: 0.469 m, rounded up to steps of 0.04 s.
    assert (safe == FORWARD) == (distance_m >= 0.5)


def test_what_lies_beside_the_way_does_not_slow() -> None:
    beside = scan_of_discs([(0.25, 0.385, 0.1), (0.3, -0.6, 0.25)])
    assert filtered(FORWARD, beside, FORWARD) == (FORWARD, PASSED)
    # But turning towards it does.
    assert filtered(Twist(0.5, 1.5), beside, Twist(0.5, 1.5))[1] == 'obstacle'


def test_inside_the_margin_only_leaving_and_turning_is_allowed() -> None:
    near = scan_of_discs([(0.21 + 0.1, 0.0, 0.1)])
    assert filtered(FORWARD, near) == (STOP, 'obstacle')
    assert filtered(BACK, near) == (BACK, PASSED)
    assert filtered(TURN, near) == (TURN, PASSED)
    assert filtered(Twist(0.3, 1.0), near) == (Twist(0.0, 1.0), 'obstacle')


def test_touching_between_two_walls_the_way_along_them_leads_out() -> None:
    # Discs at both sides, behind the middle: forwards is away from both.
    narrow = scan_of_discs([(-0.12, 0.29, 0.1), (-0.12, -0.29, 0.1)])
    assert filtered(FORWARD, narrow) == (FORWARD, PASSED)
    assert filtered(BACK, narrow)[0].linear_mps == 0.0


def test_a_tight_corridor_is_driven_slowly() -> None:
    with np.errstate(divide='ignore'):
        corridor = scan(np.minimum(0.25 / np.abs(np.sin(ANGLES)), 7.9))
    safe, reason = filtered(FORWARD, corridor)
    assert 0.0 < safe.linear_mps < 0.25
    assert reason == 'obstacle'


def test_the_other_direction_of_a_moving_robot_must_wait() -> None:
    # Rolling towards a wall that it can just not miss: whatever is commanded, brake.
    near = scan_of_discs([(0.36 + 0.1, 0.0, 0.1)])
    assert filtered(TURN, near, FORWARD)[0].linear_mps == 0.0
    assert filtered(FORWARD, near, FORWARD)[0] == STOP


def test_readings_too_close_to_tell_are_obstacles_and_zero_is_none() -> None:
    for reading in (-inf, 0.05):
        seen = np.full(BEAMS, 5.0)
        seen[175:186] = reading
        assert filtered(FORWARD, scan(seen))[1] == 'obstacle'
    seen[175:186] = 0.0
    assert filtered(FORWARD, scan(seen)) == (FORWARD, PASSED)


class TestStops:
    """Without knowledge there is no motion."""

    def test_never_saw_a_scan(self) -> None:
        assert filtered(FORWARD, None) == (STOP, 'no scan yet')

    def test_stale_scan(self) -> None:
        guard = SafetyFilter(MODEL)
        assert guard.filter(FORWARD, scan(), 0.4, STOP) == (FORWARD, PASSED)
        assert guard.filter(FORWARD, None, 0.5, STOP) == (FORWARD, PASSED)
        assert guard.filter(FORWARD, None, 0.51, STOP) == (STOP, 'scan is stale')
        assert guard.filter(FORWARD, scan(stamp_s=0.6), 0.6, STOP) == (FORWARD, PASSED)

    def test_scan_from_the_future(self) -> None:
        assert filtered(FORWARD, scan(stamp_s=0.04)) == (FORWARD, PASSED)
        assert filtered(FORWARD, scan(stamp_s=1.0)) == (STOP, 'scan is from the future')
        assert filtered(FORWARD, scan(stamp_s=nan)) == (STOP, 'scan is stale')

    @pytest.mark.parametrize('wrong', [nan, inf, -inf])
    def test_numbers_that_are_none(self, wrong) -> None:
        assert filtered(Twist(wrong, 0.0), scan()) == (STOP, 'command is not finite')
        assert filtered(Twist(0.0, wrong), scan()) == (STOP, 'command is not finite')
        assert filtered(FORWARD, scan(), Twist(wrong, 0.0)) == (STOP, 'measured velocity is not finite')

    def test_clock_that_runs_backwards(self) -> None:
        guard = SafetyFilter(MODEL)
        assert guard.filter(FORWARD, scan(stamp_s=5.0), 5.0, STOP)[1] == PASSED
        assert guard.filter(FORWARD, scan(stamp_s=4.9), 4.9, STOP) == (STOP, 'clock ran backwards')
        assert guard.filter(FORWARD, scan(stamp_s=5.0), nan, STOP) == (STOP, 'clock ran backwards')
        assert guard.filter(FORWARD, scan(stamp_s=5.1), 5.1, STOP)[1] == PASSED

    def test_a_lidar_without_any_reading(self) -> None:
        assert filtered(TURN, scan(nan)) == (STOP, 'scan is empty')


class TestBlindSectors:
    """Beams: 180 looks ahead, 0 back."""

    @staticmethod
    def blind(first, last):
        seen = np.full(BEAMS, 5.0)
        seen[np.arange(first, last) % BEAMS] = nan
        return scan(seen)

    def test_ahead(self) -> None:
        assert filtered(FORWARD, self.blind(165, 195)) == (Twist(0.05, 0.0), 'blind sector')
        assert filtered(FORWARD, self.blind(165, 195), blind_speed_mps=0.0) == (STOP, 'blind sector')
        assert filtered(BACK, self.blind(165, 195)) == (BACK, PASSED)
        assert filtered(TURN, self.blind(165, 195)) == (TURN, PASSED)

    def test_single_dropouts_do_not_matter(self) -> None:
        assert filtered(FORWARD, self.blind(175, 190)) == (FORWARD, PASSED)

    def test_aside(self) -> None:
        assert filtered(FORWARD, self.blind(60, 120)) == (FORWARD, PASSED)

    def test_behind_across_the_seam_of_the_scan(self) -> None:
        assert filtered(BACK, self.blind(-15, 15)) == (Twist(-0.05, 0.0), 'blind sector')
        assert filtered(FORWARD, self.blind(-15, 15)) == (FORWARD, PASSED)

    @pytest.mark.parametrize('increment', [1.0, -1.0])
    def test_beyond_the_field_of_view(self, increment) -> None:
        half = LaserScan(0.0, -increment * pi / 2, increment * pi / 180, 0.12, 8.0, np.full(181, 5.0, np.float32))
        assert filtered(FORWARD, half) == (FORWARD, PASSED)
        assert filtered(BACK, half) == (Twist(-0.05, 0.0), 'blind sector')


class TestTeammates:
    """Teammates are kept away from even where the lidar does not see them."""

    @staticmethod
    def status(x_m, y_m=0.0, heading_rad=0.0, speed_mps=0.0, stamp_s=0.0):
        return RobotStatus('b', 1, stamp_s, Pose(x_m, y_m, heading_rad), Twist(speed_mps, 0.0))

    def judge(self, *statuses, command=FORWARD, now=0.0, pose=ORIGIN):
        return filtered(command, scan(stamp_s=now), now=now, teammates=teammates_in_base(statuses, pose, now))

    def test_standing_ahead(self) -> None:
        assert self.judge(self.status(0.47)) == (STOP, 'teammate'), 'radii 0.4, margins 0.08'
        assert self.judge(self.status(0.47), command=BACK) == (BACK, PASSED)
        assert self.judge(self.status(1.5)) == (FORWARD, PASSED)

    def test_coming_towards_the_robot(self) -> None:
        assert self.judge(self.status(1.0)) == (FORWARD, PASSED)
        assert self.judge(self.status(1.0, heading_rad=pi, speed_mps=0.5))[1] == 'teammate'

    def test_one_that_drives_off_may_stop(self) -> None:
        assert self.judge(self.status(0.6, speed_mps=0.5))[1] == 'teammate'

    def test_predicted_with_its_velocity(self) -> None:
        # Heard 0.5 s ago at 1.2 m, coming at 1 m/s: now at 0.7 m.
        rows = teammates_in_base([self.status(1.2, heading_rad=pi, speed_mps=1.0)], Pose(0, 0, 0), 0.5)
        assert rows[0, :4].tolist() == pytest.approx([0.7, 0.0, -1.0, 0.0])

    def test_margin_grows_with_age_and_old_news_are_dropped(self) -> None:
        radii_m = [teammates_in_base([self.status(2.0)], Pose(0, 0, 0), age_s)[0, 4] for age_s in (0.0, 1.0, 2.0, 4.9)]
        assert radii_m == pytest.approx([0.25, 0.35, 0.45, 0.55])
        assert len(teammates_in_base([self.status(2.0)], Pose(0, 0, 0), 5.1)) == 0
        assert len(teammates_in_base([self.status(nan)], Pose(0, 0, 0), 0.0)) == 0

    def test_frame_of_the_robot(self) -> None:
        rows = teammates_in_base([self.status(1.0, 3.0, heading_rad=0.0, speed_mps=0.4)], Pose(1.0, 1.0, pi / 2), 0.0)
        assert rows[0, :4].tolist() == pytest.approx([2.0, 0.0, 0.0, -0.4], abs=1e-12)

    def test_lying_inside_one_another_they_may_part(self) -> None:
        assert self.judge(self.status(0.3), command=BACK) == (BACK, PASSED)
        assert self.judge(self.status(0.3), command=TURN) == (TURN, PASSED)


class Robot:
    """A body that obeys late: velocities ramp within the model's limits, or jump."""

    def __init__(self, jumps):
        self.pose, self.twist, self.jumps = Pose(0.0, 0.0, 0.0), STOP, jumps

    def step(self, command, step_s):
        limits = (MODEL.max_linear_acceleration_mps2, MODEL.max_angular_acceleration_radps2)
        self.twist = command if self.jumps else Twist(*(
            min(max(wanted, now - limit * step_s), now + limit * step_s)
            for now, wanted, limit in zip(self.twist, command, limits)))
        heading = self.pose.heading_rad + 0.5 * self.twist.angular_radps * step_s
        self.pose = Pose(self.pose.x_m + self.twist.linear_mps * step_s * cos(heading),
                         self.pose.y_m + self.twist.linear_mps * step_s * sin(heading),
                         self.pose.heading_rad + self.twist.angular_radps * step_s)


def clearance_m(pose, discs):
    return min(hypot(x_m - pose.x_m, y_m - pose.y_m) - radius_m for x_m, y_m, radius_m in discs) - MODEL.radius_m


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.booleans(), st.sampled_from([0.0, 0.1]))
def test_no_motion_ever_touches_an_obstacle(seed, jumps, scan_delay_s) -> None:
    """Random commands among random discs; the lidar at 10 Hz, control at 10 Hz, motors 50 ms late."""
    generator = np.random.default_rng(seed)
    discs = [(x_m, y_m, radius_m) for x_m, y_m, radius_m in zip(
        generator.uniform(-2, 2, 14), generator.uniform(-2, 2, 14), generator.uniform(0.05, 0.4, 14))
        if hypot(x_m, y_m) - radius_m > 0.26] or [(1.0, 0.0, 0.1)]
    robot, guard, obeyed, seen = Robot(jumps), SafetyFilter(MODEL), STOP, None
    wanted = STOP
    for tick in range(120):
        if tick % 8 == 0:
            wanted = Twist(generator.choice([0.5, 0.5, 0.25, -0.5]), generator.uniform(-1.5, 1.5))
        newest = scan_of_discs(discs, robot.pose, 0.1 * tick)
        delivered = newest if scan_delay_s == 0.0 else seen
        seen = newest
        command, _ = guard.filter(wanted, delivered, 0.1 * tick, robot.twist)
        for _ in range(5):
            robot.step(obeyed, 0.01)
            assert clearance_m(robot.pose, discs) > 0.0
        obeyed = command
        for _ in range(5):
            robot.step(obeyed, 0.01)
            assert clearance_m(robot.pose, discs) > 0.0


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.booleans(), st.booleans())
def test_two_robots_never_touch(seed, jumps, lidar_sees_them) -> None:
    """Both drive at each other at random; lidar and messages, or only messages at 2 Hz."""
    generator = np.random.default_rng(seed)
    robots = [Robot(jumps), Robot(jumps)]
    robots[1].pose = Pose(1.5, generator.uniform(-0.5, 0.5), pi)
    guards = [SafetyFilter(MODEL), SafetyFilter(MODEL)]
    heard = [[], []]
    wanted = [FORWARD, FORWARD]
    for tick in range(80):
        now = 0.1 * tick
        if tick % 10 == 0:
            wanted = [Twist(generator.choice([0.5, 0.5, -0.5]), generator.uniform(-0.7, 0.7)) for _ in robots]
        commands = []
        for me, mate in ((0, 1), (1, 0)):
            other = robots[mate]
            if tick % 5 == 0:
                heard[me] = [RobotStatus('mate', 1, now, other.pose, other.twist)]
            discs = [(other.pose.x_m, other.pose.y_m, MODEL.radius_m)] if lidar_sees_them else []
            commands.append(guards[me].filter(
                wanted[me], scan_of_discs(discs, robots[me].pose, now), now, robots[me].twist,
                teammates_in_base(heard[me], robots[me].pose, now))[0])
        for _ in range(10):
            for robot, command in zip(robots, commands):
                robot.step(command, 0.01)
            first, second = (robot.pose for robot in robots)
            assert hypot(first.x_m - second.x_m, first.y_m - second.y_m) > 2 * MODEL.radius_m


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.floats(0.005, 0.03))
def test_a_robot_inside_the_margin_gets_out(seed, gap_m) -> None:
    """Whatever touches the margin on one side, turning away and driving frees the robot."""
    generator = np.random.default_rng(seed)
    bearing = generator.uniform(-pi, pi)
    apart_m = MODEL.radius_m + gap_m + 0.2
    discs = [(apart_m * cos(bearing), apart_m * sin(bearing), 0.2)]
    robot, guard = Robot(jumps=True), SafetyFilter(MODEL)
    for tick in range(80):
        away = bearing + pi - robot.pose.heading_rad
        error = float(np.arctan2(np.sin(away), np.cos(away)))
        wanted = Twist(0.0, np.clip(3 * error, -1.5, 1.5)) if abs(error) > 0.3 else FORWARD
        command, _ = guard.filter(wanted, scan_of_discs(discs, robot.pose, 0.1 * tick), 0.1 * tick, robot.twist)
        robot.step(command, 0.1)
        assert clearance_m(robot.pose, discs) > 0.0
    assert clearance_m(robot.pose, discs) > 0.5


def test_a_lidar_ahead_of_the_centre_sees_from_there() -> None:
    model = replace(MODEL, lidar=replace(MODEL.lidar, x_m=0.1))
    wall = scan_of_discs([(1.45, 0.0, 1.0)])
    assert SafetyFilter(MODEL).filter(FORWARD, wall, 0.0, STOP)[1] == 'obstacle'
    assert SafetyFilter(model).filter(FORWARD, wall, 0.0, STOP)[0].linear_mps > (
        SafetyFilter(MODEL).filter(FORWARD, wall, 0.0, STOP)[0].linear_mps)


@pytest.mark.parametrize('twist', [Twist(1e9, 0.0), Twist(1e300, 0.0), Twist(-1e9, 5.0)])
def test_a_measured_velocity_beyond_reason_ends_in_a_stop_and_not_in_a_search_without_end(twist) -> None:
    assert filtered(FORWARD, scan(), twist) == (STOP, 'obstacle')


@pytest.mark.parametrize('increment_rad', [1e-300, 1e-9, -1e-9, 7.0])
def test_beams_at_angles_beyond_reason_count_as_blind(increment_rad) -> None:
    odd = replace(scan(), angle_increment_rad=increment_rad)
    safe, reason = filtered(FORWARD, odd)
    assert (safe, reason) == (Twist(SafetyConfig().blind_speed_mps, 0.0), 'blind sector')
