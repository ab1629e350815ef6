"""Of two robots in each other's way one gives way, and nobody waits for ever."""

from math import cos, nan, pi, sin

import numpy as np
import pytest

from marl_core.decision.deadlock import Advice, BlockedMonitor, teammate_discs, yield_command
from marl_core.types import STOP, Activity, Pose, RobotModel, RobotStatus, Twist

GO = Twist(0.5, 0.0)


def status(name, x_m, y_m=0.0, activity=Activity.EXPLORING):
    return RobotStatus(name, 1, 0.0, Pose(x_m, y_m, pi), STOP, activity=activity)


def history(monitor, seconds, teammates=(), command=GO, pose=lambda now: Pose(0, 0, 0), to_go_m=lambda now: 5.0):
    """Changes of advice as (time, advice), at 10 Hz."""
    said, last = [], Advice.PROCEED
    for tick in range(round(10 * seconds)):
        now = tick / 10
        advice = monitor.update(now, pose(now), command, to_go_m(now), teammates)
        if advice is not last:
            said.append((now, advice))
        last = advice
    return [(now, advice) for now, advice in said if advice is not Advice.PROCEED]


def test_the_later_name_replans_then_yields_then_gives_up() -> None:
    monitor = BlockedMonitor('b')
    assert history(monitor, 13, [status('a', 0.6)]) == [
        (3.0, Advice.REPLAN_AROUND), (6.0, Advice.YIELD), (12.0, Advice.GIVE_UP_GOAL)]


def test_the_first_name_is_patient() -> None:
    monitor = BlockedMonitor('a')
    assert history(monitor, 13, [status('b', 0.6)]) == [(9.0, Advice.REPLAN_AROUND), (12.0, Advice.YIELD)]
    assert monitor.blocker is not None
    assert monitor.blocker.robot == 'b'


@pytest.mark.parametrize('activity', [Activity.DONE, Activity.FAULT, Activity.IDLE])
def test_nobody_waits_for_a_robot_that_does_not_move(activity) -> None:
    assert history(BlockedMonitor('a'), 4, [status('b', 0.6, activity=activity)]) == [(3.0, Advice.REPLAN_AROUND)]


def test_without_a_teammate_near_it_replans_and_gives_up() -> None:
    assert history(BlockedMonitor('a'), 7, [status('b', 3.0)]) == [
        (3.0, Advice.REPLAN_AROUND), (6.0, Advice.GIVE_UP_GOAL)]


@pytest.mark.parametrize('changes', [
    {'pose': lambda now: Pose(0.2 * now, 0, 0), 'to_go_m': lambda now: 10 - 0.2 * now},
    {'command': STOP},
    {'to_go_m': lambda now: nan},
    {'pose': lambda now: Pose(0, 0, now), 'to_go_m': lambda now: 5.0},
])
def test_who_gets_on_or_wants_nothing_is_not_blocked(changes) -> None:
    seconds = 3.0 if 'pose' in changes and 'command' not in changes else 10
    assert history(BlockedMonitor('b'), seconds, [status('a', 0.6)], **changes) == []


def test_turning_for_ever_is_no_progress() -> None:
    said = history(BlockedMonitor('b'), 20, [status('a', 0.6)], pose=lambda now: Pose(0, 0, now))
    assert said[0][1] is Advice.REPLAN_AROUND
    assert 5.0 < said[0][0] < 7.0, 'six turns of half a radian, then the time-out'


def test_moving_to_and_fro_is_given_up_in_the_end() -> None:
    said = history(BlockedMonitor('a'), 40, pose=lambda now: Pose(sin(now), 0, 0))
    assert said == [(30.1, Advice.GIVE_UP_GOAL)]


def test_past_the_trouble_everything_starts_anew() -> None:
    monitor = BlockedMonitor('b')
    where = {'x_m': 0.0}
    assert history(monitor, 4, [status('a', 0.6)], pose=lambda now: Pose(where['x_m'], 0, 0)) == [
        (3.0, Advice.REPLAN_AROUND)]
    monitor.update(5.0, Pose(2.0, 0, 0), GO, 3.0, [])
    advices = {monitor.update(5.0 + 0.1 * tick, Pose(2.0, 0, 0), GO, 3.0, [status('a', 2.6)]) for tick in range(35)}
    assert advices == {Advice.PROCEED, Advice.REPLAN_AROUND}


def test_a_detour_is_no_lack_of_progress() -> None:
    # The path grows from 5 m to 20 m when the robot replans, and the robot drives it.
    def to_go_m(now):
        return 5.0 if now < 4 else 20.0 - 0.4 * (now - 4)

    said = history(BlockedMonitor('b'), 45, [status('a', 0.6)], to_go_m=to_go_m,
                   pose=lambda now: Pose(0.0 if now < 4 else -0.4 * (now - 4), 0, 0))
    assert said == [(3.0, Advice.REPLAN_AROUND)]


def test_a_clock_that_runs_backwards_starts_anew() -> None:
    monitor = BlockedMonitor('b')
    history(monitor, 2.9, [status('a', 0.6)])
    assert monitor.update(1.0, Pose(0, 0, 0), GO, 5.0, [status('a', 0.6)]) is Advice.PROCEED
    assert monitor.update(3.2, Pose(0, 0, 0), GO, 5.0, [status('a', 0.6)]) is Advice.PROCEED


@pytest.mark.parametrize('bearing', np.linspace(-3, 3, 7))
def test_yielding_leads_away(bearing) -> None:
    model, blocker = RobotModel(), status('a', 0.6 * cos(bearing), 0.6 * sin(bearing))
    heading, x_m, y_m = 0.0, 0.0, 0.0
    for _ in range(30):
        twist = yield_command(Pose(x_m, y_m, heading), blocker, model)
        heading += 0.1 * twist.angular_radps
        x_m += 0.1 * twist.linear_mps * cos(heading)
        y_m += 0.1 * twist.linear_mps * sin(heading)
    assert np.hypot(x_m - blocker.pose.x_m, y_m - blocker.pose.y_m) > 0.9


def test_only_near_teammates_are_obstacles() -> None:
    discs = teammate_discs(Pose(0, 0, 0), [status('a', 1.0, 2.0), status('c', 9.0)], 0.2)
    assert discs.tolist() == [[1.0, 2.0, 0.5]]
    assert teammate_discs(Pose(0, 0, 0), [], 0.2).shape == (0, 3)
