"""Configuration: overrides reach nested dataclasses; what is not known is refused by name."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from marl_core.config import changed, from_mapping, load
from marl_core.errors import ConfigError
from marl_core.types import RobotModel


@dataclass(frozen=True)
class Inner:
    radius_m: float = 0.2
    beams: int = 360


@dataclass(frozen=True)
class Outer:
    name: str = 'robot'
    fast: bool = False
    goal_m: float | None = None
    worlds: tuple[str, ...] = ('office',)
    inner: Inner = field(default_factory=Inner)


def test_overrides_reach_nested_fields_and_keep_other_defaults() -> None:
    built = from_mapping(Outer, {'name': 'a', 'goal_m': 2, 'worlds': ['maze', 'cave'], 'inner': {'beams': 10}})
    assert built == Outer('a', goal_m=2.0, worlds=('maze', 'cave'), inner=Inner(beams=10))


def test_settings_are_changed_by_dotted_names() -> None:
    base = {'mappo': {'clip': 0.1}, 'seed': 3}
    assert changed(base, {'mappo.clip': 0.2, 'critic.central': False, 'seed': 4}) == {
        'mappo': {'clip': 0.2}, 'critic': {'central': False}, 'seed': 4}
    assert base == {'mappo': {'clip': 0.1}, 'seed': 3}
    with pytest.raises(ConfigError, match='seed.x: seed is 3, and has no x'):
        changed(base, {'seed.x': 1})


def test_a_nested_dataclass_may_be_none_and_is_still_converted() -> None:
    @dataclass(frozen=True)
    class Optional:
        inner: Inner | None = None

    assert from_mapping(Optional, {}).inner is None
    assert from_mapping(Optional, {'inner': None}).inner is None
    assert from_mapping(Optional, {'inner': {}}).inner == Inner()
    with pytest.raises(ConfigError, match="inner: unknown key 'x'"):
        from_mapping(Optional, {'inner': {'x': 1}})


@pytest.mark.parametrize(('values', 'named'), [
    ({'nmae': 'a'}, "unknown key 'nmae'; valid keys: name, fast, goal_m, worlds, inner"),
    ({'inner': {'beems': 1}}, "inner: unknown key 'beems'; valid keys: radius_m, beams"),
    ({'fast': 1}, 'fast must be bool'),
    ({'inner': {'beams': 1.5}}, 'beams must be int'),
    ({'inner': {'radius_m': True}}, 'radius_m must be float'),
    ({'inner': {'radius_m': 'wide'}}, 'radius_m must be float'),
    ({'inner': 3}, 'inner'),
])
def test_wrong_values_are_named(values: dict, named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_mapping(Outer, values, 'fleet.yaml')
    assert str(caught.value).startswith('fleet.yaml')
    assert named in str(caught.value)


@pytest.mark.parametrize('content', ['- a\n- b\n', 'a: [', 'just text'])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / 'broken.yaml'
    path.write_text(content)
    with pytest.raises(ConfigError, match='broken.yaml'):
        load(Outer, path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='nowhere.yaml'):
        load(Outer, tmp_path / 'nowhere.yaml')


def test_an_empty_file_means_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / 'robot.yaml'
    path.write_text('')
    assert load(RobotModel, path) == RobotModel()


@pytest.mark.parametrize('values', [
    {'radius_m': -1.0}, {'radius_m': float('nan')}, {'max_linear_mps': 0.0}, {'wheel_separation_m': float('inf')},
    {'lidar': {'beams': 0}}, {'lidar': {'rate_hz': 0.0}}, {'lidar': {'range_min_m': 5.0, 'range_max_m': 1.0}},
    {'lidar': {'noise_std_m': -0.1}}, {'lidar': {'dropout_probability': 2.0}}], ids=str)
def test_an_impossible_robot_is_refused_by_name(values: dict) -> None:
    key = next(iter(values['lidar'])) if 'lidar' in values else next(iter(values))
    with pytest.raises(ConfigError, match=key):
        from_mapping(RobotModel, values, 'robot.yaml')
