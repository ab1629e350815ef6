"""What runs come to beside their makespan: distance, overlap, traffic, time to decide."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from sim.evaluation.runs import Runs
from sim.evaluation.statistics import Estimate, estimate


@dataclass(frozen=True, slots=True)
class Measure:
    """A column of a table.

    Attributes:
        name: its head. metric: of the runs, see ``playing.Run``. factor: from the metric's unit to that of the column.
        digits: after the point. middle: of the runs.
    """

    name: str
    metric: str
    factor: float = 1.0
    digits: int = 1
    middle: Callable[..., NDArray[np.float64]] = np.nanmean

    def text(self, value: Estimate) -> str:
        """An estimate as a cell of the table."""
        return f'{value.value:.{self.digits}f} [{value.low:.{self.digits}f}, {value.high:.{self.digits}f}]'


MEASURES = (
    Measure('time to 95 % [s]', 'makespan_95_s'),
    Measure('time to 99 % [s]', 'makespan_s'),
    Measure('distance of the team [m]', 'team_travelled_m'),
    Measure('largest share of it [%]', 'most_share', 100.0),
    Measure('smallest share of it [%]', 'least_share', 100.0),
    Measure('shown by one robot alone [%]', 'shown_alone', 100.0),
    Measure('sent per robot [kB]', 'bytes_per_robot', 1e-3),
    Measure('collisions', 'collisions', digits=2),
    # The first choice of a process may compile something; the median does not see it.
    Measure('decision, p50 [ms]', 'decision_p50_ms', digits=3, middle=np.nanmedian),
    Measure('decision, p99 [ms]', 'decision_p99_ms', digits=3, middle=np.nanmedian),
)

REMARKS = (
    'Means with 95 % bootstrap intervals over worlds, of the runs that finished; a player that loses hard worlds looks '
    'better here than it is, which it does not in the ratios above. Shares of the distance: 1 / N each would be even. '
    'Shown by one robot alone: of the area that was new to the team, counted for each robot that showed it between two '
    'decisions. Decisions: wall time of one choice, from a padded observation to a candidate, on one thread, while the '
    'runs were played, and others beside them; the medians over runs of the median and of the 99th percentile of a '
    'run. Checkpoints decide for the whole team at once and are not timed: export them. A dash: there is no such '
    'thing, as traffic and collisions of points on a grid.')


def measured(runs: Runs, name: str, player: str) -> dict[str, Estimate]:
    """All measures that the finished runs of a player in a set have, by their names."""
    found = {}
    worlds = np.array(runs.worlds(name))
    for measure in MEASURES:
        values = measure.factor * np.array(runs.values(name, player, measure.metric), np.float64)
        known = np.isfinite(values)
        if known.any():
            found[measure.name], = estimate([(values[known], worlds[known])], (partial(measure.middle, axis=-1),))
    return found
