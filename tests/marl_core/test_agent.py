"""The agent's tick: what goes in wrong is counted and stops the robot, what goes in right is explored."""

from collections.abc import Sequence
from dataclasses import replace
from math import inf, nan, pi
from pathlib import Path

import numpy as np
import pytest

from marl_core.agent import Agent
from marl_core.communication import wire
from marl_core.communication.authentication import Plain
from marl_core.decision.policies import make_policy
from marl_core.errors import ConfigError, PolicyError
from marl_core.trace import TraceWriter, read_trace
from marl_core.types import (
    STOP,
    Activity,
    LaserScan,
    LayerId,
    MapFeatures,
    Pose,
    Readings,
    RobotModel,
    RobotStatus,
    Twist,
    VersionRange,
)

BEAMS = 360


def scan_of_room(stamp_s: float, half_m: float = 3.0, open_side: bool = True) -> LaserScan:
    """From the centre of a square room with its +x side open."""
    angles = np.linspace(-pi, pi, BEAMS, endpoint=False)
    ranges = half_m / np.maximum(np.abs(np.cos(angles)), np.abs(np.sin(angles)))
    if open_side:
        ranges[np.abs(angles) < pi / 4 - 0.05] = inf
    return LaserScan(stamp_s, -pi, 2 * pi / BEAMS, 0.12, 8.0, ranges.astype(np.float32))


def an_agent(name: str = 'a') -> Agent:
    return Agent(name, 1, RobotModel(), make_policy('burgard'))


def settle(agent: Agent, ticks: int = 12, start_s: float = 0.0, open_side: bool = True) -> Twist:
    command = STOP
    for step in range(ticks):
        now_s = start_s + 0.1 * step
        command, _ = agent.tick(Readings(scan_of_room(now_s, open_side=open_side), Pose(0.0, 0.0, 0.0)), [], now_s)
    return command


def test_it_drives_towards_the_open_side() -> None:
    agent = an_agent()
    command = settle(agent)
    assert agent.activity is Activity.EXPLORING
    assert agent.goal is not None
    assert agent.goal.x_m > 2.0
    assert command.linear_mps > 0.1


def kinds(packets: Sequence[bytes]) -> set[str]:
    return {wire.KINDS[wire.peek(packet).kind] for packet in packets}


def test_a_closed_room_is_done() -> None:
    agent = an_agent()
    assert settle(agent, open_side=False) == STOP
    assert agent.activity is Activity.DONE
    assert 30.0 < agent.world.replica.known_area_m2 < 40.0


def test_without_readings_it_stands_still() -> None:
    agent = an_agent()
    command, outbox = agent.tick(Readings(), [], 0.0)
    assert command == STOP
    assert 'status' not in kinds(outbox)


def test_it_stops_when_scans_stop_coming() -> None:
    agent = an_agent()
    assert settle(agent).linear_mps > 0.0
    commands = [agent.tick(Readings(pose=Pose(0.0, 0.0, 0.0)), [], 1.2 + 0.1 * step)[0] for step in range(10)]
    assert commands[-1] == STOP
    assert agent.navigator.reason == 'scan is stale'


def test_clock_running_backwards_stops_it_for_a_tick_and_then_it_goes_on() -> None:
    agent = an_agent()
    settle(agent, start_s=100.0)
    command, _ = agent.tick(Readings(scan_of_room(0.0), Pose(0.0, 0.0, 0.0)), [], 0.0)
    assert command == STOP
    assert agent.faults['clock-backwards'] == 1
    assert settle(agent, start_s=0.1).linear_mps > 0.1


@pytest.mark.parametrize('pose', [Pose(nan, 0.0, 0.0), Pose(0.0, inf, 0.0), Pose(0.0, 0.0, nan)])
def test_a_pose_that_is_no_number_is_counted_and_not_used(pose: Pose) -> None:
    agent = an_agent()
    assert agent.tick(Readings(scan_of_room(0.0), pose), [], 0.0)[0] == STOP
    assert agent.faults['bad-pose'] == 1
    assert agent.world.replica.known_cells == 0


