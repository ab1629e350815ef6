"""A cave: irregular halls and winding passages without a straight wall."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from marl_core.errors import WorldError
from sim.worlds.canvas import PASSAGE_M, Canvas
from sim.worlds.world import World, WorldSize

COARSE_M = 0.5
"""Edge of the cells in which the cave grows [m]."""
SOLID_FRACTION = 0.44
LEAST_FREE_FRACTION = 0.35
"""Of the whole area; a draw whose largest hall is smaller is thrown away."""
ATTEMPTS = 40


def cave(seed: int, size: WorldSize) -> World:
    """Generate a cave with a cellular automaton, smoothed until every passage is wide enough.

    Args:
        seed: the same seed gives the same world.
        size: extent and resolution.

    Raises:
        WorldError: no draw gave a connected cave of a useful size.
    """
    rng = np.random.default_rng([seed, 0x4361])
    canvas = Canvas(size, occupied=True)
    for _ in range(ATTEMPTS):
        free = _widen(_grow(rng, size, canvas.occupied.shape), size.resolution_m)
        if free.mean() >= LEAST_FREE_FRACTION:
            canvas.occupied[:] = ~free
            row, col = _start(rng, free, size.resolution_m)
            return canvas.finish(f'cave:{seed}', (col + 0.5) * size.resolution_m, (row + 0.5) * size.resolution_m)
    raise WorldError(f'cave:{seed}: no connected cave of {size.width_m} x {size.height_m} m found; make it larger')


def _grow(rng: np.random.Generator, size: WorldSize, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Free cells of a raw cave. Shape: ``shape``."""
    coarse = (round(size.height_m / COARSE_M), round(size.width_m / COARSE_M))
    solid = rng.random(coarse) < SOLID_FRACTION
    for _ in range(4):
        neighbours = ndimage.convolve(solid.astype(np.int8), np.ones((3, 3), np.int8), mode='constant', cval=1)
        solid = neighbours >= 5
    rows = (np.arange(shape[0]) + 0.5) * size.resolution_m / COARSE_M - 0.5
    cols = (np.arange(shape[1]) + 0.5) * size.resolution_m / COARSE_M - 0.5
    soft = ndimage.gaussian_filter(solid.astype(float), 0.5, mode='constant', cval=1.0)
    fine = ndimage.map_coordinates(soft, np.meshgrid(rows, cols, indexing='ij'), order=1, mode='nearest')
    rough = ndimage.gaussian_filter(rng.normal(size=shape), 0.15 / size.resolution_m, mode='nearest')
    return fine + 0.08 * rough / rough.std() < 0.5


def _widen(free: NDArray[np.bool_], resolution_m: float) -> NDArray[np.bool_]:
    """Keep what a disc can sweep that starts in the largest hall: no passage is narrower than the disc."""
    free = free.copy()
    free[[0, 1, -1, -2]] = False
    free[:, [0, 1, -1, -2]] = False
    radius = PASSAGE_M / 2 / resolution_m + 1.0
    centres, count = ndimage.label(ndimage.distance_transform_edt(free) > radius)
    if not count:
        return np.zeros_like(free)
    largest = 1 + int(np.argmax(np.bincount(centres.ravel())[1:]))
    return ndimage.distance_transform_edt(centres != largest) < radius


def _start(rng: np.random.Generator, free: NDArray[np.bool_], resolution_m: float) -> tuple[int, int]:
    """A cell in one of the wider halls."""
    room = ndimage.distance_transform_edt(free) * resolution_m
    cells = np.argwhere(room > 0.7 * room.max())
    row, col = cells[int(rng.integers(len(cells)))]
    return int(row), int(col)
