"""What a policy is told about candidates and teammates, computed by njit kernels.

Two steps, so that robots with one shared map pay for the first only once:

1. ``survey_candidates`` reads the map: what would be seen from each candidate, and which candidates see each other.
2. ``fill_observation`` takes one robot's point of view and writes the arrays of ``specs.OBSERVATION``.

Both only write into arrays given by the caller (padded ones in training, exact ones on the robot), allocate
nothing and can be called from other njit code. Rows of teammates are sorted by name; ``own_rank`` says how many
teammates come before the robot itself, which settles every tie alike on all robots.
"""

from math import cos, hypot, pi, sin, sqrt

import numpy as np
from numba import njit
from numpy.typing import NDArray

from marl_core.specs import FAR_M, Candidate, Team
from marl_core.types import OCCUPIED, UNKNOWN

COST_PER_CELL = 5.0
"""Geodesic cost of one straight step, as the distance fields of the map layer count it."""

UNREACHED = 2**30
"""Geodesic costs from here on mean: no way there."""

LOGITS_PER_UNIT = 6.0
"""Inverse temperature of ``base_logits``: one unit of Burgard utility in logits."""

GOAL_KEPT_RANGES = 0.35
"""A candidate continues the current goal when it is nearer to it than this many sensor ranges."""

_RAYS = 64
_RAY_ANGLES = 2.0 * pi * (np.arange(_RAYS) + 0.37) / _RAYS  # off the axes: no ray runs along a cell border
_RAY_COS = np.cos(_RAY_ANGLES)
_RAY_SIN = np.sin(_RAY_ANGLES)

_OCCUPIED = np.int8(OCCUPIED)
_UNKNOWN = np.int8(UNKNOWN)

# Enum members are frozen to plain ints here: numba reads them as constants.
_X, _Y, _DISTANCE, _SIZE = int(Candidate.X_M), int(Candidate.Y_M), int(Candidate.DISTANCE_M), int(Candidate.SIZE_M)
_GAIN, _RATIO, _IS_GOAL = int(Candidate.GAIN_M2), int(Candidate.UNKNOWN_RATIO), int(Candidate.IS_GOAL)
_NEAREST, _NEARER = int(Candidate.NEAREST_TEAMMATE_M), int(Candidate.TEAMMATES_NEARER)
_DISCOUNT, _ISOLATION = int(Candidate.DISCOUNT), int(Candidate.ISOLATION_M)
_TEAM_X, _TEAM_Y, _HAS_GOAL = int(Team.X_M), int(Team.Y_M), int(Team.HAS_GOAL)
_GOAL_X, _GOAL_Y, _TO_GO, _AGE = int(Team.GOAL_X_M), int(Team.GOAL_Y_M), int(Team.DISTANCE_TO_GO_M), int(Team.AGE_S)


@njit(cache=True, nogil=True)
def view_gain_m2(state: NDArray[np.int8], row: int, col: int, range_m: float, resolution_m: float) -> float:
    """Unknown area that a lidar at a cell would see [m2], if unknown space did not block its view.

    Args:
        state: cell classes. Shape: (rows, cols).
        row: of the cell.
        col: of the cell.
        range_m: reach of the lidar [m].
        resolution_m: edge of a cell [m].
    """
    rows, cols = state.shape
    reach = int(range_m / resolution_m)
    total = 0
    inside = row >= reach + 1 and col >= reach + 1 and row < rows - reach - 1 and col < cols - reach - 1
    for ray in range(_RAYS):
        step_row, step_col = _RAY_SIN[ray], _RAY_COS[ray]
        at_row, at_col = row + 0.5, col + 0.5
        for step in range(1, reach + 1):
            at_row += step_row
            at_col += step_col
            if not inside and (at_row < 0.0 or at_col < 0.0 or at_row >= rows or at_col >= cols):
                break
            seen = state[int(at_row), int(at_col)]
            if seen == _OCCUPIED:
                break
            if seen == _UNKNOWN:
                total += step  # a ray stands for a sector: its cells grow with distance
    return total * (2.0 * pi / _RAYS) * resolution_m * resolution_m


@njit(cache=True, nogil=True)
def unknown_ratio(state: NDArray[np.int8], row: int, col: int, side_m: float, resolution_m: float) -> float:
    """Unknown part [0..1] of a square of edge ``side_m`` around a cell; every other cell is looked at.

    Args:
        state: cell classes. Shape: (rows, cols).
        row: of the cell.
        col: of the cell.
        side_m: edge of the square [m].
        resolution_m: edge of a cell [m].
    """
    rows, cols = state.shape
    half = int(0.5 * side_m / resolution_m)
    unknown, looked_at = 0, 0
    for at_row in range(max(0, row - half), min(rows, row + half + 1), 2):
        for at_col in range(max(0, col - half), min(cols, col + half + 1), 2):
            looked_at += 1
            if state[at_row, at_col] == _UNKNOWN:
                unknown += 1
    return unknown / max(1, looked_at)


