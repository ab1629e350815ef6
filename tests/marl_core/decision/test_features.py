"""Hand-computed values of every column."""

from math import inf, nan, pi

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import njit

from marl_core.decision.features import (
    LOGITS_PER_UNIT,
    UNREACHED,
    fill_observation,
    in_sight,
    survey_candidates,
    unknown_ratio,
    view_gain_m2,
)
from marl_core.decision.observation import Observation, observe
from marl_core.specs import FAR_M, MAX_CANDIDATES, MAX_TEAM, Candidate, Team
from marl_core.testing import check_observation, padded, random_observation
from marl_core.types import FREE, OCCUPIED, UNKNOWN

RESOLUTION_M, RANGE_M = 0.5, 4.0


def grid(value=FREE, side=40):
    return np.full((side, side), value, np.int8)


def view(state=None, cells=((10, 10),), costs=((50,),), poses=((0.0, 0.0, 0.0),), goals=None, own_rank=0, **changes):
    cells, robots = np.array(cells, np.int32).reshape(-1, 2), len(poses)
    settings = {
        'state': grid() if state is None else state, 'resolution_m': RESOLUTION_M, 'origin_x_m': -10.0,
        'origin_y_m': -10.0, 'sensor_range_m': RANGE_M, 'cells': cells, 'sizes': np.full(len(cells), 3, np.int32),
        'team_poses': np.array(poses, np.float64),
        'team_goals_m': np.full((robots, 2), nan) if goals is None else np.array(goals, np.float64),
        'team_to_go_m': np.full(robots, 7.0), 'team_ages_s': np.arange(robots, dtype=np.float64),
        'team_costs': np.array(costs, np.int32).reshape(robots, len(cells)), 'own_rank': own_rank}
    return observe(**{**settings, **changes})


def test_gain_of_the_open_unknown_is_the_disc() -> None:
    # The candidate's own cell and rounding of the rim: within 15 %.
    assert view_gain_m2(grid(UNKNOWN), 20, 20, RANGE_M, RESOLUTION_M) == pytest.approx(pi * RANGE_M ** 2, rel=0.15)
    assert view_gain_m2(grid(FREE), 20, 20, RANGE_M, RESOLUTION_M) == 0.0


def test_gain_stops_at_walls() -> None:
    state = grid(UNKNOWN)
    open_m2 = view_gain_m2(state, 20, 20, RANGE_M, RESOLUTION_M)
    state[:, 21] = OCCUPIED
    assert view_gain_m2(state, 20, 20, RANGE_M, RESOLUTION_M) == pytest.approx(open_m2 / 2, rel=0.15)


@pytest.mark.parametrize('cell', [(0, 0), (0, 39), (39, 0), (39, 39)])
def test_gain_at_the_corner_of_the_map_is_a_quarter(cell) -> None:
    gain_m2 = view_gain_m2(grid(UNKNOWN), *cell, 2 * RANGE_M, RESOLUTION_M)
    # A quarter, and the half of the cell's own row and column that lie beyond its centre.
    assert gain_m2 == pytest.approx(pi * RANGE_M ** 2 + 2 * 2 * RANGE_M * RESOLUTION_M / 2, rel=0.1)


def test_unknown_ratio_counts_the_square() -> None:
    state = grid()
    state[:, 20:] = UNKNOWN
    # Half edge 2 m = 4 cells; columns 16, 18, 20, 22, 24 are looked at, of which three are unknown.
    assert unknown_ratio(state, 20, 20, RANGE_M, RESOLUTION_M) == pytest.approx(3 / 5)


def test_sight_is_blocked_by_walls_only() -> None:
    state = grid(UNKNOWN)
    assert in_sight(state, 5, 5, 5, 15)
    state[5, 10] = OCCUPIED
    assert not in_sight(state, 5, 5, 5, 15)
    assert in_sight(state, 5, 9, 5, 10), 'the ends themselves do not block'
    assert in_sight(state, 5, 5, 5, 5)


def test_overlap_falls_linearly_and_ends_at_walls() -> None:
    cells = np.array([[10, 10], [10, 14], [10, 18], [14, 10]], np.int32)  # 2 m, 4 m and 2 m away from the first
    state = grid()
    state[12, 5:16] = OCCUPIED
    gains_m2, ratios, overlaps = np.empty(4, np.float32), np.empty(4, np.float32), np.empty((4, 4), np.float32)
    survey_candidates(state, RESOLUTION_M, cells, RANGE_M, gains_m2, ratios, overlaps)
    assert overlaps[0].tolist() == pytest.approx([1.0, 0.5, 0.0, 0.0])
    assert np.array_equal(overlaps, overlaps.T)


