"""Tunes the few weights of a scorer by playing: CMA-ES (Hansen 2016) on paired ratios of makespans.

A generation plays the same worlds and starts with every candidate, so that what is compared is the weights. Whole
episodes are compiled, the scorer's choices among them, and so several times as quick as those of a network. The
optimiser is never saved: given the scores of all generations so far, it repeats its own steps, bit for bit.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cmaes import CMA
from numpy.typing import NDArray
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from marl_core.errors import TrainingError
from models.compiled_scorer import BASE_RULE, CONTEXTS, FEATURES
from sim.hosts import FastHost
from sim.learning import checkpoint
from sim.learning.actors import build_actor
from sim.learning.environments import make_environment
from sim.learning.evaluation import log_ratios
from sim.learning.players import DEFAULT_ENGINE, Players, make_players
from sim.learning.rollout import Source
from sim.learning.trainer import HELD_BACK, TrainingConfig, differing_settings, first_seed, plain, source_of


@dataclass(frozen=True, slots=True)
class TuningConfig:
    """One tuning run. Files in config/training/ override these.

    Attributes:
        training: environment, which must be exploration of points on a grid; its settings of learning are not used.
        generations: of CMA-ES. population: candidates per generation. episodes: that each of them plays.
        step: standard deviation of the first candidates' weights.
        decay: of the weights: what a weight's mean square costs, so that idle features keep weights near 0.
        milestones: coverage, ascending; the times to reach each count alike. Several near the end tell more than the
            end alone, which one forgotten corner decides.
        ratio_limit: log ratios are clipped here, so that one stuck episode does not decide.
        evaluate_every: generations between two evaluations of the mean on held-back worlds.
        evaluation_episodes: of such an evaluation.
    """

    training: TrainingConfig = field(default_factory=lambda: TrainingConfig(actor='scorer'))
    generations: int = 60
    population: int = 16
    episodes: int = 32
    step: float = 0.2
    decay: float = 1e-4
    milestones: tuple[float, ...] = (0.95, 0.97, 0.98, 0.99)
    ratio_limit: float = 0.4
    evaluate_every: int = 10
    evaluation_episodes: int = 160
    seed: int = 1
    processes: int = 2


class Scored:
    """Plays an episode by its seed with the base rule and with every one of several scorers.

    Attributes:
        source: what is played. milestones: see ``TuningConfig``.
        weights: of the scorers. Shape: (P, CONTEXTS, FEATURES), float64.
    """

    def __init__(self, source: Source, milestones: tuple[float, ...], weights: NDArray[np.float64]) -> None:
        grid = {**source.environment_options.get('grid', {}), 'milestones': milestones}
        self.source = replace(source, environment_options={**source.environment_options, 'grid': grid})
        self.weights = weights

    def __call__(self, seed: int) -> NDArray[np.float64]:
        """Way to each milestone, inf where it is not reached [m]; the base rule's first. Shape: (P + 1, M)."""
        self._environment.reset(seed=seed)
        host, episode = self._environment.host, self._environment.episode
        reached_m = []
        for weights in (BASE_RULE, *self.weights):
            host.reset(episode)
            host.exploration.play_out(weights)
            reached_m.append(host.exploration.milestones_m)
        return np.array(reached_m)

    @cached_property
    def _environment(self) -> Any:
        return make_environment(self.source.environment, self.source.environment_options)


