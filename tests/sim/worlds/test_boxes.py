import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sim.worlds.boxes import faces, rectangles

GRIDS = arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9)))


def test_an_ell_takes_two_rectangles_and_six_faces() -> None:
    occupied = np.zeros((5, 6), np.bool_)
    occupied[1, 1:5] = True
    occupied[1:4, 1] = True
    assert rectangles(occupied).tolist() == [[1, 1, 2, 5], [2, 1, 4, 2]]
    assert sorted(faces(occupied).tolist()) == [[1, 1, 1, 5], [1, 1, 4, 1], [1, 5, 2, 5], [2, 2, 2, 5], [2, 2, 4, 2],
                                                [4, 1, 4, 2]]


@given(GRIDS)
def test_rectangles_cover_every_occupied_cell_once(occupied: np.ndarray) -> None:
    covered = np.zeros(occupied.shape, np.int64)
    for row, col, end_row, end_col in rectangles(occupied):
        covered[row:end_row, col:end_col] += 1
    assert np.array_equal(covered, occupied.astype(np.int64))


@given(GRIDS)
def test_faces_are_as_long_as_the_border(occupied: np.ndarray) -> None:
    found = faces(occupied)
    length = np.abs(found[:, 2] - found[:, 0]) + np.abs(found[:, 3] - found[:, 1])
    border = (occupied[1:] != occupied[:-1]).sum() + (occupied[:, 1:] != occupied[:, :-1]).sum()
    assert length.sum() == border