@njit(cache=True, nogil=True)
def in_sight(state: NDArray[np.int8], row0: int, col0: int, row1: int, col1: int) -> bool:
    """Whether no occupied cell lies strictly between two cells (unknown ones do not block)."""
    steps = max(abs(row1 - row0), abs(col1 - col0))
    if steps < 2:
        return True
    step_row, step_col = (row1 - row0) / steps, (col1 - col0) / steps
    at_row, at_col = row0 + 0.5, col0 + 0.5
    for _ in range(steps - 1):
        at_row += step_row
        at_col += step_col
        if state[int(at_row), int(at_col)] == _OCCUPIED:
            return False
    return True


@njit(cache=True, nogil=True)
def survey_candidates(state: NDArray[np.int8], resolution_m: float, cells: NDArray[np.int32], sensor_range_m: float,
                      gains_m2: NDArray[np.float32], unknown_ratios: NDArray[np.float32],
                      overlaps: NDArray[np.float32]) -> None:
    """Read from the map what does not depend on the robot; all robots that share map and candidates share it.

    Args:
        state: cell classes of the planning grid. Shape: (rows, cols).
        resolution_m: edge of a cell [m].
        cells: candidates as (row, col). Shape: (K, 2).
        sensor_range_m: reach of the lidar [m].
        gains_m2: written, see ``view_gain_m2``. Shape: at least (K,).
        unknown_ratios: written [0..1]. Shape: at least (K,).
        overlaps: written: how much of its worth a candidate loses when the other one is taken: 1 at the same
            place, falling to 0 at one sensor range or out of sight. Symmetric. Shape: at least (K, K).
    """
    count = cells.shape[0]
    for k in range(count):
        row, col = cells[k, 0], cells[k, 1]
        gains_m2[k] = view_gain_m2(state, row, col, sensor_range_m, resolution_m)
        unknown_ratios[k] = unknown_ratio(state, row, col, sensor_range_m, resolution_m)
        overlaps[k, k] = 1.0
        for other in range(k):
            apart_m = resolution_m * hypot(float(row - cells[other, 0]), float(col - cells[other, 1]))
            overlap = 0.0
            if apart_m < sensor_range_m and in_sight(state, row, col, cells[other, 0], cells[other, 1]):
                overlap = 1.0 - apart_m / sensor_range_m
            overlaps[k, other] = overlap
            overlaps[other, k] = overlap


@njit(cache=True, nogil=True)
def allocate_greedily(team_distances_m: NDArray[np.float32], robots: int, count: int, own_rank: int,
                      overlaps: NDArray[np.float32], sensor_range_m: float,
                      discounts: NDArray[np.float32], logits: NDArray[np.float32]) -> None:
    """Burgard's allocation, stopped when robot 0 is served: repeatedly the best pair of robot and candidate.

    The utility of a pair is 1 - discount - distance / (2 sensor ranges); a taken candidate discounts those that
    overlap with it. So ``argmax(logits)`` is robot 0's candidate under the rule.

    Args:
        team_distances_m: geodesic distances, FAR_M where there is no way [m]. Shape: at least (robots, count).
        robots: number of robots (at most 62).
        count: number of candidates.
        own_rank: number of teammates whose names come before robot 0's.
        overlaps: see ``survey_candidates``.
        sensor_range_m: reach of the lidar [m].
        discounts: written: discounts at the moment when robot 0 is served. Shape: at least (count,).
        logits: written: robot 0's utilities at that moment (less the constant 1), scaled. Shape: at least (count,).
    """
    per_metre = 0.5 / sensor_range_m
    for k in range(count):
        discounts[k] = 0.0
    served = 0  # bit per robot
    for _ in range(robots):
        best, best_robot, best_k = -np.inf, 0, -1
        for place in range(robots):
            robot = 0 if place == own_rank else (place + 1 if place < own_rank else place)
            if served >> robot & 1:
                continue
            for k in range(count):
                distance_m = team_distances_m[robot, k]
                utility = -discounts[k] - distance_m * per_metre
                if distance_m < FAR_M and utility > best:
                    best, best_robot, best_k = utility, robot, k
        if best_robot == 0 or best_k < 0:
            break
        served |= 1 << best_robot
        for k in range(count):
            discounts[k] += overlaps[best_k, k]
    for k in range(count):
        logits[k] = LOGITS_PER_UNIT * (-discounts[k] - team_distances_m[0, k] * per_metre)


