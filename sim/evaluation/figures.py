"""The figures of a report."""

from collections.abc import Mapping

import numpy as np
from matplotlib import pyplot

from sim.evaluation.cases import BOUND
from sim.evaluation.playing import CURVE_TIMES
from sim.evaluation.report import EVERYTHING, Rows
from sim.evaluation.runs import Runs

_COLUMNS = 3


def bars(table: Mapping[str, Rows], judged: str) -> pyplot.Figure:
    """Ratios of every player in every group."""
    figure, axes = pyplot.subplots(figsize=(11, 1.2 + 0.7 * len(table)))
    players = [player for player in table[EVERYTHING] if player != BOUND]
    for place, player in enumerate(players):
        shown = [(row, rows[player]) for row, rows in enumerate(table.values()) if player in rows]
        values = np.array([[ratio.mean.value, ratio.mean.low, ratio.mean.high] for _, ratio in shown])
        axes.errorbar(values[:, 0], [row + 0.7 * (place / len(players) - 0.5) for row, _ in shown],
                      xerr=[values[:, 0] - values[:, 1], values[:, 2] - values[:, 0]], fmt='o',
                      markersize=7 if player == judged else 4, color='black' if player == judged else None,
                      label=player)
    axes.axvline(1.0, color='grey', linewidth=0.8)
    axes.set_yticks(range(len(table)), list(table))
    axes.invert_yaxis()
    axes.set_xlim(0.5, 1.6)
    axes.set_xlabel('time to 99 % relative to the baseline (what lies beyond 1.6 is in the tables)')
    axes.legend(fontsize=8, loc='upper left', bbox_to_anchor=(1.0, 1.0))
    figure.tight_layout()
    return figure


def coverage(runs: Runs) -> pyplot.Figure:
    """Mean coverage of every player over time, a panel for each set."""
    sets = list(runs.config.sets)
    height = -(-len(sets) // _COLUMNS)
    figure, panels = pyplot.subplots(height, min(_COLUMNS, len(sets)), figsize=(13, 3.6 * height), squeeze=False,
                                     sharex=True, sharey=True)
    for panel in panels.flat[len(sets):]:
        panel.axis('off')
    for panel, name in zip(panels.flat, sets, strict=False):
        for player in runs.config.players:
            mean = runs.mean_coverage(name, player)
            if mean is not None:
                judged = player == runs.config.judged
                panel.plot(CURVE_TIMES, mean, linewidth=2.0 if judged else 1.0, color='black' if judged else None,
                           label=player)
        panel.set_title(name, fontsize=9)
        panel.set_xlabel('time / reference')
        panel.tick_params(labelbottom=True)
        panel.set_ylim(0.0, 1.02)
        panel.grid(alpha=0.3)
    panels[0, 0].set_ylabel('coverage')
    panels[0, 0].legend(fontsize=7)
    figure.tight_layout()
    return figure
