"""What a fleet file says. Launch files and marl_fleet read the same one."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from itertools import combinations
from math import hypot, isfinite
from pathlib import Path
from typing import Any

import yaml

from marl_core.agent import AgentConfig
from marl_core.communication.authentication import MODES
from marl_core.config import from_mapping, load
from marl_core.decision.policies import POLICIES
from marl_core.errors import ConfigError
from marl_core.types import RobotModel
from marl_nodes.key_files import GROUP_FILE, MEMBERS_FILE, read_members

ROBOT_NAME = re.compile(r'[A-Za-z][A-Za-z0-9_]{0,63}')
"""A robot's name is its namespace as well, so it must be a valid one."""
RESERVED_NAMES = ('map', 'simulation')
"""Nodes that a fleet may have besides robots; logs and parameter files go by these names."""
PHYSICS = ('kinematic', 'pybullet')
BODIES = ('cylinder', 'wheeled')
"""Those of sim.simulation, which is not installed where robots are."""


@dataclass(frozen=True, slots=True)
class RobotEntry:
    """One robot of a fleet; paths are relative to the fleet file.

    Attributes:
        start: where it stands at the beginning: x [m], y [m], heading [rad; map frame]. A real robot needs it; in
            simulation the world chooses where it is left out.
        model: YAML file of its RobotModel; '' for the defaults.
        policy: a policy's name, or the path of a model that ends in .onnx.
        fallback: who chooses when the policy fails, likewise.
        stamped_cmd_vel: whether its base wants TwistStamped (true) or Twist.
    """

    start: tuple[float, ...] | None = None
    model: str = ''
    policy: str = 'minpos'
    fallback: str = 'minpos'
    stamped_cmd_vel: bool = True

    def __post_init__(self) -> None:
        if self.start is not None:
            if len(self.start) != 3 or not all(
                    isinstance(number, int | float) and isfinite(number) for number in self.start):
                raise ValueError(f'start must be [x, y, heading], got {self.start}')
            object.__setattr__(self, 'start', tuple(float(number) for number in self.start))


@dataclass(frozen=True, slots=True)
class MapEntry:
    """The map node of a fleet.

    Attributes:
        enabled: whether there is one; robots do not need it.
        name: under which it speaks to the fleet.
        state_path: file that keeps the map over restarts, relative to where marl_fleet runs; '' for none.
    """

    enabled: bool = True
    name: str = 'map'
    state_path: str = ''


@dataclass(frozen=True, slots=True)
class SimulationEntry:
    """The simulator that stands in for real robots.

    Attributes:
        world: generator and seed such as ``office:1``, or the path of a map_server YAML file.
        physics: ``kinematic`` or ``pybullet``.
        body: ``cylinder`` or ``wheeled``.
        seed: of sensor and wheel noise.
        real_time_factor: simulated seconds per second; 0 as fast as the robots answer.
        drift_along: noise of odometry along the way [m per root of m].
        drift_turn_rad: noise of its heading [rad per root of m].
    """

    world: str = 'office:1'
    physics: str = 'kinematic'
    body: str = 'cylinder'
    seed: int = 0
    real_time_factor: float = 1.0
    drift_along: float = 0.0
    drift_turn_rad: float = 0.0

    def __post_init__(self) -> None:
        for name, valid in (('physics', PHYSICS), ('body', BODIES)):
            if getattr(self, name) not in valid:
                raise ValueError(f'unknown {name} {getattr(self, name)!r}; valid: {", ".join(valid)}')
        for name in ('real_time_factor', 'drift_along', 'drift_turn_rad'):
            if not (isfinite(getattr(self, name)) and getattr(self, name) >= 0.0):
                raise ValueError(f'{name} must be 0 or more, got {getattr(self, name)}')
        if not 0 <= self.seed < 2**31:
            raise ValueError(f'seed must be from 0 to {2**31 - 1}, got {self.seed}')


@dataclass(frozen=True, slots=True)
class SecurityEntry:
    """Who may speak to the fleet, see docs/security.md.

    Attributes:
        mode: ``plain``, ``mac`` or ``signed``; '' until somebody has chosen, and then nodes refuse to start.
        keys: folder of the key files; '' only in mode ``plain``.
    """

    mode: str = ''
    keys: str = ''


