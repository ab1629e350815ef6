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
from sim.learning.actions import Actions, actions_of
from sim.learning.actors import build_actor, memory_size
from sim.learning.buffer import AGENT, BOX, MEMORY, Episode
from sim.learning.environments import make_environment

Decide = Callable[[dict[str, NDArray], NDArray[np.int64]], NDArray[np.float32]]
"""Observations of a batch, each Shape: (B, ...), and the rank of each row's agent in its team, Shape: (B,) ->
logits, or what else ``Actions`` knows the meaning of, Shape: (B, outputs). Who remembers has an attribute
``memory_size``, sees so much memory as the observation MEMORY, and says behind its outputs what becomes of it."""

Weights = Mapping[str, torch.Tensor]
Plays = Weights | str
"""Who plays: weights of the source's actor, REFERENCE, or a name or path that ``make_policy`` knows."""

REFERENCE = 'reference'
"""The rule whose logits come with the observation."""

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
        separate: every possible agent has weights of its own.
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
    separate: bool = False


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
            self.actor = build_actor(self.source.actor, self._environment(0), self.source.actor_options,
                                     separate=self.source.separate)
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
        actions = actions_of(self._environment(0), self.source.action_mask, self.source.sharpness)
        waiting = list(enumerate(tickets))[::-1]
        running: dict[int, _Running] = {}
        finished: dict[int, Episode] = {}
        while waiting or running:
            for slot in range(min(self.source.side_by_side, len(waiting) + len(running))):
                if slot not in running and waiting:
                    number, ticket = waiting.pop()
                    environment = self._environment(slot, ticket.level)
                    running[slot] = _Running(environment, ticket, number, self.source, actions,
                                             getattr(decide, 'memory_size', 0), record)
            _step(list(running.values()), decide, actions)
            for slot in [slot for slot, game in running.items() if game.over]:
                game = running.pop(slot)
                finished[game.number] = game.episode()
        return [finished[number] for number in range(len(tickets))]

    def _environment(self, slot: int, level: int | None = None) -> ParallelEnv:
        if (slot, level) not in self.environments:
            options = self.source.environment_options if level is None else self.source.levels[level]
            self.environments[slot, level] = make_environment(self.source.environment, options)
        return self.environments[slot, level]


def _step(games: Sequence['_Running'], decide: Decide, actions: Actions) -> None:
    """Decide for all games at once, and advance each by one step."""
    asked = [game.asked() for game in games]
    if not np.concatenate(asked).any():
        asked = [np.ones_like(some) for some in asked]
    rows = [game.acting[some] for game, some in zip(games, asked, strict=True)]
    observations = {name: np.concatenate([game.current[name][some] for game, some in zip(games, rows, strict=True)])
                    for name in games[0].current}
    decided = decide(observations, np.concatenate([game.rank[some] for game, some in zip(games, rows, strict=True)]))
    outputs, memories = np.split(decided, [actions.outputs], axis=-1)
    played = np.zeros((sum(map(len, asked)), actions.outputs), np.float32)
    played[np.concatenate(asked)] = actions.played(outputs, observations)
    chosen, log_probability = actions.choose(played, np.concatenate([game.noise() for game in games]))
    sent, start, first = actions.sent(chosen), 0, 0
    for game, some in zip(games, rows, strict=True):
        end, last = start + len(game.acting), first + len(some)
        game.remember(some, memories[first:last])
        game.step(sent[start:end], chosen[start:end], log_probability[start:end])
        start, first = end, last