class Tuner:
    """Runs one TuningConfig in a folder that holds last.ckpt and best.ckpt, like that of a training run.

    Attributes:
        generation: how many were played. held_back: log ratio of the last evaluated mean, None before the first.
    """

    def __init__(self, config: TuningConfig, folder: str | Path, engine: str = DEFAULT_ENGINE) -> None:
        """Start afresh, or continue from the folder's last.ckpt.

        Args:
            config, folder: see above. engine: who plays, see ``make_players``; what is found does not depend on it.

        Raises:
            TrainingError: a damaged checkpoint or one of another configuration; no scorer, or nobody on a grid.
        """
        self.config, self.folder, self.engine = config, Path(folder), engine
        training = config.training
        environment = make_environment(training.environment, training.environment_options)
        if training.actor != 'scorer' or not isinstance(getattr(environment, 'host', None), FastHost):
            raise TrainingError(f'only the actor scorer can be tuned, and only for points on a grid, not '
                                f'{training.actor!r} in {training.environment!r}; python -m sim train learns others')
        self.actor = build_actor(training.actor, environment, training.actor_options, config.seed)
        start = parameters_to_vector(self.actor.parameters()).detach().numpy().astype(np.float64)
        self._optimiser = CMA(mean=start, sigma=config.step, seed=config.seed, population_size=config.population)
        self._scores: list[list[float]] = []
        self.held_back: float | None = None
        self.best: float | None = None
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.last.exists():
            self._resume()

    @property
    def last(self) -> Path:
        """Checkpoint to continue from."""
        return self.folder / 'last.ckpt'

    @property
    def generation(self) -> int:
        """How many generations were played."""
        return len(self._scores)

    def run(self) -> Iterator[dict[str, float]]:
        """Tune to the last generation; yields each generation's numbers and saves after it."""
        config = self.config
        with make_players(self.engine, source_of(config.training), config.processes) as players:
            while self.generation < config.generations:
                candidates = [self._optimiser.ask() for _ in range(config.population)]
                first = first_seed(config.seed, self.generation, config.episodes)
                scores = self._compare(players, candidates, range(first, first + config.episodes))
                costs = [score + config.decay * float(np.mean(weights ** 2))
                         for score, weights in zip(scores, candidates, strict=True)]
                self._tell(candidates, costs)
                numbers = {'generation': float(self.generation), 'best': min(scores), 'mean': float(np.mean(scores))}
                if self.generation % config.evaluate_every == 0 or self.generation == config.generations:
                    held_back = range(HELD_BACK, HELD_BACK + config.evaluation_episodes)
                    self.held_back, = self._compare(players, [self._optimiser.mean], held_back)
                    numbers['held_back'] = self.held_back
                    if self.best is None or self.held_back < self.best:
                        self.best = self.held_back
                        self._save(self.folder / 'best.ckpt')
                self._save(self.last)
                yield numbers

    def _compare(self, players: Players, candidates: list[NDArray[np.float64]], seeds: range) -> list[float]:
        """Mean log ratio of the times that each candidate and the base rule need in the same episodes."""
        weights = np.stack(candidates).reshape(-1, CONTEXTS, FEATURES)
        scored = Scored(source_of(self.config.training), self.config.milestones, weights)
        reached_m = np.stack(players.map(scored, seeds))
        ratios = log_ratios(reached_m[:, 1:], reached_m[:, :1], self.config.ratio_limit)
        return ratios.mean(axis=(0, 2)).tolist()

    def _tell(self, candidates: list[NDArray[np.float64]], costs: list[float]) -> None:
        self._optimiser.tell(list(zip(candidates, costs, strict=True)))
        self._scores.append(costs)

    def _save(self, path: Path) -> None:
        vector_to_parameters(torch.from_numpy(self._optimiser.mean.astype(np.float32)), self.actor.parameters())
        checkpoint.save(path, {
            'config': plain(self.config.training), 'tuning': plain(self.config), 'iteration': self.generation,
            'best': self.best, 'held_back': self.held_back, 'scores': self._scores,
            'learner': {'policy': self.actor.state_dict()}, 'git_commit': checkpoint.git_commit()})

    def _resume(self) -> None:
        content = checkpoint.load(self.last)
        if 'tuning' not in content:
            raise TrainingError(f'{self.last}: is no checkpoint of tuning; choose another folder')
        differing = differing_settings(self.config, content['tuning'], str(self.last), ('generations', 'processes'))
        if differing:
            raise TrainingError(f'{self.last}: was tuned with other settings ({", ".join(differing)}); '
                                'choose another folder, or the settings that it was begun with')
        self.best, self.held_back = content['best'], content['held_back']
        for costs in content['scores']:
            self._tell([self._optimiser.ask() for _ in costs], costs)
