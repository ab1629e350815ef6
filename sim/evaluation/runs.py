"""Plays what is to be evaluated and writes every run down at once, so that an interrupted evaluation goes on."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from hashlib import sha256
from math import isfinite, nan
from pathlib import Path

from marl_core.errors import SimulationError, TrainingError
from sim.evaluation.cases import BOUND, ORACLE, EvaluationConfig, source_of
from sim.fast.oracle import lower_bound_m, plan
from sim.learning.environments import make_environment
from sim.learning.players import DEFAULT_ENGINE, Players, make_players
from sim.learning.rollout import Source, Ticket

COMPLETE = 0.99
_CHUNK, _PLANS = 16, 4
"""Episodes and plans per process between two writes."""

Key = tuple[str, str, int]
"""Set, player, seed."""


class Runs:
    """All runs of an evaluation, kept in ``runs.jsonl`` of a folder, a line each.

    Attributes:
        metrics: numbers of each run by set, player and seed.
    """

    def __init__(self, config: EvaluationConfig, maps: Mapping[str, Sequence[str]], folder: Path) -> None:
        """Read what was played before.

        Raises:
            ConfigError: a set needs maps that were not given.
            TrainingError: the folder holds runs of another evaluation.
        """
        self.config, self.folder = config, folder
        self.sources = {name: source_of(case, maps) for name, case in config.sets.items()}
        folder.mkdir(parents=True, exist_ok=True)
        about = json.dumps({'first seed': config.first_seed,
                            'sets': {name: repr(source) for name, source in self.sources.items()},
                            'models': {name: sha256(Path(path).read_bytes()).hexdigest()
                                       for name, path in config.players.items() if path.endswith('.onnx')}})
        mark = folder / 'sets.json'
        if mark.exists() and mark.read_text(encoding='utf-8') != about:
            raise TrainingError(f'{mark}: the folder holds runs of other sets or models; choose another folder')
        mark.write_text(about, encoding='utf-8')
        self.metrics: dict[Key, dict[str, float]] = {}
        if self.path.exists():
            text = self.path.read_text(encoding='utf-8')
            whole = text[:text.rfind('\n') + 1]
            if whole != text:  # the process ended while it wrote the last line
                self.path.write_text(whole, encoding='utf-8')
            for row in map(json.loads, whole.splitlines()):
                self.metrics[row['set'], row['player'], row['seed']] = row['metrics']

    @property
    def path(self) -> Path:
        """The file of runs."""
        return self.folder / 'runs.jsonl'

    @property
    def missing(self) -> dict[tuple[str, str], list[int]]:
        """Seeds that are still to be played, by set and player."""
        left = {}
        for name, case in self.config.sets.items():
            seeds = range(self.config.first_seed, self.config.first_seed + case.episodes)
            for player in (*self.config.players, *((ORACLE, BOUND) if case.oracle else ())):
                open_seeds = [seed for seed in seeds if (name, player, seed) not in self.metrics]
                if open_seeds:
                    left[name, player] = open_seeds
        return left

    def play(self, processes: int, engine: str = DEFAULT_ENGINE) -> Iterator[int]:
        """Play what is missing; yields how many runs were added.

        Args:
            processes: that play. engine: who plays, see ``make_players``.
        """
        missing = self.missing
        for name, source in self.sources.items():
            players = {player: seeds for (of, player), seeds in missing.items() if of == name}
            planned = sorted({*players.pop(ORACLE, []), *players.pop(BOUND, [])})
            if players or planned:
                with make_players(engine, source, processes) as playing:
                    for player, seeds in players.items():
                        yield from self._play(name, player, seeds, playing, _CHUNK * processes)
                    yield from self._plan(name, planned, playing, _PLANS * processes)

    def _play(self, name: str, player: str, seeds: list[int], playing: Players, chunk: int) -> Iterator[int]:
        for start in range(0, len(seeds), chunk):
            part = seeds[start:start + chunk]
            episodes = playing.play(self.config.players[player], [Ticket(seed, None) for seed in part], record=False)
            for seed, episode in zip(part, episodes, strict=True):
                self._add(name, player, seed, episode.metrics)
            yield len(part)

    def _plan(self, name: str, seeds: list[int], playing: Players, chunk: int) -> Iterator[int]:
        plan_of = partial(known_map_s, self.sources[name])
        for start in range(0, len(seeds), chunk):
            part = seeds[start:start + chunk]
            for seed, (oracle_s, bound_s) in zip(part, playing.map(plan_of, part), strict=True):
                self._add(name, ORACLE, seed, {'makespan_s': oracle_s})
                self._add(name, BOUND, seed, {'makespan_s': bound_s})
                yield 2

    def _add(self, name: str, player: str, seed: int, metrics: Mapping[str, float]) -> None:
        kept = {metric: value if isfinite(value) else None for metric, value in metrics.items()}
        self.metrics[name, player, seed] = kept
        with self.path.open('a', encoding='utf-8') as file:
            file.write(json.dumps({'set': name, 'player': player, 'seed': seed, 'metrics': kept}) + '\n')

    def values(self, name: str, player: str, metric: str) -> list[float]:
        """A metric of each run of a set, NaN where a run did not get there, in the order of seeds."""
        seeds = range(self.config.first_seed, self.config.first_seed + self.config.sets[name].episodes)
        found = [self.metrics.get((name, player, seed), {}).get(metric) for seed in seeds]
        return [nan if value is None else value for value in found]

    def worlds(self, name: str) -> list[int]:
        """Which world each run of a set was in: maps come round again with other starts."""
        case, source = self.config.sets[name], self.sources[name]
        count = len(source.environment_options['worlds']) if case.maps else self.config.first_seed + case.episodes
        return [seed % count for seed in range(self.config.first_seed, self.config.first_seed + case.episodes)]


def known_map_s(source: Source, seed: int) -> tuple[float, float]:
    """Makespan of a plan that knows the map, and a bound below all makespans, of one episode [s]; NaN without plan."""
    environment = make_environment(source.environment, source.environment_options)
    environment.reset(seed=seed)
    played = environment.host.exploration
    starts, range_m, speed_mps = played.cells.copy(), played.sensor_range_m, played.config.speed_mps
    bound_m = lower_bound_m(played.grid, starts, range_m, COMPLETE)
    try:
        found_m = plan(played.grid, starts, range_m, COMPLETE, played.config.step_m, seed=seed % 2**31).makespan_m
    except SimulationError:
        found_m = nan
    return found_m / speed_mps, bound_m / speed_mps
