"""Learning to choose as another policy does: behaviour cloning, and DAgger (Ross, Gordon & Bagnell 2011).

An actor that has only seen an expert play does not know what to do where its own mistakes lead. In DAgger the actor
plays, the expert says at every state that it meets what to do there, and the actor learns from all that was said so
far. What comes out is a checkpoint like that of a training run: it can be evaluated, exported, and trained on.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from marl_core.decision.policies import make_policy
from marl_core.errors import TrainingError
from marl_core.specs import OBSERVATION
from sim.learning import buffer, checkpoint, evaluation
from sim.learning.actions import FORBIDDEN, Discrete, actions_of
from sim.learning.actors import build_actor, memory_size, observation_shapes
from sim.learning.buffer import Episode
from sim.learning.environments import make_environment
from sim.learning.players import DEFAULT_ENGINE, Players, make_players
from sim.learning.rollout import REFERENCE, Decide, Plays, Ticket, policy_logits
from sim.learning.trainer import (
    HELD_BACK,
    TrainingConfig,
    differing_settings,
    finite_mean,
    first_seed,
    log,
    plain,
    source_of,
)

Lesson = tuple[dict[str, Tensor], Tensor]
"""States of an episode, each array of Shape: (M, ...), and what the expert chose there, Shape: (M,)."""


@dataclass(frozen=True, slots=True)
class ImitationConfig:
    """One run of imitation.

    Attributes:
        training: environment, actor, score, seed and size of evaluations; of its settings of reinforcement learning
            only the sharpness of the policy is used.
        expert: name or path that ``make_policy`` knows, or REFERENCE.
        rounds: of playing and learning. episodes: played per round.
        expert_rounds: rounds at the start in which the expert plays; the learner does in the others. As many as
            ``rounds``: behaviour cloning.
        epochs: passes over all that was said so far, per round. minibatch: decisions per step of the optimiser.
        rate: learning rate, of Adam. gradient_limit: largest norm of a gradient.
        memory: episodes that are remembered, the latest.
        evaluate_every: rounds between two evaluations on held-back worlds.
        processes: that play; 1 plays in this process.
    """

    training: TrainingConfig = field(default_factory=TrainingConfig)
    expert: str = 'mtsp'
    rounds: int = 10
    episodes: int = 48
    expert_rounds: int = 1
    epochs: int = 4
    minibatch: int = 256
    rate: float = 1e-3
    gradient_limit: float = 0.5
    memory: int = 480
    evaluate_every: int = 5
    processes: int = 2


class Imitator:
    """Runs one ImitationConfig in a folder: imitation.yaml, metrics.jsonl, TensorBoard events, last.ckpt, best.ckpt.

    Attributes:
        actor: that learns. round: how many were played.
        best: lowest log ratio of held-back scores to the expert's (highest, negated, where higher is better).
    """

    def __init__(self, config: ImitationConfig, folder: str | Path, engine: str = DEFAULT_ENGINE) -> None:
        """Start afresh in ``folder``, or continue from its last.ckpt if there is one.

        Raises:
            TrainingError: an environment without what the expert sees, actions or an actor that cannot be imitated, a
                damaged checkpoint, or one of another configuration. PolicyError: nobody knows the expert.
        """
        self.config, self.folder, self.engine = config, Path(folder), engine
        training = config.training
        environment = make_environment(training.environment, training.final_options)
        _require_expert(config.expert, training, observation_shapes(environment))
        self.actor = build_actor(training.actor, environment, training.actor_options, training.seed,
                                 training.separate)
        self.actions = actions_of(environment, training.action_mask, training.mappo.sharpness)
        if memory_size(self.actor) or not isinstance(self.actions, Discrete):
            raise TrainingError('imitation needs discrete actions, and an actor that remembers nothing')
        self.optimizer = torch.optim.Adam(self.actor.parameters(), config.rate)
        self.generator = torch.Generator().manual_seed(training.seed)
        self.round = 0
        self.best: float | None = None
        self._played: list[Plays] = []
        self._lessons: list[Lesson] = []
        self._expert_scores: list[float] = []
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.last.exists():
            self._resume()
        else:
            (self.folder / 'imitation.yaml').write_text(yaml.safe_dump(plain(config), sort_keys=False))

    @property
    def last(self) -> Path:
        """Checkpoint to continue from."""
        return self.folder / 'last.ckpt'

    def run(self) -> Iterator[dict[str, float]]:
        """Imitate to the last round; yields each round's numbers and saves after it."""
        config = self.config
        torch.set_num_threads(config.training.learning_threads)
        with make_players(self.engine, source_of(config.training), config.processes) as players, \
                SummaryWriter(str(self.folder), purge_step=self.round) as board:
            for number in range(self.round):  # lessons of a resumed run are not kept, but follow from who played
                self._remember(self._gather(players, number)[1])
            while self.round < config.rounds:
                numbers = self._iterate(players)
                log(self.folder, board, numbers)
                self._save(self.last)
                yield numbers

    def _iterate(self, players: Players) -> dict[str, float]:
        config = self.config
        weights = {name: array.clone() for name, array in self.actor.state_dict().items()}
        self._played.append(config.expert if self.round < config.expert_rounds else weights)
        episodes, lessons = self._gather(players, self.round)
        agreement = self._agreement(lessons)
        self._remember(lessons)
        loss = self._learn()
        self.round += 1
        numbers = {'imitation/agreement': agreement, 'imitation/loss': loss,
                   'imitation/decisions': float(sum(len(choices) for _, choices in self._lessons)),
                   'episode/return': finite_mean([episode.metrics['return'] for episode in episodes])}
        if self.round % config.evaluate_every == 0 or self.round == config.rounds:
            numbers |= self._evaluate(players)
        return numbers | {'iteration': float(self.round)}

    def _gather(self, players: Players, number: int) -> tuple[list[Episode], list[Lesson]]:
        """Play a round and ask the expert about all of it."""
        config, training = self.config, self.config.training
        first = first_seed(training.seed, number, config.episodes)
        tickets = [Ticket(first + place, None) for place in range(config.episodes)]
        episodes = players.play(self._played[number], tickets)
        questions = [_question(episode, config, buffer.choosing(episode, training.action_mask))
                     for episode in episodes]
        return episodes, [({name: torch.from_numpy(rows) for name, rows in question[1].items()},
                           torch.from_numpy(answer))
                          for question, answer in zip(questions, players.map(answers, questions), strict=True)]

    def _remember(self, lessons: list[Lesson]) -> None:
        self._lessons = [*self._lessons, *lessons][-self.config.memory:]

    def _agreement(self, lessons: list[Lesson]) -> float:
        """How often the actor, before it learns from them, would choose as the expert did."""
        with torch.no_grad():
            agreed = torch.cat([self._log_policy(observation).argmax(-1) == choices
                                for observation, choices in lessons if len(choices)])
        return float(agreed.float().mean())

    def _learn(self) -> float:
        """Pass over all lessons; returns the mean loss."""
        observations = {name: torch.cat([lesson[0][name] for lesson in self._lessons])
                        for name in self._lessons[0][0]}
        choices = torch.cat([lesson[1] for lesson in self._lessons])
        losses = []
        for _ in range(self.config.epochs):
            for rows in torch.randperm(len(choices), generator=self.generator).split(self.config.minibatch):
                log_policy = self._log_policy({name: array[rows] for name, array in observations.items()})
                loss = cross_entropy(log_policy, choices[rows])
                self.optimizer.zero_grad(set_to_none=True)
                loss.backward()
                norm = nn.utils.clip_grad_norm_(self.actor.parameters(), self.config.gradient_limit)
                if not bool(torch.isfinite(norm)):
                    raise TrainingError(f'the loss of imitation is {float(loss.detach()):g}, its gradient not finite; '
                                        'lower the rate and go on from the last checkpoint')
                self.optimizer.step()
                losses.append(float(loss.detach()))
        return float(np.mean(losses))

    def _log_policy(self, observation: Mapping[str, Tensor]) -> Tensor:
        return self.actions.policy(self.actor(observation), observation)

    def _evaluate(self, players: Players) -> dict[str, float]:
        """Play held-back episodes greedily; keep the best actor so far."""
        training = self.config.training
        tickets = [Ticket(HELD_BACK + number, None) for number in range(training.evaluation_episodes)]
        scores = evaluation.scores(players.play(self.actor.state_dict(), tickets, record=False), training.score)
        if not self._expert_scores:
            self._expert_scores = evaluation.scores(players.play(self.config.expert, tickets, record=False),
                                                    training.score)
        ratio = evaluation.log_ratios(scores, self._expert_scores)
        compared = float(ratio.mean()) * (1 if training.lower_is_better else -1)
        if self.best is None or compared < self.best:
            self.best = compared
            self._save(self.folder / 'best.ckpt')
        return {'held_back/score': finite_mean(scores), 'held_back/expert_score': finite_mean(self._expert_scores),
                'held_back/log_ratio': float(ratio.mean()),
                'held_back/log_ratio_error': float(ratio.std() / len(ratio) ** 0.5)}

    def _save(self, path: Path) -> None:
        checkpoint.save(path, {
            'config': plain(self.config.training), 'imitation': plain(self.config), 'iteration': self.round,
            'best': self.best, 'expert_scores': self._expert_scores, 'played': self._played,
            'learner': {'policy': self.actor.state_dict()}, 'optimizer': self.optimizer.state_dict(),
            'generator': self.generator.get_state(), 'git_commit': checkpoint.git_commit()})

    def _resume(self) -> None:
        content = checkpoint.load(self.last)
        if 'imitation' not in content:
            raise TrainingError(f'{self.last}: is no checkpoint of imitation; choose another folder')
        differing = differing_settings(self.config, content['imitation'], str(self.last), ('rounds', 'processes'))
        if differing:
            raise TrainingError(f'{self.last}: was made with other settings ({", ".join(differing)}); '
                                'choose another folder, or the settings in its imitation.yaml')
        self.actor.load_state_dict(content['learner']['policy'])
        self.optimizer.load_state_dict(content['optimizer'])
        self.generator.set_state(content['generator'])
        self.round, self.best = content['iteration'], content['best']
        self._played, self._expert_scores = content['played'], content['expert_scores']


