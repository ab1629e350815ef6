"""What is evaluated: policies, and sets of episodes that all of them play."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from glob import glob
from pathlib import Path
from typing import Any

from marl_core.config import from_mapping, read_yaml
from marl_core.decision.policies import POLICIES
from marl_core.errors import ConfigError
from sim.learning.rollout import Source

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
        agents: overrides of AgentHostConfig: whole agents play instead of points on a grid; None: points.
        oracle: also plan with the map known (points only).
    """

    robots: int
    episodes: int
    maps: str = ''
    task: Mapping[str, Any] = field(default_factory=dict)
    agents: Mapping[str, Any] | None = None
    oracle: bool = False

    def __post_init__(self) -> None:
        if self.episodes < 1 or self.robots < 1:
            raise ValueError(f'episodes and robots must be at least 1, got {self.episodes} and {self.robots}')
        if self.oracle and self.agents is not None:
            raise ValueError('a plan with the map known is made for points on a grid: oracle excludes agents')


@dataclass(frozen=True, slots=True)
class EvaluationConfig:
    """One evaluation; a file in config/evaluation/ holds one.

    Attributes:
        sets: what is played, by name.
        policies: who plays; classical ones are always added.
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
        return {name: name for name in POLICIES} | {Path(policy).stem: policy for policy in self.policies}


def load_evaluation(path: str | Path) -> EvaluationConfig:
    """Read an evaluation.

    Raises:
        ConfigError: names the file, and the key or set that is wrong.
    """
    values = read_yaml(path)
    sets = values.pop('sets', None)
    if not isinstance(sets, dict) or not sets:
        raise ConfigError(f'{path}: needs sets, a mapping of names to what is played')
    named = {name: from_mapping(CaseSet, entry, f'{path}: sets: {name}') for name, entry in sets.items()}
    config = from_mapping(EvaluationConfig, {**values, 'sets': named}, str(path))
    for key in ('judged', 'baseline'):
        if getattr(config, key) not in config.players:
            raise ConfigError(f'{path}: {key} {getattr(config, key)!r} does not play; '
                              f'who does: {", ".join(config.players)}')
    return config


def source_of(case: CaseSet, maps: Mapping[str, Sequence[str]]) -> Source:
    """What players need to know of a set.

    Args:
        case: the set. maps: files of each name.

    Raises:
        ConfigError: the set needs maps that were not given.
    """
    options: dict[str, Any] = {'robots': case.robots, 'task': dict(case.task)}
    if case.agents is not None:
        options['agents'] = dict(case.agents)
    if case.maps:
        if case.maps not in maps:
            raise ConfigError(f'maps {case.maps!r} were not given: --maps {case.maps}=GLOB')
        options['worlds'] = tuple(maps[case.maps])
    return Source('exploration_in' if case.maps else 'exploration', options, action_mask='candidate_mask',
                  reference='base_logits')


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
