"""Tiny environments whose best policy is known."""

import os
import signal
from contextlib import suppress

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv


class Matching(ParallelEnv):
    """Each of two agents sees a number and must answer it; one answer of four is forbidden at a time.

    Decisions last 1 or 2 units of time; the first agent leaves after 3 steps, the second after ``rounds``.
    """

    metadata = {'name': 'matching'}
    possible_agents = ['first', 'second']

    def __init__(self, mask: bool = True, rounds: int = 5):
        self.mask, self.rounds = mask, rounds
        self.agents = []

    def observation_space(self, agent):
        parts = {'observation': spaces.Box(0, 1, (4,), np.float32), 'base_logits': spaces.Box(-9, 9, (4,), np.float32)}
        return spaces.Dict(parts | ({'action_mask': spaces.MultiBinary(4)} if self.mask else {}))

    def action_space(self, agent):
        return spaces.Discrete(4)

    def reset(self, seed=None, options=None):
        self.random = np.random.default_rng(seed)
        self.agents = list(self.possible_agents)
        self.steps = 0
        self._draw()
        return self._observations(), {agent: {} for agent in self.agents}

    def step(self, actions):
        rewards = {agent: float(action == self.asked[agent]) for agent, action in actions.items()}
        for agent, action in actions.items():
            assert not self.mask or action != self.forbidden[agent], 'a forbidden action was taken'
        self.steps += 1
        ends = {agent: self.steps >= (3 if agent == 'first' else self.rounds) for agent in self.agents}
        infos = {agent: {'elapsed': 1.0 + self.steps % 2, 'makespan_s': 10.0 - rewards[agent]} for agent in self.agents}
        self._draw()
        observations = self._observations()
        truncations = {agent: ends[agent] and agent == 'second' for agent in self.agents}
        terminations = {agent: ends[agent] and agent == 'first' for agent in self.agents}
        self.agents = [agent for agent in self.agents if not ends[agent]]
        return observations, rewards, terminations, truncations, infos

    def state(self):
        image = np.zeros((2, 8, 8), np.float32)
        for place, agent in enumerate(self.possible_agents):
            image[place, self.asked[agent]] = 1.0
        return image

    def _draw(self):
        self.asked = {agent: int(self.random.integers(4)) for agent in self.possible_agents}
        self.forbidden = {agent: (self.asked[agent] + 1 + int(self.random.integers(3))) % 4
                          for agent in self.possible_agents}

    def _observations(self):
        result = {}
        for agent in self.agents:
            seen = {'observation': np.eye(4, dtype=np.float32)[self.asked[agent]],
                    'base_logits': np.array([2.0, 0.0, 0.0, 0.0], np.float32)}
            if self.mask:
                seen['action_mask'] = np.ones(4, np.int8)
                seen['action_mask'][self.forbidden[agent]] = 0
            result[agent] = seen
        return result


class Turns(Matching):
    """Only one agent is asked at a time: the other has nothing to choose, and is rewarded for nothing."""

    def step(self, actions):
        idle = actions.keys() - {self._asked()}
        observations, rewards, *rest = super().step(actions)
        return observations, rewards | dict.fromkeys(idle, 0.0), *rest

    def _asked(self):
        return 'first' if self.steps in (0, 2) else 'second'

    def _observations(self):
        result = super()._observations()
        for agent, seen in result.items():
            seen['action_mask'][:] = agent == self._asked()
        return result

    def _draw(self):
        super()._draw()
        self.forbidden = dict.fromkeys(self.possible_agents, -1)


class Climbing(Matching):
    """Every step leads one unit up, the second agent two."""

    def reset(self, seed=None, options=None):
        observations, infos = super().reset(seed, options)
        return observations, {agent: {'potential': 0.0} for agent in infos}

    def step(self, actions):
        *rest, infos = super().step(actions)
        return *rest, {agent: info | {'potential': self.steps * (1.0 if agent == 'first' else 2.0)}
                       for agent, info in infos.items()}


class Scattered(Matching):
    """Each agent has heard of no other."""

    def reset(self, seed=None, options=None):
        observations, infos = super().reset(seed, options)
        return observations, {agent: info | {'own_rank': 0} for agent, info in infos.items()}

    def step(self, actions):
        *rest, infos = super().step(actions)
        return *rest, {agent: info | {'own_rank': 0} for agent, info in infos.items()}


