"""Paired comparison with intervals. Worlds are what is drawn, so whole worlds are resampled, within their sets."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.learning.evaluation import Estimate, interquartile_mean

SAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Ratio:
    """One player against another over the same episodes.

    Attributes:
        mean: geometric mean of the ratios. iqm: the same of their middle half, which stuck episodes cannot move.
        better: part of the episodes in which the player needed less; ties count half.
        episodes: that both finished. lost: that only the other one finished. won: that only this one did.
    """

    mean: Estimate
    iqm: Estimate
    better: Estimate
    episodes: int
    lost: int
    won: int


@dataclass(frozen=True, slots=True)
class Stratum:
    """Paired results of one set. Shapes: (E,) each; NaN where an episode was not finished."""

    ours: Sequence[float]
    theirs: Sequence[float]
    worlds: Sequence[int]


def compare(strata: Sequence[Stratum], seed: int = 0) -> Ratio | None:
    """Stratified cluster bootstrap (Davison and Hinkley 1997, 3.8) of the ratios ours / theirs; sets count by episodes.

    Returns:
        None if no episode was finished by both.
    """
    logs, clusters, lost, won = [], [], 0, 0
    for stratum in strata:
        pairs = np.array([stratum.ours, stratum.theirs], np.float64)
        is_done = np.isfinite(pairs) & (pairs > 0.0)
        both = is_done.all(axis=0)
        lost += int((is_done[1] & ~is_done[0]).sum())
        won += int((is_done[0] & ~is_done[1]).sum())
        logs.append(np.log(pairs[0, both] / pairs[1, both]))
        clusters.append(np.asarray(stratum.worlds)[both])
    values = np.concatenate(logs) if logs else np.empty(0)
    if not values.size:
        return None
    random = np.random.default_rng(seed)
    draws = [np.concatenate([_resampled(part, worlds, random) for part, worlds in zip(logs, clusters, strict=True)])
             for _ in range(SAMPLES)]

    def estimate(statistic) -> Estimate:  # noqa: ANN001 (a local function of an array)
        spread = np.quantile([statistic(draw) for draw in draws], (0.025, 0.975))
        return Estimate(float(statistic(values)), *map(float, spread))

    return Ratio(estimate(lambda part: np.exp(part.mean())), estimate(lambda part: np.exp(interquartile_mean(part))),
                 estimate(lambda part: (part < 0.0).mean() + 0.5 * (part == 0.0).mean()), len(values), lost, won)


def _resampled(values: NDArray[np.float64], worlds: NDArray[np.int64], random: np.random.Generator) -> NDArray:
    names, place = np.unique(worlds, return_inverse=True)
    if len(names) == len(values):
        return values[random.integers(0, len(values), len(values))] if len(values) else values
    members = [np.flatnonzero(place == k) for k in range(len(names))]
    return values[np.concatenate([members[k] for k in random.integers(0, len(names), len(names))])]
