"""The training loop: play, learn, now and then evaluate and save."""

import json
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch.utils.tensorboard import SummaryWriter

from marl_core.config import from_mapping
from marl_core.errors import TrainingError
from sim.learning import checkpoint, evaluation
from sim.learning.actions import Discrete, actions_of
from sim.learning.actors import build_actor, observation_shapes
from sim.learning.critic import ActionCritic, Critic, CriticConfig
from sim.learning.curriculum import Curriculum, CurriculumConfig
from sim.learning.environments import make_environment
from sim.learning.mappo import Mappo, MappoConfig
from sim.learning.players import DEFAULT_ENGINE, Players, make_players
from sim.learning.rollout import REFERENCE, Source, Ticket, state_of

ALGORITHMS = {'mappo': Mappo}

FIRST_SEED, HELD_BACK = 1_000, 1_000_000_000
"""Only seeds between these are trained on. Seeds from HELD_BACK on choose checkpoints; those from twice HELD_BACK on
are left for evaluation."""


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """One training run. Files in config/training/ override these."""

    environment: str = 'exploration'
    environment_options: Mapping[str, Any] = field(default_factory=dict)
    actor: str = 'coordinator'
    actor_options: Mapping[str, Any] = field(default_factory=dict)
    separate: bool = False
    """Every possible agent has weights of its own. What is exported to robots has shared ones."""
    start: str = ''
    """Checkpoint whose actor's weights a run starts from, of imitation or training; '' for fresh ones."""
    algorithm: str = 'mappo'
    mappo: MappoConfig = MappoConfig()
    critic: CriticConfig = CriticConfig()
    action_mask: str = 'candidate_mask'
    """Observation that marks allowed actions; '' if all always are."""
    reference: str = 'base_logits'
    """Observation that holds the logits of the rule to start from; '' without."""
    target: str = ''
    """Info of agents that the actor learns to foresee (``hidden_m2`` with `grid: {measures_hidden: true}`); '' none."""
    curriculum: CurriculumConfig = CurriculumConfig()
    score: str = 'makespan_s'
    """Metric by which checkpoints are chosen, from the last info of an episode; or ``return``."""
    lower_is_better: bool = True
    seed: int = 1
    iterations: int = 60
    episodes: int = 48
    """Played per iteration."""
    episodes_per_seed: int = 1
    """How often each world and start is played within an iteration."""
    side_by_side: int = 16
    """Environments that one process plays at a time."""
    processes: int = 2
    """That play; 1 plays in this process."""
    learning_threads: int = 2
    """Of torch while learning. Results are reproducible for the same number only."""
    maximum_steps: int = 2000
    warm_up: int = 2
    """Iterations in which only the critic learns."""
    final_rate: float = 0.1
    """Learning rates fall linearly to this part of their start."""
    evaluate_every: int = 10
    evaluation_episodes: int = 48
    save_every: int = 5

    @property
    def final_options(self) -> dict[str, Any]:
        """Options of the environment that is trained for: those of the curriculum's last level."""
        return self.curriculum.options(self.curriculum.levels - 1, self.environment_options)


