"""Exploration as images: planes for a critic, colours for people."""

from enum import IntEnum

import numpy as np
from numba import njit
from numpy.typing import NDArray
from PIL import Image

from marl_core.types import FREE, OCCUPIED

PIXELS = 48
"""Edge of the critic's image."""

_FREE, _OCCUPIED = np.int8(FREE), np.int8(OCCUPIED)


class Plane(IntEnum):
    """Planes of the critic's image; area planes hold the covered part of a pixel [0..1], the others counts."""

    TRUE_FREE = 0
    KNOWN_FREE = 1
    KNOWN_OCCUPIED = 2
    ROBOTS = 3
    GOALS = 4


def state_image(free: NDArray[np.bool_], known: NDArray[np.int8], cells: NDArray[np.int32],
                goals: NDArray[np.int32]) -> NDArray[np.float32]:
    """The whole world, known or not, shrunk to fit the image (never enlarged) from its lower left corner.

    Args:
        free: truth. Shape: (rows, cols).
        known: what the team knows, classes. Shape: (rows, cols).
        cells: robots as (row, col). Shape: (N, 2).
        goals: their goals, negative without. Shape: (N, 2).

    Returns:
        Shape: (5, 48, 48), see Plane.
    """
    image = np.zeros((len(Plane), PIXELS, PIXELS), np.float32)
    _fill_state_image(free, known, cells, goals, image)
    return image


@njit(cache=True, nogil=True)
def _fill_state_image(free: NDArray[np.bool_], known: NDArray[np.int8], cells: NDArray[np.int32],
                      goals: NDArray[np.int32], image: NDArray[np.float32]) -> None:
    scale = max(1.0, max(free.shape) / PIXELS)
    part = np.float32(1.0 / (scale * scale))
    for row in range(free.shape[0]):
        y = int(row / scale)
        for col in range(free.shape[1]):
            x = int(col / scale)
            if free[row, col]:
                image[0, y, x] += part
            if known[row, col] == _FREE:
                image[1, y, x] += part
            elif known[row, col] == _OCCUPIED:
                image[2, y, x] += part
    for plane in range(3):
        for pixel in range(PIXELS * PIXELS):
            y, x = pixel // PIXELS, pixel % PIXELS
            image[plane, y, x] = min(np.float32(1.0), image[plane, y, x])  # pixels are not all of the same size
    for robot in range(cells.shape[0]):
        image[3, int(cells[robot, 0] / scale), int(cells[robot, 1] / scale)] += np.float32(1.0)
        if goals[robot, 0] >= 0:
            image[4, int(goals[robot, 0] / scale), int(goals[robot, 1] / scale)] += np.float32(1.0)


def colour_image(free: NDArray[np.bool_], known: NDArray[np.int8], cells: NDArray[np.int32],
                 goals: NDArray[np.int32], width_pixels: int = 640) -> NDArray[np.uint8]:
    """A picture for people, y upwards: unknown space dark, walls black, robots red, goals blue.

    Args:
        free, known, cells, goals: see ``state_image``.
        width_pixels: of the picture, at least; cells stay square.

    Returns:
        Shape: (height, width, 3).
    """
    picture = np.where(free[..., None], np.array([150, 150, 160], np.uint8), np.array([110, 110, 120], np.uint8))
    picture[known == FREE] = (255, 255, 255)
    picture[known == OCCUPIED] = (0, 0, 0)
    for places, colour in ((goals, (40, 90, 230)), (cells, (220, 30, 30))):
        for row, col in places[places[:, 0] >= 0]:
            picture[max(0, row - 1):row + 2, max(0, col - 1):col + 2] = colour
    scale = max(1, -(-width_pixels // picture.shape[1]))
    image = Image.fromarray(picture[::-1].copy())
    return np.asarray(image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST))
