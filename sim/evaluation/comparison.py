"""Some policies on the same episodes against one of them: what ``python -m sim evaluate`` prints and writes."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from marl_core.errors import TrainingError
from sim.evaluation import statistics
from sim.evaluation.statistics import SAMPLES, Estimate, Stratum, interquartile_mean


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
        better: part of the episodes in which the policy's metric is below the baseline's; ties count half.
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


def compare(policy: str, baseline: str, metric: str, ours: Sequence[float], theirs: Sequence[float],
            samples: int = SAMPLES) -> Comparison:
    """Compare two policies that played the same episodes in the same order, each in a world of its own.

    Args:
        policy, baseline, metric: names. ours, theirs: the metric of each episode, positive, lower is better.
        samples: bootstrap resamples of episodes.

    Raises:
        TrainingError: lengths differ, or no episode was finished by both.
    """
    if len(ours) != len(theirs):
        raise TrainingError(f'{policy} played {len(ours)} episodes, {baseline} {len(theirs)}: not paired')
    ratio = statistics.compare([Stratum(ours, theirs, range(len(ours)))], samples)
    if ratio is None:
        raise TrainingError(f'no episode has a positive {metric} under both {policy} and {baseline}')
    pairs = np.array([ours, theirs], np.float64)
    own = pairs[0, (np.isfinite(pairs) & (pairs > 0.0)).all(axis=0)]
    mean, iqm = statistics.estimate([(own, np.arange(own.size))], (np.mean, interquartile_mean), samples)
    return Comparison(policy, baseline, metric, ratio.episodes, len(ours) - ratio.episodes, mean, iqm, ratio.mean,
                      ratio.iqm, ratio.better.value)


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
