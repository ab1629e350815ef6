"""One robot's view of the decision to take: the arrays of ``specs.OBSERVATION``."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from marl_core.decision.features import fill_observation, survey_candidates
from marl_core.specs import OBSERVATION, Candidate, Team


@dataclass(frozen=True, slots=True)
class Observation:
    """What a policy sees; arrays as in ``specs.OBSERVATION``, where units are given.

    Rows where a mask is False are padding. Teammates (rows 1 and on of ``team``) are sorted by name.

    Attributes:
        candidates: see ``specs.Candidate``. Shape: (K, 11).
        candidate_mask: Shape: (K,).
        candidate_distances_m: lower bound of the way between candidates. Shape: (K, K).
        team: see ``specs.Team``. Shape: (T, 7).
        team_mask: Shape: (T,).
        team_distances_m: geodesic. Shape: (T, K).
        base_logits: Burgard's rule; its argmax is Burgard's choice. Shape: (K,).
        sensor_range_m: Shape: (1,).
        own_rank: number of teammates whose names come before the robot's own; ties go to the first by name.
            Not an input of models.
    """

    candidates: NDArray[np.float32]
    candidate_mask: NDArray[np.bool_]
    candidate_distances_m: NDArray[np.float32]
    team: NDArray[np.float32]
    team_mask: NDArray[np.bool_]
    team_distances_m: NDArray[np.float32]
    base_logits: NDArray[np.float32]
    sensor_range_m: NDArray[np.float32]
    own_rank: int = 0

    @classmethod
    def empty(cls, candidates: int, robots: int, sensor_range_m: float, own_rank: int = 0) -> Self:
        """An observation with arrays of a given size, all zero and masked."""
        return cls(
            candidates=np.zeros((candidates, len(Candidate)), np.float32),
            candidate_mask=np.zeros(candidates, np.bool_),
            candidate_distances_m=np.zeros((candidates, candidates), np.float32),
            team=np.zeros((robots, len(Team)), np.float32),
            team_mask=np.zeros(robots, np.bool_),
            team_distances_m=np.zeros((robots, candidates), np.float32),
            base_logits=np.zeros(candidates, np.float32),
            sensor_range_m=np.array([sensor_range_m], np.float32),
            own_rank=own_rank)

    @property
    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """The arrays by the names of ``specs.OBSERVATION``: the feed of a model."""
        return {spec.name: getattr(self, spec.name) for spec in OBSERVATION}

    @property
    def places(self) -> NDArray[np.intp]:
        """Indices of candidates that are no padding, ascending."""
        return np.flatnonzero(self.candidate_mask)

    @property
    def order(self) -> list[int]:
        """Rows of robots that are no padding, sorted by name."""
        teammates = [row for row in range(1, len(self.team_mask)) if self.team_mask[row]]
        return [*teammates[:self.own_rank], 0, *teammates[self.own_rank:]]


def observe(state: NDArray[np.int8], resolution_m: float, origin_x_m: float, origin_y_m: float,
            sensor_range_m: float, cells: NDArray[np.int32], sizes: NDArray[np.int32],
            team_poses: NDArray[np.float64], team_goals_m: NDArray[np.float64], team_to_go_m: NDArray[np.float64],
            team_ages_s: NDArray[np.float64], team_costs: NDArray[np.int32], own_rank: int = 0) -> Observation:
    """Observe from the point of view of the robot in row 0 of the team; nothing is padded.

    Args:
        state: cell classes of the planning grid (FREE, UNKNOWN, OCCUPIED). Shape: (rows, cols).
        resolution_m: edge of a planning cell [m].
        origin_x_m: x of the corner of cell (0, 0) [m; map frame].
        origin_y_m: y of it.
        sensor_range_m: reach of the lidar [m].
        cells: candidates as (row, col). Shape: (K, 2).
        sizes: frontier cells of each. Shape: (K,).
        team_poses: x, y, heading; row 0 the robot, then teammates by name [m, m, rad; map frame]. Shape: (T, 3).
        team_goals_m: x, y, NaN without a goal [m; map frame]. Shape: (T, 2).
        team_to_go_m: length of the remaining path [m]. Shape: (T,).
        team_ages_s: time since heard, 0 for the robot itself [s]. Shape: (T,).
        team_costs: geodesic cost (5 per straight cell) of each robot to each candidate. Shape: (T, K).
        own_rank: number of teammates whose names come before the robot's own.

    Raises:
        ValueError: shapes do not fit each other.
    """
    count, robots = len(cells), len(team_poses)
    if (team_costs.shape != (robots, count) or sizes.shape != (count,) or team_goals_m.shape != (robots, 2)
            or team_to_go_m.shape != (robots,) or team_ages_s.shape != (robots,)):
        raise ValueError(f'{robots} robots and {count} candidates need team_costs of shape ({robots}, {count}), sizes '
                         f'({count},), goals ({robots}, 2), distances and ages ({robots},); got {team_costs.shape}, '
                         f'{sizes.shape}, {team_goals_m.shape}, {team_to_go_m.shape}, {team_ages_s.shape}')
    observation = Observation.empty(count, robots, sensor_range_m, own_rank)
    gains_m2, unknown_ratios = np.empty(count, np.float32), np.empty(count, np.float32)
    overlaps = np.empty((count, count), np.float32)
    survey_candidates(state, resolution_m, cells, sensor_range_m, gains_m2, unknown_ratios, overlaps)
    fill_observation(
        resolution_m, origin_x_m, origin_y_m, sensor_range_m, cells, sizes, gains_m2, unknown_ratios, overlaps,
        team_poses, team_goals_m, team_to_go_m, team_ages_s, team_costs, own_rank,
        observation.candidates, observation.candidate_mask, observation.candidate_distances_m, observation.team,
        observation.team_mask, observation.team_distances_m, observation.base_logits)
    return observation