def test_positions_are_in_the_robot_frame() -> None:
    # Cell (row 24, col 20) has its centre at (0.25, 2.25); the robot at (0.25, 0.25) looks along +y.
    seen = view(cells=((24, 20),), poses=((0.25, 0.25, pi / 2), (1.25, 0.25, 0.0)), costs=((50,), (20,)),
                goals=((nan, nan), (0.25, 3.25)))
    row = seen.candidates[0]
    assert row[[Candidate.X_M, Candidate.Y_M]].tolist() == pytest.approx([2.0, 0.0], abs=1e-6)
    assert row[Candidate.DISTANCE_M] == pytest.approx(5.0)
    assert row[Candidate.SIZE_M] == pytest.approx(1.5)
    mate = seen.team[1]
    assert mate[[Team.X_M, Team.Y_M]].tolist() == pytest.approx([0.0, -1.0], abs=1e-6)
    assert mate[[Team.GOAL_X_M, Team.GOAL_Y_M]].tolist() == pytest.approx([3.0, 0.0], abs=1e-6)
    assert mate[[Team.HAS_GOAL, Team.DISTANCE_TO_GO_M, Team.AGE_S]].tolist() == [1.0, 7.0, 1.0]
    assert seen.team[0].tolist() == [0.0] * len(Team)


def test_comparison_with_teammates() -> None:
    seen = view(cells=((10, 10), (10, 30)), poses=((0, 0, 0),) * 3, costs=((50, 50), (40, UNREACHED), (60, UNREACHED)))
    assert seen.candidates[:, Candidate.NEAREST_TEAMMATE_M].tolist() == pytest.approx([4.0, FAR_M])
    assert seen.candidates[:, Candidate.TEAMMATES_NEARER].tolist() == [1.0, 0.0]
    alone = view()
    assert alone.candidates[0, Candidate.NEAREST_TEAMMATE_M] == FAR_M
    assert alone.candidates[0, Candidate.ISOLATION_M] == FAR_M


@pytest.mark.parametrize(('own_rank', 'nearer'), [(0, 0), (1, 1), (2, 2)])
def test_equal_distances_are_settled_by_name(own_rank, nearer) -> None:
    seen = view(poses=((0, 0, 0),) * 3, costs=((50,), (50,), (50,)), own_rank=own_rank)
    assert seen.candidates[0, Candidate.TEAMMATES_NEARER] == nearer


def test_candidate_distance_is_the_best_lower_bound() -> None:
    # Straight line 2 m; the second robot has 9 m farther to one than to the other.
    seen = view(cells=((10, 10), (10, 14)), poses=((0, 0, 0),) * 2, costs=((10, 30), (10, 100)))
    assert seen.candidate_distances_m.tolist() == [[0.0, 9.0], [9.0, 0.0]]
    assert seen.candidates[:, Candidate.ISOLATION_M].tolist() == [9.0, 9.0]
    straight = view(cells=((10, 10), (10, 14)), costs=((10, UNREACHED),))
    assert straight.candidate_distances_m[0, 1] == pytest.approx(2.0)


def test_goal_is_continued_by_the_nearest_candidate_within_reach() -> None:
    # Centres (-4.75, -4.75) and (-3.75, -4.75); 0.35 ranges are 1.4 m.
    cells, costs = ((10, 10), (10, 12)), ((10, 20),)
    assert view(cells=cells, costs=costs, goals=((-4.0, -4.75),)).candidates[:, Candidate.IS_GOAL].tolist() == [0, 1]
    assert view(cells=cells, costs=costs, goals=((-2.0, -4.75),)).candidates[:, Candidate.IS_GOAL].tolist() == [0, 0]
    assert view(cells=cells, costs=costs).candidates[:, Candidate.IS_GOAL].tolist() == [0, 0]


def test_burgard_allocation_by_hand() -> None:
    # Candidates A and B 2 m apart (overlap 0.5), C far off. The mate is 1 m from A; its utility is best of all
    # pairs, so it is served first: A loses 1, B 0.5. Own ways: A 2 m, B 3 m, C 7 m; utilities -d/8 - discount:
    # A -1.25, B -0.875, C -0.875 + tiny. C is 6.5 m: -0.8125.
    seen = view(cells=((10, 10), (10, 14), (30, 30)), poses=((0, 0, 0),) * 2, costs=((20, 30, 65), (10, 40, 90)))
    assert seen.candidates[:, Candidate.DISCOUNT].tolist() == pytest.approx([1.0, 0.5, 0.0])
    assert (seen.base_logits / LOGITS_PER_UNIT).tolist() == pytest.approx([-1.25, -0.875, -0.8125])
    assert seen.base_logits.argmax() == 2


