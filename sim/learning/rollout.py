"""Playing episodes: several environments side by side, so that one batch decides for all of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from pettingzoo import ParallelEnv
from torch import nn

from marl_core.decision.observation import Observation
from marl_core.decision.policies import Policy, make_policy
from marl_core.errors import TrainingError
from marl_core.specs import OBSERVATION
from sim.learning.actors import build_actor
from sim.learning.buffer import BOX, Episode
from sim.learning.environments import make_environment

Decide = Callable[[dict[str, NDArray], NDArray[np.int64]], NDArray[np.float32]]
"""Observations of a batch, each Shape: (B, ...), and the rank of each row's agent in its team, Shape: (B,) ->
logits, Shape: (B, A)."""

Weights = Mapping[str, torch.Tensor]
Plays = Weights | str
"""Who plays: weights of the source's actor, REFERENCE, or a name or path that ``make_policy`` knows."""

REFERENCE = 'reference'
"""The rule whose logits come with the observation."""

_FORBIDDEN = -1e9
_OF_A_STEP = ('elapsed', 'potential', 'own_rank')
"""Infos that say nothing about the episode as a whole."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """One episode to play.

    Attributes:
        seed: resets the environment.
        draw: seeds the sampling of actions; None plays the most probable ones.
        level: of the source's levels; None: the environment as its options say.
    """

    seed: int
    draw: int | None
    level: int | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """All that a process needs to build environments and actor anew.

    Attributes:
        environment, environment_options: see ``make_environment``.
        actor, actor_options: see ``build_actor``.
        action_mask: observation that marks allowed actions, '' if all always are.
        reference: observation that holds the logits of a rule to start from and compare with, '' without.
        sharpness: factor on logits before actions are sampled.
        side_by_side: environments that one process plays at a time.
        maximum_steps: an episode is cut off after so many joint steps.
        levels: options of easier environments, see ``Ticket.level``.
        target: info of agents that the actor learns to foresee, '' for none.
    """

    environment: str
    environment_options: Mapping[str, Any] = field(default_factory=dict)
    actor: str = 'mlp'
    actor_options: Mapping[str, Any] = field(default_factory=dict)
    action_mask: str = ''
    reference: str = ''
    sharpness: float = 1.0
    side_by_side: int = 16
    maximum_steps: int = 2000
    levels: tuple[Mapping[str, Any], ...] = ()
    target: str = ''


class Player:
    """Plays tickets on several environments at once, so that the actor decides for all of them in one batch."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.environments: dict[tuple[int, int | None], ParallelEnv] = {}
        self.actor: nn.Module | None = None

    def decider(self, plays: Plays) -> Decide:
        """The function that decides for ``plays``."""
        if plays == REFERENCE:
            return lambda observations, ranks: observations[self.source.reference]
        if isinstance(plays, str):
            return policy_logits(make_policy(plays))
        if self.actor is None:
            self.actor = build_actor(self.source.actor, self._environment(0), self.source.actor_options)
        self.actor.load_state_dict(plays)
        self.actor.eval()
        return actor_logits(self.actor)

    def play(self, decide: Decide, tickets: Sequence[Ticket], record: bool = True) -> list[Episode]:
        """Play episodes to their end.

        Args:
            decide: the policy. tickets: what to play. record: keep observations and states (training) or only
                metrics (evaluation).

        Returns:
            Episodes in the order of tickets.
        """
        waiting = list(enumerate(tickets))[::-1]
        running: dict[int, _Running] = {}
        finished: dict[int, Episode] = {}
        while waiting or running:
            for slot in range(min(self.source.side_by_side, len(waiting) + len(running))):
                if slot not in running and waiting:
                    number, ticket = waiting.pop()
                    environment = self._environment(slot, ticket.level)
                    running[slot] = _Running(environment, ticket, number, self.source, record)
            self._step(list(running.values()), decide)
            for slot in [slot for slot, game in running.items() if game.over]:
                game = running.pop(slot)
                finished[game.number] = game.episode()
        return [finished[number] for number in range(len(tickets))]

    def _step(self, games: Sequence['_Running'], decide: Decide) -> None:
        rows = [(game, agent) for game in games for agent in game.environment.agents]
        asked = [number for number, (game, agent) in enumerate(rows) if game.chooses(agent)] or list(range(len(rows)))
        observations = [rows[number][0].current[rows[number][1]] for number in asked]
        stacked = {name: np.stack([observation[name] for observation in observations]) for name in observations[0]}
        ranks = np.array([rows[number][0].rank(rows[number][1]) for number in asked])
        decided = self.source.sharpness * decide(stacked, ranks)
        if self.source.action_mask:
            decided = np.where(stacked[self.source.action_mask].astype(bool), decided, _FORBIDDEN)
        logits = np.zeros((len(rows), decided.shape[-1]), np.float32)
        logits[asked] = decided
        start = 0
        for game in games:
            count = len(game.environment.agents)
            game.step(logits[start:start + count])
            start += count

    def _environment(self, slot: int, level: int | None = None) -> ParallelEnv:
        if (slot, level) not in self.environments:
            options = self.source.environment_options if level is None else self.source.levels[level]
            self.environments[slot, level] = make_environment(self.source.environment, options)
        return self.environments[slot, level]


