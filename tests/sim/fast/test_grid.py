import numpy as np
import pytest

from marl_core.errors import WorldError
from sim.fast import CoarseGrid
from sim.worlds import load_world
from sim.worlds.world import World


def world_from(rows: list[str], anchor: tuple[float, float]) -> World:
    """Rows from the top; # is solid."""
    occupied = np.array([[char == '#' for char in row] for row in rows[::-1]])
    return World('drawn', occupied, 0.1, -0.4, -0.2, *anchor)


def test_coarse_cell_is_free_only_if_all_of_it_is() -> None:
    world = world_from(['........',
                        '........',
                        '.....#..',
                        '........'], anchor=(-0.35, -0.15))
    grid = CoarseGrid.from_world(world, 0.2)
    assert grid.resolution_m == pytest.approx(0.2)
    assert grid.free[1:-1, 1:-1].tolist() == [[True, True, False, True], [True, True, True, True]]
    assert (grid.origin_x_m, grid.origin_y_m) == pytest.approx((-0.6, -0.4))  # one ring of cells around the world
    assert grid.anchor == (1, 1)
    assert grid.area_m2 == pytest.approx(7 * 0.04)


def test_only_the_largest_part_is_kept_and_the_anchor_moves_there() -> None:
    free = np.zeros((3, 9), np.bool_)
    free[1, :2] = True
    free[1, 3:] = True
    grid = CoarseGrid.from_free(free, 0.2, anchor=(1, 0))
    assert np.argwhere(grid.free).tolist() == [[2, col] for col in range(4, 10)]
    assert grid.anchor == (2, 4)


def test_diagonal_neighbours_are_not_connected() -> None:
    free = np.array([[True, True, False], [False, False, True]])
    assert CoarseGrid.from_free(free, 0.2, anchor=(0, 0)).free.sum() == 2


def test_rows_and_columns_that_do_not_divide_are_solid() -> None:
    world = world_from(['.....', '.....', '.....'], anchor=(-0.35, -0.15))
    assert CoarseGrid.from_world(world, 0.2).free.sum() == 2


def test_starts_are_spread_from_the_anchor_outwards() -> None:
    grid = CoarseGrid.from_free(np.ones((1, 7), np.bool_), 0.2, anchor=(0, 0))
    assert grid.clustered_starts(3).tolist() == [[1, 1], [1, 3], [1, 5]]
    assert grid.clustered_starts(2, (1, 7)).tolist() == [[1, 7], [1, 5]]
    with pytest.raises(WorldError, match='room for 4 robots, asked for 5'):
        grid.clustered_starts(5)


@pytest.mark.parametrize(('free', 'anchor', 'message'), [
    (np.ones((3, 3), np.bool_), (1, 1), 'border'),
    (np.zeros((3, 3), np.bool_), (1, 1), 'connected'),
    (np.pad(np.array([[True, False, True]]), 1), (1, 1), 'connected'),
    (np.pad(np.ones((1, 1), np.bool_), 1), (0, 1), 'anchor'),
])
def test_bad_grids_are_refused(free: np.ndarray, anchor: tuple[int, int], message: str) -> None:
    with pytest.raises(WorldError, match=message):
        CoarseGrid(free, 0.2, anchor=anchor)


@pytest.mark.parametrize('name', ['rooms:0', 'office:1', 'maze:2', 'cave:3', 'warehouse:4'])
@pytest.mark.parametrize('resolution_m', [0.2, 0.4])
def test_generated_worlds_keep_most_of_their_space(name: str, resolution_m: float) -> None:
    world = load_world(name)
    area_m2 = world.reachable.sum() * world.resolution_m ** 2
    assert 0.6 * area_m2 < CoarseGrid.from_world(world, resolution_m).area_m2 <= area_m2
