"""What is remembered of episodes, and the flat batch that an update learns from."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BOX = 'observation'
"""Name under which the observation of an environment with plain Box observations is filed."""

AGENT = 'own_agent'
"""Observation that tells agents apart that have networks of their own: 1 at its place in ``possible_agents``."""

MEMORY = 'own_memory'
"""Observation of actors that remember: what they themselves said to remember. It is not recorded."""


@dataclass(frozen=True, slots=True)
class Episode:
    """One whole episode of a team. S joint steps, N agents; row S is what was seen at the end.

    Attributes:
        seed: that reset the environment.
        observations: each Shape: (S + 1, N, ...).
        states: what the critic sees, None if the environment offers none. Shape: (S + 1, ...).
        actions: see ``Actions``. Shape: (S, N, ...).
        log_probabilities, rewards, elapsed: float32. Shape: (S, N).
        alive: the agent took part in that step. terminated: and its task ended with it. Shape: (S, N).
        metrics: numbers of the last info, with ``return`` (mean over agents) and ``steps``.
        potentials: for shaping, None if the environment offers none. Shape: (S + 1, N).
        ranks: of each agent among those of the team that it knows, by which policies break ties. Shape: (S + 1, N).
        targets: what the actor learns to foresee, None for nothing. Shape: (S + 1, N, ...).
    """

    seed: int
    observations: dict[str, NDArray]
    states: NDArray | None
    actions: NDArray
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
class Sequences:
    """All that each agent saw in its episodes while it took part, in order of time.

    Attributes:
        observations: each with zeros behind its end. Shape: (Q, T, ...).
        owner: sequence of each row of a batch. time: its place there. Shape: (M,).
    """

    observations: dict[str, Tensor]
    owner: Tensor
    time: Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """All that agents chose in some episodes in a row, in order of joint steps.

    Attributes:
        observations: each Shape: (M, ...).
        states: one per joint step, None without. Shape: (J, ...).
        step: joint step of each row, ascending. Shape: (M,).
        actions: Shape: (M, ...). log_probabilities, advantages, returns: Shape: (M,).
        targets: what the actor learns to foresee, None for nothing. Shape: (M, ...).
        sequences: of these rows, for actors that remember.
    """

    observations: dict[str, Tensor]
    states: Tensor | None
    step: Tensor
    actions: Tensor
    log_probabilities: Tensor
    advantages: Tensor
    returns: Tensor
    targets: Tensor | None = None
    sequences: Sequences | None = None

    def __len__(self) -> int:
        return len(self.actions)


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen in some episodes where it has to be valued, for one pass of the critic.

    Attributes:
        observations: each Shape: (R, ...).
        states: of the joint steps among them. Shape: (J, ...).
        step: row of states that belongs to each observation, ascending. Shape: (R,).
    """

    observations: dict[str, Tensor]
    states: Tensor | None
    step: Tensor


def choosing(episode: Episode, action_mask: str) -> NDArray[np.bool_]:
    """Where an agent had something to choose. Shape: (S, N).

    Args:
        action_mask: observation that marks allowed actions, '' if all always are.
    """
    if not action_mask:
        return episode.alive
    return episode.alive & episode.observations[action_mask][:-1].astype(bool).any(-1)


