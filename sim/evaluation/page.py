"""An evaluation as a page that explains itself: tables with intervals, pictures, and the command that repeats it."""

import base64
import json
from collections.abc import Callable, Iterable, Mapping
from html import escape
from io import BytesIO
from pathlib import Path

import numpy as np
from matplotlib import pyplot

from sim.evaluation import figures, markdown
from sim.evaluation.cases import BOUND, ORACLE
from sim.evaluation.measures import MEASURES, REMARKS
from sim.evaluation.report import Report, Rows
from sim.evaluation.runs import Runs
from sim.evaluation.statistics import Estimate

Film = Callable[[str, str, int], tuple[list[np.ndarray], list[str]]]
"""Plays a run again: set, policy, seed -> frames and their titles."""


def write(report: Report, film: Film) -> Path:
    """Write report.json, report.md, makespan.png, coverage.png and report.html into the folder of the runs.

    Args:
        report: what is shown. film: for pictures of the judged policy's runs.

    Returns:
        The page, report.html.
    """
    folder, config = report.runs.folder, report.runs.config
    (folder / 'report.json').write_text(json.dumps(report.content, indent=1) + '\n', encoding='utf-8')
    (folder / 'report.md').write_text(markdown.document(report), encoding='utf-8')
    parts = ['<!doctype html><meta charset="utf-8"><title>Evaluation</title>', _STYLE, '<h1>Evaluation</h1>',
             '<p>Ratios over the same worlds and starts, below 1 is better; geometric means with 95 % bootstrap '
             'intervals over worlds. <i>IQM</i> is the mean of the middle half; <i>better</i> the part of the episodes '
             'in which the player needed less; <i>spread</i> the standard deviation of the logarithm of single '
             'ratios; <i>lost</i> those that only the other one finished. '
             f'{escape(ORACLE)} and {escape(BOUND)} see the map and stand for what is possible.</p>'
             f'<p>Repeat: <code>{escape(report.command)}</code>, commit {escape(report.commit)}.</p>',
             _picture(figures.bars(report.tables[report.title], config.judged), folder / 'makespan.png'),
             '<p>Mean coverage over time, where 1 is what the base rule typically needs for such a world and team; of '
             'all runs, finished or not. What only a dead robot knew is not covered any more.</p>',
             _picture(figures.coverage(report.runs), folder / 'coverage.png')]
    for what, table in report.tables.items():
        parts.append(f'<h2>{escape(what)}</h2>')
        for group, rows in table.items():
            parts += [f'<h3>{escape(group)}</h3>', _ratios(rows)]
    parts.append(f'<h2>What else it took</h2><p>{escape(REMARKS)}</p>')
    for name, players in report.measures.items():
        parts += [f'<h3>{escape(name)}</h3>', _measures(players)]
    for name in config.sets:
        parts += _replays(report.runs, name, film)
    page = folder / 'report.html'
    page.write_text('\n'.join(parts), encoding='utf-8')
    return page


def _ratios(rows: Rows) -> str:
    lines = ['<table><tr><th>player<th>ratio<th>IQM<th>better<th>spread<th>episodes<th>lost<th>won</tr>']
    lines += [f'<tr><td>{escape(player)}<td>{row.mean}<td>{row.iqm}<td>{row.better}<td>{row.spread}<td>{row.episodes}'
              f'<td>{row.lost}<td>{row.won}</tr>' for player, row in rows.items()]
    return '\n'.join([*lines, '</table>'])


def _measures(players: Mapping[str, Mapping[str, Estimate]]) -> str:
    shown = [measure for measure in MEASURES if any(measure.name in found for found in players.values())]
    lines = ['<table><tr><th>player' + ''.join(f'<th>{escape(measure.name)}' for measure in shown) + '</tr>']
    for player, found in players.items():
        cells = (measure.text(found[measure.name]) if measure.name in found else '–' for measure in shown)
        lines.append(f'<tr><td>{escape(player)}' + ''.join(f'<td>{cell}' for cell in cells) + '</tr>')
    return '\n'.join([*lines, '</table>'])


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
    shown: dict[int, list[str]] = {}
    for what, place in (('best', order[0]), ('median', order[len(order) // 2]), ('worst', order[-1])):
        shown.setdefault(place, []).append(what)
    for place, what in shown.items():
        frames, titles = film(name, config.players[config.judged], config.first_seed + place)
        figure, axes = pyplot.subplots(1, 4, figsize=(14, 3.6))
        for axis, number in zip(axes, np.linspace(0, len(frames) - 1, 4).astype(int), strict=True):
            axis.imshow(frames[number])
            axis.set_title(titles[number], fontsize=9)
            axis.axis('off')
        figure.tight_layout()
        yield (f'<p>{", ".join(what)}: {ratios[place]:.2f} of {escape(config.baseline)}, '
               f'seed {config.first_seed + place}</p>')
        yield _picture(figure)


def _picture(figure: pyplot.Figure, path: Path | None = None) -> str:
    """A figure as part of the page, and as a file if it gets a path."""
    stream = BytesIO()
    figure.savefig(stream, format='png', dpi=80)
    pyplot.close(figure)
    if path is not None:
        path.write_bytes(stream.getvalue())
    return f'<img src="data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}">'


_STYLE = ('<style>body{font:15px sans-serif;max-width:1150px;margin:2em auto;padding:0 1em}'
          'table{border-collapse:collapse}td,th{padding:.15em .9em;text-align:left;border-bottom:1px solid #ddd}'
          'img{max-width:100%}</style>')
