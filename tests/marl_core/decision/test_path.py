"""Paths are straight where they may be and never cut a corner."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marl_core.decision.path import shortcut, traversable_between


def room(rows=10, cols=10):
    return np.ones((rows, cols), np.uint8)


def walk(*corners):
    """Cells of a path along straight and diagonal pieces between corners."""
    cells = [corners[0]]
    for row, col in corners[1:]:
        while cells[-1] != (row, col):
            at_row, at_col = cells[-1]
            cells.append((at_row + np.sign(row - at_row), at_col + np.sign(col - at_col)))
    return np.array(cells, np.int32)


def test_open_room_needs_two_waypoints_in_the_map_frame() -> None:
    waypoints_m = shortcut(walk((1, 1), (4, 4), (4, 9)), room(), 0.5, -1.0, 2.0)
    assert waypoints_m.tolist() == [[-0.25, 2.75], [3.75, 4.25]]


def test_a_wall_is_rounded_at_its_end() -> None:
    traversable = room()
    traversable[0:6, 5] = 0
    waypoints_m = shortcut(walk((2, 2), (6, 4), (6, 6), (2, 8)), traversable, 1.0, 0.0, 0.0)
    assert waypoints_m[0].tolist() == [2.5, 2.5]
    assert waypoints_m[-1].tolist() == [8.5, 2.5]
    assert 3 <= len(waypoints_m) <= 4
    assert waypoints_m[1:-1, 1].min() >= 6.0, 'the corner lies beyond the end of the wall'
    corners = np.floor(waypoints_m[:, ::-1]).astype(int)
    assert all(traversable_between(traversable, *start, *end) for start, end in zip(corners, corners[1:]))


@pytest.mark.parametrize('count', [0, 1])
def test_short_paths(count) -> None:
    assert shortcut(walk((1, 1))[:count], room(), 1.0, 0.0, 0.0).tolist() == [[1.5, 1.5]][:count]


def test_no_squeezing_between_diagonal_obstacles() -> None:
    traversable = room(3, 3)
    traversable[0, 1] = traversable[1, 0] = 0
    assert not traversable_between(traversable, 0, 0, 1, 1)
    traversable[0, 1] = 1
    assert not traversable_between(traversable, 0, 0, 1, 1), 'one side is enough to scrape'
    traversable[1, 0] = 1
    assert traversable_between(traversable, 0, 0, 1, 1)


@given(st.integers(0, 2**32 - 1))
def test_sight_agrees_with_sampling_the_line(seed) -> None:
    generator = np.random.default_rng(seed)
    traversable = (generator.random((12, 12)) < 0.9).astype(np.uint8)
    row0, col0, row1, col1 = (int(value) for value in generator.integers(0, 12, 4))
    part = np.linspace(0.0, 1.0, 2001)[:, None]
    points = (1 - part) * (row0 + 0.5, col0 + 0.5) + part * (row1 + 0.5, col1 + 0.5)
    touched = np.floor(points).astype(int)
    sampled = bool(traversable[touched[:, 0], touched[:, 1]].all())
    assert traversable_between(traversable, row0, col0, row1, col1) <= sampled
    assert traversable_between(traversable, row0, col0, row1, col1) == traversable_between(
        traversable, row1, col1, row0, col0)


def test_touching_any_untraversable_cell_blocks() -> None:
    # The line from (0, 0) to (1, 3) touches exactly (0, 0), (0, 1), (1, 2), (1, 3) and the corner between.
    traversable = np.zeros((2, 4), np.uint8)
    traversable[0, :2] = traversable[1, 2:] = 1
    assert not traversable_between(traversable, 0, 0, 1, 3)
    traversable[0, 2] = traversable[1, 1] = 1
    assert traversable_between(traversable, 0, 0, 1, 3)
