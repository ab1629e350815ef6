"""Plays what is to be evaluated and writes every run down at once, so that an interrupted evaluation goes on."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from hashlib import sha256
from math import isfinite, nan
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marl_core.decision.policies import POLICIES, make_policy
from marl_core.errors import SimulationError, TrainingError
from sim.evaluation.cases import BOUND, ORACLE, EvaluationConfig, source_of
from sim.evaluation.playing import Playing, Run
from sim.fast.oracle import lower_bound_m, plan
from sim.learning.environments import make_environment
from sim.learning.players import DEFAULT_ENGINE, make_players
from sim.learning.rollout import Source
from sim.learning.trainer import load_actor

COMPLETE = 0.99
_CHUNK = 8
"""Runs per process between two writes."""

Key = tuple[str, str, int]
"""Set, player, seed."""


class Runs:
    """All runs of an evaluation, kept in ``runs.jsonl`` of a folder, a line each.

    Attributes:
        metrics: numbers of each run by set, player and seed, None where it has none.
        coverage: its course at CURVE_TIMES, likewise.
        identities: of all who play, see ``identity_of``.
    """

    def __init__(self, config: EvaluationConfig, maps: Mapping[str, Sequence[str]], folder: Path) -> None:
        """Read what was played before.

        Raises:
            ConfigError: a set needs maps that were not given.
            PolicyError: a policy is unknown or cannot be loaded.
            TrainingError: a checkpoint cannot be loaded, or the folder holds runs of something else of the same name.
        """
        self.config, self.folder = config, folder
        self.sources = {name: source_of(case, maps) for name, case in config.sets.items()}
        self.identities = {name: identity_of(policy) for name, policy in config.players.items()}
        folder.mkdir(parents=True, exist_ok=True)
        self._claim()
        self.metrics: dict[Key, dict[str, float | None]] = {}
        self.coverage: dict[Key, list[float]] = {}
        if self.path.exists():
            text = self.path.read_text(encoding='utf-8')
            whole = text[:text.rfind('\n') + 1]
            if whole != text:  # the process ended while it wrote the last line
                self.path.write_text(whole, encoding='utf-8')
            for row in map(json.loads, whole.splitlines()):
                self._remember(row)

    def _claim(self) -> None:
        """Note what the folder holds runs of; sets and players may be added to it, but not changed."""
        mark = self.folder / 'sets.json'
        held = json.loads(mark.read_text(encoding='utf-8')) if mark.exists() else {}
        asked = {'set': {name: f'{source.environment} {source.environment_options} from seed {self.config.first_seed}'
                         for name, source in self.sources.items()}, 'player': self.identities}
        for kind, names in asked.items():
            for name, what in names.items():
                if held.setdefault(kind, {}).setdefault(name, what) != what:
                    raise TrainingError(f'{mark}: the folder holds runs of another {kind} {name!r} '
                                        f'({held[kind][name]}, not {what}); choose another folder')
        mark.write_text(json.dumps(held, indent=1) + '\n', encoding='utf-8')

    @property
    def path(self) -> Path:
        """The file of runs."""
        return self.folder / 'runs.jsonl'

    @property
    def missing(self) -> dict[tuple[str, str], list[int]]:
        """Seeds that are still to be played, by set and player."""
        left = {}
        for name, case in self.config.sets.items():
            for player in (*self.config.players, *((ORACLE, BOUND) if case.oracle else ())):
                open_seeds = [seed for seed in self.seeds(name) if (name, player, seed) not in self.metrics]
                if open_seeds:
                    left[name, player] = open_seeds
        return left

    def play(self, processes: int, engine: str = DEFAULT_ENGINE) -> Iterator[int]:
        """Play what is missing; yields how many runs were added.

        Args:
            processes: that play. engine: who plays, see ``make_players``.
        """
        missing = self.missing
        if not missing:
            return
        with make_players(engine, next(iter(self.sources.values())), processes) as players:
            for (name, player), seeds in missing.items():
                play = (partial(known_map_run, self.sources[name], player) if player in (ORACLE, BOUND) else
                        Playing(self.sources[name], self.config.players[player]))
                for start in range(0, len(seeds), _CHUNK * processes):
                    part = seeds[start:start + _CHUNK * processes]
                    for seed, run in zip(part, players.map(play, part), strict=True):
                        self._add(name, player, seed, run.metrics, run.coverage)
                    yield len(part)

    def _add(self, name: str, player: str, seed: int, metrics: Mapping[str, float],
             coverage: Sequence[float] = ()) -> None:
        kept = {metric: value if isfinite(value) else None for metric, value in metrics.items()}
        row = {'set': name, 'player': player, 'seed': seed, 'metrics': kept} | (
            {'coverage': [*coverage]} if coverage else {})
        self._remember(row)
        with self.path.open('a', encoding='utf-8') as file:
            file.write(json.dumps(row) + '\n')

    def _remember(self, row: Mapping[str, Any]) -> None:
        key = row['set'], row['player'], row['seed']
        self.metrics[key] = row['metrics']
        if 'coverage' in row:
            self.coverage[key] = row['coverage']

    def seeds(self, name: str) -> range:
        """Of the runs of a set."""
        return range(self.config.first_seed, self.config.first_seed + self.config.sets[name].episodes)

    def values(self, name: str, player: str, metric: str) -> list[float]:
        """A metric of each run of a set, in the order of seeds; NaN where there is none.

        Of runs that did not finish only the times of milestones that they reached count: what else they came to is no
        price of the whole.
        """
        found = []
        for seed in self.seeds(name):
            numbers = self.metrics.get((name, player, seed), {})
            counts = metric.startswith('makespan') or numbers.get('makespan_s') is not None
            value = numbers.get(metric) if counts else None
            found.append(nan if value is None else value)
        return found

    def mean_coverage(self, name: str, player: str) -> NDArray[np.float64] | None:
        """Mean over the runs of a set, finished or not, at CURVE_TIMES [0..1]; None for plans. Shape: (64,)."""
        curves = [self.coverage[name, player, seed] for seed in self.seeds(name)
                  if (name, player, seed) in self.coverage]
        return np.mean(curves, axis=0) if curves else None

    def worlds(self, name: str) -> list[int]:
        """Which world each run of a set was in: maps come round again with other starts."""
        case, source = self.config.sets[name], self.sources[name]
        count = len(source.environment_options['worlds']) if case.maps else self.config.first_seed + case.episodes
        return [seed % count for seed in self.seeds(name)]


def identity_of(policy: str) -> str:
    """What tells policies apart whatever they are called: the checksum of a checkpoint, which a model that was exported
    from it shares; else that of the model; else the name of a rule.

    Raises:
        PolicyError: the policy is unknown, or its model cannot be loaded or does not fit the specs.
        TrainingError: the checkpoint is missing, damaged, or no longer understood.
    """
    if policy.endswith('.ckpt'):
        load_actor(policy)
    elif policy in POLICIES:
        return policy
    elif checkpoint := make_policy(policy).manifest.get('checkpoint_sha256'):
        return checkpoint
    return sha256(Path(policy).read_bytes()).hexdigest()


def known_map_run(source: Source, player: str, seed: int) -> Run:
    """What stands for the run of a plan that knows the map, or of a bound below all makespans; NaN without a plan."""
    environment = make_environment(source.environment, source.environment_options)
    environment.reset(seed=seed)
    played = environment.host.exploration
    starts, range_m, speed_mps = played.cells.copy(), played.sensor_range_m, played.config.speed_mps
    try:
        found_m = (lower_bound_m(played.grid, starts, range_m, COMPLETE) if player == BOUND else
                   plan(played.grid, starts, range_m, COMPLETE, played.config.step_m, seed=seed % 2**31).makespan_m)
    except SimulationError:
        found_m = nan
    return Run({'makespan_s': found_m / speed_mps}, [])
