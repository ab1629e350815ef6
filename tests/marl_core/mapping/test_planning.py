import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marl_core.errors import MapError
from marl_core.mapping.bounds import MapBounds, MapConfig
from marl_core.mapping.planning import PlanningGrid

BOUNDS = MapBounds.from_config(MapConfig(width_m=6.4, height_m=3.2))  # 128 x 64 cells, 2 x 4 tiles, factor 4
ALL_TILES = np.argwhere(np.ones(BOUNDS.tiles_shape, bool)).astype(np.int32)


def expected(classes, factor, radius_cells):
    """From scratch: every planning centre against the square of every occupied cell."""
    rows, cols = classes.shape[0] // factor, classes.shape[1] // factor
    blocks = classes.reshape(rows, factor, cols, factor)
    occupied, free = (blocks == 1).any(axis=(1, 3)), (blocks == -1).sum(axis=(1, 3)) * 2 >= factor**2
    state = np.where(occupied, 1, np.where(free, -1, 0))
    centre_y, centre_x = (np.indices((rows, cols)) + 0.5) * factor
    clear = np.ones((rows, cols), bool)
    for row, col in np.argwhere(classes == 1):
        beside_y = np.maximum(np.maximum(row - centre_y, centre_y - row - 1), 0.0)
        beside_x = np.maximum(np.maximum(col - centre_x, centre_x - col - 1), 0.0)
        clear &= np.hypot(beside_y, beside_x) > radius_cells - 1e-5
    return state, (state == -1) & clear


def test_states_by_hand():
    classes = np.zeros(BOUNDS.shape, np.int8)
    classes[:4, :4] = -1
    classes[2, 3] = 1
    classes[:2, 4:8] = -1
    classes[:2, 8:11] = -1
    grid = PlanningGrid(BOUNDS, 0.0, 0.0)
    grid.update(classes, np.array([[0, 0]]))
    assert grid.state[0, :4].tolist() == [1, -1, 0, 0]
    assert grid.traversable[0, :4].tolist() == [0, 1, 0, 0]
    assert grid.known_window == (0, 8, 0, 8)


def test_clearance_from_a_lone_post():
    classes = np.full(BOUNDS.shape, -1, np.int8)
    classes[32, 64] = 1   # square from (3.2, 1.6) to (3.25, 1.65); next centres 0.1 m off its edges
    grid = PlanningGrid(BOUNDS, 0.2, 0.1)
    grid.update(classes, ALL_TILES)
    # in its own row, centres lie 0.05 m (own cell), 0.1 m, 0.3 m to the left and 0.25 m, 0.45 m to the right
    assert grid.traversable[8, 12:20].tolist() == [1, 1, 1, 0, 0, 0, 1, 1]
    assert np.count_nonzero(grid.traversable == 0) == np.count_nonzero(~expected(classes, 4, 6.0)[1])


def test_refuses_what_lies_outside():
    grid = PlanningGrid(BOUNDS, 0.2, 0.1)
    classes = np.zeros(BOUNDS.shape, np.int8)
    for tile in ((2, 0), (0, 4), (-1, 0)):
        with pytest.raises(MapError):
            grid.update(classes, np.array([tile]))
    with pytest.raises(MapError):
        grid.update(classes[:-1], ALL_TILES)
    with pytest.raises(MapError):
        PlanningGrid(BOUNDS, 2.0, 0.1)
    grid.update(classes, np.empty((0, 2), np.int32))
    assert grid.known_window == (0, 0, 0, 0)


def test_from_state():
    state = np.zeros(BOUNDS.planning_shape, np.int8)
    state[2, 3], state[4, 5] = -1, 1
    grid = PlanningGrid.from_state(BOUNDS, state)
    assert np.argwhere(grid.traversable).tolist() == [[2, 3]]
    assert grid.known_window == (0, 16, 0, 32)
    with pytest.raises(MapError):
        PlanningGrid.from_state(BOUNDS, state[1:])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 4, 8]), st.floats(0.0, 0.6), st.integers(1, 6))
def test_incremental_equals_from_scratch(seed, factor, radius_m, rounds):
    generator = np.random.default_rng(seed)
    bounds = MapBounds(0.05, factor, 4, 2)
    grid = PlanningGrid(bounds, radius_m, 0.0)
    classes = np.zeros(bounds.shape, np.int8)
    seen = classes.copy()
    for _ in range(rounds):
        tiles = ALL_TILES[generator.random(len(ALL_TILES)) < 0.4]
        for ty, tx in tiles:
            part = np.s_[32 * ty:32 * ty + 32, 32 * tx:32 * tx + 32]
            classes[part] = generator.choice([-1, 0, 1], (32, 32), p=[0.9, 0.09, 0.01])
            seen[part] = classes[part]
        repeated = np.concatenate([tiles, tiles[:1]])
        grid.update(classes, repeated)
        state, traversable = expected(seen, factor, radius_m / 0.05)
        assert np.array_equal(grid.state, state)
        assert np.array_equal(grid.traversable != 0, traversable)