@njit(cache=True, nogil=True)
def fill_observation(
        resolution_m: float, origin_x_m: float, origin_y_m: float, sensor_range_m: float,
        cells: NDArray[np.int32], sizes: NDArray[np.int32], gains_m2: NDArray[np.float32],
        unknown_ratios: NDArray[np.float32], overlaps: NDArray[np.float32], team_poses: NDArray[np.float64],
        team_goals_m: NDArray[np.float64], team_to_go_m: NDArray[np.float64], team_ages_s: NDArray[np.float64],
        team_costs: NDArray[np.int32], own_rank: int,
        candidates: NDArray[np.float32], candidate_mask: NDArray[np.bool_],
        candidate_distances_m: NDArray[np.float32], team: NDArray[np.float32], team_mask: NDArray[np.bool_],
        team_distances_m: NDArray[np.float32], base_logits: NDArray[np.float32]) -> None:
    """Write one robot's observation; padding rows become zero and False.

    K is ``cells.shape[0]`` and T is ``team_poses.shape[0]``; pass slices of larger arrays. Row 0 of everything
    ``team_*`` is the robot itself, the others are sorted by name.

    Args:
        resolution_m: edge of a planning cell [m].
        origin_x_m: x of the corner of cell (0, 0) [m; map frame].
        origin_y_m: y of it.
        sensor_range_m: reach of the lidar [m].
        cells: candidates as (row, col). Shape: (K, 2).
        sizes: frontier cells of each. Shape: (K,).
        gains_m2: from ``survey_candidates``. Shape: at least (K,).
        unknown_ratios: from ``survey_candidates``. Shape: at least (K,).
        overlaps: from ``survey_candidates``. Shape: at least (K, K).
        team_poses: x, y, heading [m, m, rad; map frame]. Shape: (T, 3).
        team_goals_m: x, y, NaN without a goal [m; map frame]. Shape: (T, 2).
        team_to_go_m: remaining path, ignored without a goal [m]. Shape: (T,).
        team_ages_s: time since heard [s]. Shape: (T,).
        team_costs: geodesic cost of each robot to each candidate. Shape: (T, K).
        own_rank: number of teammates whose names come before the robot's own.
        candidates, candidate_mask, candidate_distances_m, team, team_mask, team_distances_m, base_logits: written,
            see ``specs.OBSERVATION``; any size from K and T up.
    """
    count, robots = cells.shape[0], team_poses.shape[0]
    x_m, y_m = team_poses[0, 0], team_poses[0, 1]
    ahead, left = cos(team_poses[0, 2]), sin(team_poses[0, 2])
    _fill_team(team_poses, team_goals_m, team_to_go_m, team_ages_s, team, team_mask)
    _fill_team_distances(team_costs, resolution_m / COST_PER_CELL, team_distances_m)
    candidates[:] = 0.0
    for k in range(candidates.shape[0]):
        candidate_mask[k] = k < count
        base_logits[k] = 0.0
    for k in range(count):
        dx_m = origin_x_m + (cells[k, 1] + 0.5) * resolution_m - x_m
        dy_m = origin_y_m + (cells[k, 0] + 0.5) * resolution_m - y_m
        candidates[k, _X] = ahead * dx_m + left * dy_m
        candidates[k, _Y] = -left * dx_m + ahead * dy_m
        candidates[k, _SIZE] = sizes[k] * resolution_m
        candidates[k, _GAIN] = gains_m2[k]
        candidates[k, _RATIO] = unknown_ratios[k]
    _compare_with_teammates(team_distances_m, robots, own_rank, count, candidates)
    _fill_candidate_distances(cells, count, robots, resolution_m, team_distances_m, candidate_distances_m, candidates)
    _mark_goal(team_goals_m[0, 0] - origin_x_m, team_goals_m[0, 1] - origin_y_m, cells, resolution_m,
               GOAL_KEPT_RANGES * sensor_range_m, candidates)
    allocate_greedily(team_distances_m, robots, count, own_rank, overlaps, sensor_range_m,
                      candidates[:, _DISCOUNT], base_logits)


