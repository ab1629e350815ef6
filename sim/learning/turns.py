"""Environments in turns (PettingZoo's AEC) whose agents see what they see only once all have acted."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pettingzoo import AECEnv
from pettingzoo.utils.conversions import aec_to_parallel_wrapper


class AtOnce(aec_to_parallel_wrapper):
    """Plays as PettingZoo's own conversion does, in half the time.

    That one asks every agent three times per step what it sees: before its turn, at the end, and for the state, which
    in the environments of mpe2 is all that agents see in a row.
    """

    def __init__(self, environment: AECEnv) -> None:
        """``environment``: without wrappers that check each use of it."""
        super().__init__(environment)
        self.seen: dict[str, NDArray] = {}

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict[str, Any], ...]:
        """See ParallelEnv."""
        self.seen, infos = super().reset(seed, options)
        return dict(self.seen), infos

    def step(self, actions: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
        """See ParallelEnv."""
        environment = self.aec_env
        for agent in self.agents:
            environment.step(actions[agent])
        self.seen |= {agent: environment.observe(agent) for agent in self.agents}
        told = [dict(part) for part in (environment.rewards, environment.terminations, environment.truncations,
                                        environment.infos)]
        while environment.agents and (environment.terminations[environment.agent_selection]
                                      or environment.truncations[environment.agent_selection]):
            environment.step(None)
        observations, self.agents = {agent: self.seen[agent] for agent in self.agents}, environment.agents[:]
        return observations, *told

    def state(self) -> NDArray:
        """What all agents see, in a row."""
        return np.concatenate([self.seen[agent] for agent in self.possible_agents])
