"""What a demo leaves behind: metrics.json and three pictures."""

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

from marl_nodes.monitor import Map, Monitor

matplotlib.use('Agg')

_SHADES = np.array([0.97, 0.75, 0.1])  # free, unknown, occupied


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


def write_metrics(path: Path, metrics: Mapping[str, Any]) -> None:
    """Write numbers as JSON."""
    path.write_text(json.dumps(metrics, indent=2) + '\n', encoding='utf-8')


def draw_trajectories(path: Path, grid: Map, trajectories: Mapping[str, NDArray[np.float64]]) -> None:
    """Draw where the robots went over the map that they made."""
    rows, columns = grid.classes.shape
    right_m, top_m = grid.origin_x_m + columns * grid.resolution_m, grid.origin_y_m + rows * grid.resolution_m
    figure = Figure(figsize=(10.0, 1.0 + 9.0 * rows / columns), layout='constrained')
    axes = figure.add_subplot()
    axes.imshow(_SHADES[grid.classes + 1], cmap='gray', vmin=0.0, vmax=1.0, origin='lower', interpolation='nearest',
                extent=(grid.origin_x_m, right_m, grid.origin_y_m, top_m))
    for robot, trajectory in trajectories.items():
        line, = axes.plot(trajectory[:, 1], trajectory[:, 2], linewidth=1.2, label=robot)
        axes.plot(*trajectory[0, 1:3], 'o', color=line.get_color())
        axes.plot(*trajectory[-1, 1:3], 's', color=line.get_color())
    axes.set(xlabel='x [m]', ylabel='y [m]', aspect='equal', title='circle: start, square: end')
    axes.legend(fontsize='small')
    figure.savefig(path, dpi=110)


def draw_curves(folder: Path, monitor: Monitor) -> None:
    """Draw coverage and traffic over time as coverage.png and bytes.png."""
    _draw_curve(folder / 'coverage.png', [(time_s, 100.0 * part) for time_s, part in monitor.coverage],
                'coverage of the reachable area [%]', lambda axes: axes.axhline(99.0, linestyle=':', color='grey'))
    _draw_curve(folder / 'bytes.png', [(time_s, sent / 1000.0) for time_s, sent in monitor.traffic],
                'sent by all robots, headers included [kB]')


def _draw_curve(path: Path, points: Sequence[tuple[float, float]], label: str, add: Any = None) -> None:
    figure = Figure(figsize=(7.0, 4.0), layout='constrained')
    axes: Axes = figure.add_subplot()
    axes.plot(*zip(*points), drawstyle='steps-post')
    if add is not None:
        add(axes)
    axes.set(xlabel='time [s]', ylabel=label, xlim=(0.0, None), ylim=(0.0, None))
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
