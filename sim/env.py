"""Exploration for reinforcement learning: a PettingZoo parallel environment over any Host.

All robots decide together; a step lasts until they decide again, so rewards and ``infos[..]['elapsed']`` are those
of a semi-Markov decision process.
"""

from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from pettingzoo import ParallelEnv

from marl_core.config import from_mapping
from marl_core.errors import SimulationError
from marl_core.specs import HOLD, MAX_CANDIDATES, MAX_TEAM, OBSERVATION, ArraySpec
from sim.hosts import FastHost, Host
from sim.pictures import PIXELS, Plane, colour_image, state_image
from sim.tasks.exploration import TRAINING_SEEDS, Episode, ExplorationTask, base_progress

Observations = dict[str, dict[str, NDArray[np.generic]]]


class ExplorationEnv(ParallelEnv[str, dict[str, NDArray[np.generic]], int]):
    """Robots explore an unknown world; an action is the index of a candidate.

    The seed of ``reset`` draws the whole episode, see ``ExplorationTask.sample``; without one a training seed is
    drawn. An action whose ``candidate_mask`` is False is replaced by the base rule's choice and counted.

    An agent without a candidate has nothing to choose: where robots decide for themselves, it is on its way.

    The infos of every agent hold, of the team: ``elapsed`` (way since the last decision [m]), ``coverage`` [0..1],
    ``makespan_m`` and ``makespan_s`` (when 99 % were reached, inf before), ``makespan_95_s``, ``complete``,
    ``potential`` (see ``base_progress``), ``reference_m``, ``team_travelled_m``, ``least_travelled_m`` and
    ``most_travelled_m`` (of one robot), ``team_revealed_m2`` and ``alone_m2`` (the part of it that one robot alone saw
    between two decisions), where whole agents play ``bytes_per_robot`` and ``collisions``; and of the agent:
    ``travelled_m``, ``revealed_m2``, ``revealed_alone_m2``, ``own_rank`` (how many of the teammates that it heard come
    before it), ``invalid_actions`` and, where the host measures it, ``hidden_m2`` (see FastExploration).

    Attributes:
        task: draws episodes and gives rewards.
        episode: what is being played.
    """

    metadata: ClassVar[dict[str, Any]] = {'name': 'exploration_v1', 'render_modes': ['rgb_array'],
                                          'is_parallelizable': True, 'render_fps': 5}

    def __init__(self, task: ExplorationTask | dict[str, Any] | None = None, robots: int | None = 4,
                 host: Host | None = None, render_mode: str | None = None) -> None:
        """Build an environment for teams of one size, or of drawn sizes.

        Args:
            task: or overrides of its defaults.
            robots: size of the team; None: drawn by the task for every episode, ``agents`` varies then.
            host: plays episodes out, a FastHost if None.
            render_mode: None or ``rgb_array``.

        Raises:
            ConfigError: unknown or wrong overrides of the task.
            SimulationError: more robots than MAX_TEAM, or an unknown render mode.
        """
        if robots is not None and not 1 <= robots <= MAX_TEAM:
            raise SimulationError(f'1 to {MAX_TEAM} robots can explore, asked for {robots}')
        if render_mode not in (None, *self.metadata['render_modes']):
            raise SimulationError(f'render_mode must be None or rgb_array, got {render_mode!r}')
        self.task = task if isinstance(task, ExplorationTask) else from_mapping(ExplorationTask, task or {}, 'task')
        self.host: Host = host or FastHost()
        self.render_mode = render_mode
        self.robots = robots
        self.possible_agents = [f'robot_{index}' for index in range(robots or self.task.largest_team)]
        self.agents: list[str] = []
        self.episode: Episode | None = None
        self.state_space = spaces.Box(0.0, float(MAX_TEAM), (len(Plane), PIXELS, PIXELS), np.float32)
        self._observation_spaces = {agent: observation_space() for agent in self.possible_agents}
        self._action_spaces = {agent: spaces.Discrete(MAX_CANDIDATES) for agent in self.possible_agents}
        self._rng = np.random.default_rng()
        self._invalid_actions = np.zeros(0, np.int64)
        self._revealed_m2 = np.zeros((2, 0))

    def observation_space(self, agent: str) -> spaces.Dict:
        """Arrays of ``specs.OBSERVATION``, padded to MAX_CANDIDATES and MAX_TEAM."""
        return self._observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Discrete:
        """Index of a candidate."""
        return self._action_spaces[agent]

    def reset(self, seed: int | None = None,
              options: dict[str, Any] | None = None) -> tuple[Observations, dict[str, dict[str, Any]]]:
        """Begin the episode of a seed.

        Args:
            seed: see ``ExplorationTask.sample``; None draws one to train on.
            options: ``{'episode': Episode}`` plays that one instead; anything else in it is ignored.

        Raises:
            WorldError: the world has no room for the team.
            SimulationError: an episode for more robots than this environment has.
        """
        if seed is None:
            seed = int(self._rng.integers(TRAINING_SEEDS.start, TRAINING_SEEDS.stop))
        else:
            self._rng = np.random.default_rng(seed)
        given = (options or {}).get('episode')
        self.episode = given or self.task.sample(seed, self.robots)
        if self.episode.robots > len(self.possible_agents):
            raise SimulationError(f'the episode is for {self.episode.robots} robots, '
                                  f'the environment for at most {len(self.possible_agents)}')
        self.host.reset(self.episode)
        self.agents = self.possible_agents[:self.episode.robots]
        self._revealed_m2 = np.zeros((2, self.episode.robots))
        self._invalid_actions = np.zeros(self.episode.robots, np.int64)
        return self._observe(), self._infos(0.0)

    def step(self, actions: dict[str, int]) -> tuple[Observations, dict[str, float], dict[str, bool],
                                                     dict[str, bool], dict[str, dict[str, Any]]]:
        """Let all robots go where they chose until they decide again.

        Raises:
            SimulationError: before ``reset``, after the episode's end, or without an action for every agent.
        """
        if self.episode is None or not self.agents:
            raise SimulationError('step before reset, or after the end of an episode')
        missing = [agent for agent in self.agents if agent not in actions]
        if missing:
            raise SimulationError(f'no action for {", ".join(missing)}')
        outcome = self.host.step(self._choices(actions))
        self._revealed_m2 += outcome.revealed_m2, outcome.revealed_alone_m2
        progress = self.host.progress()
        complete = bool(np.isfinite(progress.milestones_s[-1]))
        earned = self.task.rewards(self.episode, outcome.elapsed_m, outcome.revealed_alone_m2, complete)
        rewards = {agent: float(reward) for agent, reward in zip(self.agents, earned, strict=True)}
        terminations = dict.fromkeys(self.agents, outcome.done)
        truncations = dict.fromkeys(self.agents, progress.out_of_time and not outcome.done)
        observations, infos = self._observe(), self._infos(outcome.elapsed_m)
        if outcome.done or progress.out_of_time:
            self.agents = []
        return observations, rewards, terminations, truncations, infos

    def state(self) -> NDArray[np.float32]:
        """What a centralized critic may see, the true map included. Shape: (5, 48, 48), see ``Plane``."""
        seen = self.host.snapshot()
        return state_image(seen.free, seen.known, seen.cells, seen.goals)

    def render(self) -> NDArray[np.uint8] | None:
        """The map as a picture, None without a render mode. Shape: (height, width, 3)."""
        if self.render_mode is None:
            return None
        seen = self.host.snapshot()
        return colour_image(seen.free, seen.known, seen.cells, seen.goals)

    def close(self) -> None:
        """Nothing to release."""

    def _choices(self, actions: dict[str, int]) -> NDArray[np.int64]:
        """Actions as choices; what is no candidate becomes the base rule's choice."""
        mask, logits = self.host.observations['candidate_mask'], self.host.observations['base_logits']
        choices = np.full(len(self.agents), HOLD, np.int64)
        for row, agent in enumerate(self.agents):
            action = int(actions[agent])
            if not mask[row].any():
                continue
            if not (0 <= action < MAX_CANDIDATES and mask[row, action]):
                action = int(np.argmax(np.where(mask[row], logits[row], -np.inf)))
                self._invalid_actions[row] += 1
            choices[row] = action
        return choices

    def _observe(self) -> Observations:
        arrays = {spec.name: self.host.observations[spec.name].copy() for spec in OBSERVATION}
        return {agent: {name: array[row] for name, array in arrays.items()} for row, agent in enumerate(self.agents)}

    def _infos(self, elapsed_m: float) -> dict[str, dict[str, Any]]:
        progress = self.host.progress()
        makespan_s = float(progress.milestones_s[-1])
        shared = {
            'elapsed': elapsed_m,
            'coverage': progress.coverage,
            'makespan_s': makespan_s,
            'makespan_m': makespan_s * progress.elapsed_m / progress.elapsed_s if progress.elapsed_s else makespan_s,
            'makespan_95_s': float(progress.milestones_s[-2]),
            'complete': makespan_s < np.inf,
            'potential': base_progress(progress.coverage),
            'reference_m': self.episode.reference_m,
            'team_travelled_m': float(progress.travelled_m.sum()),
            'least_travelled_m': float(progress.travelled_m.min()),
            'most_travelled_m': float(progress.travelled_m.max()),
            'team_revealed_m2': progress.coverage * self.episode.area_m2,
            'alone_m2': float(self._revealed_m2[1].sum()),
        }
        if progress.bytes_sent is not None:
            shared |= {'bytes_per_robot': float(progress.bytes_sent.mean()), 'collisions': progress.collisions}
        infos = {agent: shared | {'travelled_m': float(progress.travelled_m[row]),
                                  'revealed_m2': float(self._revealed_m2[0, row]),
                                  'revealed_alone_m2': float(self._revealed_m2[1, row]),
                                  'own_rank': int(self.host.own_ranks[row]),
                                  'invalid_actions': int(self._invalid_actions[row])}
                 for row, agent in enumerate(self.agents)}
        if self.host.hidden_m2 is not None:
            for row, agent in enumerate(self.agents):
                infos[agent]['hidden_m2'] = self.host.hidden_m2[row].copy()
        return infos


def observation_space() -> spaces.Dict:
    """The space of one agent's observations."""
    return spaces.Dict({spec.name: _box(spec) for spec in OBSERVATION})


def _box(spec: ArraySpec) -> spaces.Box:
    sizes = {'K': MAX_CANDIDATES, 'T': MAX_TEAM}
    shape = tuple(sizes.get(size, size) if isinstance(size, str) else size for size in spec.shape)
    if spec.dtype == 'bool':
        return spaces.Box(0, 1, shape, np.bool_)
    # Padding is zero, which a bound such as the least sensor range need not allow.
    return spaces.Box(min(0.0, spec.low), spec.high, shape, np.dtype(spec.dtype).type)