def valued(episode: Episode, choices: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where advantages need a value: at each choice, and where an agent was cut off. Shapes: (S, N) -> (S + 1, N)."""
    nobody = np.zeros_like(choices[:1])
    cut_off = episode.alive & ~episode.terminated & ~np.concatenate((episode.alive[1:], nobody))
    return np.concatenate((choices, nobody)) | np.concatenate((nobody, cut_off))


def seen(episodes: Sequence[Episode], wanted: Sequence[NDArray[np.bool_]]) -> Seen:
    """Put observations and states of episodes in a row. Shape of each of ``wanted``: (S + 1, N)."""
    observations = {name: torch.from_numpy(np.concatenate([
        episode.observations[name][rows] for episode, rows in zip(episodes, wanted, strict=True)]))
        for name in episodes[0].observations}
    used = [rows.any(axis=1) for rows in wanted]
    states = None
    if episodes[0].states is not None:
        states = torch.from_numpy(np.concatenate([
            episode.states[steps] for episode, steps in zip(episodes, used, strict=True)]))
    per_step = np.concatenate([rows.sum(axis=1)[steps] for rows, steps in zip(wanted, used, strict=True)])
    return Seen(observations, states, torch.from_numpy(np.repeat(np.arange(len(per_step)), per_step)))


def spread(values: NDArray[np.float32], wanted: Sequence[NDArray[np.bool_]]) -> list[NDArray[np.float32]]:
    """Values of rows in a row, back where they are from; 0 elsewhere. Shapes: (R,) -> (S + 1, N) each."""
    result = [np.zeros(rows.shape, np.float32) for rows in wanted]
    edges = np.cumsum([rows.sum() for rows in wanted])[:-1]
    for array, rows, part in zip(result, wanted, np.split(values, edges), strict=True):
        array[rows] = part
    return result


def batch(episodes: Sequence[Episode], flat: Seen, wanted: Sequence[NDArray[np.bool_]],
          choices: Sequence[NDArray[np.bool_]], values: Sequence[NDArray[np.float32]],
          advantages: Sequence[NDArray[np.float32]]) -> Batch:
    """Keep the rows in which an agent had something to choose.

    Args:
        episodes: in the order of ``flat``. flat: from ``seen``.
        wanted: rows of ``flat``. Shapes: (S + 1, N).
        choices: where agents had something to choose. Shapes: (S, N).
        values: of each episode's observations. Shapes: (S + 1, N).
        advantages: of each episode. Shapes: (S, N).
    """
    def chosen(arrays: Sequence[NDArray]) -> Tensor:
        return torch.from_numpy(np.concatenate([array[:len(rows)][rows] for array, rows in zip(arrays, choices,
                                                                                               strict=True)]))

    keep = chosen_rows(wanted, choices)
    gained = chosen(advantages)
    return Batch({name: rows[keep] for name, rows in flat.observations.items()}, flat.states, flat.step[keep],
                 chosen([episode.actions for episode in episodes]),
                 chosen([episode.log_probabilities for episode in episodes]), gained, gained + chosen(values),
                 None if episodes[0].targets is None else chosen([episode.targets for episode in episodes]))


def sequences(episodes: Sequence[Episode], choices: Sequence[NDArray[np.bool_]]) -> Sequences:
    """What an actor that remembers learns from. Shape of each of ``choices``, the rows of a batch: (S, N)."""
    agents = [(episode, agent) for episode in episodes for agent in range(episode.alive.shape[1])]
    steps = [np.flatnonzero(episode.alive[:, agent]) for episode, agent in agents]
    observations = {}
    for name, rows in episodes[0].observations.items():
        padded = np.zeros((len(agents), max(map(len, steps)), *rows.shape[2:]), rows.dtype)
        for sequence, (episode, agent), taken in zip(padded, agents, steps, strict=True):
            sequence[:len(taken)] = episode.observations[name][taken, agent]
        observations[name] = torch.from_numpy(padded)
    before = np.cumsum([0, *(episode.alive.shape[1] for episode in episodes)])
    owner = [first + chosen.nonzero()[1] for first, chosen in zip(before[:-1], choices, strict=True)]
    time = [(episode.alive.cumsum(axis=0) - 1)[chosen] for episode, chosen in zip(episodes, choices, strict=True)]
    return Sequences(observations, torch.from_numpy(np.concatenate(owner)), torch.from_numpy(np.concatenate(time)))


def chosen_rows(wanted: Sequence[NDArray[np.bool_]], choices: Sequence[NDArray[np.bool_]]) -> Tensor:
    """Which rows of ``seen`` are choices. Shapes: (S + 1, N), (S, N) -> (R,)."""
    return torch.from_numpy(np.concatenate([
        np.concatenate((chosen, np.zeros_like(chosen[:1])))[rows]
        for rows, chosen in zip(wanted, choices, strict=True)]))
