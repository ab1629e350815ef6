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

from sim.evaluation.cases import BOUND, ORACLE, CaseSet
from sim.evaluation.runs import Runs
from sim.evaluation.statistics import Ratio, Stratum, compare
from sim.learning.checkpoint import git_commit

METRICS = {'makespan_s': 'time to 99 %', 'makespan_95_s': 'time to 95 %'}
EVERYTHING = 'all sets'
Film = Callable[[str, str, int], tuple[list[np.ndarray], list[str]]]
"""Plays a run again: set, policy, seed -> frames and their titles."""
Rows = dict[str, Ratio]
"""By player; who finished nothing together with the other is left out."""


def groups(sets: Mapping[str, CaseSet]) -> dict[str, list[str]]:
    """What is looked at together: everything, sets of one team size if there are several, and each set."""
    sizes: dict[str, list[str]] = {}
    for name, case in sets.items():
        sizes.setdefault(f'all sets of {case.robots} robots', []).append(name)
    together = {EVERYTHING: list(sets)} | {what: names for what, names in sizes.items() if len(names) > 1}
    return together | {name: [name] for name in sets}


def relative_to(runs: Runs, other: str, players: Iterable[str], metric: str = 'makespan_s') -> dict[str, Rows]:
    """Players against one of them, by group of the sets that both played."""
    sets = {name: case for name, case in runs.config.sets.items() if case.oracle or other != ORACLE}
    tables: dict[str, Rows] = {}
    for group, names in groups(sets).items():
        tables[group] = {}
        for player in players:
            row = compare([Stratum(runs.values(name, player, metric), runs.values(name, other, metric),
                                   runs.worlds(name)) for name in names
                           if sets[name].oracle or player not in (ORACLE, BOUND)])
            if row is not None:
                tables[group][player] = row
    return tables


def write(runs: Runs, film: Film, command: str) -> Path:
    """Write report.html and report.json into the folder of the runs; returns the page."""
    folder, config, commit = runs.folder, runs.config, git_commit()
    players = list(config.players)
    tables = {f'{what}, relative to {config.baseline}':
              relative_to(runs, config.baseline, [*players, ORACLE, BOUND], metric)
              for metric, what in METRICS.items()}
    first, *_ = tables.values()
    for other in (player for player in players if player not in (config.judged, config.baseline)):
        tables[f'time to 99 %, {config.judged} relative to {other}'] = relative_to(runs, other, [config.judged])
    if any(case.oracle for case in config.sets.values()):
        tables[f'time to 99 %, relative to the {ORACLE}'] = relative_to(runs, ORACLE, [*players, BOUND])
    (folder / 'report.json').write_text(json.dumps({
        'command': command, 'git_commit': commit,
        'tables': {what: {group: {player: asdict(row) for player, row in rows.items()} for group, rows in table.items()}
                   for what, table in tables.items()}}, indent=1) + '\n', encoding='utf-8')
    parts = ['<!doctype html><meta charset="utf-8"><title>Evaluation</title>', _STYLE, '<h1>Evaluation</h1>',
             '<p>Ratios over the same worlds and starts, below 1 is better; geometric means with 95 % bootstrap '
             'intervals over worlds. <i>IQM</i> is the mean of the middle half; <i>better</i> the part of the episodes '
             'in which the player needed less time; <i>lost</i> those that only the other one finished. '
             f'{escape(ORACLE)} and {escape(BOUND)} see the map and stand for what is possible.</p>'
             f'<p>Repeat: <code>{escape(command)}</code>, commit {escape(commit)}.</p>',
             _picture(_bars(first, config.judged))]
    for what, table in tables.items():
        parts.append(f'<h2>{escape(what)}</h2>')
        for group, rows in table.items():
            parts += [f'<h3>{escape(group)}</h3>', _table(rows)]
    for name in config.sets:
        parts += _replays(runs, name, film)
    page = folder / 'report.html'
    page.write_text('\n'.join(parts), encoding='utf-8')
    return page


def _table(rows: Rows) -> str:
    lines = ['<table><tr><th>player<th>ratio<th>IQM<th>better<th>episodes<th>lost<th>won</tr>']
    lines += [f'<tr><td>{escape(player)}<td>{row.mean}<td>{row.iqm}<td>{row.better}<td>{row.episodes}'
              f'<td>{row.lost}<td>{row.won}</tr>' for player, row in rows.items()]
    return '\n'.join([*lines, '</table>'])


def _bars(table: Mapping[str, Rows], judged: str) -> pyplot.Figure:
    """Ratios of every player in every group."""
    figure, axes = pyplot.subplots(figsize=(11, 1.2 + 0.7 * len(table)))
    players = [player for player in table[EVERYTHING] if player != BOUND]
    for place, player in enumerate(players):
        shown = [(row, rows[player]) for row, rows in enumerate(table.values()) if player in rows]
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
