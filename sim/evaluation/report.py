"""An evaluation as a page that explains itself: tables with intervals, pictures, and the command that repeats it."""

import base64
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from html import escape
from io import BytesIO
from pathlib import Path

import numpy as np
from matplotlib import pyplot

from sim.evaluation.cases import BOUND, ORACLE
from sim.evaluation.runs import Runs
from sim.evaluation.statistics import Ratio, Stratum, compare
from sim.learning.checkpoint import git_commit

METRICS = {'makespan_s': 'time to 99 %', 'makespan_95_s': 'time to 95 %'}
EVERYTHING = 'all sets'
Film = Callable[[str, str, int], tuple[list[np.ndarray], list[str]]]
"""Plays a run again: set, policy, seed -> frames and their titles."""


def summary(runs: Runs) -> dict[str, dict[str, dict[str, Ratio | None]]]:
    """Every player against the baseline: by metric, set (and all sets together), player."""
    config = runs.config
    players = [*config.players, ORACLE, BOUND]
    tables: dict[str, dict[str, dict[str, Ratio | None]]] = {}
    for metric in METRICS:
        strata = {player: {name: Stratum(runs.values(name, player, metric),
                                         runs.values(name, config.baseline, metric), runs.worlds(name))
                           for name in config.sets} for player in players}
        tables[metric] = {name: {player: compare([strata[player][name]]) for player in players}
                          for name in config.sets}
        tables[metric][EVERYTHING] = {player: compare(list(strata[player].values())) for player in config.players}
    return tables


def write(runs: Runs, film: Film, command: str) -> Path:
    """Write report.html and report.json into the folder of the runs; returns the page."""
    tables, folder, config = summary(runs), runs.folder, runs.config
    content = {'command': command, 'git_commit': git_commit(), 'baseline': config.baseline,
               'episodes': {name: case.episodes for name, case in config.sets.items()},
               'tables': {metric: {name: {player: None if row is None else asdict(row) for player, row in rows.items()}
                                   for name, rows in table.items()} for metric, table in tables.items()},
               'above the known-map plan': {name: {player: None if row is None else asdict(row)
                                                   for player, row in rows.items()}
                                            for name, rows in above_plan(runs).items()},
               'judged against others': {player: None if row is None else asdict(row)
                                         for player, row in _judged(runs).items()}}
    (folder / 'report.json').write_text(json.dumps(content, indent=1) + '\n', encoding='utf-8')
    parts = ['<!doctype html><meta charset="utf-8"><title>Evaluation</title>', _STYLE, '<h1>Evaluation</h1>',
             f'<p>Ratios to <b>{escape(config.baseline)}</b> over the same worlds and starts, below 1 is better; '
             'geometric means with 95 % bootstrap intervals over worlds. <i>IQM</i> is the mean of the middle half; '
             '<i>better</i> the part of the episodes in which the player needed less time; <i>lost</i> those that only '
             f'the baseline finished. {escape(ORACLE)} and {escape(BOUND)} see the map and stand for what is '
             f'possible.</p><p>Repeat: <code>{escape(command)}</code>, commit {escape(content["git_commit"])}.</p>',
             _picture(_bars(tables['makespan_s'], config.judged)),
             f'<h2>{escape(config.judged)} against every other, {METRICS["makespan_s"]}, all sets</h2>',
             _table(_judged(runs))]
    for metric, table in tables.items():
        for name in (EVERYTHING, *config.sets):
            rows = {player: row for player, row in table[name].items() if row is not None}
            parts += [f'<h2>{escape(name)}: {METRICS[metric]}</h2>', _table(rows)]
    for name, rows in above_plan(runs).items():
        parts += [f'<h2>{escape(name)}: {METRICS["makespan_s"]} relative to the plan that knows the map</h2>',
                  _table(rows)]
    for name in config.sets:
        parts += _replays(runs, name, film)
    page = folder / 'report.html'
    page.write_text('\n'.join(parts), encoding='utf-8')
    return page


def above_plan(runs: Runs) -> dict[str, dict[str, Ratio | None]]:
    """Every player against the plan that knows the map, in each set that has one."""
    return {name: {player: compare([Stratum(runs.values(name, player, 'makespan_s'),
                                            runs.values(name, ORACLE, 'makespan_s'), runs.worlds(name))])
                   for player in (*runs.config.players, BOUND)}
            for name, case in runs.config.sets.items() if case.oracle}


