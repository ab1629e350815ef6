"""Runs the benchmarks and writes the table: ``python -m benchmarks [module ...] [--output FILE]``."""

import argparse
import importlib
import json
import platform
import sys
from pathlib import Path

from benchmarks.rows import Row

FOLDER = Path(__file__).parent
MODULES = sorted(path.stem for path in FOLDER.glob('[a-z]*.py') if path.stem != 'rows')
RESULTS = FOLDER / 'results.json'
BEGIN, END = '<!-- benchmarks: written by `make bench` -->', '<!-- /benchmarks -->'
"""Between these, the README of the project shows the same rows."""


def main() -> int:
    """Measure, print as it goes, merge into results.json, rewrite the tables. Exit code 1 if a target is missed."""
    parser = argparse.ArgumentParser(prog='python -m benchmarks', description=__doc__)
    parser.add_argument('modules', nargs='*', metavar='module', help=f'which (default all): {", ".join(MODULES)}')
    chosen = parser.parse_args().modules or MODULES
    if unknown := set(chosen) - set(MODULES):
        parser.error(f'unknown benchmark {", ".join(sorted(unknown))}; valid: {", ".join(MODULES)}')
    table = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    missed = 0
    for module in chosen:
        sys.stdout.write(f'{module}\n')
        lines = []
        for row in importlib.import_module(f'benchmarks.{module}').measure():
            sys.stdout.write(f'  {" | ".join(_cells(row))}\n')
            sys.stdout.flush()
            lines.append(_cells(row))
            missed += not row.met
        table[module] = lines
        RESULTS.write_text(json.dumps(table, indent=1, sort_keys=True) + '\n')
        _write_readme(table)
    return 1 if missed else 0


def _cells(row: Row) -> list[str]:
    sign = '≥' if row.at_least else '≤'
    peer = f'{row.ratio:,.1f} x {row.peer}' if row.ratio is not None else '–'
    target = f'{sign} {_figure(row.target)} {row.unit}'
    if row.ratio_target is not None:
        target += f', {row.ratio_target:g} x'
    return [row.name, f'{_figure(row.value)} {row.unit}', peer, target, 'yes' if row.met else '**no**']


def _figure(value: float) -> str:
    return f'{value:,.0f}' if abs(value) >= 1000 else f'{value:.3g}'


def _write_readme(table: dict[str, list[list[str]]]) -> None:
    head = (f'# Benchmarks\n\nWritten by `make bench` (one module: `python -m benchmarks NAME`). CPU time of a thread '
            f'on {_processor()}, Python {platform.python_version()}; each ratio is against its peer in the same run.\n')
    parts = [head]
    for module, lines in sorted(table.items()):
        parts.append(f'\n## `python -m benchmarks {module}`\n\n| what | measured | against | promised | met |\n'
                     '|---|---|---|---|---|\n' + ''.join(f'| {" | ".join(cells)} |\n' for cells in lines))
    (FOLDER / 'README.md').write_text(''.join(parts), encoding='utf-8')
    readme = FOLDER.parent / 'README.md'
    before, rest = readme.read_text(encoding='utf-8').split(BEGIN)
    lines = [cells for module in sorted(table) for cells in table[module]]
    rows = ''.join(f'| {" | ".join(cells)} |\n' for cells in lines)
    readme.write_text(f'{before}{BEGIN}\n| what | measured | against | promised | met |\n|---|---|---|---|---|\n{rows}'
                      f'{END}{rest.split(END)[1]}', encoding='utf-8')


def _processor() -> str:
    try:
        lines = Path('/proc/cpuinfo').read_text(encoding='utf-8').splitlines()
        return next(line.split(':', 1)[1].strip() for line in lines if line.startswith('model name'))
    except (OSError, StopIteration):
        return platform.machine()


if __name__ == '__main__':
    sys.exit(main())
