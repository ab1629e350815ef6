from math import inf, nan

import numpy as np
import pytest

from marl_core.mapping.bounds import MapBounds
from marl_core.mapping.tile_numbers import flat_of, flat_of_signed, signed_cell_at, signed_of

BOUNDS = MapBounds(resolution_m=0.1, planning_factor=4, tiles_x=6, tiles_y=4)


def tiles(*pairs):
    return np.array(pairs, np.int32).reshape(-1, 2)


def test_flat_indices_run_along_rows():
    found = flat_of(tiles((0, 0), (0, 5), (1, 0), (3, 5)), BOUNDS)
    assert found.tolist() == [0, 5, 6, 23]
    assert found.dtype == np.int32
    assert flat_of(tiles(), BOUNDS).tolist() == []


def test_signed_coordinates_count_from_the_origin():
    assert flat_of_signed(tiles((-2, -3), (0, 0), (1, 2)), BOUNDS).tolist() == [0, 15, 23]
    assert signed_of(np.array([0, 15, 23]), BOUNDS).tolist() == [[-2, -3], [0, 0], [1, 2]]
    every = np.arange(24)
    assert flat_of_signed(signed_of(every, BOUNDS), BOUNDS).tolist() == every.tolist()


@pytest.mark.parametrize('outside', [(-1, 0), (4, 0), (0, -1), (0, 6)])
def test_one_tile_outside_spoils_all(outside):
    assert flat_of(tiles((0, 0), outside), BOUNDS) is None
    assert flat_of_signed(tiles((0, 0), np.subtract(outside, (2, 3))), BOUNDS) is None


def test_cells_count_from_the_origin_too():
    assert signed_cell_at(0.05, 0.05, BOUNDS) == (0, 0)
    assert signed_cell_at(-0.05, 0.25, BOUNDS) == (2, -1)
    assert signed_cell_at(9.55, -6.35, BOUNDS) == (-64, 95)


@pytest.mark.parametrize('point', [(9.65, 0.0), (0.0, -6.45), (nan, 0.0), (0.0, inf)])
def test_no_cell_where_the_map_is_not(point):
    assert signed_cell_at(*point, BOUNDS) is None
