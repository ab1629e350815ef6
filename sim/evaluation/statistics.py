"""Paired comparison with intervals. Worlds are what is drawn, so whole worlds are resampled, within their sets."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SAMPLES = 2000
"""Bootstrap resamples."""

Part = tuple[NDArray[np.float64], NDArray[np.int64]]
"""Values of a set, and the world of each. Shapes: (E,), (E,)."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f'{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]'


@dataclass(frozen=True, slots=True)
class Ratio:
    """One player against another over the same episodes.

    Attributes:
        mean: geometric mean of the ratios. iqm: the same of their middle half, which stuck episodes cannot move.
        better: part of the episodes in which the player needed less; ties count half.
        spread: standard deviation of the logarithm of single ratios.
        episodes: that both finished. lost: that only the other one finished. won: that only this one did.
    """

    mean: Estimate
    iqm: Estimate
    better: Estimate
    spread: Estimate
    episodes: int
    lost: int
    won: int


@dataclass(frozen=True, slots=True)
class Stratum:
    """Paired results of one set. Shapes: (E,) each; NaN where an episode was not finished."""

    ours: Sequence[float]
    theirs: Sequence[float]
    worlds: Sequence[int]


def compare(strata: Sequence[Stratum], samples: int = SAMPLES) -> Ratio | None:
    """Ratios ours / theirs of all sets together; sets count by their episodes.

    Returns:
        None if no episode was finished by both.
    """
    parts, lost, won = [], 0, 0
    for stratum in strata:
        pairs = np.array([stratum.ours, stratum.theirs], np.float64)
        is_done = np.isfinite(pairs) & (pairs > 0.0)
        both = is_done.all(axis=0)
        lost += int((is_done[1] & ~is_done[0]).sum())
        won += int((is_done[0] & ~is_done[1]).sum())
        parts.append((np.log(pairs[0, both] / pairs[1, both]), np.asarray(stratum.worlds)[both]))
    episodes = sum(values.size for values, _ in parts)
    if not episodes:
        return None
    return Ratio(*estimate(parts, (
        lambda logs: np.exp(np.nanmean(logs, axis=-1)), lambda logs: np.exp(interquartile_mean(logs)), _below,
        lambda logs: np.nanstd(logs, axis=-1)), samples), episodes, lost, won)


def estimate(parts: Sequence[Part], statistics: Sequence[Callable[[NDArray[np.float64]], NDArray[np.float64]]],
             samples: int = SAMPLES, seed: int = 0) -> list[Estimate]:
    """Statistics of all values, with stratified cluster bootstrap intervals (Davison and Hinkley 1997, 3.8).

    Args:
        parts: sets. statistics: of values along the last axis, whatever NaN there is among them.
        samples: bootstrap resamples. seed: of what is drawn.
    """
    random = np.random.default_rng(seed)
    draws = np.concatenate([_resampled(values, worlds, samples, random) for values, worlds in parts], axis=1)
    values = np.concatenate([values for values, _ in parts])
    return [Estimate(float(statistic(values)), *map(float, np.quantile(statistic(draws), (0.025, 0.975))))
            for statistic in statistics]


def interquartile_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of the middle half of what is not NaN along the last axis."""
    ordered = np.sort(values, axis=-1)  # NaN comes last
    count = np.isfinite(ordered).sum(axis=-1, keepdims=True)
    cut, place = count // 4, np.arange(ordered.shape[-1])
    return np.mean(ordered, axis=-1, where=(place >= cut) & (place < count - cut))


def _below(logs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Part of the values below 0; those at 0 count half."""
    return ((logs < 0.0).sum(axis=-1) + 0.5 * (logs == 0.0).sum(axis=-1)) / np.isfinite(logs).sum(axis=-1)


def _resampled(values: NDArray[np.float64], worlds: NDArray[np.int64], samples: int,
               random: np.random.Generator) -> NDArray[np.float64]:
    """Values of as many worlds as there are, drawn with replacement; NaN fills rows up. Shape: (samples, ...)."""
    _, place, counts = np.unique(worlds, return_inverse=True, return_counts=True)
    members = np.full((counts.size, counts.max(initial=0)), np.nan)
    order = np.argsort(place, kind='stable')
    members[place[order], np.arange(place.size) - np.repeat(np.cumsum(counts) - counts, counts)] = values[order]
    return members[random.integers(0, max(counts.size, 1), (samples, counts.size))].reshape(samples, -1)