def _judged(runs: Runs) -> dict[str, Ratio | None]:
    """The judged policy against each other one, over all sets."""
    judged = runs.config.judged
    return {other: compare([Stratum(runs.values(name, judged, 'makespan_s'), runs.values(name, other, 'makespan_s'),
                                    runs.worlds(name)) for name in runs.config.sets])
            for other in runs.config.players if other != judged}


def _table(rows: Mapping[str, Ratio | None]) -> str:
    lines = ['<table><tr><th>player<th>ratio<th>IQM<th>better<th>episodes<th>lost<th>won</tr>']
    for player, row in rows.items():
        if row is not None:
            lines.append(f'<tr><td>{escape(player)}<td>{row.mean}<td>{row.iqm}<td>{row.better}<td>{row.episodes}'
                         f'<td>{row.lost}<td>{row.won}</tr>')
    return '\n'.join([*lines, '</table>'])


def _bars(table: Mapping[str, Mapping[str, Ratio | None]], judged: str) -> pyplot.Figure:
    """Ratios of every player in every set."""
    figure, axes = pyplot.subplots(figsize=(11, 1.2 + 0.7 * len(table)))
    players = [player for player in next(iter(table.values())) if player != BOUND]
    for place, player in enumerate(players):
        shown = [(row, rows[player]) for row, rows in enumerate(table.values()) if rows.get(player) is not None]
        if not shown:
            continue
        values = np.array([[ratio.mean.value, ratio.mean.low, ratio.mean.high] for _, ratio in shown])
        axes.errorbar(values[:, 0], [row + 0.7 * (place / len(players) - 0.5) for row, _ in shown],
                      xerr=[values[:, 0] - values[:, 1], values[:, 2] - values[:, 0]], fmt='o',
                      markersize=7 if player == judged else 4, label=player)
    axes.axvline(1.0, color='grey', linewidth=0.8)
    axes.set_yticks(range(len(table)), list(table))
    axes.set_xlim(0.5, 1.6)
    axes.set_xlabel('time to 99 % relative to the baseline (what lies beyond 1.6 is in the tables)')
    axes.legend(fontsize=8, ncols=2)
    figure.tight_layout()
    return figure


def _replays(runs: Runs, name: str, film: Film) -> Iterable[str]:
    """Pictures of the judged policy's best, median and worst run of a set, compared with the baseline.

    A run that only the baseline finished is worse than all others.
    """
    config = runs.config
    theirs = np.array(runs.values(name, config.baseline, 'makespan_s'))
    ratios = np.nan_to_num(np.array(runs.values(name, config.judged, 'makespan_s')), nan=np.inf) / theirs
    order = [int(k) for k in np.argsort(ratios) if not np.isnan(ratios[k])]
    if not order:
        return
    yield f'<h2>{escape(name)}: {escape(config.judged)} at its best, median and worst</h2>'
    for what, place in (('best', order[0]), ('median', order[len(order) // 2]), ('worst', order[-1])):
        frames, titles = film(name, config.players[config.judged], config.first_seed + place)
        figure, axes = pyplot.subplots(1, 4, figsize=(14, 3.6))
        for axis, number in zip(axes, np.linspace(0, len(frames) - 1, 4).astype(int), strict=True):
            axis.imshow(frames[number])
            axis.set_title(titles[number], fontsize=9)
            axis.axis('off')
        figure.tight_layout()
        yield f'<p>{what}: {ratios[place]:.2f} of {escape(config.baseline)}, seed {config.first_seed + place}</p>'
        yield _picture(figure)


def _picture(figure: pyplot.Figure) -> str:
    stream = BytesIO()
    figure.savefig(stream, format='png', dpi=80)
    pyplot.close(figure)
    return f'<img src="data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}">'


_STYLE = ('<style>body{font:15px sans-serif;max-width:1150px;margin:2em auto;padding:0 1em}'
          'table{border-collapse:collapse}td,th{padding:.15em .9em;text-align:left;border-bottom:1px solid #ddd}'
          'img{max-width:100%}</style>')
