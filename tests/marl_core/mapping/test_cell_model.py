import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marl_core.mapping.cell_model import (
    EDGE,
    HIDDEN,
    MARGIN,
    MAX_ACTIVE,
    ROWS,
    TABLE_CONTEXTS,
    WORDS,
    active_rows,
    check,
    distance_of,
    fresh_context,
    hidden_units,
    log_odds,
    packed,
    table_context,
    text_of,
    weights_of,
)
from marl_core.mapping.context_table import TABLE
from marl_core.mapping.range_coder import MAX_LOG_ODDS


def rows_of(block: np.ndarray, row: int, col: int, ahead: int, aside: int, is_held: int = 0) -> list[int]:
    rows = np.zeros(MAX_ACTIVE, np.uint8)
    distance = distance_of(ahead, aside)
    return rows[:active_rows(block.reshape(-1), row, col, ahead, aside, distance, is_held, rows)].tolist()


def test_weights_survive_as_text_and_cannot_overflow():
    weights = weights_of(TABLE)
    check(weights)
    assert text_of(weights) == TABLE
    with pytest.raises(ValueError, match='hidden units reach'):
        check(weights._replace(hidden=np.full_like(weights.hidden, 2000)))


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_packed_sums_are_the_sums(seed):
    random = np.random.default_rng(seed)
    hidden = random.integers(-400, 400, (ROWS, HIDDEN)).astype(np.int16)
    count = int(random.integers(1, MAX_ACTIVE + 1))
    rows = random.choice(ROWS, count, replace=False).astype(np.uint8)
    units = np.empty(HIDDEN, np.int64)
    hidden_units(rows, count, packed(hidden), np.empty(WORDS, np.int64), units)
    np.testing.assert_array_equal(units, np.maximum(hidden[rows].astype(int).sum(axis=0), 0))


def test_log_odds_are_a_scaled_sum_within_limits():
    units, output = np.zeros(HIDDEN, np.int64), np.zeros(HIDDEN, np.int64)
    units[:2], output[:2] = (64, 128), (10, -7)
    assert log_odds(units, output, 3) == 10 - 14 + 3
    assert log_odds(units, output * 10_000, 0) == -MAX_LOG_ODDS
    assert log_odds(units, output * -10_000, 0) == MAX_LOG_ODDS


def test_only_cells_amid_equals_are_left_to_the_table():
    block = np.zeros((EDGE, EDGE), np.uint8)
    place = 20 * EDGE + 20
    assert table_context(block.reshape(-1), place, 0) == 0
    assert table_context(block.reshape(-1), place, 1) == 1
    block[18, 20] = 1
    assert table_context(block.reshape(-1), place, 0) == 2
    block[18:23, 18:23] = 2
    assert table_context(block.reshape(-1), place, 1) == 2 * 9 * 2 + 1
    block[21, 21] = 1
    assert table_context(block.reshape(-1), place, 1) == -1


def test_areas_that_go_on_into_the_unknown_are_left_to_the_table():
    block = np.zeros((EDGE, EDGE), np.uint8)
    block[:20] = 1
    block[20, :20] = 1
    place = 20 * EDGE + 20
    near, far = (fresh_context(block.reshape(-1), place, distance) for distance in (2, 200))
    assert 3 * 9 * 2 <= near < far < TABLE_CONTEXTS
    block[block == 1] = 2
    assert fresh_context(block.reshape(-1), place, 2) > near
    for row, col in ((20, 17), (17, 20), (18, 22), (21, 20), (20, 21)):
        other = block.copy()
        other[row, col] = 1
        assert fresh_context(other.reshape(-1), place, 2) == -1
    assert fresh_context(np.zeros(EDGE * EDGE, np.uint8), place, 2) == -1


def test_distances_are_whole_parts_of_roots():
    assert [distance_of(*way) for way in ((0, 0), (1, 1), (3, -4), (-2**20, 0))] == [1, 1, 5, 2**20]
    square = 1_000_003
    assert distance_of(square, 0) == square
    assert distance_of(square - 1, 1000) == square - 1


@given(place=st.tuples(st.integers(0, 31), st.integers(0, 31)), held=st.integers(0, 1),
       way=st.tuples(st.integers(-2**20, 2**20), st.integers(-2**20, 2**20)))
@settings(max_examples=200, deadline=None)
def test_all_rows_exist_wherever_the_robot_is(place, way, held):
    for value in (0, 1, 2):
        rows = rows_of(np.full((EDGE, EDGE), value, np.uint8), *place, *way, held)
        assert rows[0] == 0
        assert len(rows) <= MAX_ACTIVE
        assert all(before < after for before, after in zip(rows, rows[1:], strict=False))
        assert rows[-1] < ROWS
        assert len(rows) == (3 if value == 0 else MAX_ACTIVE - 1) + held


def test_cells_on_the_way_to_the_robot_are_looked_at():
    block = np.zeros((EDGE, EDGE), np.uint8)
    block[10 + MARGIN - 10, 10 + MARGIN] = 1  # Ten cells towards a robot that is straight behind.
    nothing, straight, aslant = (rows_of(block * k, 10, 10, ahead, aside)
                                 for k, ahead, aside in ((0, 80, 0), (1, 80, 0), (1, 80, 80)))
    assert len(straight) == len(nothing) + 1
    assert len(aslant) == len(nothing)
