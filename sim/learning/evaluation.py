"""Comparing policies on the same worlds and starts, with intervals that say how sure the difference is."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from marl_core.errors import TrainingError
from sim.learning.buffer import Episode


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f'{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]'


@dataclass(frozen=True, slots=True)
class Comparison:
    """One policy against the baseline, over the same episodes.

    Attributes:
        policy, baseline, metric: names.
        episodes: that both finished (metric finite and positive).
        dropped: that one of them did not finish.
        mean, iqm: of the policy's metric; iqm is the mean of the middle half, which a few stuck episodes
            cannot move.
        ratio: geometric mean of policy / baseline, episode by episode.
        iqm_ratio: the same over the middle half of the ratios.
        better: part of the episodes in which the policy's metric is below the baseline's.
    """

    policy: str
    baseline: str
    metric: str
    episodes: int
    dropped: int
    mean: Estimate
    iqm: Estimate
    ratio: Estimate
    iqm_ratio: Estimate
    better: float


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


def compare(policy: str, baseline: str, metric: str, ours: Sequence[float], theirs: Sequence[float],
            samples: int = 2000, seed: int = 0) -> Comparison:
    """Compare two policies that played the same episodes in the same order.

    Args:
        policy, baseline, metric: names. ours, theirs: the metric of each episode, positive, lower is better.
        samples: bootstrap resamples of episodes. seed: of the resampling.

    Raises:
        TrainingError: lengths differ, or no episode was finished by both.
    """
    if len(ours) != len(theirs):
        raise TrainingError(f'{policy} played {len(ours)} episodes, {baseline} {len(theirs)}: not paired')
    pairs = np.array([ours, theirs], dtype=np.float64)
    done = np.isfinite(pairs).all(axis=0) & (pairs > 0).all(axis=0)
    if not done.any():
        raise TrainingError(f'no episode has a positive {metric} under both {policy} and {baseline}')
    own, log_ratio = pairs[0, done], np.log(pairs[0, done] / pairs[1, done])
    draws = np.random.default_rng(seed).integers(0, len(own), (samples, len(own)))

    def estimate(values: NDArray, middle: bool, logarithm: bool = False) -> Estimate:
        centre = interquartile_mean if middle else (lambda rows: rows.mean(axis=-1))
        resampled = np.quantile(centre(values[draws]), (0.025, 0.975))
        numbers = np.array([centre(values), *resampled])
        return Estimate(*(float(number) for number in (np.exp(numbers) if logarithm else numbers)))

    return Comparison(policy, baseline, metric, len(own), int((~done).sum()), estimate(own, False),
                      estimate(own, True), estimate(log_ratio, False, True), estimate(log_ratio, True, True),
                      float((log_ratio < 0).mean()))


def log_ratios(ours: Sequence[float], theirs: Sequence[float], limit: float = 0.4) -> NDArray[np.float64]:
    """Logarithm of ours / theirs per episode, clipped, so that one stuck episode does not decide a comparison.

    An episode that only one of the two finished counts as ``limit`` in favour of that one, one that neither
    finished as 0.
    """
    pairs = np.clip(np.array([ours, theirs], dtype=np.float64), 1e-9, 1e18)
    return np.clip(np.log(pairs[0] / pairs[1]), -limit, limit)


def interquartile_mean(values: NDArray) -> NDArray:
    """Mean of the middle half along the last axis."""
    ordered = np.sort(values, axis=-1)
    count = ordered.shape[-1]
    cut = count // 4
    return ordered[..., cut:count - cut].mean(axis=-1)


def table(comparisons: Sequence[Comparison]) -> str:
    """Comparisons as text, one line each."""
    if not comparisons:
        return 'nothing was compared'
    first = comparisons[0]
    lines = [f'{first.metric}, {first.episodes} paired episodes per line, 95 % bootstrap intervals; '
             f'ratios to {first.baseline}, below 1 is better',
             f'{"policy":<14} {"mean":>26} {"ratio":>22} {"IQM of ratios":>22} {"better":>7} {"dropped":>8}']
    lines += [f'{row.policy:<14} {row.mean!s:>26} {row.ratio!s:>22} {row.iqm_ratio!s:>22} '
              f'{100 * row.better:>5.0f} % {row.dropped:>8}' for row in comparisons]
    return '\n'.join(lines)


def write(path: str | Path, comparisons: Sequence[Comparison], about: Mapping[str, object]) -> None:
    """Write comparisons as JSON, with what was played (``about``)."""
    content = {**about, 'comparisons': [asdict(row) for row in comparisons]}
    Path(path).write_text(json.dumps(content, indent=2) + '\n', encoding='utf-8')
