"""What checkpoints and weights are chosen by while learning; sim.evaluation is for claims."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

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


def log_ratios(ours: ArrayLike, theirs: ArrayLike, limit: float = 0.4) -> NDArray[np.float64]:
    """Logarithm of ours / theirs, clipped, so that one stuck episode does not decide a comparison.

    An episode that only one of the two finished counts as ``limit`` in favour of that one, one that neither
    finished as 0. Shapes: any that broadcast.
    """
    ours, theirs = (np.clip(np.asarray(values, np.float64), 1e-9, 1e18) for values in (ours, theirs))
    return np.clip(np.log(ours / theirs), -limit, limit)
