import numpy as np

from marl_core.types import FREE, OCCUPIED, UNKNOWN
from sim.pictures import Plane, colour_image, state_image


def test_small_worlds_keep_their_scale() -> None:
    free = np.array([[False, True, True]])
    known = np.array([[OCCUPIED, FREE, UNKNOWN]], np.int8)
    image = state_image(free, known, np.array([[0, 1]], np.int32), np.array([[-1, -1]], np.int32))
    assert image.shape == (5, 48, 48)
    assert image[Plane.TRUE_FREE, 0, :4].tolist() == [0, 1, 1, 0]
    assert image[Plane.KNOWN_FREE, 0, :4].tolist() == [0, 1, 0, 0]
    assert image[Plane.KNOWN_OCCUPIED, 0, :4].tolist() == [1, 0, 0, 0]
    assert image[Plane.ROBOTS].sum() == image[Plane.ROBOTS, 0, 1] == 1
    assert image[Plane.GOALS].sum() == 0


def test_large_worlds_are_shrunk_by_area() -> None:
    free = np.zeros((96, 48), np.bool_)  # two cells to a pixel
    free[0, :3] = True
    known = np.where(free, FREE, UNKNOWN).astype(np.int8)
    robots = np.array([[95, 47], [94, 46]], np.int32)
    image = state_image(free, known, robots, np.array([[2, 5], [-1, -1]], np.int32))
    assert image[Plane.TRUE_FREE, 0, :3].tolist() == [0.5, 0.25, 0]
    assert image[Plane.ROBOTS, 47, 23] == 2
    assert image[Plane.GOALS, 1, 2] == 1
    assert image[Plane.GOALS].sum() == 1


def test_picture_has_y_upwards_and_the_robot_red() -> None:
    free = np.ones((30, 40), np.bool_)
    picture = colour_image(free, np.zeros((30, 40), np.int8), np.array([[2, 3]], np.int32),
                           np.array([[-1, -1]], np.int32), width_pixels=80)
    assert picture.shape == (60, 80, 3)
    assert picture[2 * (29 - 2), 2 * 3].tolist() == [220, 30, 30]
    assert picture[2 * 2, 2 * 3].tolist() != [220, 30, 30]
