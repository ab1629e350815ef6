"""What a demo refuses before it starts a single process."""

from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason='ROS 2 is not installed: pip install --group ros')
pytest.importorskip('marl_coordination.msg', reason='the messages are not built: pip install --no-build-isolation -e .')

from marl_core.errors import ConfigError, WorldError  # noqa: E402
from marl_nodes.demo.session import DemoOptions, coverage_of, fleet_of  # noqa: E402
from marl_nodes.demo.world import world_of  # noqa: E402
from marl_nodes.fleet.model import Fleet, RobotEntry, SimulationEntry  # noqa: E402


def test_more_robots_than_the_world_has_room_for_are_refused_before_any_is_started(tmp_path: Path) -> None:
    large = tmp_path / 'large.yaml'
    large.write_text('radius_m: 0.8\n')
    robots = {f'robot_{number}': RobotEntry(model=str(large)) for number in range(64)}
    with pytest.raises(WorldError, match='room for'):
        coverage_of(Fleet(robots, simulation=SimulationEntry('rooms:1@8x6')))


def test_more_robots_than_the_machine_can_start_are_refused_before_there_is_anything_of_them() -> None:
    with pytest.raises(ConfigError, match='at most 64'):
        fleet_of(DemoOptions(robots=10**12))


def test_no_robots_are_none() -> None:
    with pytest.raises(ConfigError, match='at least 1'):
        fleet_of(DemoOptions(robots=0))


def test_numbers_of_the_simulation_are_checked() -> None:
    with pytest.raises(ConfigError, match='demo: seed'):
        fleet_of(DemoOptions(seed=-1))
    with pytest.raises(ConfigError, match='demo: real_time_factor'):
        fleet_of(DemoOptions(speed=-1.0))


def test_a_start_in_a_wall_is_found() -> None:
    fleet = Fleet({'a': RobotEntry(start=(500.0, 0.0, 0.0))}, simulation=SimulationEntry('rooms:1@8x6'))
    with pytest.raises(WorldError, match='a: does not fit at its start'):
        world_of(fleet)
