from math import nan

import numpy as np
import pytest

from marl_core.mapping.bounds import MapBounds
from marl_core.mapping.tile_value import NEWS, REACH_M, tile_value

BOUNDS = MapBounds(resolution_m=0.05, planning_factor=4, tiles_x=8, tiles_y=4)
NONE, ONE = np.zeros(32, np.uint32), np.ones(32, np.int32)


def center_m(ty: int, tx: int) -> tuple[float, float]:
    return -6.4 + 1.6 * (tx + 0.5), -3.2 + 1.6 * (ty + 0.5)


def test_the_tile_where_somebody_goes_is_worth_most_and_half_at_reach():
    x_m, y_m = center_m(1, 0)
    value = tile_value(BOUNDS, ONE, NONE, np.array([(x_m, y_m)]))
    assert value.shape == (4, 8)
    assert value.argmax() == 8
    assert value[1, 0] == 1.0
    assert value[1, 5] == pytest.approx(0.5)  # five tiles of 1.6 m are 8 m
    assert REACH_M == 8.0


def test_what_was_said_before_is_worth_less():
    versions = NONE.copy()
    versions[9] = 7
    value = tile_value(BOUNDS, ONE, versions, np.array([center_m(1, 1)]))
    assert value[1, 1] == pytest.approx(1.0 / NEWS)
    assert value[1, 2] > value[1, 1]


def test_the_nearest_place_counts_and_nowhere_is_no_place():
    places_m = np.array([center_m(0, 0), (nan, nan), center_m(3, 7)])
    value = tile_value(BOUNDS, ONE, NONE, places_m)
    assert value[0, 0] == value[3, 7] == 1.0
    alone = tile_value(BOUNDS, ONE, NONE, np.array([(nan, nan)]))
    np.testing.assert_array_equal(alone, 1.0)
    np.testing.assert_array_equal(tile_value(BOUNDS, ONE, NONE, np.empty((0, 2))), 1.0)


def test_many_changed_cells_are_worth_more_and_none_nothing():
    changed = ONE.copy()
    changed[:3] = 0, 10, 500
    value = tile_value(BOUNDS, changed, NONE, np.array([(0.0, 0.0)]))
    assert value[0, 0] == 0.0
    assert value[0, 2] / value[0, 1] == pytest.approx(50.0, rel=0.2)  # and it lies a tile nearer
