"""A map that was there before the robots: a map_server file as a layer of the shared map.

The layer is a writer's like any other: it is asked for, answered, saved, voted with and judged like a robot's. Its
epoch and its versions follow from the cells alone, so whoever reads the same file, however often, gets the same
layer, and one that was edited is another life of the same writer.
"""

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from marl_core.errors import MapError
from marl_core.mapping.bounds import TILE, MapBounds
from marl_core.mapping.codec import TileBatch, encode
from marl_core.mapping.map_server import GridImage, read_map, require_free_space
from marl_core.mapping.replica import Replica
from marl_core.mapping.tile_numbers import signed_of
from marl_core.mapping.votes import TILE_CELLS
from marl_core.types import FREE, OCCUPIED, UNKNOWN, LayerId, MapFeatures, VersionRange

_TILES_PER_MESSAGE = 64
_CODEC = 'raw'
_TOLERANCE = 1e-3
"""Part of a cell by which a multiple of the resolution may miss, and radians by which a map may be turned."""


@dataclass(frozen=True, slots=True)
class PriorMap:
    """What was put into the shared map.

    Attributes:
        layer: where it is now.
        tiles: tiles with something in them.
        known_cells: cells of this map's resolution that the file says something about.
        shift_m: how far the file's cells were moved to lie on this map's [m].
    """

    layer: LayerId
    tiles: int
    known_cells: int
    shift_m: float

    def __str__(self) -> str:
        moved = f', moved by {self.shift_m * 100:.1f} cm' if self.shift_m > 1e-6 else ''
        return f'{self.known_cells} known cells in {self.tiles} tiles as layer {self.layer}{moved}'


def join_prior(replica: Replica, path: str | Path, name: str) -> PriorMap:
    """Put a map_server file into a replica, as a layer of the writer ``name``.

    Cells that are a whole multiple of the replica's, or a whole part, are split or merged; merged, one that is
    occupied makes all of them so. A corner between two cells is moved to the nearer one.

    Raises:
        WorldError: the file is missing or not what it should be, or nothing in it is free (see read_map).
        MapError: it is turned, of a foreign resolution, or larger than the replica's bounds; names the file, what
            it has and what would do.
        MessageError: the replica has no room for another layer.
    """
    image = read_map(path)
    require_free_space(image, path)
    bounds = replica.bounds
    classes, shift_m = _on_cells(image, bounds, path)
    tiles = classes.reshape(bounds.tiles_y, TILE, bounds.tiles_x, TILE).swapaxes(1, 2).reshape(-1, TILE_CELLS)
    indices = np.flatnonzero(tiles.any(axis=1))
    layer = LayerId(name, zlib.crc32(tiles[indices].tobytes(), zlib.crc32(indices.astype('<i8').tobytes())))
    for start in range(0, indices.size, _TILES_PER_MESSAGE):
        chosen = indices[start:start + _TILES_PER_MESSAGE]
        replica.join(_message(layer, bounds, chosen, start + 1, tiles[chosen], replica.codec_like(_CODEC)))
    return PriorMap(layer, int(indices.size), int(np.count_nonzero(classes)), shift_m)


def _message(layer: LayerId, bounds: MapBounds, indices: NDArray[np.intp], first: int,
             classes: NDArray[np.int8], codec: str) -> MapFeatures:
    versions = VersionRange(first, first + indices.size - 1)
    batch = TileBatch(signed_of(indices, bounds), np.arange(versions.first, versions.last + 1), classes)
    return MapFeatures(layer.robot, 0.0, layer, versions, bounds.resolution_m, codec, encode(batch, versions, codec))


def _on_cells(image: GridImage, bounds: MapBounds, path: str | Path) -> tuple[NDArray[np.int8], float]:
    """The image on the cells of a map, and how far it was moved [m]. Shape: bounds.shape."""
    if abs(image.origin.heading_rad) > _TOLERANCE:
        raise MapError(f'{path}: origin is turned by {image.origin.heading_rad} rad; turn the image, 0 is expected')
    split, merged = _ratio(image.resolution_m / bounds.resolution_m), _ratio(bounds.resolution_m / image.resolution_m)
    if not split and not merged:
        raise MapError(f'{path}: resolution is {image.resolution_m} m, this map has {bounds.resolution_m} m per cell; '
                       'one must be a whole multiple of the other')
    known = np.argwhere(image.classes != UNKNOWN)
    (row0, col0), (row1, col1) = known.min(axis=0), known.max(axis=0) + 1
    pixels, pixel_m = image.classes[row0:row1, col0:col1], image.resolution_m
    # Where the known part begins, counted in the finer cells from the corner of this map.
    fine_m = bounds.resolution_m / (merged or 1)
    begin = np.array(((image.origin.y_m - bounds.origin_y_m + row0 * pixel_m) / fine_m,
                      (image.origin.x_m - bounds.origin_x_m + col0 * pixel_m) / fine_m))
    corner = np.rint(begin).astype(np.int64)
    shift_m = float(np.hypot(*(corner - begin)) * fine_m)
    extent = np.array(pixels.shape) * (split or 1)
    limit = np.array(bounds.shape) * (merged or 1)
    if (corner < 0).any() or (corner + extent > limit).any():
        low, high = corner * fine_m, (corner + extent) * fine_m
        raise MapError(f'{path}: known from x {low[1] + bounds.origin_x_m:.2f} to {high[1] + bounds.origin_x_m:.2f} m '
                       f'and y {low[0] + bounds.origin_y_m:.2f} to {high[0] + bounds.origin_y_m:.2f} m; this map '
                       f'reaches {-bounds.origin_x_m:.2f} and {-bounds.origin_y_m:.2f} m from the origin; '
                       'raise map.width_m and map.height_m')
    classes = np.zeros(bounds.shape, np.int8)
    if merged:
        _merge(pixels, corner, merged, classes)
    else:
        rows, cols = (slice(start, start + size) for start, size in zip(corner, extent, strict=True))
        classes[rows, cols] = pixels.repeat(split, axis=0).repeat(split, axis=1)
    return classes, shift_m


def _ratio(ratio: float) -> int:
    """A whole number at least 1, or 0 if it is none."""
    whole = round(ratio)
    return whole if whole >= 1 and abs(ratio - whole) <= _TOLERANCE * whole else 0


def _merge(pixels: NDArray[np.int8], corner: NDArray[np.int64], merged: int, classes: NDArray[np.int8]) -> None:
    """Put pixels into cells of ``merged`` times ``merged`` each: occupied before free before unknown."""
    first, before = np.divmod(corner, merged)
    after = -(before + pixels.shape) % merged
    blocks = np.pad(pixels, tuple(zip(before, after, strict=True)), constant_values=UNKNOWN)
    rows, cols = np.array(blocks.shape) // merged
    blocks = blocks.reshape(rows, merged, cols, merged)
    is_occupied, is_free = (blocks == OCCUPIED).any(axis=(1, 3)), (blocks == FREE).any(axis=(1, 3))
    classes[first[0]:first[0] + rows, first[1]:first[1] + cols] = np.select([is_occupied, is_free], [OCCUPIED, FREE])
