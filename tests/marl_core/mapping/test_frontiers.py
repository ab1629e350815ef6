import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import label

from marl_core.errors import MapError
from marl_core.mapping.frontiers import FrontierFinder, find_candidates
from marl_core.mapping.geodesics import UNREACHED


def grid(*lines):
    """Rows of '.' (free), '#' (occupied) and '?' (unknown), row 0 first."""
    return np.array([[{'.': -1, '#': 1, '?': 0}[character] for character in line] for line in lines], np.int8)


def everywhere(state):
    return 0, state.shape[0], 0, state.shape[1]


def find(state, cost=None, ignored=None, window=None, split_cells=100, minimum_cells=1, maximum=100):
    cost = np.arange(state.size, dtype=np.int32).reshape(state.shape) if cost is None else cost
    ignored = np.zeros(state.shape, np.uint8) if ignored is None else ignored
    return find_candidates(state, cost, ignored, window or everywhere(state), split_cells, minimum_cells, maximum)


def test_doorway_by_hand():
    state = grid('#######',
                 '#...???',
                 '#...???',
                 '#...???',
                 '#######')
    found = find(state)
    assert found.cells.tolist() == [[2, 3]]
    assert found.sizes.tolist() == [3]


def test_edge_of_the_map_and_corners_are_no_frontier():
    assert find(grid('..', '..')).sizes.size == 0
    # the unknown cell touches (0, 0) only diagonally
    assert find(grid('.#', '#?')).sizes.size == 0
    assert find(grid('.?')).cells.tolist() == [[0, 0]]
    assert find(grid('?.')).cells.tolist() == [[0, 1]]
    assert find(grid('?', '.')).cells.tolist() == [[1, 0]]


def test_unreached_and_ignored_cells_do_not_count():
    state = grid('...', '???')
    cost = np.zeros((2, 3), np.int32)
    cost[0, 0] = UNREACHED
    ignored = np.zeros((2, 3), np.uint8)
    ignored[0, 2] = 1
    assert find(state, cost, ignored).cells.tolist() == [[0, 1]]


def test_window_limits_the_search_and_may_exceed_the_grid():
    state = grid('..........', '??????????')
    assert find(state, window=(0, 1, 2, 5)).sizes.tolist() == [3]
    assert find(state, window=(-5, 99, -5, 99)).sizes.tolist() == [10]
    assert find(state, window=(0, 0, 0, 0)).sizes.size == 0
    assert find(state, window=(1, 2, 5, 3)).sizes.size == 0


def test_long_clusters_are_cut_evenly():
    state = grid('.' * 10, '?' * 10)
    found = find(state, split_cells=4)
    # ceil(10 / 4) = 3 pieces of 4, 3 and 3 cells
    assert sorted(found.sizes.tolist()) == [3, 3, 4]
    assert find(state, split_cells=10).sizes.tolist() == [10]


def test_small_clusters_are_dropped_before_cutting():
    state = grid('..###.', '??###?')
    assert find(state, minimum_cells=2).sizes.tolist() == [2]
    assert find(state, minimum_cells=2, split_cells=1).sizes.tolist() == [1, 1]


def test_keeps_the_nearest_in_order():
    state = grid('.#.#.#.', '?#?#?#?')
    cost = np.array([[9, 0, 3, 0, 7, 0, 1], [0] * 7], np.int32)
    assert find(state, cost, maximum=3).cells[:, 1].tolist() == [6, 2, 4]
    assert find(state, cost, maximum=9).cells[:, 1].tolist() == [6, 2, 4, 0]


def test_refuses_other_shapes_and_limits():
    finder = FrontierFinder((3, 3))
    state, cost = np.zeros((3, 3), np.int8), np.zeros((3, 3), np.int32)
    with pytest.raises(MapError, match=r'state of shape \(3, 3\), got \(3, 4\)'):
        finder.find(np.zeros((3, 4), np.int8), cost, (0, 3, 0, 3), 5, 1, 5)
    with pytest.raises(MapError, match='got 0 and 5'):
        finder.find(state, cost, (0, 3, 0, 3), 0, 1, 5)


def reference_clusters(state, cost, ignored):
    padded = np.pad(state, 1, constant_values=9)
    beside = (padded[:-2, 1:-1] == 0) | (padded[2:, 1:-1] == 0) | (padded[1:-1, :-2] == 0) | (padded[1:-1, 2:] == 0)
    labels, count = label((state == -1) & beside & (cost < UNREACHED) & (ignored == 0), np.ones((3, 3)))
    return [np.argwhere(labels == index + 1) for index in range(count)]


CASES = st.tuples(st.integers(1, 12), st.integers(1, 20)).flatmap(lambda shape: st.tuples(
    arrays(np.int8, shape, elements=st.sampled_from([-1, -1, 0, 1])),
    arrays(np.int32, shape, elements=st.sampled_from([3, 4, 5, UNREACHED])),
    arrays(np.uint8, shape, elements=st.sampled_from([0, 0, 1]))))


@settings(max_examples=150, deadline=None)
@given(CASES, st.integers(1, 4))
def test_equals_labelled_clusters(case, minimum_cells):
    state, cost, ignored = case
    found = find(state, cost, ignored, minimum_cells=minimum_cells)
    expected = []
    for cells in reference_clusters(state, cost, ignored):
        if len(cells) >= minimum_cells:
            squared = ((cells * len(cells) - cells.sum(axis=0))**2).sum(axis=1)
            row, col = cells[np.argmin(squared)]
            expected.append((cost[row, col], row, col, len(cells)))
    expected.sort()
    assert found.cells.tolist() == [[row, col] for _, row, col, _ in expected]
    assert found.sizes.tolist() == [size for _, _, _, size in expected]


@settings(max_examples=80, deadline=None)
@given(CASES, st.integers(1, 5))
def test_pieces_cover_all_frontier_cells_and_a_finder_can_be_used_again(case, split_cells):
    state, cost, ignored = case
    finder = FrontierFinder(state.shape)
    total = sum(len(cells) for cells in reference_clusters(state, cost, ignored))
    for _ in range(2):
        found = finder.find(state, cost, everywhere(state), split_cells, 1, 1000, ignored)
        assert found.sizes.sum() == total
        assert (found.sizes <= split_cells**2).all()
