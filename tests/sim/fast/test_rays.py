import math

import numpy as np
import pytest

from sim.fast.rays import RAYS_PER_BORDER_CELL, ray_tree


def seen_by_tree(free: np.ndarray, row: int, col: int, range_cells: float) -> set[tuple[int, int]]:
    tree = ray_tree(range_cells)
    seen, node = {(row, col)}, 0
    while node < len(tree.after):
        cell = row + int(tree.rows[node]), col + int(tree.cols[node])
        seen.add(cell)
        node = node + 1 if free[cell] else int(tree.after[node])
    return seen


def seen_by_single_rays(free: np.ndarray, row: int, col: int, range_cells: float) -> set[tuple[int, int]]:
    """Sample each ray every 1/500 cell, independently of the tree's way from cell to cell."""
    rays = 8 * math.ceil(RAYS_PER_BORDER_CELL * 2 * math.pi * range_cells / 8)
    seen = {(row, col)}
    for ray in range(rays):
        angle = 2 * math.pi * (ray + 0.5) / rays
        for step in range(int(range_cells * 500) + 1):
            cell = (math.floor(row + 0.5 + math.sin(angle) * step / 500),
                    math.floor(col + 0.5 + math.cos(angle) * step / 500))
            seen.add(cell)
            if not free[cell]:
                break
    return seen


@pytest.mark.parametrize('seed', range(4))
def test_tree_sees_what_single_rays_see(seed: int) -> None:
    rng = np.random.default_rng(seed)
    free = rng.random((21, 21)) > 0.15
    free[[0, -1]] = free[:, [0, -1]] = False
    free[10, 10] = True
    exact, sampled = seen_by_tree(free, 10, 10, 7.3), seen_by_single_rays(free, 10, 10, 7.3)
    # sampling may step over a corner that a ray touches for less than 1/500 cell
    assert sampled <= exact
    assert len(exact - sampled) <= 1


def test_open_space_is_seen_as_a_disc() -> None:
    free = np.ones((31, 31), np.bool_)
    rows, cols = np.mgrid[-15:16, -15:16]
    seen = seen_by_tree(free, 15, 15, 8.0)
    assert all((row + 15, col + 15) in seen for row, col in zip(rows.ravel(), cols.ravel())
               if math.hypot(row, col) <= 7.5)
    assert all(math.hypot(row - 15, col - 15) <= 8.0 + 0.71 for row, col in seen)


def test_wall_hides_what_is_behind_it() -> None:
    free = np.ones((21, 21), np.bool_)
    free[:, 12] = False
    seen = seen_by_tree(free, 10, 10, 8.0)
    assert (10, 12) in seen
    assert max(col for _, col in seen) == 12


def test_every_node_ends_behind_itself() -> None:
    tree = ray_tree(12.5)
    assert np.all(tree.after > np.arange(len(tree.after)))
    assert tree.after.max() == len(tree.after)
