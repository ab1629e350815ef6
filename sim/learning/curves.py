"""Learning curves of runs, read from metrics.jsonl and drawn to a PNG."""

import json
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np

from marl_core.errors import TrainingError

matplotlib.use('Agg')  # no display is needed, or there

SHOWN = ('held_back/log_ratio', 'held_back/score', 'episode/return', 'critic/explained_variance', 'actor/entropy',
         'actor/divergence', 'imitation/agreement', 'imitation/loss')
"""Curves that are drawn, where a run has them."""


def read(folder: str | Path) -> list[dict[str, float]]:
    """Numbers of each iteration; of iterations that a resumed run played again, the last.

    Raises:
        TrainingError: the run has no readable metrics.jsonl.
    """
    path = Path(folder) / 'metrics.jsonl'
    try:
        rows = [json.loads(line) for line in path.read_text(encoding='utf-8').splitlines()]
    except (OSError, ValueError) as error:
        raise TrainingError(f'{path}: cannot be read ({error})') from error
    return list({row['iteration']: row for row in rows}.values())


def draw(folders: Sequence[str | Path], path: str | Path) -> None:
    """Draw the curves of one or more runs into one PNG.

    Raises:
        TrainingError: a run has no metrics, or none of them has any of SHOWN.
    """
    from matplotlib import pyplot

    runs = {Path(folder).name: read(folder) for folder in folders}
    names = [name for name in SHOWN if any(name in row for rows in runs.values() for row in rows)]
    if not names:
        raise TrainingError(f'nothing to draw in {", ".join(map(str, folders))}')
    figure, axes = pyplot.subplots(len(names), 1, figsize=(7, 2 * len(names)), sharex=True, squeeze=False)
    for name, axis in zip(names, axes[:, 0], strict=True):
        for label, rows in runs.items():
            points = np.array([(row['iteration'], row[name]) for row in rows if name in row]).reshape(-1, 2)
            axis.plot(*points.T, marker='.', label=label)
            error = np.array([row[f'{name}_error'] for row in rows if f'{name}_error' in row])
            if error.size == len(points):
                axis.fill_between(points[:, 0], points[:, 1] - error, points[:, 1] + error, alpha=0.2)
        axis.set_ylabel(name.replace('/', '\n'))
        axis.grid(alpha=0.3)
    axes[0, 0].legend()
    axes[-1, 0].set_xlabel('iteration')
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
