"""Kinds of actions: what an actor's outputs mean, in numpy while playing and in torch while learning.

Nothing else knows which kind it is. A new kind is one class here, and one line in ``kind_of``.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from math import log, pi, prod
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from pettingzoo import ParallelEnv
from torch import Tensor

from marl_core.errors import TrainingError

FORBIDDEN = -1e9
"""Logit of an action that must not be taken."""


class Actions(ABC):
    """How to choose, and how likely a choice is. B rows, one per decision.

    Attributes:
        outputs: numbers that an actor says of each decision.
        shape, dtype: of an action as it is recorded.
        action_mask: observation that marks allowed actions, '' if all always are.
    """

    outputs: int
    shape: tuple[int, ...]
    dtype: type[np.generic]
    action_mask: str = ''

    @abstractmethod
    def played(self, outputs: NDArray[np.float32], observations: Mapping[str, NDArray]) -> NDArray[np.float32]:
        """An actor's outputs as choices are made by them. Shape: (B, outputs), both."""

    @abstractmethod
    def noise(self, random: np.random.Generator | None, rows: int) -> NDArray[np.float64]:
        """What makes ``choose`` sample, or without ``random`` take what is best. Shape: (rows, ...)."""

    @abstractmethod
    def choose(self, outputs: NDArray[np.float32],
               noise: NDArray[np.float64]) -> tuple[NDArray, NDArray[np.float32]]:
        """Actions and the logarithms of their probabilities. Shapes: (B, *shape), (B,)."""

    @abstractmethod
    def sent(self, chosen: NDArray) -> Sequence[Any]:
        """What the environment is given for actions. Length: B."""

    @abstractmethod
    def policy(self, outputs: Tensor, observation: Mapping[str, Tensor]) -> Tensor:
        """Distributions that an actor plays, for the methods below. Shape: (B, outputs)."""

    @abstractmethod
    def log_probability(self, policy: Tensor, chosen: Tensor) -> Tensor:
        """Logarithms of the probabilities of actions, as ``choose`` gives them. Shape: (B,)."""

    @abstractmethod
    def entropy(self, policy: Tensor) -> Tensor:
        """How undecided each distribution is [nat]. Shape: (B,)."""