@njit(cache=True, nogil=True)
def _fill_team(team_poses: NDArray[np.float64], team_goals_m: NDArray[np.float64], team_to_go_m: NDArray[np.float64],
               team_ages_s: NDArray[np.float64], team: NDArray[np.float32], team_mask: NDArray[np.bool_]) -> None:
    x_m, y_m = team_poses[0, 0], team_poses[0, 1]
    ahead, left = cos(team_poses[0, 2]), sin(team_poses[0, 2])
    team[:] = 0.0
    for robot in range(team.shape[0]):
        team_mask[robot] = robot < team_poses.shape[0]
    for robot in range(team_poses.shape[0]):
        dx_m, dy_m = team_poses[robot, 0] - x_m, team_poses[robot, 1] - y_m
        team[robot, _TEAM_X] = ahead * dx_m + left * dy_m
        team[robot, _TEAM_Y] = -left * dx_m + ahead * dy_m
        team[robot, _AGE] = team_ages_s[robot]
        if not np.isnan(team_goals_m[robot, 0]):
            dx_m, dy_m = team_goals_m[robot, 0] - x_m, team_goals_m[robot, 1] - y_m
            team[robot, _GOAL_X] = ahead * dx_m + left * dy_m
            team[robot, _GOAL_Y] = -left * dx_m + ahead * dy_m
            team[robot, _HAS_GOAL] = 1.0
            to_go_m = team_to_go_m[robot]
            team[robot, _TO_GO] = 0.0 if np.isnan(to_go_m) else min(FAR_M, to_go_m)


@njit(cache=True, nogil=True)
def _fill_team_distances(team_costs: NDArray[np.int32], metres_per_cost: float,
                         team_distances_m: NDArray[np.float32]) -> None:
    """Costs as metres, FAR_M where there is no way, 0 in padding. Shapes: (T, K), and at least that."""
    robots, count = team_costs.shape
    for robot in range(team_distances_m.shape[0]):
        for k in range(team_distances_m.shape[1]):
            if robot < robots and k < count:
                cost = team_costs[robot, k]
                team_distances_m[robot, k] = FAR_M if cost >= UNREACHED else min(FAR_M, cost * metres_per_cost)
            else:
                team_distances_m[robot, k] = 0.0


@njit(cache=True, nogil=True)
def _compare_with_teammates(team_distances_m: NDArray[np.float32], robots: int, own_rank: int, count: int,
                            candidates: NDArray[np.float32]) -> None:
    """Write how far each candidate is from the robot itself and, in comparison, from its teammates."""
    for k in range(count):
        own_m = team_distances_m[0, k]
        nearest_m, nearer = np.float32(FAR_M), 0
        for robot in range(1, robots):
            distance_m = team_distances_m[robot, k]
            nearest_m = min(nearest_m, distance_m)
            if distance_m < own_m or (distance_m == own_m and robot <= own_rank):
                nearer += 1
        candidates[k, _DISTANCE] = own_m
        candidates[k, _NEAREST] = nearest_m
        candidates[k, _NEARER] = nearer


@njit(cache=True, nogil=True)
def _fill_candidate_distances(cells: NDArray[np.int32], count: int, robots: int, resolution_m: float,
                              team_distances_m: NDArray[np.float32], candidate_distances_m: NDArray[np.float32],
                              candidates: NDArray[np.float32]) -> None:
    """Lower bounds: the straight line, or how much farther a robot has to one than to the other."""
    candidate_distances_m[:] = 0.0
    for a in range(count):
        candidates[a, _ISOLATION] = FAR_M
    for a in range(count):
        for b in range(a):
            d_row, d_col = float(cells[a, 0] - cells[b, 0]), float(cells[a, 1] - cells[b, 1])
            bound_m = np.float32(min(FAR_M, resolution_m * sqrt(d_row * d_row + d_col * d_col)))
            for robot in range(robots):
                to_a_m, to_b_m = team_distances_m[robot, a], team_distances_m[robot, b]
                if to_a_m < FAR_M and to_b_m < FAR_M:
                    bound_m = max(bound_m, abs(to_a_m - to_b_m))
            candidate_distances_m[a, b] = bound_m
            candidate_distances_m[b, a] = bound_m
            candidates[a, _ISOLATION] = min(candidates[a, _ISOLATION], bound_m)
            candidates[b, _ISOLATION] = min(candidates[b, _ISOLATION], bound_m)


@njit(cache=True, nogil=True)
def _mark_goal(goal_x_m: float, goal_y_m: float, cells: NDArray[np.int32], resolution_m: float, within_m: float,
               candidates: NDArray[np.float32]) -> None:
    """Mark the candidate nearest to the goal [m; from the grid's origin]; comparisons with NaN mark none."""
    best_m, best_k = within_m, -1
    for k in range(cells.shape[0]):
        apart_m = hypot((cells[k, 1] + 0.5) * resolution_m - goal_x_m, (cells[k, 0] + 0.5) * resolution_m - goal_y_m)
        if apart_m < best_m:
            best_m, best_k = apart_m, k
    if best_k >= 0:
        candidates[best_k, _IS_GOAL] = 1.0