class _Running:
    """An episode under way.

    Attributes:
        current: what each agent sees, or saw last. Shape: (N, ...).
        rank: how many of the team that each agent knows come before it. Shape: (N,).
        acting: agents that take part. Shape: (acting,).
    """

    def __init__(self, environment: ParallelEnv, ticket: Ticket, number: int, source: Source, actions: Actions,
                 memory: int, record: bool) -> None:
        self.environment, self.ticket, self.number, self.record = environment, ticket, number, record
        self.limit, self.target, self.actions, self.remembers = source.maximum_steps, source.target, actions, memory > 0
        self.random = None if ticket.draw is None else np.random.default_rng((ticket.draw, ticket.seed))
        observations, self.infos = environment.reset(seed=ticket.seed)
        _require_spec(environment, observations)
        self.names = list(environment.agents)
        self.seen: dict[str, Any] = {}
        self.current: dict[str, NDArray] = {}
        if source.separate:
            places = [environment.possible_agents.index(agent) for agent in self.names]
            self.current[AGENT] = np.eye(len(environment.possible_agents), dtype=np.float32)[places]
        if memory:
            self.current[MEMORY] = np.zeros((len(self.names), memory), np.float32)
        self.acted: list[NDArray[np.int64]] = []
        self.earned: list[tuple[float, float, bool]] = []
        self.chosen: list[NDArray] = []
        self.log_probabilities: list[NDArray[np.float32]] = []
        self.observed: list[dict[str, NDArray]] = []
        self.states: list[NDArray] = []
        self.ranks: list[NDArray[np.int64]] = []
        self.potential: dict[str, float] = {}
        self.potentials: list[list[float]] = []
        self.truth: dict[str, NDArray[np.float32]] = {}
        self.targets: list[NDArray[np.float32]] = []
        self._look(observations)

    @property
    def over(self) -> bool:
        """Whether all agents are gone, or it lasted too long."""
        return not len(self.acting) or len(self.acted) >= self.limit

    def asked(self) -> NDArray[np.bool_]:
        """Whether acting agents have something to choose, or to remember. Shape: (acting,)."""
        if self.remembers or not self.actions.action_mask:
            return np.ones(len(self.acting), np.bool_)
        return self.current[self.actions.action_mask][self.acting].any(axis=-1)

    def noise(self) -> NDArray[np.float64]:
        """For one choice of each acting agent, see ``Actions.choose``."""
        return self.actions.noise(self.random, len(self.acting))

    def remember(self, agents: NDArray[np.int64], memories: NDArray[np.float32]) -> None:
        """Keep what agents want to be told again. Shapes: (asked,), (asked, memory_size)."""
        if self.remembers:
            self.current[MEMORY][agents] = memories

    def step(self, sent: Sequence[Any], chosen: NDArray, log_probability: NDArray[np.float32]) -> None:
        """Advance by what acting agents chose. Length of each: acting."""
        acting = [self.names[place] for place in self.acting]
        observations, rewards, terminations, _, infos = self.environment.step(dict(zip(acting, sent, strict=True)))
        self.acted.append(self.acting)
        self.earned += [(float(rewards[agent]), infos.get(agent, {}).get('elapsed', 1.0), terminations[agent])
                        for agent in acting]
        self.chosen.append(chosen)
        self.log_probabilities.append(log_probability)
        self.infos = infos or self.infos
        self._look(observations)

    def _look(self, observations: Mapping[str, Any]) -> None:
        """Take in what agents see, and remember it."""
        self.seen |= observations
        late = set(self.environment.agents).difference(self.names)
        if late:
            raise TrainingError(f'agents that come later cannot be learnt for: {", ".join(sorted(late))}')
        self.acting = np.array([self.names.index(agent) for agent in self.environment.agents], np.int64)
        rows = [self.seen[agent] for agent in self.names]
        try:
            if rows and isinstance(rows[0], Mapping):
                self.current |= {name: np.stack([row[name] for row in rows]) for name in rows[0]}
            else:
                self.current[BOX] = np.array(rows, np.float32)
        except (KeyError, ValueError):
            _require_spec(self.environment, observations)
            raise
        self.rank = np.array([self.infos.get(agent, {}).get('own_rank', place)
                              for place, agent in enumerate(self.names)], np.int64)
        if self.record:
            self._record()

    def _record(self) -> None:
        self.observed.append({name: rows for name, rows in self.current.items() if name != MEMORY})
        self.ranks.append(self.rank)
        self.potential |= {agent: info['potential'] for agent, info in self.infos.items() if 'potential' in info}
        self.potentials.append([self.potential.get(agent, np.nan) for agent in self.names])
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
        agents = np.concatenate(self.acted)
        steps = np.repeat(np.arange(len(self.acted)), [len(acting) for acting in self.acted])

        def column(values: Any, dtype: Any, shape: tuple[int, ...] = ()) -> NDArray:
            rows = np.zeros((len(self.acted), len(self.names), *shape), dtype)
            rows[steps, agents] = values
            return rows

        rewards, elapsed, terminated = zip(*self.earned, strict=True)
        names = self.observed[0] if self.record else ()
        last = next(iter(self.infos.values()), {})
        metrics = {name: float(value) for name, value in last.items()
                   if isinstance(value, (bool, int, float, np.number)) and name not in _OF_A_STEP}
        metrics |= {'return': float(np.mean(np.bincount(agents, rewards, len(self.names)))),
                    'steps': float(len(self.acted))}
        return Episode(
            self.ticket.seed,
            {name: np.stack([seen[name] for seen in self.observed]) for name in names},
            np.stack(self.states) if self.states else None,
            column(np.concatenate(self.chosen), self.actions.dtype, self.actions.shape),
            column(np.concatenate(self.log_probabilities), np.float32), column(rewards, np.float32),
            column(elapsed, np.float32), column(True, np.bool_), column(terminated, np.bool_), metrics,
            np.array(self.potentials, np.float32) if self.potential else None,
            np.array(self.ranks) if self.record else None, np.stack(self.targets) if self.targets else None)


def actor_logits(actor: nn.Module) -> Decide:
    """A torch actor as a function of arrays."""
    def decide(observations: dict[str, NDArray], ranks: NDArray[np.int64]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return actor({name: torch.from_numpy(rows) for name, rows in observations.items()}).numpy()
    decide.memory_size = memory_size(actor)
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
        given = observation if isinstance(observation, Mapping) else {BOX: observation}
        if parts.keys() != given.keys():
            raise TrainingError(f'agent {agent!r}: the environment gives the observations {", ".join(sorted(given))}, '
                                f'its observation_space has {", ".join(sorted(parts))}')
        for name, part in parts.items():
            if tuple(part.shape) != np.shape(given[name]):
                raise TrainingError(f'agent {agent!r}: observation {name!r} has shape {np.shape(given[name])}, '
                                    f'its observation_space says {tuple(part.shape)}')
