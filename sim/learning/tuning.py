"""Tunes the few weights of a scorer by playing: CMA-ES (Hansen 2016) on paired ratios of makespans.

A generation plays the same worlds and starts with every candidate, so that what is compared is the weights. The
optimiser is never saved: given the scores of all generations so far, it repeats its own steps, bit for bit.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from cmaes import CMA
from numpy.typing import NDArray
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from marl_core.errors import TrainingError
from sim.learning import checkpoint, evaluation
from sim.learning.actors import build_actor
from sim.learning.environments import make_environment
from sim.learning.players import DEFAULT_ENGINE, Players, make_players
from sim.learning.rollout import REFERENCE, Ticket
from sim.learning.trainer import HELD_BACK, TrainingConfig, differing_settings, first_seed, plain, source_of


@dataclass(frozen=True, slots=True)
class TuningConfig:
    """One tuning run. Files in config/training/ override these.

    Attributes:
        training: environment and actor; its settings of learning are not used.
        generations: of CMA-ES. population: candidates per generation. episodes: that each of them plays.
        step: standard deviation of the first candidates' weights.
        decay: of the weights: what a weight's mean square costs, so that idle features keep weights near 0.
        metrics: makespans that count alike, from the last info of an episode.
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
    metrics: tuple[str, ...] = ('makespan_s', 'makespan_95_s')
    ratio_limit: float = 0.4
    evaluate_every: int = 10
    evaluation_episodes: int = 160
    seed: int = 1
    processes: int = 2


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
            TrainingError: a damaged checkpoint, or one of another configuration.
        """
        self.config, self.folder, self.engine = config, Path(folder), engine
        training = config.training
        environment = make_environment(training.environment, training.environment_options)
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
                tickets = [Ticket(first + number, None) for number in range(config.episodes)]
                scores = self._compare(players, candidates, tickets)
                costs = [score + config.decay * float(np.mean(weights ** 2))
                         for score, weights in zip(scores, candidates, strict=True)]
                self._tell(candidates, costs)
                numbers = {'generation': float(self.generation), 'best': min(scores), 'mean': float(np.mean(scores))}
                if self.generation % config.evaluate_every == 0 or self.generation == config.generations:
                    held_back = [Ticket(HELD_BACK + number, None) for number in range(config.evaluation_episodes)]
                    self.held_back, = self._compare(players, [self._optimiser.mean], held_back)
                    numbers['held_back'] = self.held_back
                    if self.best is None or self.held_back < self.best:
                        self.best = self.held_back
                        self._save(self.folder / 'best.ckpt')
                self._save(self.last)
                yield numbers

    def _compare(self, players: Players, candidates: list[NDArray[np.float64]], tickets: list[Ticket]) -> list[float]:
        """Mean log ratio of each candidate's makespans to the reference rule's on the same tickets."""
        config = self.config
        theirs = players.play(REFERENCE, tickets, record=False)
        scores = []
        for weights in candidates:
            vector_to_parameters(torch.from_numpy(weights.astype(np.float32)), self.actor.parameters())
            ours = players.play(self.actor.state_dict(), tickets, record=False)
            scores.append(float(np.mean([
                evaluation.log_ratios(evaluation.scores(ours, metric), evaluation.scores(theirs, metric),
                                      config.ratio_limit) for metric in config.metrics])))
        return scores

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