class _Running:
    """An episode under way."""

    def __init__(self, environment: ParallelEnv, ticket: Ticket, number: int, source: Source, record: bool) -> None:
        self.environment, self.ticket, self.number, self.record = environment, ticket, number, record
        self.limit, self.target, self.action_mask = source.maximum_steps, source.target, source.action_mask
        self.random = None if ticket.draw is None else np.random.default_rng((ticket.draw, ticket.seed))
        observations, infos = environment.reset(seed=ticket.seed)
        self.names = list(environment.agents)
        _require_spec(environment, observations)
        self.current = {agent: _as_arrays(value) for agent, value in observations.items()}
        self.infos = infos
        self.rows: list[tuple[NDArray, ...]] = []
        self.observed: list[dict[str, dict[str, NDArray]]] = []
        self.states: list[NDArray] = []
        self.ranks: list[list[int]] = []
        self.potential: dict[str, float] = {}
        self.potentials: list[NDArray[np.float32]] = []
        self.truth: dict[str, NDArray[np.float32]] = {}
        self.targets: list[NDArray[np.float32]] = []
        self.rewards = dict.fromkeys(self.names, 0.0)
        self.over = not self.names
        self._remember()

    def step(self, logits: NDArray) -> None:
        """Sample one action per acting agent and advance. Shape of logits: (acting agents, A)."""
        acting = list(self.environment.agents)
        index = [self.names.index(agent) for agent in acting]
        noise = 0.0 if self.random is None else self.random.gumbel(size=logits.shape)
        chosen = np.argmax(logits + noise, axis=-1)  # Gumbel noise makes the argmax a sample of the softmax
        log_probability = _log_softmax(logits)[np.arange(len(acting)), chosen]
        observations, rewards, terminations, _, infos = self.environment.step(
            {agent: int(action) for agent, action in zip(acting, chosen, strict=True)})
        row = {name: np.zeros(len(self.names), dtype) for name, dtype in (
            ('actions', np.int64), ('log_probabilities', np.float32), ('rewards', np.float32),
            ('elapsed', np.float32), ('alive', bool), ('terminated', bool))}
        row['actions'][index], row['log_probabilities'][index], row['alive'][index] = chosen, log_probability, True
        for agent, place in zip(acting, index, strict=True):
            row['rewards'][place] = rewards[agent]
            row['elapsed'][place] = infos.get(agent, {}).get('elapsed', 1.0)
            row['terminated'][place] = terminations[agent]
            self.rewards[agent] += float(rewards[agent])
        self.rows.append(tuple(row.values()))
        self.current |= {agent: _as_arrays(value) for agent, value in observations.items()}
        self.infos = infos or self.infos
        self.over = not self.environment.agents or len(self.rows) >= self.limit
        self._remember()

    def chooses(self, agent: str) -> bool:
        """Whether the agent has something to choose now."""
        return not self.action_mask or bool(self.current[agent][self.action_mask].any())

    def rank(self, agent: str) -> int:
        """How many of the team that the agent knows come before it."""
        return int(self.infos.get(agent, {}).get('own_rank', self.names.index(agent)))

    def _remember(self) -> None:
        if self.record:
            self.observed.append(dict(self.current))
            self.ranks.append([self.rank(agent) for agent in self.names])
            self.potential |= {agent: info['potential'] for agent, info in self.infos.items() if 'potential' in info}
            self.potentials.append(np.array([self.potential.get(agent, np.nan) for agent in self.names], np.float32))
            if self.target:
                self.truth |= {agent: np.asarray(info[self.target], np.float32) for agent, info in self.infos.items()
                               if self.target in info}
                if len(self.truth) < len(self.names):
                    raise TrainingError(f'target {self.target!r}: the infos of this environment do not tell it')
                self.targets.append(np.stack([self.truth[agent] for agent in self.names]))
            state = state_of(self.environment)
            if state is not None:
                # Images are masks and fractions: half the precision is plenty and halves what processes exchange.
                self.states.append(state.astype(np.float16 if state.ndim == 3 else np.float32))

    def episode(self) -> Episode:
        """All that was recorded."""
        observations = {} if not self.record else {
            name: np.stack([np.stack([row[agent][name] for agent in self.names]) for row in self.observed])
            for name in self.observed[0][self.names[0]]}
        columns = [np.stack(column) for column in zip(*self.rows, strict=True)]
        last = next(iter(self.infos.values()), {})
        metrics = {name: float(value) for name, value in last.items()
                   if isinstance(value, (bool, int, float, np.number)) and name not in _OF_A_STEP}
        metrics |= {'return': float(np.mean(list(self.rewards.values()))), 'steps': float(len(self.rows))}
        actions, log_probabilities, rewards, elapsed, alive, terminated = columns
        return Episode(self.ticket.seed, observations, np.stack(self.states) if self.states else None, actions,
                       log_probabilities, rewards, elapsed, alive, terminated, metrics,
                       np.stack(self.potentials) if self.potential else None,
                       np.array(self.ranks, np.int64) if self.record else None,
                       np.stack(self.targets) if self.targets else None)


