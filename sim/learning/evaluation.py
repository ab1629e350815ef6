"""What checkpoints and weights are chosen by while learning; sim.evaluation is for claims."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from marl_core.errors import TrainingError
from sim.learning.buffer import Episode


def scores(episodes: Sequence[Episode], metric: str) -> list[float]:
    """One metric of each episode.

    Raises:
        TrainingError: the environment does not report it; names what it reports.
    """
    missing = [episode for episode in episodes if metric not in episode.metrics]
    if missing:
        raise TrainingError(f'no metric {metric!r} in the last info of an episode; '
                            f'there are: {", ".join(sorted(missing[0].metrics))}')
    return [episode.metrics[metric] for episode in episodes]


def log_ratios(ours: Sequence[float], theirs: Sequence[float], limit: float = 0.4) -> NDArray[np.float64]:
    """Logarithm of ours / theirs per episode, clipped, so that one stuck episode does not decide a comparison.

    An episode that only one of the two finished counts as ``limit`` in favour of that one, one that neither
    finished as 0.
    """
    pairs = np.clip(np.array([ours, theirs], dtype=np.float64), 1e-9, 1e18)
    return np.clip(np.log(pairs[0] / pairs[1]), -limit, limit)