@dataclass(frozen=True, slots=True)
class Fleet:
    """A fleet and what it shares.

    Attributes:
        robots: by name.
        namespace: of the topics on which all talk.
        map_frame: the frame that all share.
        agent: YAML file that overrides AgentConfig for robots and map node alike; '' for the defaults.
        security: who may speak; a file has to say it.
        map: the map node.
        simulation: the simulator; None for real robots.
    """

    robots: Mapping[str, RobotEntry] = field(default_factory=dict)
    namespace: str = '/fleet'
    map_frame: str = 'map'
    agent: str = ''
    security: SecurityEntry = field(default_factory=SecurityEntry)
    map: MapEntry = field(default_factory=MapEntry)
    simulation: SimulationEntry | None = None


def load_fleet(path: str | Path) -> Fleet:
    """Read a fleet file; paths in it come back absolute.

    Raises:
        ConfigError: names the file, the key and what would be valid.
    """
    path = Path(path)
    content = _read(path)
    every = _mapping(content.pop('every_robot', None), f'{path}: every_robot')
    robots = content.pop('robots', None)
    simulation = content.pop('simulation', None)
    if not isinstance(robots, dict) or not robots:
        raise ConfigError(f'{path}: robots must be a mapping from names to what is special about each')
    known = [entry.name for entry in fields(Fleet)]
    for key in content:
        if key not in known:
            raise ConfigError(f'{path}: unknown key {key!r}; valid keys: {", ".join([*known, "every_robot"])}')
    map_entry = from_mapping(MapEntry, content.pop('map', None) or {}, f'{path}: map')
    shared = from_mapping(Fleet, {**content, 'map': map_entry}, str(path))
    folder = path.resolve().parent
    fleet = replace(
        shared, agent=_beside(folder, shared.agent),
        security=replace(shared.security, keys=_beside(folder, shared.security.keys)),
        robots={str(name): _robot(folder, {**every, **_mapping(own, f'{path}: robots: {name}')},
                                  f'{path}: robots: {name}')
                for name, own in robots.items()},
        simulation=_simulation(folder, simulation, f'{path}: simulation'))
    _check_names(fleet, path)
    _check_security(fleet.security, path)
    return fleet


def check_fleet(fleet: Fleet) -> tuple[str, ...]:
    """Everything that can be found wrong without starting anything, one sentence each.

    Files that the fleet names are read; policies are not loaded here (see the node of each robot).
    """
    problems = []
    models = {}
    if fleet.agent:
        try:
            load(AgentConfig, fleet.agent)
        except ConfigError as error:
            problems.append(f'agent: {error}')
    problems += _key_problems(fleet)
    if fleet.simulation is not None and fleet.simulation.world.endswith('.yaml') \
            and not Path(fleet.simulation.world).is_file():
        problems.append(f'simulation: world {fleet.simulation.world} does not exist')
    for name, robot in fleet.robots.items():
        try:
            models[name] = load(RobotModel, robot.model) if robot.model else RobotModel()
        except ConfigError as error:
            problems.append(f'{name}: {error}')
        for key, policy in (('policy', robot.policy), ('fallback', robot.fallback)):
            if policy.endswith('.onnx') and not Path(policy).is_file():
                problems.append(f'{name}: {key} {policy} does not exist')
            elif not policy.endswith('.onnx') and policy not in POLICIES:
                problems.append(f'{name}: unknown {key} {policy!r}; valid: {", ".join(POLICIES)}, or an .onnx file')
        if robot.start is None and fleet.simulation is None:
            problems.append(f'{name}: a real robot needs its start: [x, y, heading] in the frame {fleet.map_frame}')
    for (first, one), (second, other) in combinations(fleet.robots.items(), 2):
        if one.start and other.start and first in models and second in models:
            gap_m = hypot(one.start[0] - other.start[0], one.start[1] - other.start[1])
            needed_m = models[first].radius_m + models[second].radius_m
            if gap_m < needed_m:
                problems.append(f'{first} and {second}: their starts are {gap_m:.2f} m apart, '
                                f'their footprints need {needed_m:.2f} m')
    return tuple(problems)


def require_correct(fleet: Fleet, source: str) -> None:
    """Refuse a fleet that cannot work.

    Raises:
        ConfigError: everything that check_fleet finds.
    """
    problems = check_fleet(fleet)
    if problems:
        raise ConfigError('\n'.join(f'{source}: {problem}' for problem in problems))


def _mapping(values: Any, source: str) -> dict[str, Any]:
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f'{source}: expected a mapping of keys, got {values!r}')
    return values


