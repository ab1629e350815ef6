"""What an evaluation found: ratios with intervals of all policies in all sets, and what else it took them."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sim.evaluation.cases import BOUND, ORACLE, CaseSet
from sim.evaluation.measures import measured
from sim.evaluation.runs import Runs
from sim.evaluation.statistics import Estimate, Ratio, Stratum, compare
from sim.learning.checkpoint import git_commit

METRICS = {'makespan_s': 'time to 99 %', 'makespan_95_s': 'time to 95 %', 'team_travelled_m': 'distance of the team'}
EVERYTHING = 'all sets'
Rows = dict[str, Ratio]
"""By player; who finished nothing together with the other is left out."""


def groups(sets: Mapping[str, CaseSet]) -> dict[str, list[str]]:
    """What is looked at together: everything, each set, and sets of one team size where that is several but not all."""
    sizes: dict[str, list[str]] = {}
    for name, case in sets.items():
        sizes.setdefault(f'all sets of {case.robots} robots', []).append(name)
    together = {EVERYTHING: list(sets)} | {
        what: names for what, names in sizes.items() if 1 < len(names) < len(sets)}
    return together | {name: [name] for name in sets}


def relative_to(runs: Runs, other: str, players: Iterable[str], metric: str = 'makespan_s') -> dict[str, Rows]:
    """Players against one of them, by group of the sets that both played."""
    sets = {name: case for name, case in runs.config.sets.items() if case.oracle or other != ORACLE}
    tables: dict[str, Rows] = {}
    for group, names in groups(sets).items():
        rows = {player: compare(_strata(runs, player, other, metric, [
            name for name in names if sets[name].oracle or player not in (ORACLE, BOUND)])) for player in players}
        tables[group] = {player: row for player, row in rows.items() if row is not None}
    return tables


def _strata(runs: Runs, player: str, other: str, metric: str, names: Iterable[str]) -> list[Stratum]:
    """Paired results of sets; those that share worlds as one, for a world is no new evidence the second time."""
    together: dict[str, list[str]] = {}
    for name in names:
        together.setdefault(runs.config.sets[name].worlds, []).append(name)
    return [Stratum([value for name in names for value in runs.values(name, player, metric)],
                    [value for name in names for value in runs.values(name, other, metric)],
                    [world for name in names for world in runs.worlds(name)]) for names in together.values()]


def against_sets(runs: Runs) -> dict[str, dict[str, Rows]]:
    """Players against themselves in another set of the same worlds and starts, by that set and the set compared."""
    tables: dict[str, dict[str, Rows]] = {}
    for name, case in runs.config.sets.items():
        if case.against_set:
            pairs = min(case.episodes, runs.config.sets[case.against_set].episodes)
            rows = {player: compare([Stratum(runs.values(name, player, 'makespan_s')[:pairs],
                                             runs.values(case.against_set, player, 'makespan_s')[:pairs],
                                             runs.worlds(name)[:pairs])]) for player in runs.config.players}
            tables.setdefault(case.against_set, {})[name] = {player: row for player, row in rows.items() if row}
    return tables


@dataclass(frozen=True, slots=True)
class Report:
    """What an evaluation found.

    Attributes:
        runs: all that was played. command: plays it again. commit: of the checkout.
        tables: ratios by title and group; the first one is what cards of models quote.
        measures: by set, player and name.
    """

    runs: Runs
    command: str
    commit: str
    tables: dict[str, dict[str, Rows]]
    measures: dict[str, dict[str, dict[str, Estimate]]]

    @classmethod
    def of(cls, runs: Runs, command: str) -> 'Report':
        """Compute all tables."""
        config, players = runs.config, list(runs.config.players)
        tables = {f'{what}, relative to {config.baseline}':
                  relative_to(runs, config.baseline, [*players, ORACLE, BOUND], metric)
                  for metric, what in METRICS.items()}
        for other, table in against_sets(runs).items():
            tables[f'time to 99 %, relative to the same policy in: {other}'] = table
        for other in (player for player in players if player not in (config.judged, config.baseline)):
            tables[f'time to 99 %, {config.judged} relative to {other}'] = relative_to(runs, other, [config.judged])
        if any(case.oracle for case in config.sets.values()):
            tables[f'time to 99 %, relative to the {ORACLE}'] = relative_to(runs, ORACLE, [*players, BOUND])
        measures = {name: {player: measured(runs, name, player) for player in players} for name in config.sets}
        return cls(runs, command, git_commit(), tables, measures)

    @property
    def title(self) -> str:
        """Of the first table."""
        return next(iter(self.tables))

    def __str__(self) -> str:
        lines = [f'{self.title}; below 1 is better, 95 % bootstrap intervals over worlds']
        for group, rows in self.tables[self.title].items():
            lines += ['', f'{group:<30} {"ratio":>22} {"IQM of ratios":>22} {"better":>7} {"episodes":>9} {"lost":>5}']
            lines += [f'  {player:<28} {row.mean!s:>22} {row.iqm!s:>22} {100 * row.better.value:>5.0f} % '
                      f'{row.episodes:>9} {row.lost:>5}' for player, row in rows.items()]
        return '\n'.join(lines)

    @property
    def content(self) -> dict[str, Any]:
        """All of it as numbers, strings, lists and dicts."""
        config = self.runs.config
        return {
            'command': self.command, 'git_commit': self.commit, 'baseline': config.baseline, 'card': self.title,
            'players': {name: {'policy': policy, 'identity': self.runs.identities[name]}
                        for name, policy in config.players.items()},
            'sets': {name: asdict(case) for name, case in config.sets.items()},
            'tables': {what: {group: {player: asdict(row) for player, row in rows.items()}
                              for group, rows in table.items()} for what, table in self.tables.items()},
            'measures': {name: {player: {what: asdict(value) for what, value in found.items()}
                                for player, found in players.items()} for name, players in self.measures.items()}}
