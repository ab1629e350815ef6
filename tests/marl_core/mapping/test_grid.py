"""The map of one robot in a furnished room with exact ranges: what it sees, keeps, refuses and flags."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from marl_core.errors import MapError
from marl_core.mapping.bounds import MapBounds, MapConfig
from marl_core.mapping.grid import OccupancyMap
from marl_core.types import LaserScan, Pose

CONFIG = MapConfig(width_m=12.8, height_m=12.8)
BOUNDS = MapBounds.from_config(CONFIG)
BOXES_M = np.array([(-4.0, -3.6, -4.0, 4.0), (3.6, 4.0, -4.0, 4.0), (-4.0, 4.0, -4.0, -3.6), (-4.0, 4.0, 3.6, 4.0),
                    (1.0, 1.5, 0.5, 2.0), (-2.5, -1.5, -2.0, -1.4), (-0.5, -0.3, 1.0, 3.6), (2.0, 2.2, -2.2, -2.0)])
"""Four walls, three pieces of furniture and a post, as x0, x1, y0, y1; on cell borders."""


def ranges_to_boxes(x_m, y_m, angles):
    """Exact distances to the nearest box."""
    cosines, sines = np.cos(angles)[:, None], np.sin(angles)[:, None]
    with np.errstate(divide='ignore'):
        x_hits = np.sort(np.stack([(BOXES_M[:, 0] - x_m) / cosines, (BOXES_M[:, 1] - x_m) / cosines]), axis=0)
        y_hits = np.sort(np.stack([(BOXES_M[:, 2] - y_m) / sines, (BOXES_M[:, 3] - y_m) / sines]), axis=0)
    enters, leaves = np.maximum(x_hits[0], y_hits[0]), np.minimum(x_hits[1], y_hits[1])
    return np.where((enters < leaves) & (enters > 0.0), enters, np.inf).min(axis=1)


def scan_of(ranges, range_max_m=8.0, increment_rad=None):
    increment_rad = 2.0 * np.pi / max(len(ranges), 1) if increment_rad is None else increment_rad
    # a lidar tells inf where nothing is within its range; a finite reading beyond it would say nothing
    ranges = np.where(np.greater(ranges, range_max_m), np.inf, ranges)
    return LaserScan(0.0, -np.pi, increment_rad, 0.1, range_max_m, np.asarray(ranges, np.float32))


def scan_at(pose, beams=360, noise_std_m=0.0, generator=None):
    angles = pose.heading_rad - np.pi + 2.0 * np.pi / beams * np.arange(beams)
    ranges = ranges_to_boxes(pose.x_m, pose.y_m, angles)
    return scan_of(ranges + generator.normal(0.0, noise_std_m, beams) if generator else ranges)


def centres():
    rows, cols = np.indices(BOUNDS.shape)
    return BOUNDS.origin_x_m + (cols + 0.5) * 0.05, BOUNDS.origin_y_m + (rows + 0.5) * 0.05


def walls():
    x_m, y_m = centres()
    return np.any([(x_m > x0) & (x_m < x1) & (y_m > y0) & (y_m < y1) for x0, x1, y0, y1 in BOXES_M], axis=0)


def visible_from(pose):
    """Cells whose centre the pose sees."""
    x_m, y_m = centres()
    angles = np.arctan2(y_m - pose.y_m, x_m - pose.x_m)
    distances = np.hypot(x_m - pose.x_m, y_m - pose.y_m)
    return (ranges_to_boxes(pose.x_m, pose.y_m, angles.ravel()).reshape(angles.shape) > distances) & (distances < 8.0)


def near(mask):
    """Cells with one of the mask among their 8 neighbours or themselves."""
    padded = np.pad(mask, 1)
    rows, cols = mask.shape
    return np.any([padded[i:i + rows, j:j + cols] for i in range(3) for j in range(3)], axis=0)


POSES = (Pose(0.31, -0.42, 0.3), Pose(-3.02, 2.97, 2.0), Pose(2.9, 2.2, -1.1), Pose(-1.0, -2.9, 0.0))


@pytest.mark.parametrize('pose', POSES)
def test_one_scan_sees_nearly_all_there_is_and_nothing_behind_walls(pose):
    occupancy = OccupancyMap(BOUNDS, CONFIG)
    occupancy.integrate(scan_at(pose), pose)
    free, solid, seen = occupancy.log_odds < 0, walls(), visible_from(pose)
    assert (free & seen).sum() / (seen & ~solid).sum() >= 0.93
    assert not (free & ~near(seen)).any()
    assert not (occupancy.log_odds > 0)[~near(solid)].any()


def test_one_scan_takes_hardly_any_wall_for_free():
    # over all poses: at a convex corner the straight edge between two beams may cut off a single cell
    worn = in_view = 0
    for pose in POSES:
        occupancy = OccupancyMap(BOUNDS, CONFIG)
        occupancy.integrate(scan_at(pose), pose)
        worn += ((occupancy.log_odds < 0) & walls()).sum()
        in_view += (near(visible_from(pose)) & walls()).sum()
    assert worn <= 0.001 * in_view


def test_noise_does_not_wear_walls_down():
    generator = np.random.default_rng(3)
    occupancy = OccupancyMap(BOUNDS, CONFIG)
    in_view = np.zeros(BOUNDS.shape, bool)
    for pose in POSES:
        for turn in range(20):
            turned = Pose(pose.x_m, pose.y_m, pose.heading_rad + 0.1 * turn)
            occupancy.integrate(scan_at(turned, noise_std_m=0.02, generator=generator), turned)
        in_view |= walls() & near(visible_from(pose))
    kept = near(occupancy.classes == 1)
    assert kept[in_view].mean() >= 0.99
    assert (occupancy.classes == -1)[near(near(~walls())) == 0].sum() == 0
    assert (occupancy.classes == 1)[~near(near(walls()))].sum() == 0


def test_changed_tiles_are_taken_once_and_cover_all_known_cells():
    occupancy = OccupancyMap(BOUNDS, CONFIG)
    assert occupancy.take_changed().shape == (0, 2)
    assert occupancy.known_window == (0, 0, 0, 0)
    for _ in range(2):
        occupancy.integrate(scan_at(POSES[0]), POSES[0])
    changed = occupancy.take_changed()
    known = (occupancy.classes != 0).reshape(BOUNDS.tiles_y, 32, BOUNDS.tiles_x, 32).any(axis=(1, 3))
    assert changed.dtype == np.int32
    assert changed.tolist() == np.argwhere(known).tolist()
    assert occupancy.take_changed().shape == (0, 2)
    row0, row1, col0, col1 = occupancy.known_window
    outside = occupancy.log_odds.copy()
    outside[row0:row1, col0:col1] = 0
    assert not outside.any()


def test_teammates_leave_no_trace():
    occupancy = OccupancyMap(BOUNDS, CONFIG)
    pose = Pose(0.0, 0.0, 0.0)
    ranges = np.full(360, np.inf)
    ranges[170:191] = 1.8   # a teammate straight ahead, at (2, 0)
    occupancy.integrate(scan_of(ranges), pose, np.array([[2.0, 0.0, 0.45]]))
    assert not (occupancy.log_odds > 0).any()
    assert occupancy.log_odds[BOUNDS.cell_of(1.4, 0.0)] < 0
    assert occupancy.log_odds[BOUNDS.cell_of(1.9, 0.0)] == 0
    occupancy.integrate(scan_of(ranges), pose)
    assert (occupancy.log_odds > 0).any()


def test_clearing_the_footprint():
    occupancy = OccupancyMap(BOUNDS, CONFIG)
    occupancy.log_odds[:], occupancy.classes[:] = 35, 1
    occupancy.clear_disc(1.0, -1.0, 0.2)
    x_m, y_m = centres()
    distance = np.hypot(x_m - 1.0, y_m + 1.0)
    assert (occupancy.classes[distance < 0.199] == -1).all()
    assert (occupancy.classes[distance > 0.201] == 1).all()
    # x from 0.8 to 1.2 m and y from -1.2 to -0.8 m: all in the tile from 0 to 1.6 and from -1.6 to 0 m
    assert occupancy.take_changed().tolist() == [[3, 4]]
    occupancy.clear_disc(500.0, 0.0, 0.2)
    occupancy.clear_disc(-6.4, -6.4, 0.3)
    assert occupancy.classes[0, 0] == -1


def test_scans_that_say_nothing_or_lie_outside_are_counted():
    occupancy = OccupancyMap(BOUNDS, CONFIG)
    occupancy.integrate(scan_of(np.full(360, np.nan)), POSES[0])
    occupancy.integrate(scan_of([]), POSES[0])
    occupancy.integrate(scan_of(np.full(360, np.inf)), Pose(100.0, 0.0, 0.0))
    assert occupancy.ignored_scans == 3
    assert not occupancy.log_odds.any()
    occupancy.integrate(scan_of(np.full(360, np.inf)), Pose(13.0, 0.0, 0.0))
    assert occupancy.ignored_scans == 3
    assert occupancy.log_odds.any()


@pytest.mark.parametrize('pose', [Pose(np.nan, 0, 0), Pose(0, np.inf, 0), Pose(0, 0, -np.inf)])
def test_refuses_poses_that_are_not_finite(pose):
    occupancy = OccupancyMap(BOUNDS, CONFIG)
    with pytest.raises(MapError, match='finite pose'):
        occupancy.integrate(scan_at(POSES[0]), pose)
    assert not occupancy.log_odds.any()


@pytest.mark.parametrize('scan', [
    LaserScan(0.0, np.nan, 0.1, 0.1, 8.0, np.ones(5, np.float32)),
    LaserScan(0.0, 0.0, np.inf, 0.1, 8.0, np.ones(5, np.float32)),
    LaserScan(0.0, 0.0, 0.1, np.nan, 8.0, np.ones(5, np.float32)),
    LaserScan(0.0, 0.0, 0.1, 0.1, -1.0, np.ones(5, np.float32)),
    LaserScan(0.0, 0.0, 0.1, 0.1, 8.0, np.ones((5, 2), np.float32))])
def test_refuses_malformed_scans(scan):
    occupancy = OccupancyMap(BOUNDS, CONFIG)
    sound = LaserScan(0.0, 0.0, 0.1, 0.1, 8.0, np.ones(5, np.float32))
    for _ in range(2):
        with pytest.raises(MapError, match='finite angles'):
            occupancy.integrate(scan, POSES[0])
    assert not occupancy.log_odds.any()
    occupancy.integrate(sound, POSES[0])
    before = occupancy.log_odds.copy()
    with pytest.raises(MapError, match='finite angles'):
        occupancy.integrate(scan, POSES[0])  # beams as before make it no better
    np.testing.assert_array_equal(occupancy.log_odds, before)


@pytest.mark.parametrize('discs', [np.ones((2, 2)), np.ones(3), np.array([[np.nan, 0, 1]])])
def test_refuses_malformed_discs(discs):
    occupancy = OccupancyMap(BOUNDS, CONFIG)
    with pytest.raises(MapError, match='discs to ignore must be'):
        occupancy.integrate(scan_at(POSES[0]), POSES[0], discs)
    assert not occupancy.log_odds.any()


def test_beams_beyond_a_full_turn_change_nothing():
    pose = POSES[0]
    once, twice = OccupancyMap(BOUNDS, CONFIG), OccupancyMap(BOUNDS, CONFIG)
    ranges = scan_at(pose).ranges_m
    once.integrate(scan_of(ranges), pose)
    twice.integrate(scan_of(np.concatenate([ranges, ranges]), increment_rad=2.0 * np.pi / 360), pose)
    assert np.array_equal(once.log_odds, twice.log_odds)


@settings(max_examples=60, deadline=None)
@given(arrays(np.float32, st.integers(0, 400), elements=st.floats(width=32)),
       st.floats(-30.0, 30.0), st.floats(-30.0, 30.0), st.floats(-1e3, 1e3), st.floats(-8.0, 8.0), st.floats(0.0, 50.0))
def test_any_scan_leaves_a_sound_map(ranges, x_m, y_m, heading_rad, increment_rad, range_max_m):
    occupancy = OccupancyMap(BOUNDS, CONFIG)
    scan = LaserScan(0.0, 0.0, increment_rad, 0.1, range_max_m, ranges)
    for _ in range(3):
        occupancy.integrate(scan, Pose(x_m, y_m, heading_rad), np.array([[0.0, 0.0, 1.0]]))
    assert occupancy.log_odds.min() >= CONFIG.minimum and occupancy.log_odds.max() <= CONFIG.maximum
    assert not occupancy._scratch.crossings.any()
    known = (occupancy.classes != 0).reshape(BOUNDS.tiles_y, 32, BOUNDS.tiles_x, 32).any(axis=(1, 3))
    assert occupancy.take_changed().tolist() == np.argwhere(known).tolist()


READINGS = st.one_of(st.floats(0.125, 8.0, width=32),
                     st.sampled_from([np.nan, np.inf, -np.inf, -1.0, 0.0, 1e-40, 8.0, np.float32(3e38)]))
NEAR_BOUNDS = st.one_of(st.floats(-15.0, 15.0), st.sampled_from([-6.4, 6.4, -6.4000001, 6.3999999, 1e9, -1e300]))


@settings(max_examples=100, deadline=None)
@given(st.lists(READINGS, max_size=400), NEAR_BOUNDS, NEAR_BOUNDS, st.floats(-1e6, 1e6), st.floats(0.2, 50.0),
       st.sampled_from([0.5, 3.0, 30.0]))
def test_nothing_is_written_outside_the_window_of_a_scan(ranges, x_m, y_m, heading_rad, range_max_m, known_range_m):
    occupancy = OccupancyMap(BOUNDS, MapConfig(width_m=12.8, height_m=12.8, known_range_m=known_range_m))
    guard, rows = 40, BOUNDS.shape[0]
    evidence, classes = (np.full((rows + 2 * guard, BOUNDS.shape[1]), 7, np.int8) for _ in range(2))
    occupancy.log_odds, occupancy.classes = evidence[guard:-guard], classes[guard:-guard]
    occupancy.classes[:] = 0
    scan = LaserScan(0.0, -np.pi, 2.0 * np.pi / max(len(ranges), 1), 0.1, range_max_m, np.array(ranges, np.float32))
    occupancy.integrate(scan, Pose(x_m, y_m, heading_rad))
    for guarded in evidence, classes:
        assert (guarded[:guard] == 7).all()
        assert (guarded[-guard:] == 7).all()
    row0, row1, col0, col1 = occupancy.known_window
    outside = np.ones(BOUNDS.shape, bool)
    outside[row0:row1, col0:col1] = False
    x_centres_m, y_centres_m = centres()
    # two cells more than the beams: the hit is pushed behind the surface, and the centre is half a cell away
    reach_m = min(range_max_m, known_range_m) + 0.1
    outside |= (np.abs(x_centres_m - x_m) > reach_m) | (np.abs(y_centres_m - y_m) > reach_m)
    assert (occupancy.log_odds[outside] == 7).all()
    assert not occupancy.classes[outside].any()
