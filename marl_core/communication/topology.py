"""Who listens to whom. What a robot does not listen to it need not decode; it comes by way of others.

Every robot computes the same links from the statuses that all hear, so a link works both ways: whoever answers is
listened to. Status messages and participants without a pose (map nodes) are always listened to.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from marl_core.communication.teammates import Teammates
from marl_core.types import RobotStatus

Links = NDArray[np.bool_]
"""Whether robots listen to each other, symmetric. Shape: (N, N)."""


@dataclass(frozen=True, slots=True)
class TopologyConfig:
    """Who is listened to.

    Attributes:
        kind: key in TOPOLOGIES.
        range_m: farthest neighbour of ``range`` [m].
        links: robots that each robot chooses in ``nearest`` and ``value``; it also listens to those that chose it,
            and to the next ones by name, so that nobody is left out.
        period_s: between two choices [s].
    """

    kind: str = 'full'
    range_m: float = 15.0
    links: int = 3
    period_s: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in TOPOLOGIES:
            raise ValueError(f'kind must be one of {", ".join(TOPOLOGIES)}, got {self.kind!r}')
        if not (isfinite(self.range_m) and self.range_m > 0.0 and self.links >= 1 and self.period_s >= 0.0):
            raise ValueError(f'range_m must be positive, links at least 1, period_s at least 0, got {self}')


def full(team: Sequence[RobotStatus], config: TopologyConfig) -> Links:
    """Everybody listens to everybody."""
    return np.ones((len(team), len(team)), np.bool_)


def within_range(team: Sequence[RobotStatus], config: TopologyConfig) -> Links:
    """Robots that are near each other, as by a radio of that range: who is far from all shares nothing."""
    places = _places(team)
    return _distances(places, places) <= config.range_m


def nearest(team: Sequence[RobotStatus], config: TopologyConfig) -> Links:
    """The nearest ones."""
    places = _places(team)
    return _chosen(_distances(places, places), config.links)


def by_value(team: Sequence[RobotStatus], config: TopologyConfig) -> Links:
    """Those that see the most of where one is going: the nearest ones to one's goal."""
    goals = np.array([(mate.goal_x_m, mate.goal_y_m) if mate.has_goal else mate.pose[:2] for mate in team])
    return _chosen(_distances(goals, _places(team)), config.links)


TOPOLOGIES: Mapping[str, Callable[[Sequence[RobotStatus], TopologyConfig], Links]] = {
    'full': full, 'range': within_range, 'nearest': nearest, 'value': by_value}


class Topology:
    """Keeps the names that are not listened to."""

    def __init__(self, config: TopologyConfig | None = None) -> None:
        self._config = config or TopologyConfig()
        self._ignored: frozenset[str] = frozenset()
        self._chosen_s = -np.inf

    def choose(self, own: RobotStatus, teammates: Teammates, now: float) -> None:
        """Choose anew among those heard of late, if it is time.

        Args:
            own: the own status. teammates: what is known of the others.
            now: time [s].
        """
        if self._config.kind == 'full' or now - self._chosen_s < self._config.period_s:
            return
        self._chosen_s = now
        team = sorted((own, *(mate.status for mate in teammates.fresh(now))), key=lambda status: status.robot)
        links = TOPOLOGIES[self._config.kind](team, self._config)
        row = next(row for row, mate in enumerate(team) if mate is own)
        self._ignored = frozenset(mate.robot for mate, linked in zip(team, links[row]) if not linked)

    def hears(self, robot: str) -> bool:
        """Whether features and digests of a participant are taken."""
        return robot not in self._ignored


def _places(team: Sequence[RobotStatus]) -> NDArray[np.float64]:
    return np.array([mate.pose[:2] for mate in team])


def _distances(here: NDArray[np.float64], there: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.hypot(*(here[:, None] - there).transpose(2, 0, 1))


def _chosen(distances: NDArray[np.float64], count: int) -> Links:
    """The ``count`` least distant others of each row, and a ring through all rows."""
    size = len(distances)
    np.fill_diagonal(distances, np.inf)
    links = np.zeros((size, size), np.bool_)
    np.put_along_axis(links, np.argsort(distances, axis=1, kind='stable')[:, :count], True, axis=1)
    rows = np.arange(size)
    links[rows, (rows + 1) % size] = True
    return links | links.T
