import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from marl_core.mapping.classes import classify_pieces, classify_window
from marl_core.types import FAINT, OCCUPIED

OCCUPIED_AT, FREE_AT, MAXIMUM, MINIMUM = 18, -8, 35, -20


def classify(log_odds, classes, window=None, entering=OCCUPIED):
    changed = np.zeros((log_odds.shape[0] // 32, log_odds.shape[1] // 32), np.uint8)
    row0, row1, col0, col1 = window or (0, log_odds.shape[0], 0, log_odds.shape[1])
    count = classify_window(log_odds, classes, row0, row1, col0, col1, OCCUPIED_AT, FREE_AT, MAXIMUM, MINIMUM, changed,
                            entering)
    return changed, count


def next_class(evidence, before):
    """The rule, one cell at a time."""
    if before == 0:
        return 1 if evidence >= OCCUPIED_AT else -1 if evidence <= FREE_AT else 0
    if before == -1:
        return 1 if evidence >= MAXIMUM else -1
    return -1 if evidence <= MINIMUM else 1


def test_every_class_and_evidence_follows_the_rule():
    log_odds = np.tile(np.arange(-32, 64, dtype=np.int8), (32, 1))
    for before in (-1, 0, 1):
        classes = np.full((32, 96), before, np.int8)
        classify(log_odds, classes)
        assert classes[7].tolist() == [next_class(evidence, before) for evidence in range(-32, 64)]


def test_a_graded_wall_is_faint_until_its_evidence_saturates_and_once_nothing_is_left_of_it():
    log_odds, classes = np.zeros((32, 32), np.int8), np.zeros((32, 32), np.int8)
    seen = []
    for evidence in (9, 18, 34, 35, 1, 0, 34, 35, 0, -19, -20, 34, 35):
        log_odds[3, 4] = evidence
        changed, _ = classify(log_odds, classes, entering=FAINT)
        seen.append(int(classes[3, 4]))
        assert changed[0, 0] == (len(seen) == 1 and seen[-1] != 0 or len(seen) > 1 and seen[-1] != seen[-2])
    assert seen == [0, 2, 2, 1, 1, 2, 2, 1, 2, 2, -1, -1, 1]


def test_graded_classes_are_the_trinary_ones_but_for_how_sure_walls_are():
    log_odds = np.tile(np.arange(-32, 64, dtype=np.int8), (32, 1))
    for before, graded in ((-1, -1), (0, 0), (1, 1), (1, 2)):
        classes, levels = np.full((32, 96), before, np.int8), np.full((32, 96), graded, np.int8)
        classify(log_odds, classes)
        classify(log_odds, levels, entering=FAINT)
        np.testing.assert_array_equal(np.sign(levels), classes)


def test_two_hits_or_two_misses_make_a_cell_known_and_only_saturation_flips_it():
    log_odds, classes = np.zeros((32, 32), np.int8), np.zeros((32, 32), np.int8)
    seen = []
    for evidence in (9, 18, 0, -19, -20, 0, 34, 35):
        log_odds[3, 4] = evidence
        classify(log_odds, classes)
        seen.append(int(classes[3, 4]))
    assert seen == [0, 1, 1, 1, -1, -1, -1, 1]


def test_only_tiles_with_a_change_are_flagged():
    log_odds, classes = np.zeros((96, 128), np.int8), np.zeros((96, 128), np.int8)
    for row, col in ((0, 0), (31, 32), (64, 127), (95, 95)):
        log_odds[row, col] = 35
    changed, count = classify(log_odds, classes)
    assert np.argwhere(changed).tolist() == [[0, 0], [0, 1], [2, 2], [2, 3]]
    assert count == 4
    changed, count = classify(log_odds, classes)
    assert not changed.any() and count == 0


@settings(max_examples=60, deadline=None)
@given(arrays(np.int8, (64, 96), elements=st.integers(-20, 35)), arrays(np.int8, (64, 96), elements=st.integers(-1, 1)),
       st.tuples(st.integers(0, 64), st.integers(0, 64), st.integers(0, 96), st.integers(0, 96)))
def test_window_is_respected_and_flags_are_exact(log_odds, before, window):
    classes = before.copy()
    changed, _ = classify(log_odds, classes, window)
    row0, row1, col0, col1 = window
    expected = before.copy()
    for row in range(row0, row1):
        for col in range(col0, col1):
            expected[row, col] = next_class(log_odds[row, col], before[row, col])
    assert np.array_equal(classes, expected)
    tiles = (expected != before).reshape(2, 32, 3, 32).any(axis=(1, 3))
    assert np.array_equal(changed != 0, tiles)


@settings(max_examples=60, deadline=None)
@given(arrays(np.int8, (64, 96), elements=st.integers(-20, 35)), arrays(np.int8, (64, 96), elements=st.integers(-1, 1)),
       st.lists(st.tuples(st.integers(0, 63), st.sampled_from([0, 32, 64])), max_size=40))
def test_pieces_are_classified_as_windows_are(log_odds, before, pieces):
    expected, flags = before.copy(), np.zeros((2, 3), np.uint8)
    for row, col in pieces:
        classify_window(log_odds, expected, row, row + 1, col, col + 32, OCCUPIED_AT, FREE_AT, MAXIMUM, MINIMUM, flags)
    classes, changed = before.copy(), np.zeros((2, 3), np.uint8)
    classify_pieces(log_odds, classes, np.array([*pieces, (-1, 0)], np.int32), OCCUPIED_AT, FREE_AT, MAXIMUM, MINIMUM,
                    changed)
    assert np.array_equal(classes, expected)
    assert np.array_equal(changed, flags)
