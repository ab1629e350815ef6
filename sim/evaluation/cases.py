"""What is evaluated: policies, and sets of episodes that all of them play."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from glob import glob
from pathlib import Path
from typing import Any

from marl_core.config import from_mapping, read_yaml
from marl_core.decision.policies import POLICIES
from marl_core.errors import ConfigError
from sim.learning.rollout import Source
from sim.tasks.exploration import ExplorationTask

ORACLE, BOUND = 'known-map plan', 'lower bound'
"""They stand beside policies in the tables, though they see the map."""


@dataclass(frozen=True, slots=True)
class CaseSet:
    """Episodes of one kind.

    Attributes:
        robots: size of the team. episodes: how many; the k-th has the k-th seed.
        maps: name of the maps given on the command line (``--maps NAME=GLOB``), each from several starts; '' draws
            worlds as the task says.
        task: overrides of ExplorationTask.
        grid: overrides of FastConfig, how points on a grid look and decide.
        agents: overrides of AgentHostConfig: whole agents play instead of points on a grid; None: points.
        oracle: also plan with the map known (points only).
        against_set: name of a set of the same worlds and starts (same robots and maps, and the same task but for its
            hardships and repeat) that every policy's own time in this one is compared with; '': none.
    """

    robots: int
    episodes: int
    maps: str = ''
    task: Mapping[str, Any] = field(default_factory=dict)
    grid: Mapping[str, Any] = field(default_factory=dict)
    agents: Mapping[str, Any] | None = None
    oracle: bool = False
    against_set: str = ''

    def __post_init__(self) -> None:
        if self.episodes < 1 or self.robots < 1:
            raise ValueError(f'episodes and robots must be at least 1, got {self.episodes} and {self.robots}')
        if self.oracle and self.agents is not None:
            raise ValueError('a plan with the map known is made for points on a grid: oracle excludes agents')
        if self.grid and self.agents is not None:
            raise ValueError('grid is about points on a grid: it excludes agents')

    @property
    def worlds(self) -> str:
        """What tells the worlds of two sets apart; where it is the same, equal seeds are in equal worlds."""
        played_out = ('hardships', 'repeat')
        return repr((self.maps, sorted((key, value) for key, value in self.task.items() if key not in played_out)))


@dataclass(frozen=True, slots=True)
class EvaluationConfig:
    """One evaluation; a file in config/evaluation/ holds one.

    Attributes:
        sets: what is played, by name.
        policies: who plays: models (.onnx), checkpoints (.ckpt), or folders of runs, which stand for their best
            checkpoint; classical ones are always added.
        judged: of the policies, whose runs are shown. baseline: what ratios refer to.
        first_seed: of the episodes; from 1e9 on no training ever sees them.
    """

    sets: Mapping[str, CaseSet]
    policies: tuple[str, ...] = ('models/exported/scorer.onnx', 'models/exported/coordinator.onnx')
    judged: str = 'coordinator'
    baseline: str = 'burgard'
    first_seed: int = 2_000_000_000

    @property
    def players(self) -> dict[str, str]:
        """Names of policies as ``make_policy`` knows them, by what they are called in tables."""
        players = {name: name for name in POLICIES}
        for given in self.policies:
            policy = policy_at(given)
            path = Path(policy)
            name = path.parent.name if path.name == 'best.ckpt' else path.stem
            players[policy if players.get(name, policy) != policy else name] = policy
        return players


def policy_at(name: str) -> str:
    """A name or path of a policy; a folder of a run stands for its best checkpoint."""
    folder = Path(name)
    return str(folder / 'best.ckpt') if folder.is_dir() else name


def load_evaluation(path: str | Path, policies: Sequence[str] = (), sets: Sequence[str] = ()) -> EvaluationConfig:
    """Read an evaluation.

    Args:
        path: YAML file. policies: who plays too. sets: patterns of names of sets, as of files; only those are played,
            and all without a pattern.

    Raises:
        ConfigError: names the file, and the key, set or pattern that is wrong.
    """
    values = read_yaml(path)
    entries = values.pop('sets', None)
    if not isinstance(entries, dict) or not entries:
        raise ConfigError(f'{path}: needs sets, a mapping of names to what is played')
    named = {name: from_mapping(CaseSet, entry, f'{path}: sets: {name}') for name, entry in entries.items()}
    for pattern in sets:
        if not any(fnmatchcase(name, pattern) for name in named):
            raise ConfigError(f'{path}: no set is called {pattern!r}; there are: {"; ".join(named)}')
    if sets:
        named = {name: case for name, case in named.items() if any(fnmatchcase(name, pattern) for pattern in sets)}
    for name, case in named.items():
        from_mapping(ExplorationTask, case.task, f'{path}: sets: {name}: task')
    _check_pairs(named, path)
    config = from_mapping(EvaluationConfig, {**values, 'sets': named}, str(path))
    config = replace(config, policies=(*config.policies, *(name for name in policies if name not in POLICIES)))
    for key in ('judged', 'baseline'):
        if getattr(config, key) not in config.players:
            raise ConfigError(f'{path}: {key} {getattr(config, key)!r} does not play; '
                              f'who does: {", ".join(config.players)}')
    return config


def _check_pairs(sets: Mapping[str, CaseSet], path: str | Path) -> None:
    """Refuse sets that are compared with what has other worlds or starts."""
    for name, case in sets.items():
        if not case.against_set:
            continue
        other = sets.get(case.against_set)
        if other is None or other is case:
            raise ConfigError(f'{path}: sets: {name}: against_set {case.against_set!r} must name another set that is '
                              f'played; there are: {"; ".join(sets)}')
        if (case.robots, case.worlds) != (other.robots, other.worlds):
            raise ConfigError(f'{path}: sets: {name}: robots, maps, and task but for its hardships and repeat must be '
                              f'those of {case.against_set!r}, whose worlds and starts it shall share')


def source_of(case: CaseSet, maps: Mapping[str, Sequence[str]]) -> Source:
    """What players need to know of a set.

    Args:
        case: the set. maps: files of each name.

    Raises:
        ConfigError: the set needs maps that were not given.
    """
    options: dict[str, Any] = {'robots': case.robots, 'task': dict(case.task)}
    if case.grid:
        options['grid'] = dict(case.grid)
    if case.agents is not None:
        options['agents'] = dict(case.agents)
    if case.maps:
        if case.maps not in maps:
            raise ConfigError(f'maps {case.maps!r} were not given: --maps {case.maps}=GLOB')
        options['worlds'] = tuple(maps[case.maps])
    return Source('exploration_in' if case.maps else 'exploration', options)


def given_maps(arguments: Sequence[str]) -> dict[str, list[str]]:
    """Files by name, from NAME=GLOB.

    Raises:
        ConfigError: not of that form, or no file matches.
    """
    maps = {}
    for argument in arguments:
        name, equals, pattern = argument.partition('=')
        files = sorted(glob(pattern))
        if not equals or not files:
            raise ConfigError(f'--maps {argument}: expected NAME=GLOB of map_server YAML files'
                              + (', no file matches' if equals else ''))
        maps[name] = files
    return maps
