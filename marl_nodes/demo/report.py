"""What a demo leaves behind beside its map: metrics.json and four pictures."""

import csv
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from math import hypot
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from marl_core.errors import ConfigError
from marl_nodes.demo.baselines import Baselines
from marl_nodes.monitor import Map, Monitor

matplotlib.use('Agg')

RESULTS = ('map.png', 'map.yaml', 'metrics.json', 'trajectories.csv', 'trajectories.png', 'coverage.png', 'bytes.png',
           'missing.png')
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


def replicas_of(monitor: Monitor, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """What each replica said last about its copy of the map; those that said nothing are left out."""
    return {name: {
        'state_hash': said['state_hash'], 'convergence': said['convergence'],
        'tiles_missing': int(said['tiles_missing']), 'oldest_missing_s': float(said['oldest_missing_s']),
        'link_loss': float(said['link_loss']),
        'dropped': {key.removeprefix('dropped_'): int(value) for key, value in said.items()
                    if key.startswith('dropped_')}}
        for name in names if 'state_hash' in (said := monitor.diagnostics.get(name, {}))}


def trust_of(monitor: Monitor, map_name: str) -> dict[str, str]:
    """What the map node thinks of each robot: score and standing."""
    return {key.removeprefix('trust_'): value for key, value in monitor.diagnostics.get(map_name, {}).items()
            if key.startswith('trust_')}


def compression_of(monitor: Monitor, baselines: Baselines) -> dict[str, Any]:
    """What the map would have cost in two simpler ways, and how many times as much that is.

    Map features count with headers, repetitions and answers to others; status and digests do not.
    """
    def entry(sent: int, grid: int, crop: int) -> dict[str, float]:
        return {'features_bytes': sent, 'full_grid_bytes': grid, 'zlib_crop_bytes': crop,
                'times_below_full_grid': round(grid / sent, 1) if sent else None,
                'times_below_zlib_crop': round(crop / sent, 2) if sent else None}
    robots = {robot: entry(record.bytes_by_kind['features'], baselines.grid_bytes[robot], baselines.crop_bytes[robot])
              for robot, record in monitor.records.items()}
    return {**entry(monitor.sent_by_kind['features'], baselines.grid_bytes.total(), baselines.crop_bytes.total()),
            'robots': robots}


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
    """Draw coverage, traffic and what replicas lack over time as coverage.png, bytes.png and missing.png.

    Events in the metrics become lines with the numbers that they have there.
    """
    events = [event['time_s'] for event in metrics.get('events', ())]
    figure, axes = _curve([(time_s, 100.0 * part) for time_s, part in monitor.coverage], metrics['time_s'], events)
    axes.axhline(_COMPLETE_PERCENT, linestyle=':', color='grey')
    if metrics['makespan_s'] is not None:
        axes.axvline(metrics['makespan_s'], linestyle=':', color='grey')
        axes.text(0.98, 0.04, f'complete ({_COMPLETE_PERCENT:.0f} %) after {metrics["makespan_s"]:.0f} s',
                  transform=axes.transAxes, horizontalalignment='right', backgroundcolor='white')
    axes.set(ylabel='coverage of the reachable area [%]', ylim=(0.0, 105.0), title=metrics['world'])
    if metrics.get('walls_f1_over_time'):
        axes.plot(*zip(*((time_s, 100.0 * f1) for time_s, f1 in metrics['walls_f1_over_time'])), color='tab:orange',
                  label='F1 of the walls [%]')
        axes.legend(loc='center right')
    figure.savefig(folder / 'coverage.png', dpi=110)

    figure, axes = _axes(metrics['time_s'], events)
    times_s = [time_s for time_s, _ in monitor.traffic]
    kinds = sorted(monitor.traffic[-1][1])
    axes.stackplot(times_s, [[sent[kind] / 1000.0 for _, sent in monitor.traffic] for kind in kinds],
                   labels=[f'{kind}: {monitor.traffic[-1][1][kind] / 1000.0:.1f} kB' for kind in kinds])
    axes.set(ylabel='sent by all robots, headers included [kB]', ylim=(0.0, None),
             title=f'{metrics["bytes_per_robot_and_s"]:.0f} bytes per robot and second')
    axes.legend(loc='upper left')
    figure.savefig(folder / 'bytes.png', dpi=110)

    figure, axes = _curve([(time_s, tiles) for time_s, tiles, _ in monitor.lacking], metrics['time_s'], events)
    axes.set(ylabel='tiles that replicas know of and lack, all together', ylim=(0.0, None), title=metrics['world'])
    ages = axes.twinx()
    ages.plot([time_s for time_s, _, _ in monitor.lacking], [age_s for _, _, age_s in monitor.lacking],
              color='tab:orange', drawstyle='steps-post')
    ages.set(ylim=(0.0, max(1.0, 1.05 * max(age_s for _, _, age_s in monitor.lacking))))
    ages.set_ylabel('age of the oldest of them [s]', color='tab:orange')
    figure.savefig(folder / 'missing.png', dpi=110)


def _curve(points: Sequence[tuple[float, float]], end_s: float, events: Sequence[float]) -> tuple[Figure, Axes]:
    figure, axes = _axes(end_s, events)
    times_s, values = zip(*points)
    axes.plot([*times_s, max(end_s, times_s[-1])], [*values, values[-1]], drawstyle='steps-post')
    return figure, axes


def _axes(end_s: float, events: Sequence[float]) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7.0, 4.0), layout='constrained')
    axes = figure.add_subplot()
    axes.set(xlabel='time [s]', xlim=(0.0, max(end_s, 1.0)))
    axes.grid(alpha=0.3)
    for number, time_s in enumerate(events, 1):
        axes.axvline(time_s, color='tab:red', linewidth=0.7, alpha=0.6)
        axes.text(time_s, 1.0, f' {number}', color='tab:red', fontsize='x-small', verticalalignment='top',
                  transform=axes.get_xaxis_transform())
    return figure, axes
