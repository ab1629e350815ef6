"""A world from a map in the map_server form, such as a robot's own saved map."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from marl_core.errors import WorldError
from marl_core.types import FREE, OCCUPIED
from sim.worlds.world import World

START_CLEARANCE_M = 0.4
"""Robots start where at least this much is free around them, if the map has such a place [m]."""


def world_from_map(path: str | Path, seed: int = 0, speckle_m2: float = 0.0) -> World:
    """Read a map; all that is not free is solid, and only its largest connected free space is kept.

    Args:
        path: YAML file of the map.
        seed: draws the centre of the start area.
        speckle_m2: solid islands up to this area become free: sensor noise of the robot that mapped [m^2].

    Raises:
        WorldError: the map cannot be read, is rotated, or has no free space.
    """
    from marl_core.mapping.map_server import read_map

    image = read_map(path)
    if abs(image.origin.heading_rad) > 1e-6:
        raise WorldError(f'{path}: origin has a rotation of {image.origin.heading_rad} rad; only 0 can be simulated')
    occupied = image.classes != FREE
    if speckle_m2 > 0.0:
        occupied = _without_speckle(occupied, image.classes == OCCUPIED, speckle_m2 / image.resolution_m ** 2)
    components, count = ndimage.label(~occupied)
    if not count:
        raise WorldError(f'{path}: the map has no free space')
    occupied = components != 1 + int(np.argmax(np.bincount(components.ravel())[1:]))
    row, col = _start(occupied, seed, START_CLEARANCE_M / image.resolution_m)
    x_m = image.origin.x_m + (col + 0.5) * image.resolution_m
    y_m = image.origin.y_m + (row + 0.5) * image.resolution_m
    return World(f'{Path(path).stem}:{seed}', occupied, image.resolution_m, image.origin.x_m, image.origin.y_m,
                 x_m, y_m)


def _without_speckle(occupied: NDArray[np.bool_], hits: NDArray[np.bool_], cells: float) -> NDArray[np.bool_]:
    islands, _ = ndimage.label(occupied, structure=np.ones((3, 3), int))
    sizes = np.bincount(islands.ravel())
    small = sizes <= cells
    small[0] = False
    # An island of unknown cells only (the shadow of a pillar) is no sensor noise.
    with_hits = np.zeros(len(sizes), dtype=bool)
    with_hits[np.unique(islands[hits])] = True
    return occupied & ~(small & with_hits)[islands]


def _start(occupied: NDArray[np.bool_], seed: int, clearance: float) -> tuple[int, int]:
    distance = ndimage.distance_transform_edt(np.pad(~occupied, 1))[1:-1, 1:-1]
    roomy, count = ndimage.label(distance > min(clearance, 0.9 * float(distance.max())))
    largest = 1 + int(np.argmax(np.bincount(roomy.ravel())[1:])) if count else 0
    cells = np.argwhere(roomy == largest)
    row, col = cells[int(np.random.default_rng([seed, 0x4d70]).integers(len(cells)))]
    return int(row), int(col)
