"""The polygon fill against a point-in-polygon test in plain numpy, and against its own uncut result."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marl_core.mapping.insertion import (
    NOTHING,
    Evidence,
    insert_scan,
    read_ranges,
    scan_scratch,
    stop_at_discs,
    turn_beams,
)

EVIDENCE = Evidence(hit=9, miss=-4, maximum=35, minimum=-20)
EDGE_M = 0.1
INF, NAN = np.inf, np.nan


def insert(log_odds, ranges_m, x, y, heading_rad=0.0, increment_rad=None, range_max_m=3.0, longest_m=4.0, discs=()):
    """Insert one scan whose beam 0 points along the heading; returns (window, scratch)."""
    ranges_m = np.asarray(ranges_m, np.float32)
    increment_rad = 2.0 * np.pi / len(ranges_m) if increment_rad is None else increment_rad
    angles = increment_rad * np.arange(len(ranges_m))
    scratch = scan_scratch(len(ranges_m), longest_m / EDGE_M, log_odds.shape)
    read_ranges(ranges_m, 0.1, range_max_m, longest_m, EDGE_M, scratch)
    turn_beams(np.cos(angles), np.sin(angles), heading_rad, scratch)
    if len(discs):
        stop_at_discs(len(ranges_m), x, y, np.asarray(discs, np.float64), scratch)
    return insert_scan(log_odds, len(ranges_m), x, y, increment_rad, 1.5, EVIDENCE, scratch), scratch


def inside(vertex_x, vertex_y, x, y):
    """Even-odd rule."""
    result = False
    for i in range(len(vertex_x)):
        x0, y0, x1, y1 = vertex_x[i - 1], vertex_y[i - 1], vertex_x[i], vertex_y[i]
        if (y0 > y) != (y1 > y) and x < x0 + (y - y0) * (x1 - x0) / (y1 - y0):
            result = not result
    return result


def test_circle_of_free_space_without_a_hit():
    log_odds = np.zeros((80, 80), np.int8)
    window, scratch = insert(log_odds, np.full(360, INF), 40.2, 39.7)
    rows, cols = np.indices(log_odds.shape)
    distance = np.hypot(cols + 0.5 - 40.2, rows + 0.5 - 39.7)
    # 3 m are 30 cells; chords of 1 degree lie at most 0.002 cells inside the circle
    assert (log_odds[distance < 29.99] == -4).all()
    assert (log_odds[distance > 30.0] == 0).all()
    assert not scratch.crossings.any()
    row0, row1, col0, col1 = window
    assert row0 <= 9 and row1 >= 70 and col0 <= 10 and col1 >= 70


def test_hits_gain_evidence_once_per_scan_and_their_cell_is_never_missed():
    log_odds = np.zeros((60, 60), np.int8)
    log_odds[30, 40] = 20
    ranges = np.full(720, NAN)
    ranges[-4:], ranges[:4] = 1.0, 1.0   # eight beams end in cell (30, 40) or beside it
    insert(log_odds, ranges, 30.5, 30.5)
    assert log_odds[30, 40] == 29
    assert log_odds[30, 38] == -4
    insert(log_odds, ranges, 30.5, 30.5)
    assert log_odds[30, 40] == 35


def test_evidence_saturates():
    log_odds = np.full((60, 60), -19, np.int8)
    insert(log_odds, np.full(360, INF), 30.0, 30.0, range_max_m=2.0)
    assert log_odds[30, 30] == -20
    insert(log_odds, np.full(360, INF), 30.0, 30.0, range_max_m=2.0)
    assert log_odds[30, 30] == -20


def test_readings_follow_rep_117():
    scratch = scan_scratch(9, 40.0, (10, 10))
    ranges = np.array([NAN, -INF, 0.05, 0.5, 3.0, 3.01, INF, -1.0, 2.0], np.float32)
    assert read_ranges(ranges, 0.1, 3.0, 4.0, EDGE_M, scratch) == 4
    assert scratch.reach.tolist() == pytest.approx([0, 0, 0, 5, 30, 0, 30, 0, 20])
    assert scratch.is_hit.tolist() == [0, 0, 0, 1, 0, 0, 0, 0, 1]
    read_ranges(ranges, 0.1, 3.0, 1.0, EDGE_M, scratch)
    assert scratch.reach.tolist() == pytest.approx([0, 0, 0, 5, 10, 0, 10, 0, 10])
    assert scratch.is_hit.tolist() == [0, 0, 0, 1, 0, 0, 0, 0, 0]


def test_narrow_view_closes_through_the_lidar():
    log_odds = np.zeros((80, 80), np.int8)
    insert(log_odds, np.full(91, INF), 40.0, 40.0, increment_rad=np.radians(1.0))
    rows, cols = np.indices(log_odds.shape)
    angle = np.degrees(np.arctan2(rows + 0.5 - 40.0, cols + 0.5 - 40.0))
    distance = np.hypot(cols + 0.5 - 40.0, rows + 0.5 - 40.0)
    assert (log_odds[(angle > -0.4) & (angle < 90.4) & (distance < 29.9)] == -4).all()
    assert (log_odds[(angle < -0.6) | (angle > 90.6)] == 0).all()


def test_a_single_beam_is_a_thin_wedge():
    log_odds = np.zeros((80, 80), np.int8)
    insert(log_odds, [2.0], 40.5, 40.5, increment_rad=np.radians(2.0))
    assert log_odds[40, 60] == 9
    assert (log_odds[40, 45:59] == -4).all()
    assert np.count_nonzero(np.delete(log_odds, 40, axis=0)) == 0


def test_nothing_is_free_between_beams_far_apart():
    log_odds = np.zeros((80, 80), np.int8)
    insert(log_odds, np.full(8, INF), 40.5, 40.5)
    rows, cols = np.indices(log_odds.shape)
    angle = np.degrees(np.arctan2(rows - 40.0, cols - 40.0)) % 45.0
    assert (log_odds[(angle > 5.0) & (angle < 40.0)] == 0).all()
    assert (log_odds[40, 45:65] == -4).all()


def test_between_two_surfaces_only_the_nearer_range_is_free():
    log_odds = np.zeros((80, 80), np.int8)
    ranges = np.full(120, NAN)
    ranges[0], ranges[1] = 1.0, 3.0  # 3 degrees apart; the wedge between them ends at 1 m
    insert(log_odds, ranges, 40.0, 40.0)
    rows, cols = np.indices(log_odds.shape)
    angle = np.degrees(np.arctan2(rows + 0.5 - 40.0, cols + 0.5 - 40.0))
    distance = np.hypot(cols + 0.5 - 40.0, rows + 0.5 - 40.0)
    between = (angle > 0.1) & (angle < 2.9)
    assert (log_odds[between & (distance > 10.5)] >= 0).all()
    assert (log_odds[between & (distance < 9.3)] == -4).all()


def test_beams_that_end_in_a_disc_stop_before_it_without_a_hit():
    log_odds = np.zeros((80, 80), np.int8)
    insert(log_odds, np.full(360, 2.0), 40.5, 40.5, discs=[(60.5, 40.5, 3.0)])
    assert (log_odds[40, 45:57] == -4).all()
    assert (log_odds[40, 58:65] == 0).all()
    assert log_odds[40, 20] == 9
    around = np.zeros((80, 80), np.int8)
    insert(around, np.full(360, 2.0), 40.5, 40.5, discs=[(40.5, 40.5, 25.0)])
    assert not around.any()


@pytest.mark.parametrize(('x', 'y'), [(-500.0, 10.0), (10.0, 1e12), (1e300, -1e300), (-41.5, 40.0), (40.0, 121.5)])
def test_scan_wholly_outside_touches_nothing(x, y):
    log_odds = np.zeros((80, 80), np.int8)
    window, scratch = insert(log_odds, np.full(360, INF), x, y)
    assert window == NOTHING
    assert not log_odds.any() and not scratch.crossings.any()


READINGS = st.lists(st.one_of(st.floats(0.0, 3.5, width=32), st.sampled_from([NAN, INF, -INF, 0.0, 3.0])),
                    min_size=1, max_size=150)
HEADINGS = st.floats(-4.0, 4.0)


@settings(max_examples=80, deadline=None)
@given(READINGS, st.floats(25.0, 55.0), st.floats(25.0, 55.0), HEADINGS)
def test_misses_are_the_cells_inside_the_outline(ranges, x, y, heading):
    log_odds = np.zeros((90, 90), np.int8)
    (row0, row1, col0, col1), scratch = insert(log_odds, ranges, x, y, heading)
    assert not scratch.crossings.any()
    outside = log_odds.copy()
    outside[row0:row1, col0:col1] = 0
    assert not outside.any()
    vertices = scratch.vertices[:, :np.count_nonzero(scratch.vertices.any(axis=0))]
    for row in range(row0, row1, 3):
        for col in range(col0, col1, 3):
            if log_odds[row, col] > 0:
                continue
            at_x, at_y = col + 0.5 - col0, row + 0.5 - row0
            probes = {inside(*vertices, at_x + right, at_y + up) for right in (-1e-6, 1e-6) for up in (-1e-6, 1e-6)}
            assert (log_odds[row, col] == -4) in probes


@settings(max_examples=80, deadline=None)
@given(READINGS, st.floats(-45.0, 125.0), st.floats(-45.0, 125.0), HEADINGS)
def test_cutting_at_the_border_changes_nothing_inside_and_writes_nothing_outside(ranges, x, y, heading):
    whole = np.zeros((200, 200), np.int8)
    insert(whole, ranges, x + 50.0, y + 50.0, heading)
    canvas = np.full((100, 110), 77, np.int8)
    log_odds = canvas[10:90, 10:100]
    log_odds[:] = 0
    _, scratch = insert(log_odds, ranges, x, y, heading)
    assert not scratch.crossings.any()
    expected = whole[50:130, 50:140]
    # shifting the scan by 50 cells rounds coordinates differently: single cells on an edge may flip
    assert np.count_nonzero(log_odds != expected) <= 2
    canvas[10:90, 10:100] = 77
    assert (canvas == 77).all()


@settings(max_examples=80, deadline=None)
@given(st.lists(READINGS, min_size=1, max_size=3), st.floats(-20.0, 110.0), HEADINGS)
def test_the_pieces_with_changes_are_noted(scans, x, heading):
    log_odds = np.zeros((90, 90), np.int8)
    for ranges in scans:
        before = log_odds.copy()
        _, scratch = insert(log_odds, ranges, x, 45.0, heading)
        noted = scratch.touched[:np.flatnonzero(scratch.touched[:, 0] == -1)[0]].tolist()
        changed = [[row, col // 32 * 32] for row, col in np.argwhere(log_odds != before).tolist()]
        assert all(piece in noted for piece in changed)
        # every miss notes its piece once; hits add one each, at most
        assert len(noted) <= len({tuple(piece) for piece in noted}) + len(ranges)


def test_what_is_free_beyond_doubt_is_not_noted():
    log_odds = np.full((80, 80), -20, np.int8)
    _, scratch = insert(log_odds, np.full(360, INF), 40.0, 40.0)
    assert scratch.touched[0, 0] == -1


@settings(max_examples=40, deadline=None)
@given(READINGS, HEADINGS, st.booleans())
def test_no_beam_is_exceeded(ranges, heading, clockwise):
    log_odds = np.zeros((90, 90), np.int8)
    increment = (-1.0 if clockwise else 1.0) * 2.0 * np.pi / len(ranges)
    insert(log_odds, ranges, 45.0, 45.0, heading, increment_rad=increment)
    rows, cols = np.indices(log_odds.shape)
    distance = np.hypot(cols + 0.5 - 45.0, rows + 0.5 - 45.0)
    finite = [value for value in ranges if 0.1 <= value < 2.999]
    farthest = 30.0 if any(value == INF or 2.999 <= value <= 3.001 for value in ranges) else max(
        finite, default=0.0) / EDGE_M
    assert not (log_odds[distance > farthest] < 0).any()
    assert not log_odds[distance > farthest + 2.0].any()