Question = tuple[str, dict[str, NDArray], NDArray[np.int64], str, str]
"""Expert, states, the rank of each state's agent in its team, and the names of reference and action mask."""


def answers(question: Question) -> NDArray[np.int64]:
    """What an expert would choose in given states. Shape: (M,)."""
    expert, observations, ranks, reference, action_mask = question
    logits = observations[reference] if expert == REFERENCE else _decider(expert)(observations, ranks)
    if action_mask:
        logits = np.where(observations[action_mask].astype(bool), logits, FORBIDDEN)
    return logits.argmax(-1)


def cross_entropy(log_policy: Tensor, choices: Tensor) -> Tensor:
    """Mean of -log of the probabilities of what was chosen [nat]. Shapes: (B, A), (B,) -> ()."""
    return -log_policy.gather(-1, choices.unsqueeze(-1)).mean()


@lru_cache(maxsize=2)
def _decider(expert: str) -> Decide:
    return policy_logits(make_policy(expert))


def _question(episode: Episode, config: ImitationConfig, choosing: NDArray[np.bool_]) -> Question:
    training = config.training
    return (config.expert, {name: rows[:-1][choosing] for name, rows in episode.observations.items()},
            episode.ranks[:-1][choosing], training.reference, training.action_mask)


def _require_expert(expert: str, training: TrainingConfig, shapes: Mapping[str, Any]) -> None:
    """Refuse an expert who cannot be asked, before anything is played.

    Raises:
        TrainingError, PolicyError: see ``Imitator``.
    """
    if expert == REFERENCE:
        seen = {training.reference}
    else:
        make_policy(expert)
        seen = {spec.name for spec in OBSERVATION}
    missing = sorted(seen - shapes.keys())
    if missing:
        raise TrainingError(f'expert {expert!r} needs the observations {", ".join(map(repr, missing))}, which '
                            f'environment {training.environment!r} does not give; it gives {", ".join(shapes)}')