class Discrete(Actions):
    """One of so many actions. Outputs are logits, policies logarithms of probabilities."""

    shape, dtype = (), np.int64

    def __init__(self, count: int, action_mask: str = '', sharpness: float = 1.0, start: int = 0) -> None:
        """``sharpness``: factor on logits. ``start``: what the environment calls the first action."""
        self.outputs, self.action_mask, self.sharpness, self.start = count, action_mask, sharpness, start

    def played(self, outputs: NDArray[np.float32], observations: Mapping[str, NDArray]) -> NDArray[np.float32]:
        """See Actions."""
        logits = self.sharpness * outputs
        if self.action_mask:
            logits = np.where(observations[self.action_mask].astype(bool), logits, FORBIDDEN)
        return logits

    def noise(self, random: np.random.Generator | None, rows: int) -> NDArray[np.float64]:
        """See Actions. Gumbel noise makes the largest logit a sample of their softmax."""
        size = (rows, self.outputs)
        return np.zeros(size) if random is None else random.gumbel(size=size)

    def choose(self, outputs: NDArray[np.float32],
               noise: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """See Actions."""
        chosen = np.argmax(outputs + noise, axis=-1)
        shifted = outputs - outputs.max(axis=-1, keepdims=True)
        log_policy = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
        return chosen, log_policy[np.arange(len(chosen)), chosen]

    def sent(self, chosen: NDArray[np.int64]) -> list[int]:
        """See Actions."""
        return (chosen + self.start).tolist()

    def policy(self, outputs: Tensor, observation: Mapping[str, Tensor]) -> Tensor:
        """See Actions. Forbidden actions have probability 0."""
        logits = self.sharpness * outputs
        if self.action_mask:
            logits = torch.where(observation[self.action_mask].bool(), logits, FORBIDDEN)
        return torch.log_softmax(logits, dim=-1)

    def log_probability(self, policy: Tensor, chosen: Tensor) -> Tensor:
        """See Actions."""
        return policy.gather(-1, chosen.unsqueeze(-1)).squeeze(-1)

    def entropy(self, policy: Tensor) -> Tensor:
        """See Actions."""
        return -(policy.exp() * policy.clamp(min=-50.0)).sum(-1)

    def divergence(self, policy: Tensor, other: Tensor) -> Tensor:
        """KL(policy || other) of each pair of distributions over the same allowed actions [nat]. Shape: (B,)."""
        return (policy.exp() * (policy.clamp(min=-50.0) - other.clamp(min=-50.0))).sum(-1)


class Continuous(Actions):
    """Numbers within bounds. Outputs, and policies, are means and logarithms of standard deviations of Gaussians.

    They count in half widths from the middle of the bounds, so that networks need not know the bounds (where there are
    none, in units from 0). What is sent is clipped; what is recorded and learnt from is not, so that its probability is
    a Gaussian's.
    """

    dtype = np.float32

    def __init__(self, space: spaces.Box) -> None:
        self.space = space
        self.low, self.high = space.low.astype(np.float32).ravel(), space.high.astype(np.float32).ravel()
        bounded = np.isfinite(self.low) & np.isfinite(self.high)
        low, high = np.where(bounded, self.low, -1), np.where(bounded, self.high, 1)
        self.middle, self.half_width = ((low + high) / 2).astype(np.float32), ((high - low) / 2).astype(np.float32)
        self.shape = (prod(space.shape),)
        self.outputs = 2 * self.shape[0]

    def played(self, outputs: NDArray[np.float32], observations: Mapping[str, NDArray]) -> NDArray[np.float32]:
        """See Actions."""
        return outputs

    def noise(self, random: np.random.Generator | None, rows: int) -> NDArray[np.float64]:
        """See Actions."""
        size = (rows, *self.shape)
        return np.zeros(size) if random is None else random.standard_normal(size)

    def choose(self, outputs: NDArray[np.float32],
               noise: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """See Actions."""
        mean, log_deviation = np.split(outputs, 2, axis=-1)
        log_probability = -(0.5 * noise ** 2 + log_deviation + 0.5 * log(2 * pi)).sum(axis=-1)
        return (mean + np.exp(log_deviation) * noise).astype(np.float32), log_probability.astype(np.float32)

    def sent(self, chosen: NDArray[np.float32]) -> NDArray:
        """See Actions."""
        within = np.clip(self.middle + self.half_width * chosen, self.low, self.high)
        return within.astype(self.space.dtype).reshape(len(chosen), *self.space.shape)

    def policy(self, outputs: Tensor, observation: Mapping[str, Tensor]) -> Tensor:
        """See Actions."""
        return outputs

    def log_probability(self, policy: Tensor, chosen: Tensor) -> Tensor:
        """See Actions."""
        mean, log_deviation = policy.chunk(2, dim=-1)
        noise = (chosen - mean) * torch.exp(-log_deviation)
        return -(0.5 * noise ** 2 + log_deviation + 0.5 * log(2 * pi)).sum(-1)

    def entropy(self, policy: Tensor) -> Tensor:
        """See Actions."""
        return (policy.chunk(2, dim=-1)[1] + 0.5 * log(2 * pi) + 0.5).sum(-1)


def actions_of(environment: ParallelEnv, action_mask: str = '', sharpness: float = 1.0) -> Actions:
    """The kind of actions of an environment.

    Args:
        environment: see above. action_mask: observation that marks allowed actions, '' if all always are.
        sharpness: factor on the logits of discrete actions.

    Raises:
        TrainingError: actions that differ between agents, or of a kind that cannot be learnt.
    """
    space, *others = (environment.action_space(agent) for agent in environment.possible_agents)
    if any(other != space for other in others):
        raise TrainingError(f'agents must have the same actions, not {", ".join(map(str, (space, *others)))}; '
                            "environment 'padded' makes them alike")
    return kind_of(space, action_mask, sharpness)


def kind_of(space: spaces.Space, action_mask: str = '', sharpness: float = 1.0) -> Actions:
    """The kind of the actions of a space, see ``actions_of``."""
    if isinstance(space, spaces.Discrete):
        return Discrete(int(space.n), action_mask, sharpness, int(space.start))
    if not isinstance(space, spaces.Box):
        raise TrainingError(f'actions of {space} cannot be learnt; only those of a Discrete or a Box can')
    if action_mask:
        raise TrainingError(f"action_mask {action_mask!r}: continuous actions cannot be masked; set it to ''")
    return Continuous(space)