class Trainer:
    """Runs one TrainingConfig in a folder: config.yaml, metrics.jsonl, TensorBoard events, last.ckpt, best.ckpt."""

    def __init__(self, config: TrainingConfig, folder: str | Path, engine: str = DEFAULT_ENGINE) -> None:
        """Start afresh in ``folder``, or continue from its last.ckpt if there is one.

        Args:
            config, folder: see above. engine: who plays, see ``make_players``; what is learnt does not depend on it.

        Raises:
            TrainingError: unknown names, a damaged checkpoint, one of another configuration, or a start that does not
                fit the actor.
        """
        if config.algorithm not in ALGORITHMS:
            raise TrainingError(f'unknown algorithm {config.algorithm!r}; known: {", ".join(ALGORITHMS)}')
        self.config, self.folder, self.engine = config, Path(folder), engine
        self.curriculum = Curriculum(config.curriculum)
        self.learner = build_learner(config)
        self.git_commit = checkpoint.git_commit()
        self.iteration = 0
        self.best: float | None = None
        self.reference_metrics: list[float] = []
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.last.exists():
            self._resume()
        else:
            random.seed(config.seed)
            torch.manual_seed(config.seed)
            np.random.seed(config.seed)
            if config.start:
                start_from(config.start, self.learner.actor)
            (self.folder / 'config.yaml').write_text(yaml.safe_dump(plain(config), sort_keys=False))

    @property
    def last(self) -> Path:
        """Checkpoint to continue from."""
        return self.folder / 'last.ckpt'

    def run(self, minutes: float | None = None) -> Iterator[dict[str, float]]:
        """Train to the last iteration, or for so long; yields each iteration's numbers.

        The checkpoint is written every ``save_every`` iterations and at the end.
        """
        started = time.monotonic()
        torch.set_num_threads(self.config.learning_threads)
        with make_players(self.engine, source_of(self.config), self.config.processes) as players, \
                SummaryWriter(str(self.folder), purge_step=self.iteration) as board:
            while self.iteration < self.config.iterations:
                numbers = self._iterate(players)
                log(self.folder, board, numbers)
                yield numbers
                late = minutes is not None and time.monotonic() - started > 60 * minutes
                if late or self.iteration % self.config.save_every == 0:
                    self.save(self.last)
                if late:
                    return
            self.save(self.last)

    def save(self, path: Path) -> None:
        """Write everything that training goes on from."""
        checkpoint.save(path, {'config': plain(self.config), 'iteration': self.iteration, 'best': self.best,
                               'reference_metrics': self.reference_metrics, 'learner': self.learner.state_dict(),
                               'random': checkpoint.random_states(), 'git_commit': self.git_commit,
                               'curriculum': self.curriculum.state_dict()})

    def _iterate(self, players: Players) -> dict[str, float]:
        config, begun = self.config, time.monotonic()
        episodes = players.play(self.learner.actor.state_dict(), self._tickets())
        played = time.monotonic()
        progress = self.iteration / max(1, config.iterations)
        numbers = self.learner.learn(episodes, 1 - (1 - config.final_rate) * progress,
                                     critic_only=self.iteration < config.warm_up)
        learnt = time.monotonic()
        numbers |= {f'episode/{name}': finite_mean([episode.metrics[name] for episode in episodes])
                    for name in episodes[0].metrics}
        numbers |= {'time/play_s': played - begun, 'time/learn_s': learnt - played}
        if config.curriculum.schedules:
            numbers['curriculum/level'] = float(self.curriculum.level)
            self.curriculum.note([episode.metrics for episode in episodes])
        self.iteration += 1
        if self.iteration % config.evaluate_every == 0 or self.iteration == config.iterations:
            numbers |= self._evaluate(players)
            numbers['time/evaluate_s'] = time.monotonic() - learnt
        return numbers | {'iteration': float(self.iteration)}

    def _tickets(self) -> list[Ticket]:
        """Worlds and random draws depend on the run's seed and the iteration alone, so that a resumed run replays."""
        config = self.config
        first = first_seed(config.seed, self.iteration, config.episodes)
        return [Ticket(first + number // config.episodes_per_seed, self.iteration * config.episodes + number,
                       self.curriculum.level)
                for number in range(config.episodes)]

    def _evaluate(self, players: Players) -> dict[str, float]:
        """Play held-back episodes greedily; keep the best actor so far."""
        config = self.config
        tickets = [Ticket(HELD_BACK + number, None) for number in range(config.evaluation_episodes)]
        scores = evaluation.scores(players.play(self.learner.policy, tickets, record=False), config.score)
        numbers = {'held_back/score': finite_mean(scores)}
        compared = finite_mean(scores) * (1 if config.lower_is_better else -1)
        if config.reference:
            if not self.reference_metrics:
                self.reference_metrics = evaluation.scores(players.play(REFERENCE, tickets, record=False), config.score)
            ratio = evaluation.log_ratios(scores, self.reference_metrics)
            compared = float(ratio.mean()) * (1 if config.lower_is_better else -1)
            numbers |= {'held_back/log_ratio': float(ratio.mean()),
                        'held_back/log_ratio_error': float(ratio.std() / len(ratio) ** 0.5),
                        'held_back/unfinished': float(np.mean(~np.isfinite(scores)))}
        if self.best is None or compared < self.best:
            self.best = compared
            self.save(self.folder / 'best.ckpt')
        return numbers

    def _resume(self) -> None:
        content = checkpoint.load(self.last)
        if 'reference_metrics' not in content:
            raise TrainingError(f'{self.last}: is no checkpoint of training; choose another folder, and name it as '
                                '`start` to train on from its weights')
        differing = differing_settings(self.config, content['config'], str(self.last), ('iterations', 'processes'))
        if differing:
            raise TrainingError(f'{self.last}: was trained with other settings ({", ".join(differing)}); '
                                'choose another folder, or the settings in its config.yaml')
        self.learner.load_state_dict(content['learner'])
        self.iteration, self.best = content['iteration'], content['best']
        self.reference_metrics = content['reference_metrics']
        self.curriculum.load_state_dict(content.get('curriculum', self.curriculum.state_dict()))
        checkpoint.restore_random_states(content['random'])


