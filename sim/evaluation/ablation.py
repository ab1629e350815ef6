"""What each technique is worth: the same short training with one thing changed, compared on the same held-back worlds.

Every variant is trained for every seed, and all of it is kept in the folder, so that an interrupted study goes on.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot

from marl_core.config import changed, from_mapping
from marl_core.decision.policies import make_policy
from marl_core.errors import ConfigError
from sim.evaluation.markdown import cell, table
from sim.evaluation.statistics import Ratio, Stratum, compare
from sim.learning.checkpoint import git_commit
from sim.learning.curriculum import CurriculumConfig
from sim.learning.imitation import ImitationConfig, Imitator
from sim.learning.players import DEFAULT_ENGINE, make_players
from sim.learning.rollout import Plays, Ticket
from sim.learning.trainer import HELD_BACK, Trainer, TrainingConfig, load_actor, source_of

FIRST_SEED = 2 * HELD_BACK
METRIC = 'makespan_s'
FINISHED = 'finished'
"""File that marks the folder of a training that came to its end."""
_CHUNK = 64


@dataclass(frozen=True, slots=True)
class AblationConfig:
    """A study.

    Attributes:
        training: what all variants have in common, see TrainingConfig.
        variants: by name, what of ``training`` is different, by dotted names; empty for the whole method. The key
            ``imitate`` holds settings of ImitationConfig instead of reinforcement learning.
        players: policies that are compared as well, by name: what ``make_policy`` knows.
        against: variant that all are compared with.
        seeds: of trainings.
        episodes: held-back ones, played by all on each of the ``conditions``.
        conditions: by name, what of the environment's options is different in these episodes, by dotted names.

    Raises:
        ValueError: ``against`` is no variant.
    """

    training: Mapping[str, Any] = field(default_factory=dict)
    variants: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {'whole': {}})
    players: Mapping[str, str] = field(default_factory=dict)
    against: str = 'whole'
    seeds: tuple[int, ...] = (1,)
    episodes: int = 200
    conditions: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {'as trained': {}})

    def __post_init__(self) -> None:
        if self.against not in self.variants:
            raise ValueError(f'against must name a variant ({", ".join(self.variants)}), got {self.against!r}')

    def training_of(self, variant: str, seed: int) -> TrainingConfig:
        """How a variant is trained.

        Raises:
            ConfigError: a setting that is not known, or cannot be.
        """
        changes = {name: value for name, value in self.variants[variant].items() if name != 'imitate'}
        return from_mapping(TrainingConfig, changed(self.training, {**changes, 'seed': seed}), f'variant {variant!r}')


class Study:
    """An ablation in a folder: one folder per training, results.json, ablations.md and ablations.png."""

    def __init__(self, config: AblationConfig, folder: Path, processes: int = 2,
                 engine: str = DEFAULT_ENGINE) -> None:
        """Check all of the study before anything is trained.

        Args:
            config, folder: see above.
            processes: that play episodes. engine: whose they are, see ``make_players``.

        Raises:
            ConfigError: a variant cannot be trained as it says.
        """
        self.config, self.folder, self.processes, self.engine = config, folder, processes, engine
        for variant in config.variants:
            for seed in config.seeds:
                self._training_of(variant, seed)
        for policy in config.players.values():
            make_policy(policy)
        for name, changes in config.conditions.items():
            if not isinstance(changes, Mapping):
                raise ConfigError(f'condition {name!r}: expected a mapping of options, got {changes!r}')

    @property
    def missing_trainings(self) -> int:
        """How many are not finished."""
        return sum(not (self._folder(variant, seed) / FINISHED).exists()
                   for variant in self.config.variants for seed in self.config.seeds)

    @property
    def missing_episodes(self) -> int:
        """How many are not played."""
        labels = [label for name in (*self.config.variants, *self.config.players) for label in self._labels(name)]
        results = self._results()
        return self.config.episodes * sum(f'{condition} | {label}' not in results
                                          for condition in self.config.conditions for label in labels)

    def train(self) -> Iterator[tuple[str, int, int, int]]:
        """Train what is not trained yet; yields variant, seed, and how many of how many iterations are done."""
        for seed in self.config.seeds:
            for variant in self.config.variants:
                folder = self._folder(variant, seed)
                if (folder / FINISHED).exists():
                    continue
                config = self._training_of(variant, seed)
                runner = (Imitator if isinstance(config, ImitationConfig) else Trainer)(config, folder, self.engine)
                total = config.rounds if isinstance(config, ImitationConfig) else config.iterations
                for numbers in runner.run():
                    yield variant, seed, int(numbers['iteration']), total
                (folder / FINISHED).touch()

    def play(self) -> Iterator[int]:
        """Play what was not played yet; yields how many episodes were."""
        results = self._results()
        for condition, changes in self.config.conditions.items():
            for name, plays, training in self._players():
                key = f'{condition} | {name}'
                if key in results:
                    continue
                options = changed(training.final_options, changes)
                source = source_of(replace(training, environment_options=options, curriculum=CurriculumConfig(),
                                           target=''))
                scores: list[float] = []
                with make_players(self.engine, source, self.processes) as players:
                    for start in range(0, self.config.episodes, _CHUNK):
                        tickets = [Ticket(FIRST_SEED + number, None) for number in
                                   range(start, min(start + _CHUNK, self.config.episodes))]
                        scores += [episode.metrics[METRIC] for episode in players.play(plays, tickets, record=False)]
                        yield len(tickets)
                results[key] = scores
                self._results_path.write_text(json.dumps(results), encoding='utf-8')

    def report(self, command: str) -> Path:
        """Compare all with one, write the table, its numbers and a picture. Returns the table's path."""
        results, config = self._results(), self.config
        rows: dict[str, dict[str, Ratio | None]] = {}
        for name in [*config.variants, *config.players]:
            rows[name] = {}
            for condition in config.conditions:
                ours = [results[f'{condition} | {label}'] for label in self._labels(name)]
                theirs = [results[f'{condition} | {label}'] for label in self._labels(config.against)]
                ours *= len(theirs) // len(ours)  # Who was not trained plays against every seed.
                # Of several seeds, the same world is one draw.
                rows[name][condition] = compare([Stratum(sum(ours, []), sum(theirs, []),
                                                         list(range(config.episodes)) * len(theirs))])
        _draw(rows, config.against, self.folder / 'ablations.png')
        path = self.folder / 'ablations.md'
        path.write_text(_table(rows, config, command), encoding='utf-8')
        numbers = {'git_commit': git_commit(), 'config': asdict(config), 'against': config.against, 'ratios': {
            name: {condition: None if ratio is None else asdict(ratio) for condition, ratio in row.items()}
            for name, row in rows.items()}}
        (self.folder / 'ablations.json').write_text(json.dumps(numbers, indent=1, default=dict), encoding='utf-8')
        return path

    @property
    def _results_path(self) -> Path:
        return self.folder / 'results.json'

    def _results(self) -> dict[str, list[float]]:
        return json.loads(self._results_path.read_text(encoding='utf-8')) if self._results_path.exists() else {}

    def _training_of(self, variant: str, seed: int) -> TrainingConfig | ImitationConfig:
        training, changes = self.config.training_of(variant, seed), self.config.variants[variant]
        if 'imitate' not in changes:
            return training
        return replace(from_mapping(ImitationConfig, dict(changes['imitate']), f'variant {variant!r}: imitate'),
                       training=training, processes=training.processes)

    def _folder(self, variant: str, seed: int) -> Path:
        return self.folder / f'{variant.replace(" ", "_").replace("/", "_")}_{seed}'

    def _labels(self, name: str) -> list[str]:
        return [f'{name} | {seed}' for seed in self.config.seeds] if name in self.config.variants else [name]

    def _players(self) -> Iterator[tuple[str, Plays, TrainingConfig]]:
        """Who is compared: label, who plays, and the training whose environment they play in."""
        for variant in self.config.variants:
            for label, seed in zip(self._labels(variant), self.config.seeds, strict=True):
                actor, training, _ = load_actor(self._folder(variant, seed) / 'last.ckpt')
                yield label, actor.state_dict(), training
        common = self.config.training_of(self.config.against, self.config.seeds[0])
        for name, policy in self.config.players.items():
            yield name, policy, common


