"""The lidar against an exact walk through the grid, and what REP 117 says of its readings."""

from math import cos, inf, isclose, pi, sin

import numpy as np
import pytest

from marl_core.types import LidarModel
from sim.sensors.lidar import Lidar
from sim.worlds import World, load_world

PERFECT = LidarModel(noise_std_m=0.0, range_max_m=12.0)
NOBODY = np.empty((0, 3))


def exact_range(world: World, x_m: float, y_m: float, angle: float, range_m: float) -> float:
    """Amanatides and Woo in double precision."""
    dx, dy, edge = cos(angle), sin(angle), world.resolution_m
    x, y = (x_m - world.origin_x_m) / edge, (y_m - world.origin_y_m) / edge
    col, row = int(x), int(y)
    next_x = ((col + 1 - x) if dx > 0 else (x - col)) / abs(dx) if dx else inf
    next_y = ((row + 1 - y) if dy > 0 else (y - row)) / abs(dy) if dy else inf
    length = 0.0
    while length * edge < range_m:
        if next_x < next_y:
            length, col, next_x = next_x, col + (1 if dx > 0 else -1), next_x + 1 / abs(dx)
        else:
            length, row, next_y = next_y, row + (1 if dy > 0 else -1), next_y + 1 / abs(dy)
        outside = not (0 <= row < world.occupied.shape[0] and 0 <= col < world.occupied.shape[1])
        if outside or world.occupied[row, col]:
            break
    return min(length * edge, range_m)


def box(edge_m: float = 4.0, wall_m: float = 0.1) -> World:
    cells = round((edge_m + 2 * wall_m) / 0.05)
    occupied = np.ones((cells, cells), np.bool_)
    inner = round(wall_m / 0.05)
    occupied[inner:-inner, inner:-inner] = False
    low_m = -0.5 * edge_m - wall_m
    return World('box', occupied, 0.05, low_m, low_m, 0.0, 0.0)


@pytest.mark.parametrize('name', ['office:2', 'cave:1', 'maze:4'])
def test_within_a_hundredth_of_a_cell_of_exact_traversal(name: str) -> None:
    world = load_world(name)
    lidar = Lidar(world, PERFECT)
    poses = world.start_poses(3)
    poses[:, 2] = [0.0, 0.3, -2.0]
    ranges = lidar.ranges_m(poses, NOBODY, np.full(3, -1))
    for pose, row in zip(poses, ranges):
        for k in range(0, 360, 3):
            angle = pose[2] + lidar.angle_min_rad + k * lidar.angle_increment_rad
            truth_m = exact_range(world, pose[0], pose[1], angle, PERFECT.range_max_m)
            grazing = isclose(abs(sin(2 * angle)), 0.0, abs_tol=1e-3)  # along a border either cell may be meant
            assert grazing or min(row[k], 12.0) == pytest.approx(truth_m, abs=0.01 * world.resolution_m)


def test_walls_of_a_box_are_where_they_are() -> None:
    ranges = Lidar(box(), PERFECT).ranges_m(np.array([[0.5, 0.0, 0.0]]), NOBODY, np.array([-1]))[0]
    assert ranges[180] == pytest.approx(1.5, abs=1e-3)  # ahead
    assert ranges[270] == pytest.approx(2.0, abs=1e-3)  # left
    assert ranges[0] == pytest.approx(2.5, abs=1e-3)    # behind


def test_robots_are_seen_but_not_by_themselves() -> None:
    lidar = Lidar(box(), PERFECT)
    discs = np.array([[0.0, 0.0, 0.2], [1.0, 0.0, 0.3], [np.nan, np.nan, 0.3]])
    ranges = lidar.ranges_m(np.array([[0.0, 0.0, 0.0]]), discs, np.array([0]))[0]
    assert ranges[180] == pytest.approx(0.7, abs=1e-3)
    beside = int(np.rad2deg(np.arcsin(0.3))) + 2
    assert ranges[180 + beside] > 1.9
    turned = lidar.ranges_m(np.array([[0.0, 0.0, pi - 0.001]]), discs, np.array([0]))[0]
    assert turned[0] == pytest.approx(0.7, abs=1e-3)
    assert turned[359] == pytest.approx(0.7, abs=1e-3)  # the disc spans the seam of the sweep


def test_beyond_reach_is_infinite_and_too_near_is_minus_infinite() -> None:
    lidar = Lidar(box(), LidarModel(noise_std_m=0.0, range_max_m=1.0, range_min_m=0.4))
    scan = lidar.scans(3.0, np.array([[1.7, 0.0, 0.0]]), NOBODY, np.array([-1]))[0]
    assert scan.stamp_s == 3.0
    assert scan.ranges_m[180] == -inf
    assert scan.ranges_m[0] == inf
    finite = scan.ranges_m[np.isfinite(scan.ranges_m)]
    assert ((finite >= scan.range_min_m) & (finite < scan.range_max_m)).all()


def test_noise_and_dropouts_have_the_asked_size_and_follow_the_seed() -> None:
    model = LidarModel(beams=2000, noise_std_m=0.02, dropout_probability=0.1)
    pose, own = np.array([[0.0, 0.0, 0.0]]), np.array([-1])
    perfect = Lidar(box(), LidarModel(beams=2000, noise_std_m=0.0)).ranges_m(pose, NOBODY, own)[0]
    noisy, same, other = (Lidar(box(), model, seed).scans(0.0, pose, NOBODY, own)[0].ranges_m for seed in (1, 1, 2))
    assert np.array_equal(noisy, same, equal_nan=True)
    assert not np.array_equal(noisy, other, equal_nan=True)
    assert np.isnan(noisy).mean() == pytest.approx(0.1, abs=0.03)
    assert np.nanstd(noisy - perfect) == pytest.approx(0.02, rel=0.1)


@pytest.mark.parametrize('pose', [[50.0, 0.0, 0.0], [np.nan, 0.0, 0.0]])
def test_a_lidar_that_is_nowhere_does_not_crash(pose: list[float]) -> None:
    assert Lidar(box(), PERFECT).ranges_m(np.array([pose]), NOBODY, np.array([-1])).shape == (1, 360)


def test_a_half_turn_lidar_looks_ahead() -> None:
    lidar = Lidar(box(), LidarModel(beams=181, field_of_view_rad=pi, noise_std_m=0.0))
    ranges = lidar.ranges_m(np.array([[0.5, 0.0, 0.0]]), np.array([[-0.5, 0.0, 0.2]]), np.array([-1]))[0]
    assert ranges[90] == pytest.approx(1.5, abs=1e-3)
    assert ranges[0] == pytest.approx(2.0, abs=1e-2)