class Broken(Matching):
    """Breaks its word from a given step on."""

    def __init__(self, what):
        super().__init__()
        self.what = what

    def reset(self, seed=None, options=None):
        observations, infos = super().reset(seed, options)
        if self.what == 'shape':
            observations['second']['observation'] = np.zeros(5, np.float32)
        if self.what == 'name':
            observations['second']['smell'] = observations['second'].pop('observation')
        return observations, infos

    def step(self, actions):
        observations, rewards, *rest = super().step(actions)
        if self.what == 'reward' and self.steps == 2:
            rewards['second'] = np.nan
        if self.what == 'observation' and self.steps == 3:
            observations['second']['observation'][1] = np.inf
        if self.what == 'late shape' and self.steps == 2:
            observations['second']['observation'] = np.zeros(5, np.float32)
        if self.what == 'late name' and self.steps == 2:
            observations['second']['smell'] = observations['second'].pop('observation')
        if self.what == 'agent' and self.steps == 2:
            self.agents.append('third')
        return observations, rewards, *rest


class Deadly(Matching):
    """Takes its process with it in the middle of an episode; once, where a file remembers it."""

    def __init__(self, once=None):
        super().__init__()
        self.once = once

    def step(self, actions):
        if self.steps == 2 and self._dies():
            os.kill(os.getpid(), signal.SIGKILL)
        return super().step(actions)

    def _dies(self):
        with suppress(FileExistsError):
            if self.once is not None:
                open(self.once, 'x').close()
            return True
        return False


class Aiming(Matching):
    """Each of two agents sees a number from 1 to 3 and must answer it, as near as it can."""

    metadata = {'name': 'aiming'}

    def __init__(self, rounds=4):
        super().__init__(mask=False, rounds=rounds)

    def observation_space(self, agent):
        return spaces.Box(-1, 1, (1,), np.float32)

    def action_space(self, agent):
        return spaces.Box(1, 3, (1, 1), np.float32)

    def step(self, actions):
        for agent, action in actions.items():
            assert self.action_space(agent).contains(action), f'{action} is no action'
        asked = self.asked
        observations, _, *rest = super().step(dict.fromkeys(actions, 0))
        rewards = {agent: -abs(float(action[0, 0]) - asked[agent]) for agent, action in actions.items()}
        return observations, rewards, *rest

    def state(self):
        return np.array(list(self.asked.values()), np.float32)

    def _draw(self):
        super()._draw()
        self.asked = {agent: float(self.random.uniform(1, 3)) for agent in self.possible_agents}

    def _observations(self):
        return {agent: np.array([self.asked[agent] - 2], np.float32) for agent in self.agents}


class Recalling(ParallelEnv):
    """Each of two agents is told 0 or 1 at the first step; only its answer at its last step counts.

    The first agent leaves after 3 steps, the second after ``rounds``. In between, neither has anything to choose, if
    ``mask``; else what it says there does not matter.
    """

    metadata = {'name': 'recalling'}
    possible_agents = ['first', 'second']

    def __init__(self, rounds=4, mask=False):
        self.rounds, self.mask = {'first': 3, 'second': rounds}, mask
        self.agents = []

    def observation_space(self, agent):
        parts = {'observation': spaces.Box(-1, 1, (2,), np.float32)}
        return spaces.Dict(parts | ({'action_mask': spaces.MultiBinary(2)} if self.mask else {}))

    def action_space(self, agent):
        return spaces.Discrete(2)

    def reset(self, seed=None, options=None):
        random = np.random.default_rng(seed)
        self.agents, self.steps = list(self.possible_agents), 0
        self.told = {agent: int(random.integers(2)) for agent in self.agents}
        return self._observations(), {agent: {} for agent in self.agents}

    def step(self, actions):
        self.steps += 1
        ends = {agent: self.steps >= self.rounds[agent] for agent in self.agents}
        rewards = {agent: float(ends[agent] and action == self.told[agent]) for agent, action in actions.items()}
        infos = {agent: {} for agent in self.agents}
        self.agents = [agent for agent in self.agents if not ends[agent]]
        return self._observations(), rewards, ends, dict.fromkeys(ends, False), infos

    def _observations(self):
        result = {}
        for agent in self.agents:
            told = 2 * self.told[agent] - 1 if self.steps == 0 else 0
            last = self.steps == self.rounds[agent] - 1
            result[agent] = {'observation': np.array([told, last], np.float32)}
            if self.mask:
                result[agent]['action_mask'] = np.full(2, last, np.int8)
        return result


class Parting(Matching):
    """Two agents that see the same must answer differently: the first 0, the second 1. Both or neither is paid."""

    metadata = {'name': 'parting'}

    def __init__(self, rounds=3):
        super().__init__(mask=False, rounds=rounds)

    def step(self, actions):
        right = all(actions.get(agent, answer) == answer for answer, agent in enumerate(self.possible_agents))
        observations, _, *rest = super().step(actions)
        return observations, dict.fromkeys(actions, float(right)), *rest

    def _draw(self):
        self.asked = self.forbidden = dict.fromkeys(self.possible_agents, 0)
