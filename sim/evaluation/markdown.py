"""An evaluation's tables as a text that documentation can show."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from sim.evaluation.report import METRICS, Report, Rows
from sim.evaluation.statistics import Ratio


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table."""
    return ['| ' + ' | '.join(head) + ' |', '|---' * len(head) + '|', *('| ' + ' | '.join(row) + ' |' for row in rows)]


def cell(ratio: Ratio | None) -> str:
    """A mean with its interval, and how many episodes only the other one finished."""
    if ratio is None:
        return '–'
    return f'{ratio.mean}' + (f' ({ratio.lost} unfinished)' if ratio.lost else '')


def document(report: Report) -> str:
    """All ratios of makespans of a report, and how far single ones spread."""
    judged, compared = report.runs.config.judged, f'{METRICS["makespan_s"]}, '
    lines = [f'# {judged} and others', '',
             'Geometric means of ratios over the same worlds and starts with 95 % bootstrap intervals over worlds; '
             'below 1 is better. In brackets: episodes that both finished, of the player with the fewest. Spread: '
             f'standard deviation of the logarithms of single ratios. Made at commit `{report.commit}` by', '',
             f'    {report.command}', '']
    others = {}
    for what, groups in report.tables.items():
        title, _, other = what.partition(f'{judged} relative to ')
        if other:
            others[other] = groups
        elif title.startswith(compared):
            lines += [f'## {title}', '', *_by_player(groups, cell), '', 'Spread:', '', *_by_player(groups, _spread), '']
    lines += [f'## {compared}{judged} relative to others', '', *table(['episodes', *others], [
        [group, *(cell(groups.get(group, {}).get(judged)) for groups in others.values())]
        for group in report.tables[report.title]]), '']
    return '\n'.join(lines)


def _by_player(groups: Mapping[str, Rows], shown: Callable[[Ratio | None], str]) -> list[str]:
    players = list(dict.fromkeys(player for rows in groups.values() for player in rows))
    return table(['episodes', *players], [
        [f'{group} ({min(row.episodes for row in rows.values())})', *(shown(rows.get(player)) for player in players)]
        for group, rows in groups.items() if rows])


def _spread(ratio: Ratio | None) -> str:
    return '–' if ratio is None else str(ratio.spread)
