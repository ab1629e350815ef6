import heapq
from math import inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from marl_core.errors import MapError
from marl_core.mapping.geodesics import UNREACHED, DistanceField, descend, descend_into, nearest_traversable


def grid(*lines):
    """Rows of '.' (traversable) and '#', row 0 first."""
    return np.array([[character == '.' for character in line] for line in lines], np.uint8)


def dijkstra(traversable, start):
    """Textbook reference with a heap."""
    rows, cols = traversable.shape
    cost = np.full((rows, cols), UNREACHED, np.int64)
    cost[start] = 0
    heap = [(0, start)]
    while heap:
        distance, (row, col) = heapq.heappop(heap)
        if distance > cost[row, col]:
            continue
        for down in (-1, 0, 1):
            for right in (-1, 0, 1):
                to = row + down, col + right
                if (down, right) == (0, 0) or not (0 <= to[0] < rows and 0 <= to[1] < cols) or not traversable[to]:
                    continue
                if down and right and not (traversable[row, to[1]] and traversable[to[0], col]):
                    continue
                through = distance + (7 if down and right else 5)
                if through < cost[to]:
                    cost[to] = through
                    heapq.heappush(heap, (through, to))
    return cost


def test_costs_by_hand_and_no_corner_is_cut():
    field = DistanceField((3, 4))
    field.compute(grid('...#', '.#..', '....'), 0, 0)
    # (1, 2) is three straight steps away: the diagonal past the obstacle at (1, 1) is not allowed
    assert field.cost.tolist() == [[0, 5, 10, UNREACHED], [5, UNREACHED, 15, 20], [10, 15, 20, 22]]
    assert field.distance_m(1, 2, 0.2) == pytest.approx(0.6)
    assert field.distance_m(0, 3, 0.2) == inf
    assert field.distance_m(-1, 0, 0.2) == inf
    assert field.reached == 10


@settings(max_examples=60, deadline=None)
@given(arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 1)), st.data())
def test_equals_dijkstra_and_paths_add_up(traversable, data):
    rows, cols = traversable.shape
    start = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, cols - 1))
    traversable[start] = 1
    field = DistanceField((rows, cols))
    field.compute(traversable, *start)
    expected = dijkstra(traversable, start)
    assert np.array_equal(field.cost, expected)
    assert field.reached == np.count_nonzero(expected < UNREACHED)
    for row, col in np.argwhere(expected < UNREACHED):
        path = field.path_to(row, col)
        steps = np.abs(np.diff(path, axis=0))
        assert tuple(path[0]) == start and tuple(path[-1]) == (row, col)
        assert (steps.max(axis=1, initial=0) <= 1).all()
        assert sum(7 if step.sum() == 2 else 5 for step in steps) == expected[row, col]


def test_second_computation_forgets_the_first():
    field = DistanceField((4, 5))
    field.compute(np.ones((4, 5), np.uint8), 0, 0)
    split = grid('..#..', '..#..', '..#..', '..#..')
    field.compute(split, 3, 4)
    assert (field.cost[:, :3] == UNREACHED).all()
    assert np.array_equal(field.cost, dijkstra(split, (3, 4)))


def test_start_counts_as_traversable():
    field = DistanceField((2, 2))
    field.compute(grid('#.', '..'), 0, 0)
    assert field.cost.tolist() == [[0, 5], [5, 7]]


def test_refuses_starts_outside_and_other_shapes():
    field = DistanceField((3, 3))
    field.compute(np.ones((3, 3), np.uint8), 0, 0)
    before = field.cost.copy()
    with pytest.raises(MapError, match=r'\(3, 0\) lies outside'):
        field.compute(np.ones((3, 3), np.uint8), 3, 0)
    with pytest.raises(MapError, match=r'shape \(3, 3\), got \(3, 4\)'):
        field.compute(np.ones((3, 4), np.uint8), 0, 0)
    assert (field.cost == before).all()


def test_descend_from_unreached_or_outside_is_empty_and_respects_its_buffer():
    field = DistanceField((3, 3))
    field.compute(grid('.#.', '.#.', '.#.'), 0, 0)
    assert descend(field.cost, 0, 2).shape == (0, 2)
    assert descend(field.cost, 9, 9).shape == (0, 2)
    buffer = np.zeros((2, 2), np.int32)
    assert descend_into(field.cost, 2, 0, buffer) == 2
    assert buffer.tolist() == [[2, 0], [1, 0]]


def test_path_runs_straight_where_it_can():
    field = DistanceField((1, 6))
    field.compute(np.ones((1, 6), np.uint8), 0, 0)
    assert field.path_to(0, 5).tolist() == [[0, col] for col in range(6)]


def test_nearest_traversable():
    cells = grid('....#', '#####', '#####', '#####', '##.##')
    assert nearest_traversable(cells, 0, 1, 4) == (0, 1)
    assert nearest_traversable(cells, 2, 2, 4) == (0, 2)
    assert nearest_traversable(cells, 3, 2, 4) == (4, 2)
    assert nearest_traversable(cells, 4, 4, 1) == (-1, -1)
    assert nearest_traversable(cells, 4, 4, 2) == (4, 2)


@settings(max_examples=60, deadline=None)
@given(arrays(np.uint8, (7, 8), elements=st.sampled_from([0, 0, 0, 1])), st.integers(0, 6), st.integers(0, 7),
       st.integers(0, 6))
def test_nearest_traversable_is_nearest(cells, row, col, reach):
    found = nearest_traversable(cells, row, col, reach)
    squared = [(r - row)**2 + (c - col)**2 for r, c in np.argwhere(cells)]
    if not squared or min(squared) > reach**2:
        assert found == (-1, -1)
    else:
        assert cells[found] and (found[0] - row)**2 + (found[1] - col)**2 == min(squared)
