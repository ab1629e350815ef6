"""What is remembered of episodes, and the flat batch that an update learns from."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BOX = 'observation'
"""Name under which the observation of an environment with plain Box observations is filed."""


@dataclass(frozen=True, slots=True)
class Episode:
    """One whole episode of a team. S joint steps, N agents; row S is what was seen at the end.

    Attributes:
        seed: that reset the environment.
        observations: each Shape: (S + 1, N, ...).
        states: what the critic sees, None if the environment offers none. Shape: (S + 1, ...).
        actions: int64. log_probabilities, rewards, elapsed: float32. Shape: (S, N).
        alive: the agent took part in that step. terminated: and its task ended with it. Shape: (S, N).
        metrics: numbers of the last info, with ``return`` (mean over agents) and ``steps``.
        potentials: for shaping, None if the environment offers none. Shape: (S + 1, N).
        ranks: of each agent among those of the team that it knows, by which policies break ties. Shape: (S + 1, N).
        targets: what the actor learns to foresee, None for nothing. Shape: (S + 1, N, ...).
    """

    seed: int
    observations: dict[str, NDArray]
    states: NDArray | None
    actions: NDArray[np.int64]
    log_probabilities: NDArray[np.float32]
    rewards: NDArray[np.float32]
    elapsed: NDArray[np.float32]
    alive: NDArray[np.bool_]
    terminated: NDArray[np.bool_]
    metrics: dict[str, float]
    potentials: NDArray[np.float32] | None = None
    ranks: NDArray[np.int64] | None = None
    targets: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """All that agents did in some episodes in a row, in order of joint steps.

    Attributes:
        observations: each Shape: (M, ...).
        states: one per joint step, None without. Shape: (J, ...).
        step: joint step of each row, ascending. Shape: (M,).
        actions, log_probabilities, advantages, returns: Shape: (M,).
        choosing: there was something to choose; elsewhere an agent was on its way while another decided, and its
            action means nothing. Shape: (M,).
        targets: what the actor learns to foresee, None for nothing. Shape: (M, ...).
    """

    observations: dict[str, Tensor]
    states: Tensor | None
    step: Tensor
    actions: Tensor
    log_probabilities: Tensor
    advantages: Tensor
    returns: Tensor
    choosing: Tensor
    targets: Tensor | None = None

    def __len__(self) -> int:
        return len(self.actions)


@dataclass(frozen=True, slots=True)
class Seen:
    """Everything that was seen in some episodes, for one pass of the critic.

    Attributes:
        observations: each Shape: (R, ...) for R = sum of (S + 1) * N rows.
        states: Shape: (sum of S + 1, ...). step: row of states that belongs to each observation. Shape: (R,).
    """

    observations: dict[str, Tensor]
    states: Tensor | None
    step: Tensor


def seen(episodes: Sequence[Episode]) -> Seen:
    """Flatten observations and states of episodes, ends included."""
    observations = {name: torch.from_numpy(np.concatenate([
        episode.observations[name].reshape((-1,) + episode.observations[name].shape[2:]) for episode in episodes]))
        for name in episodes[0].observations}
    states = None
    if episodes[0].states is not None:
        states = torch.from_numpy(np.concatenate([episode.states for episode in episodes]))
    steps, start = [], 0
    for episode in episodes:
        count, agents = episode.actions.shape[0] + 1, episode.actions.shape[1]
        steps.append(np.repeat(np.arange(start, start + count), agents))
        start += count
    return Seen(observations, states, torch.from_numpy(np.concatenate(steps)))


def choosing(episode: Episode, action_mask: str) -> NDArray[np.bool_]:
    """Where an agent had something to choose. Shape: (S, N).

    Args:
        action_mask: observation that marks allowed actions, '' if all always are.
    """
    if not action_mask:
        return episode.alive
    return episode.alive & episode.observations[action_mask][:-1].astype(bool).any(-1)


def present(episodes: Sequence[Episode]) -> NDArray[np.bool_]:
    """Which rows of ``seen`` are of agents that took part in a step. Shape: (R,)."""
    return np.concatenate([
        np.concatenate((episode.alive, np.zeros_like(episode.alive[:1]))).ravel() for episode in episodes])


def batch(episodes: Sequence[Episode], flat: Seen, values: Sequence[NDArray[np.float32]],
          advantages: Sequence[NDArray[np.float32]], choices: Sequence[NDArray[np.bool_]]) -> Batch:
    """Keep the rows in which an agent took part.

    Args:
        episodes: in the order of ``flat``. flat: from ``seen``.
        values: of each episode's observations. Shapes: (S + 1, N).
        advantages: of each episode. Shapes: (S, N).
        choices: where agents had something to choose. Shapes: (S, N).
    """
    keep = torch.from_numpy(present(episodes))

    def kept(arrays: Sequence[NDArray]) -> Tensor:
        return torch.from_numpy(np.concatenate([array[episode.alive] for array, episode in zip(arrays, episodes,
                                                                                               strict=True)]))

    returns = [advantage + value[:-1] for advantage, value in zip(advantages, values, strict=True)]
    return Batch({name: rows[keep] for name, rows in flat.observations.items()}, flat.states, flat.step[keep],
                 kept([episode.actions for episode in episodes]),
                 kept([episode.log_probabilities for episode in episodes]), kept(advantages), kept(returns),
                 kept(choices),
                 None if episodes[0].targets is None else kept([episode.targets[:-1] for episode in episodes]))
