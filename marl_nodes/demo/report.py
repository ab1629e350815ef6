"""What a demo leaves behind beside its map: metrics.json and three pictures."""

import csv
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import hypot
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from marl_core.errors import ConfigError
from marl_nodes.monitor import Map, Monitor

matplotlib.use('Agg')

RESULTS = ('map.png', 'map.yaml', 'metrics.json', 'trajectories.csv', 'trajectories.png', 'coverage.png', 'bytes.png')
"""Files of a run, in its folder."""
LOGS = 'logs'
"""Folder in it for the log and parameters of every node."""

_COMPLETE_PERCENT = 99.0
_LONGER_SIDE_IN = 10.0
_LEGEND_COLUMNS = 6
_SHADES = np.array([0.97, 0.75, 0.1])  # free, unknown, occupied


def remove_results(folder: Path, world: str) -> None:
    """Remove what an earlier run left, so that nothing of it is taken for this run's.

    Args:
        folder: of results.
        world: of the run; a map that lies in the folder might be overwritten.

    Raises:
        ConfigError: the world's map lies in the folder.
        OSError: a file cannot be removed.
    """
    if world.endswith('.yaml') and Path(world).resolve().parent == folder:
        raise ConfigError(f'{folder}: the map of the world is there, and would be overwritten; name another --output')
    for name in RESULTS:
        (folder / name).unlink(missing_ok=True)
    for parameters in (folder / LOGS).glob('*.params.yaml'):
        parameters.with_name(parameters.name.replace('.params.yaml', '.log')).unlink(missing_ok=True)
        parameters.unlink()


def count_of(number: int, noun: str) -> str:
    """A number of things in words."""
    return f'{number} {noun}' if number == 1 else f'{number} {noun}s'


def read_trajectories(path: Path) -> dict[str, NDArray[np.float64]]:
    """True trajectories by robot: time [s], x, y [m], heading [rad; map frame]. Shape: (N, 4) each.

    A last line that was cut short is left out.
    """
    rows = defaultdict(list)
    with path.open(encoding='utf-8', newline='') as file:
        for row in csv.DictReader(file):
            if row['odometry_heading_rad'] is not None:
                rows[row['robot']].append([float(row[key]) for key in ('time_s', 'x_m', 'y_m', 'heading_rad')])
    return {robot: np.array(values) for robot, values in rows.items()}


def length_m(trajectory: NDArray[np.float64]) -> float:
    """Way along a trajectory [m]."""
    steps = np.diff(trajectory[:, 1:3], axis=0)
    return float(np.hypot(steps[:, 0], steps[:, 1]).sum())


def drift_m(path: Path) -> dict[str, float]:
    """How far each robot's odometry was off at the end [m]."""
    last: dict[str, Mapping[str, str]] = {}
    with path.open(encoding='utf-8', newline='') as file:
        for row in csv.DictReader(file):
            if row['odometry_heading_rad'] is not None:
                last[row['robot']] = row
    return {robot: hypot(float(row['x_m']) - float(row['odometry_x_m']), float(row['y_m']) - float(row['odometry_y_m']))
            for robot, row in last.items()}


def metrics_of(monitor: Monitor, trajectories: Mapping[str, NDArray[np.float64]], complete_at: float) -> dict[str, Any]:
    """Numbers of a run. Times are simulated seconds; bytes count headers."""
    robots = {}
    for robot, record in monitor.records.items():
        way_m = length_m(trajectories[robot]) if robot in trajectories else record.travelled_m
        robots[robot] = {'travelled_m': round(way_m, 2), 'bytes_sent': dict(record.bytes_by_kind),
                         'bytes_sent_total': record.bytes_by_kind.total()}
    return {
        'coverage': round(monitor.coverage[-1][1], 5),
        'makespan_s': monitor.first_time_s(complete_at),
        'makespan_95_s': monitor.first_time_s(0.95),
        'robots_done_s': monitor.done_s,
        'time_s': round(monitor.time_s, 2),
        'travelled_m': round(sum(entry['travelled_m'] for entry in robots.values()), 2),
        'longest_way_m': max(entry['travelled_m'] for entry in robots.values()),
        'bytes_sent': monitor.sent_bytes,
        'bytes_per_robot_and_s': round(monitor.sent_bytes / len(robots) / max(monitor.time_s, 1.0), 1),
        'collisions': int(monitor.diagnostics.get('simulation', {}).get('collisions', '0')),
        'robots': robots,
    }