def _table(rows: Mapping[str, Mapping[str, Ratio | None]], config: AblationConfig, command: str) -> str:
    lines = ['# What each technique is worth', '',
             f'Makespan to 99 % relative to `{config.against}` on {config.episodes} held-back episodes, geometric mean '
             'with 95 % bootstrap interval over worlds; above 1 is slower. '
             f'Trainings with {len(config.seeds)} seed(s) each: how much another seed would change is not in the '
             'intervals.', '', f'    {command}', '',
             *table(['', *config.conditions], [[name, *map(cell, row.values())] for name, row in rows.items()])]
    return '\n'.join([*lines, '', '![ratios](ablations.png)', ''])


def _draw(rows: Mapping[str, Mapping[str, Ratio | None]], against: str, path: Path) -> None:
    names = [name for name in rows if name != against][::-1]
    conditions: Sequence[str] = list(next(iter(rows.values())))
    figure, axis = pyplot.subplots(figsize=(8, 1.2 + 0.42 * len(names)))
    for place, condition in enumerate(conditions):
        shift = 0.5 * (place - (len(conditions) - 1) / 2) / max(len(conditions), 1)
        ratios = [(row, rows[name][condition]) for row, name in enumerate(names)]
        known = [(row - shift, ratio.mean) for row, ratio in ratios if ratio is not None]
        values = np.array([[at, mean.value, mean.value - mean.low, mean.high - mean.value] for at, mean in known])
        axis.errorbar(values[:, 1], values[:, 0], xerr=values[:, 2:].T, fmt='o', capsize=3, label=condition)
    axis.axvline(1.0, color='black', linewidth=0.8)
    axis.set_yticks(range(len(names)), names)
    axis.set_xlabel(f'makespan to 99 % relative to {against}; right of 1 is slower')
    figure.legend(loc='upper center', ncols=len(conditions), fontsize='small')
    figure.tight_layout(rect=(0.0, 0.0, 1.0, 1.0 - 0.35 / figure.get_figheight()))
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
