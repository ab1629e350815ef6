"""Plans that know the map, and the bound below them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.fast import CoarseGrid, FastExploration
from sim.fast.oracle import lower_bound_m, plan
from sim.worlds import load_world

CORRIDOR = CoarseGrid.from_free(np.ones((1, 41), np.bool_), 1.0, anchor=(0, 0))


def test_in_a_corridor_the_plan_is_to_go_until_the_end_is_in_sight():
    start = np.array([[1, 1]])
    found = plan(CORRIDOR, start, 5.0, coverage=1.0, step_m=1.0, iterations=20_000)
    assert found.makespan_m == 35.0  # the last cell is 40 m away and seen from 5 m
    # 40 m of way at most 1 % too long, less one cell more than the range, along the longest detour
    assert lower_bound_m(CORRIDOR, start, 5.0, 1.0) == pytest.approx(40.0 / 1.01 - 1.09 * 6.0)


def test_two_robots_take_an_end_each():
    found = plan(CORRIDOR, np.array([[1, 20], [1, 22]]), 5.0, coverage=1.0, step_m=1.0, iterations=20_000)
    assert found.makespan_m == 14.0
    assert sorted(int(route[-1, 1] > 21) for route in found.routes) == [0, 1]


def test_the_bound_by_area_holds_where_everything_is_near():
    hall = CoarseGrid.from_free(np.ones((40, 40), np.bool_), 1.0)
    start = np.array([[20, 20]])
    # 1600 m2, less a disc of 4 m, in a strip 8 m wide; the way to the farthest corner is shorter
    assert lower_bound_m(hall, start, 3.0, 1.0) == pytest.approx((1600.0 - np.pi * 16.0) / 8.0)


@settings(max_examples=12, deadline=None)
@given(st.sampled_from(('rooms', 'office', 'maze', 'cave', 'warehouse')), st.integers(0, 10_000), st.integers(1, 4))
def test_no_plan_beats_the_bound_and_no_explorer_either(kind, seed, robots):
    grid = CoarseGrid.from_world(load_world(f'{kind}:{seed}@14x12'), 0.4)
    starts = grid.clustered_starts(robots)
    bound_m = lower_bound_m(grid, starts, 5.0, 0.99)
    found = plan(grid, starts, 5.0, iterations=20_000)
    assert found.makespan_m >= bound_m
    for route, start in zip(found.routes, starts, strict=True):
        assert route[0].tolist() == start.tolist()
        assert np.abs(np.diff(route, axis=0)).max(initial=0) <= 1
        assert grid.free[route[:, 0], route[:, 1]].all()
    explorers = FastExploration(grid, robots, 5.0)
    explorers.reset(starts, seed=seed)
    explorers.play_out()
    assert explorers.milestones_m[-1] >= bound_m
