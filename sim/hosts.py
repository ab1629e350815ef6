"""Who plays an episode out: the one thing that differs between training on a grid and evaluation in physics."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from marl_core.errors import SimulationError
from sim.fast import CoarseGrid, FastConfig, FastExploration, Outcome
from sim.tasks.exploration import Episode


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole of an episode at one moment, for critics and pictures; what no robot ever sees.

    Attributes:
        free: truth. Shape: (rows, cols), bool.
        known: what the team knows, classes. Shape: (rows, cols), int8.
        cells: robots as (row, col). Shape: (N, 2), int32.
        goals: their goals, negative without. Shape: (N, 2), int32.
    """

    free: NDArray[np.bool_]
    known: NDArray[np.int8]
    cells: NDArray[np.int32]
    goals: NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an episode is.

    Attributes:
        elapsed_s: time since the start [s]. elapsed_m: the same as way of a moving robot [m].
        coverage: part of the free area that the team has seen [0..1].
        milestones_s: time at which coverage reached 0.9, 0.95 and 0.99, inf where it has not [s]. Shape: (3,).
        travelled_m: way of each robot [m]. Shape: (N,).
        out_of_time: the episode's limit is used up.
        bytes_sent: by each robot; None where messages have no size. Shape: (N,).
        collisions: control periods in which a robot touched something, all together; None where nothing has a body.
    """

    elapsed_s: float
    elapsed_m: float
    coverage: float
    milestones_s: NDArray[np.float64]
    travelled_m: NDArray[np.float64]
    out_of_time: bool
    bytes_sent: NDArray[np.int64] | None = None
    collisions: int | None = None


class Host(Protocol):
    """Plays one episode at a time, from decision to decision."""

    @property
    def observations(self) -> Mapping[str, NDArray[np.generic]]:
        """Padded arrays of ``specs.OBSERVATION`` with a leading axis of robots; overwritten by ``step``.

        A robot that does not decide now, because it is on its way or does not work, has no candidate in its mask.
        """
        ...

    @property
    def own_ranks(self) -> NDArray[np.int64]:
        """How many of the teammates that each robot heard come before it by name. Shape: (N,)."""
        ...

    @property
    def hidden_m2(self) -> NDArray[np.float32] | None:
        """Truth behind candidates, see ``FastExploration``; None where it is not measured. Shape: (N, K)."""
        ...

    def reset(self, episode: Episode) -> None:
        """Begin an episode and play to its first decision.

        Raises:
            WorldError: the world has no room for the team.
        """
        ...

    def step(self, choices: NDArray[np.integer]) -> Outcome:
        """Let robots go where they chose until they decide again. Shape of choices: (N,); HOLD stays.

        Raises:
            SimulationError: before ``reset``, or a choice that is no candidate.
        """
        ...

    def progress(self) -> Progress:
        """How far the episode is.

        Raises:
            SimulationError: before ``reset``.
        """
        ...

    def snapshot(self) -> Snapshot:
        """The episode as it is now; arrays may change with the next step.

        Raises:
            SimulationError: before ``reset``.
        """
        ...


class FastHost:
    """Plays on a coarse grid, see ``FastExploration``."""

    def __init__(self, config: FastConfig | None = None) -> None:
        self.config = config or FastConfig()
        self._exploration: FastExploration | None = None

    @property
    def exploration(self) -> FastExploration:
        """What is being played.

        Raises:
            SimulationError: before ``reset``.
        """
        if self._exploration is None:
            raise SimulationError('nothing is played before reset')
        return self._exploration

    @property
    def observations(self) -> Mapping[str, NDArray[np.generic]]:
        """See Host."""
        return self.exploration.observations

    @property
    def own_ranks(self) -> NDArray[np.int64]:
        """See Host."""
        return self.exploration.own_ranks

    @property
    def hidden_m2(self) -> NDArray[np.float32] | None:
        """See Host."""
        return self.exploration.hidden_m2 if self.config.measures_hidden else None

    def reset(self, episode: Episode) -> None:
        """See Host."""
        grid = CoarseGrid.from_world(episode.world, episode.planning_resolution_m)
        self._exploration = FastExploration(grid, episode.robots, episode.sensor_range_m, self.config,
                                            episode.conditions)
        self._exploration.reset(seed=episode.seed, limit_m=episode.limit_m)

    def step(self, choices: NDArray[np.integer]) -> Outcome:
        """See Host."""
        return self.exploration.step(choices)

    def progress(self) -> Progress:
        """See Host."""
        played, speed = self.exploration, self.config.speed_mps
        return Progress(played.elapsed_m / speed, played.elapsed_m, played.coverage, played.milestones_m / speed,
                        played.travelled_m, played.out_of_time)

    def snapshot(self) -> Snapshot:
        """See Host."""
        played = self.exploration
        return Snapshot(played.grid.free, played.known, played.cells, played.goals)