@pytest.mark.parametrize('damage', [
    {'ranges_m': np.full(BEAMS, nan, np.float32)},
    {'ranges_m': np.empty(0, np.float32)},
    {'ranges_m': np.ones((4, 4), np.float32)},
    {'angle_increment_rad': nan},
    {'range_max_m': nan},
])
def test_a_damaged_scan_never_raises_and_never_drives(damage: dict) -> None:
    agent = an_agent()
    command, _ = agent.tick(Readings(replace(scan_of_room(0.0), **damage), Pose(0.0, 0.0, 0.0)), [], 0.0)
    assert command == STOP


def test_poses_outside_the_map_do_not_raise() -> None:
    agent = an_agent()
    for step in range(3):
        command, _ = agent.tick(Readings(scan_of_room(0.1 * step), Pose(1e4, -1e4, 0.0)), [], 0.1 * step)
        assert command == STOP


def test_hostile_messages_are_dropped_and_counted() -> None:
    agent = an_agent()
    settle(agent)
    status = RobotStatus('b', 1, 1.2, Pose(nan, 0.0, 0.0), STOP)
    features = MapFeatures('b', 1.2, LayerId('b', 1), VersionRange(1, 1), 0.05, 'rle-zstd', b'\x00garbage')
    packets = [Plain().close(wire.encode(message, 1, number)) for number, message in enumerate((status, features), 1)]
    agent.tick(Readings(scan_of_room(1.2), Pose(0.0, 0.0, 0.0)), [*packets, packets[0], packets[1][:-2], b'?'], 1.2)
    assert sum(agent.communicator.drops.values()) == 5


def test_a_choice_that_is_no_candidate_is_refused() -> None:
    agent = an_agent()
    agent.perceive(Readings(scan_of_room(0.0), Pose(0.0, 0.0, 0.0)), [], 0.0)
    with pytest.raises(PolicyError, match='observe'):
        agent.decide(0)
    settle(agent, ticks=3, start_s=0.1)
    assert agent.observe() is not None
    with pytest.raises(PolicyError, match='no candidate'):
        agent.decide(31)


def test_a_trace_survives_the_file_and_its_replay_gives_the_same_commands(tmp_path: Path) -> None:
    first, second = an_agent('a'), an_agent('b')
    writer = TraceWriter(tmp_path / 'a.jsonl')
    inbox: list = []
    for step in range(40):
        now_s = 0.1 * step
        readings = Readings(scan_of_room(now_s), Pose(0.01 * step, 0.0, 0.02 * step), Twist(0.1, 0.2))
        command, _ = first.tick(readings, inbox, now_s)
        writer.write(readings, inbox, now_s, command)
        inbox = second.tick(Readings(scan_of_room(now_s), Pose(1.5, 0.5, 1.0)), [], now_s)[1]
    writer.close()
    steps = list(read_trace(tmp_path / 'a.jsonl'))
    assert len(steps) == 40
    assert kinds([packet for step in steps for packet in step.inbox]) == {'status', 'features', 'digest'}
    again = an_agent('a')
    assert [again.tick(step.readings, step.inbox, step.now_s)[0] for step in steps] == [step.command for step in steps]
    assert again.world.replica.state_hash() == first.world.replica.state_hash()


def test_a_trace_that_was_cut_off_is_read_up_to_there(tmp_path: Path) -> None:
    path = tmp_path / 'cut.jsonl'
    writer = TraceWriter(path)
    for step in range(3):
        writer.write(Readings(), [], 0.1 * step, STOP)
    writer.close()
    path.write_text(path.read_text()[:-20])
    assert len(list(read_trace(path))) == 2
    path.write_text('{"now": 1}\n' * 2)
    with pytest.raises(ConfigError, match='line 1'):
        list(read_trace(path))
