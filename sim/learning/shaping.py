"""Potential-based shaping of rewards (Ng, Harada & Russell 1999), for decisions that last differently long."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


def shaped(rewards: Array, potentials: Array, elapsed: Array, terminated: NDArray[np.bool_],
           alive: NDArray[np.bool_], discount: float, weight: float = 1.0) -> Array:
    """Rewards that tell of progress as it is made, and by which the same policies are best as before.

        reward + weight * (discount ** elapsed * potential(after) - potential(before)),

    with potential 0 where the task has ended. Along an episode the terms cancel: the discounted return changes by
    -weight * potential(start), which no decision can change. An episode that was cut off keeps the potential of its
    end, because the critic's value of that end, learnt from shaped rewards, lacks just as much.

    Args:
        rewards: Shape: (S, N) for S joint steps of N agents.
        potentials: before each step and after the last. Shape: (S + 1, N).
        elapsed: how long each decision lasted. terminated: the task ended with it. Shape: (S, N).
        alive: the agent took part in that step; elsewhere rewards stay as they are. Shape: (S, N).
        discount: per unit of time, 0..1. weight: scale of the potential.

    Returns:
        Shape: (S, N).
    """
    after = np.where(terminated, 0.0, discount ** elapsed * potentials[1:])
    return (rewards + np.where(alive, weight * (after - potentials[:-1]), 0.0)).astype(np.float32)