def actor_logits(actor: nn.Module) -> Decide:
    """A torch actor as a function of arrays."""
    def decide(observations: dict[str, NDArray], ranks: NDArray[np.int64]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return actor({name: torch.from_numpy(rows) for name, rows in observations.items()}).numpy()
    return decide


def policy_logits(policy: Policy) -> Decide:
    """A policy of the robot's runtime as a function of padded arrays: all weight on what it chooses."""
    def decide(observations: dict[str, NDArray], ranks: NDArray[np.int64]) -> NDArray[np.float32]:
        logits = np.zeros(observations['candidate_mask'].shape, np.float32)
        for row in np.flatnonzero(observations['candidate_mask'].any(axis=-1)):  # the others do not decide
            own = {spec.name: observations[spec.name][row] for spec in OBSERVATION}
            logits[row, policy.choose(Observation(**own, own_rank=int(ranks[row])))] = 1e3
        return logits
    return decide


def state_of(environment: ParallelEnv) -> NDArray | None:
    """The environment's state, or None if it has none to offer."""
    try:
        return np.asarray(environment.state())
    except (NotImplementedError, AttributeError):
        return None


def _require_spec(environment: ParallelEnv, observations: Mapping[str, Any]) -> None:
    """Refuse an environment whose observations are not what it says they are.

    Raises:
        TrainingError: names the agent and the observation.
    """
    for agent, observation in observations.items():
        space = environment.observation_space(agent)
        parts = space.spaces if isinstance(space, spaces.Dict) else {BOX: space}
        given = _as_arrays(observation)
        if parts.keys() != given.keys():
            raise TrainingError(f'agent {agent!r}: the environment gives the observations {", ".join(sorted(given))}, '
                                f'its observation_space has {", ".join(sorted(parts))}')
        for name, part in parts.items():
            if tuple(part.shape) != given[name].shape:
                raise TrainingError(f'agent {agent!r}: observation {name!r} has shape {given[name].shape}, '
                                    f'its observation_space says {tuple(part.shape)}')


def _as_arrays(observation: Any) -> dict[str, NDArray]:
    if isinstance(observation, Mapping):
        # Environments may reuse their arrays; what is remembered must not change.
        return {name: np.array(value) for name, value in observation.items()}
    return {BOX: np.array(observation, dtype=np.float32)}


def _log_softmax(logits: NDArray) -> NDArray:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
