import numpy as np
import pytest

from marl_nodes.map_view import UPDATES_PER_GRID, MapView, Window, areas_m2


def tiles(*pairs):
    return np.array(pairs, np.int32).reshape(-1, 2)


def test_nothing_is_published_before_anything_is_known():
    view = MapView()
    view.note(tiles())
    assert view.box is None
    assert view.next_grid() is None
    assert view.next_update() is None


def test_the_first_tile_makes_a_whole_map():
    view = MapView()
    view.note(tiles((2, 3)))
    assert view.next_grid() == Window(64, 96, 96, 128)
    assert view.next_update() is None
    assert view.next_grid() is None


def test_a_change_within_the_box_makes_a_rectangle():
    view = MapView()
    view.note(tiles((0, 0), (4, 4)))
    view.next_grid()
    view.note(tiles((1, 2), (2, 1)))
    assert view.next_grid() is None
    assert view.next_update() == Window(32, 96, 32, 96)
    assert view.next_update() is None


def test_growth_makes_a_whole_map_that_needs_no_rectangle():
    view = MapView()
    view.note(tiles((0, 0)))
    view.next_grid()
    view.note(tiles((0, 1)))
    assert view.next_grid() == Window(0, 32, 0, 64)
    assert view.next_update() is None


def test_once_changes_rest_the_whole_map_is_sent_for_those_who_came_late():
    view = MapView()
    view.note(tiles((0, 0)))
    view.next_grid()
    view.note(tiles((0, 0)))
    view.next_update()
    assert view.next_grid() == Window(0, 32, 0, 32)
    assert view.next_grid() is None


def test_constant_changes_do_not_put_off_the_whole_map_for_ever():
    view = MapView()
    view.note(tiles((0, 0)))
    assert view.next_grid() is not None
    for _ in range(UPDATES_PER_GRID):
        view.note(tiles((0, 0)))
        assert view.next_grid() is None
        assert view.next_update() is not None
    view.note(tiles((0, 0)))
    assert view.next_grid() is not None


def test_areas_count_cells_of_each_class():
    cells = np.array([[-1, -1, 0, 0], [1, -1, -1, -1]], np.int8)
    assert areas_m2(cells, 0.5) == pytest.approx((1.25, 0.25, 0.5))
