"""Generalised advantage estimation for decisions that last differently long, the counterfactual alternative, and the
scale of advantages.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


def advantages(rewards: Array, values: Array, elapsed: Array, terminated: NDArray[np.bool_],
               alive: NDArray[np.bool_], choosing: NDArray[np.bool_], discount: float, trace: float) -> Array:
    """Advantages of what agents chose in a semi-Markov episode.

    A decision that took ``elapsed`` units of time discounts what follows by ``discount ** elapsed``, so that the
    return does not depend on how time is cut into decisions. ``trace`` (GAE's lambda) counts decisions: a step at
    which an agent has nothing to choose, because it is on its way while another decides, passes on all that follows.
    So what an agent's own decisions are worth does not depend on how many steps of others lie between them.

    Args:
        rewards: earned by each decision. Shape: (S, N) for S joint steps of N agents.
        values: of the observations before each step and after the last; those of steps without a choice are not
            looked at, see ``buffer.valued``. Shape: (S + 1, N).
        elapsed: how long each decision lasted. Shape: (S, N).
        terminated: the decision ended the agent's task for good: nothing follows. Shape: (S, N).
        alive: the agent took part in that step. Shape: (S, N). An agent that is gone at the next step without
            having terminated was cut off, and its last value stands for what would have followed.
        choosing: it had something to choose at that step. Shape: (S, N).
        discount: per unit of time, 0..1. trace: 0..1.

    Returns:
        Advantages, 0 where an agent did not choose. Shape: (S, N).
    """
    result = np.zeros_like(rewards, dtype=np.float32)
    following = values[-1]
    for step in range(rewards.shape[0] - 1, -1, -1):
        worth = np.where(terminated[step], 0.0, discount ** elapsed[step])
        earned = rewards[step] + worth * following
        surprise = earned - values[step]
        result[step] = np.where(choosing[step], surprise, 0.0)
        passed = np.where(choosing[step], values[step] + trace * surprise, earned)
        following = np.where(alive[step], passed, values[step])
    return result


def expected(values: Array, log_policy: Array) -> Array:
    """What a policy may expect where every action has a value. Shapes: (M, A), (M, A) -> (M,).

    Args:
        log_policy: logarithms of the probabilities of actions, forbidden ones far below.
    """
    return (np.exp(log_policy) * values).sum(axis=-1).astype(np.float32)


def counterfactual(values: Array, log_policy: Array, chosen: NDArray[np.int64]) -> Array:
    """How much better what an agent chose is than what its policy may expect (COMA, Foerster et al. 2018).

        values[chosen] - sum over actions a of probability(a) * values[a]

    What the rest of the team earned is in both terms and drops out, which says whose merit a shared reward is.

    Args:
        values: of every action. Shape: (M, A). log_policy: see ``expected``. chosen: Shape: (M,).

    Returns:
        Shape: (M,).
    """
    own = np.take_along_axis(values, chosen[:, np.newaxis], axis=-1)[:, 0]
    return (own - expected(values, log_policy)).astype(np.float32)


def standardised(values: Array, limit: float, robust: bool) -> Array:
    """Advantages centred, scaled to about one and clipped.

    The standard deviation of a batch in which one episode got stuck is that episode's: all others' advantages
    vanish. The robust way scales by half the distance between the 16th and 84th percentile, which equals the
    standard deviation of a normal distribution and ignores outliers, and clips these before taking the mean.

    Args:
        values: Shape: (M,). limit: largest magnitude of the result. robust: use percentiles.
    """
    if robust:
        low, high = np.percentile(values, (15.865, 84.135))
        middle, scale = np.median(values), (high - low) / 2
        centre = np.clip(values, middle - limit * scale, middle + limit * scale).mean()
    else:
        centre, scale = values.mean(), values.std()
    return np.clip((values - centre) / (scale + 1e-6), -limit, limit).astype(np.float32)