def summary_of(metrics: Mapping[str, Any]) -> str:
    """A run in one line."""
    robots = metrics['robots']
    complete_s = metrics['makespan_s']
    return (f'{100.0 * metrics["coverage"]:.1f} % mapped in {metrics["time_s"]:.0f} s'
            + (f' ({_COMPLETE_PERCENT:.0f} % after {complete_s:.0f} s)' if complete_s is not None else '')
            + f'; {count_of(len(robots), "robot")} went {metrics["travelled_m"]:.0f} m and sent '
            f'{metrics["bytes_sent"] / 1000.0 / len(robots):.0f} kB each')


def write_metrics(folder: Path, metrics: Mapping[str, Any]) -> None:
    """Write numbers as metrics.json."""
    (folder / 'metrics.json').write_text(json.dumps(metrics, indent=2) + '\n', encoding='utf-8')


def draw_trajectories(folder: Path, grid: Map, trajectories: Mapping[str, NDArray[np.float64]],
                      metrics: Mapping[str, Any]) -> None:
    """Draw where the robots went over the map that they made as trajectories.png."""
    rows, columns = grid.classes.shape
    right_m, top_m = grid.origin_x_m + columns * grid.resolution_m, grid.origin_y_m + rows * grid.resolution_m
    inch = _LONGER_SIDE_IN / max(rows, columns)
    legend_rows = -(-len(trajectories) // _LEGEND_COLUMNS)
    figure = Figure(figsize=(max(columns * inch, 6.0), 0.95 * rows * inch + 0.85 + 0.2 * legend_rows),
                    layout='constrained')
    axes = figure.add_subplot()
    axes.imshow(_SHADES[grid.classes + 1], cmap='gray', vmin=0.0, vmax=1.0, origin='lower', interpolation='nearest',
                extent=(grid.origin_x_m, right_m, grid.origin_y_m, top_m))
    for (robot, trajectory), colour in zip(trajectories.items(), _colours(len(trajectories))):
        axes.plot(trajectory[:, 1], trajectory[:, 2], linewidth=1.4, color=colour,
                  label=f'{robot}: {length_m(trajectory):.0f} m')
        axes.plot(*trajectory[0, 1:3], 'o', color=colour, markeredgecolor='black')
        axes.plot(*trajectory[-1, 1:3], 's', color=colour, markeredgecolor='black')
    axes.set(xlabel='x [m]', ylabel='y [m]', aspect='equal')
    axes.set_title(f'{metrics["world"]}: {summary_of(metrics)}\ncircle: start, square: end', fontsize='medium')
    if trajectories:
        figure.legend(loc='outside lower center', ncols=min(_LEGEND_COLUMNS, len(trajectories)), fontsize='small')
    figure.savefig(folder / 'trajectories.png', dpi=110)


def _colours(count: int) -> NDArray[np.float64]:
    """Colours that differ, for any number of robots. Shape: (count, 4)."""
    if count <= 10:
        return matplotlib.colormaps['tab10'](np.arange(count))
    return matplotlib.colormaps['turbo'](np.linspace(0.02, 0.98, count))


def draw_curves(folder: Path, monitor: Monitor, metrics: Mapping[str, Any]) -> None:
    """Draw coverage and traffic over time as coverage.png and bytes.png."""
    figure, axes = _curve([(time_s, 100.0 * part) for time_s, part in monitor.coverage], metrics['time_s'])
    axes.axhline(_COMPLETE_PERCENT, linestyle=':', color='grey')
    if metrics['makespan_s'] is not None:
        axes.axvline(metrics['makespan_s'], linestyle=':', color='grey')
        axes.text(0.98, 0.04, f'complete ({_COMPLETE_PERCENT:.0f} %) after {metrics["makespan_s"]:.0f} s',
                  transform=axes.transAxes, horizontalalignment='right', backgroundcolor='white')
    axes.set(ylabel='coverage of the reachable area [%]', ylim=(0.0, 105.0), title=metrics['world'])
    figure.savefig(folder / 'coverage.png', dpi=110)

    figure, axes = _curve([(time_s, sent / 1000.0) for time_s, sent in monitor.traffic], metrics['time_s'])
    axes.set(ylabel='sent by all robots, headers included [kB]', ylim=(0.0, None),
             title=f'{metrics["bytes_per_robot_and_s"]:.0f} bytes per robot and second')
    figure.savefig(folder / 'bytes.png', dpi=110)


def _curve(points: Sequence[tuple[float, float]], end_s: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7.0, 4.0), layout='constrained')
    axes = figure.add_subplot()
    times_s, values = zip(*points)
    axes.plot([*times_s, max(end_s, times_s[-1])], [*values, values[-1]], drawstyle='steps-post')
    axes.set(xlabel='time [s]', xlim=(0.0, max(end_s, 1.0)))
    axes.grid(alpha=0.3)
    return figure, axes