def log(folder: Path, board: SummaryWriter, numbers: Mapping[str, float]) -> None:
    """Write an iteration's numbers to TensorBoard and to metrics.jsonl."""
    for name, value in numbers.items():
        board.add_scalar(name, value, int(numbers['iteration']))
    with (folder / 'metrics.jsonl').open('a') as file:
        file.write(json.dumps({name: round(value, 6) for name, value in numbers.items()}) + '\n')


def build_learner(config: TrainingConfig) -> Mappo:
    """Actor, critic and algorithm with their first weights, which depend on the configuration alone.

    Raises:
        TrainingError: settings that do not go together, or not with the environment.
    """
    environment = make_environment(config.environment, config.final_options)
    environment.reset(seed=config.seed)
    shapes, state = observation_shapes(environment, config.separate), state_of(environment)
    for setting in ('action_mask', 'reference'):
        if getattr(config, setting) not in ('', *shapes):
            raise TrainingError(f'{setting} {getattr(config, setting)!r}: the environment gives no such observation '
                                f"(but {', '.join(shapes)}); set it to '' where there is none")
    actions = actions_of(environment, config.action_mask, config.mappo.sharpness)
    actor = build_actor(config.actor, environment, config.actor_options, config.seed, config.separate)
    state_shape = None if state is None else state.shape
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        if config.mappo.advantage == 'counterfactual' and isinstance(actions, Discrete):
            critic = ActionCritic(shapes, state_shape, actions.outputs, config.action_mask, config.critic)
        else:
            critic = Critic(shapes, state_shape, config.critic)
    return ALGORITHMS[config.algorithm](actor, critic, config.mappo, actions, config.reference, config.seed)


def start_from(path: str | Path, actor: torch.nn.Module) -> None:
    """Give an actor the weights that another one had.

    Raises:
        TrainingError: the checkpoint is missing, damaged, or of an actor of another size or kind.
    """
    weights = checkpoint.load(path)['learner']['policy']
    try:
        actor.load_state_dict(weights)
    except RuntimeError as error:
        raise TrainingError(f'start: {path}: holds weights of another actor; give `actor`, `actor_options` and '
                            f'`separate` that it was made with ({error})') from error


def source_of(config: TrainingConfig) -> Source:
    """What the playing processes need to know."""
    curriculum = config.curriculum
    levels = [curriculum.options(level, config.environment_options) for level in range(curriculum.levels)]
    return Source(config.environment, levels[-1], config.actor, dict(config.actor_options), config.action_mask,
                  config.reference, config.mappo.sharpness, config.side_by_side, config.maximum_steps, tuple(levels),
                  config.target, config.separate)


def first_seed(seed: int, turn: int, episodes: int) -> int:
    """Of the episodes of a turn of a run: other runs and turns play others, and none of them is held back."""
    return FIRST_SEED + (seed * 7_919 + turn) * episodes % (HELD_BACK - 10_000_000)


def finite_mean(values: Sequence[float]) -> float:
    """Mean of what is finite (an unfinished episode has an infinite makespan), infinity if nothing is."""
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else float('inf')


def load_actor(path: str | Path) -> tuple[torch.nn.Module, TrainingConfig, dict[str, Any]]:
    """The actor of a checkpoint, its training configuration, and all else that the checkpoint holds.

    Raises:
        TrainingError: the file is missing, damaged, or of a configuration that is no longer understood.
    """
    content = checkpoint.load(path)
    config = from_mapping(TrainingConfig, content['config'], f'{path}: config')
    environment = make_environment(config.environment, config.final_options)
    actor = build_actor(config.actor, environment, config.actor_options, separate=config.separate)
    actor.load_state_dict(content['learner']['policy'])
    return actor.eval(), config, content


def differing_settings(config: Any, saved: Mapping[str, Any], source: str, free: Sequence[str] = ()) -> list[str]:
    """Names of settings of a dataclass that are not as in a checkpoint, but for those that are ``free`` to differ.

    Settings that a checkpoint does not know came later, and have their defaults in it.

    Raises:
        ConfigError: the checkpoint holds settings that are not known any more; names the source.
    """
    before = plain(from_mapping(type(config), saved, source))
    return [name for name, value in plain(config).items() if before[name] != value and name not in free]


def plain(config: Any) -> dict[str, Any]:
    """The configuration as numbers, strings, lists and dicts."""
    return json.loads(json.dumps(asdict(config), default=dict))