def _robot(folder: Path, values: Mapping[str, Any], source: str) -> RobotEntry:
    entry = from_mapping(RobotEntry, {key: value for key, value in values.items() if key != 'start'}, source)
    if values.get('start') is not None:
        try:
            entry = replace(entry, start=tuple(values['start']))
        except (TypeError, ValueError) as error:
            raise ConfigError(f'{source}: start must be [x, y, heading], got {values["start"]!r}') from error
    policy, fallback = (_beside(folder, name) if name.endswith('.onnx') else name
                        for name in (entry.policy, entry.fallback))
    return replace(entry, model=_beside(folder, entry.model), policy=policy, fallback=fallback)


def _simulation(folder: Path, values: Any, source: str) -> SimulationEntry | None:
    if values is None:
        return None
    entry = from_mapping(SimulationEntry, values, source)
    return replace(entry, world=_beside(folder, entry.world)) if entry.world.endswith('.yaml') else entry


def _beside(folder: Path, path: str) -> str:
    return str((folder / path).resolve()) if path else ''


def _check_names(fleet: Fleet, path: Path) -> None:
    for name in fleet.robots:
        if not ROBOT_NAME.fullmatch(name):
            raise ConfigError(f'{path}: robots: {name!r} is no name; a letter, then letters, digits and _ are valid')
    if fleet.map.enabled and fleet.map.name in fleet.robots:
        raise ConfigError(f"{path}: map: name {fleet.map.name!r} is a robot's")
    for name in RESERVED_NAMES:
        if name in fleet.robots:
            raise ConfigError(f'{path}: robots: {name!r} is what another node is called; another name is valid')
    if not fleet.map_frame:
        raise ConfigError(f'{path}: map_frame must not be empty')
    if not re.fullmatch(r'(/[A-Za-z_][A-Za-z0-9_]*)+', fleet.namespace):
        raise ConfigError(f'{path}: namespace must be like /fleet, got {fleet.namespace!r}')


def _check_security(security: SecurityEntry, path: Path) -> None:
    if security.mode not in MODES:
        given = f'unknown mode {security.mode!r}' if security.mode else 'it must be chosen who may speak'
        raise ConfigError(f'{path}: security: {given}; either `security: {{mode: signed, keys: keys}}` (or mac) and '
                          f'`marl_fleet keys --fleet {path}`, or `security: {{mode: plain}}` if everybody in the '
                          'network may speak')
    if security.mode != 'plain' and not security.keys:
        raise ConfigError(f'{path}: security: mode {security.mode} needs keys, the folder of the key files')


def _key_problems(fleet: Fleet) -> list[str]:
    """What lacks for all; whether a member has its own key is found by its node."""
    if fleet.security.mode in ('', 'plain'):
        return []
    folder, advice = Path(fleet.security.keys), '`marl_fleet keys --fleet` with this file makes it'
    names = [*fleet.robots, *((fleet.map.name,) if fleet.map.enabled else ())]
    problems = [] if (folder / GROUP_FILE).is_file() else [f'security: {folder / GROUP_FILE} does not exist; {advice}']
    if fleet.security.mode == 'signed':
        path = folder / MEMBERS_FILE
        try:
            listed = read_members(path).keys if path.is_file() else {}
        except ConfigError as error:
            return [*problems, f'security: {error}']
        problems += [f'security: {path} has no key of {name}; {advice}' for name in names if name not in listed]
    return problems


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_text(encoding='utf-8'), _UniqueKeys)  # noqa: S506 - a SafeLoader
    except OSError as error:
        raise ConfigError(f'{path}: cannot be read ({error.strerror})') from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # Values: no text, or a date such as 2024-99-99.
        raise ConfigError(f'{path}: is not YAML ({error})') from error
    if not isinstance(content, dict):
        raise ConfigError(f'{path}: expected a mapping of keys, got {type(content).__name__}')
    return content


class _UniqueKeys(yaml.SafeLoader):
    """Refuses a key that is given twice: of two robots with one name, YAML would silently keep the last.

    Looks at mappings as they are written, before ``<<: *anchor`` puts the keys of others into them.
    """

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            name = key.tag, str(key.value)
            if name in seen:
                raise yaml.composer.ComposerError(None, None, f'{key.value!r} is given twice', key.start_mark)
            seen.add(name)
        return node