def test_burgard_serves_the_better_robot_first() -> None:
    seen = view(cells=((10, 10), (10, 14)), poses=((0, 0, 0),) * 2, costs=((10, 30), (20, 40)))
    assert seen.candidates[:, Candidate.DISCOUNT].tolist() == [0.0, 0.0]
    assert (seen.base_logits / LOGITS_PER_UNIT).tolist() == pytest.approx([-0.125, -0.375])


@pytest.mark.parametrize(('own_rank', 'discount'), [(0, 0.0), (1, 1.0)])
def test_burgard_ties_go_to_the_first_by_name(own_rank, discount) -> None:
    seen = view(poses=((0, 0, 0),) * 2, costs=((10,), (10,)), own_rank=own_rank)
    assert seen.candidates[0, Candidate.DISCOUNT] == discount


def test_burgard_passes_over_teammates_without_a_way() -> None:
    seen = view(poses=((0, 0, 0),) * 2, costs=((10,), (UNREACHED,)), own_rank=1)
    assert seen.candidates[0, Candidate.DISCOUNT] == 0.0


def test_padding_is_overwritten_and_the_rest_is_the_same() -> None:
    exact = view(cells=((10, 10), (10, 14)), poses=((0, 0, 0.3), (1, 0, 0)), costs=((10, 30), (10, 100)))
    wide = Observation.empty(MAX_CANDIDATES, MAX_TEAM, RANGE_M)
    for array in wide.arrays.values():
        if array is not wide.sensor_range_m:
            array[...] = 1
    cells = np.array([[10, 10], [10, 14]], np.int32)
    gains_m2, ratios, overlaps = np.empty(9, np.float32), np.empty(9, np.float32), np.empty((9, 9), np.float32)
    survey_candidates(grid(), RESOLUTION_M, cells, RANGE_M, gains_m2, ratios, overlaps)

    @njit
    def fill(cells, sizes, poses, goals, to_go_m, ages_s, costs, gains_m2, ratios, overlaps, out):
        fill_observation(RESOLUTION_M, -10.0, -10.0, RANGE_M, cells, sizes, gains_m2, ratios, overlaps, poses, goals,
                         to_go_m, ages_s, costs, 0, *out)

    fill(cells, np.full(2, 3, np.int32), np.array([[0, 0, 0.3], [1, 0, 0]]), np.full((2, 2), nan), np.full(2, 7.0),
         np.arange(2.0), np.array([[10, 30], [10, 100]], np.int32), gains_m2, ratios, overlaps,
         (wide.candidates, wide.candidate_mask, wide.candidate_distances_m, wide.team, wide.team_mask,
          wide.team_distances_m, wide.base_logits))
    check_observation(wide)
    for name, array in exact.arrays.items():
        inside = tuple(slice(size) for size in array.shape)
        assert np.array_equal(wide.arrays[name][inside], array), name
        outside = wide.arrays[name].copy()
        outside[inside] = 0
        assert not outside.any(), name


@given(st.integers(0, 2**32 - 1), st.integers(0, MAX_CANDIDATES), st.integers(1, MAX_TEAM))
def test_observations_keep_the_specs(seed, candidates, robots) -> None:
    generator = np.random.default_rng(seed)
    seen = random_observation(generator, candidates, robots)
    check_observation(seen)
    check_observation(padded(seen, MAX_CANDIDATES, MAX_TEAM, generator))
    near = seen.candidate_distances_m
    assert np.array_equal(near, near.T)
    # Discounting never raises a logit above what distance alone gives.
    assert (seen.base_logits <= -LOGITS_PER_UNIT * seen.team_distances_m[0] / 16.0 + 1e-4).all()


def test_far_goals_and_ways_stay_within_the_specs() -> None:
    seen = view(costs=((10**6,),), goals=((0.0, 0.0),), team_to_go_m=np.array([inf]))
    check_observation(seen)
    assert seen.team_distances_m[0, 0] == seen.candidates[0, Candidate.DISTANCE_M] == FAR_M
    assert seen.team[0, Team.DISTANCE_TO_GO_M] == FAR_M
    assert seen.team[0, Team.HAS_GOAL] == 1.0


def test_shapes_that_do_not_fit_are_named() -> None:
    with pytest.raises(ValueError, match=r'team_costs of shape \(1, 1\)'):
        view(team_costs=np.zeros((2, 1), np.int32))


def test_order_of_robots_is_by_name() -> None:
    assert view(poses=((0, 0, 0),) * 4, costs=((1,),) * 4, own_rank=2).order == [1, 2, 0, 3]
