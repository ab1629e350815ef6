"""Agents that see or do different things, made alike, so that one learner can learn for all of them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from pettingzoo import ParallelEnv

from marl_core.errors import TrainingError
from sim.learning.actions import Discrete, kind_of
from sim.learning.buffer import BOX

ACTION_MASK = 'action_mask'


class Padded(ParallelEnv):
    """An environment whose observations are flat and padded with zeros, and whose actions are padded, too.

    Discrete actions that an agent does not have are marked in the observation ``action_mask``; what it says in
    dimensions of continuous actions that it does not have is ignored. Agents that have different tasks should have
    weights of their own (``separate``), since nothing else tells them apart.
    """

    def __init__(self, environment: ParallelEnv) -> None:
        """``environment``: any whose actions are all discrete or all continuous.

        Raises:
            TrainingError: it is another one.
        """
        self.environment, self.metadata = environment, environment.metadata
        self.possible_agents = environment.possible_agents
        self.kinds = {agent: kind_of(environment.action_space(agent)) for agent in self.possible_agents}
        if len({type(kind) for kind in self.kinds.values()}) > 1:
            raise TrainingError('some agents have discrete, others continuous actions; only one kind can be learnt')
        self.size = max(spaces.flatdim(environment.observation_space(agent)) for agent in self.possible_agents)
        self.masks: dict[str, NDArray[np.int8]] = {}
        most = max(kind.outputs for kind in self.kinds.values())
        if isinstance(self.kinds[self.possible_agents[0]], Discrete):
            self.masks = {agent: (np.arange(most) < kind.outputs).astype(np.int8) for agent, kind in self.kinds.items()}
        # Each agent's own bounds are kept where its actions are sent on.
        self.actions = spaces.Discrete(most) if self.masks else spaces.Box(-np.inf, np.inf, (most // 2,))
        flat = spaces.Box(-np.inf, np.inf, (self.size,), np.float32)
        self.seen = spaces.Dict({BOX: flat, ACTION_MASK: spaces.MultiBinary(most)}) if self.masks else flat

    @property
    def agents(self) -> list[str]:
        """Who takes part now."""
        return self.environment.agents

    def observation_space(self, agent: str) -> spaces.Space:
        """The same for all agents."""
        return self.seen

    def action_space(self, agent: str) -> spaces.Space:
        """The same for all agents."""
        return self.actions

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict[str, Any], ...]:
        """See ParallelEnv."""
        observations, infos = self.environment.reset(seed=seed, options=options)
        return self._padded(observations), infos

    def step(self, actions: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
        """See ParallelEnv."""
        sent = {agent: self._sent(agent, np.asarray(action)) for agent, action in actions.items()}
        observations, *told = self.environment.step(sent)
        return self._padded(observations), *told

    def state(self) -> NDArray:
        """The environment's own."""
        return self.environment.state()

    def close(self) -> None:
        """See ParallelEnv."""
        self.environment.close()

    def _sent(self, agent: str, action: NDArray) -> Any:
        kind = self.kinds[agent]
        own = action[tuple(slice(size) for size in kind.shape)]
        return kind.sent(own[np.newaxis])[0]

    def _padded(self, observations: Mapping[str, Any]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for agent, observation in observations.items():
            flat = spaces.flatten(self.environment.observation_space(agent), observation)
            row = np.pad(flat.astype(np.float32), (0, self.size - len(flat)))
            result[agent] = {BOX: row, ACTION_MASK: self.masks[agent]} if self.masks else row
        return result
