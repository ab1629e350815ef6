"""Reads and writes occupancy maps in the form of Nav2's map_server: an image, and a YAML file beside it.

Image row 0 is the top of the map; arrays here have row 0 at the bottom, as nav_msgs/OccupancyGrid.
"""

from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from marl_core.errors import WorldError
from marl_core.types import FREE, OCCUPIED, UNKNOWN, Pose

OCCUPIED_PIXEL, UNKNOWN_PIXEL, FREE_PIXEL = 0, 205, 254
OCCUPIED_THRESHOLD, FREE_THRESHOLD = 0.65, 0.196
"""With these, and only just, pixel 205 reads back as unknown: (255 - 205) / 255 = 0.19608."""
MAX_PIXELS = 2**28
FORMATS = ('pgm', 'png')


@dataclass(frozen=True, slots=True)
class GridImage:
    """A map as it comes from files.

    Attributes:
        classes: int8 FREE, UNKNOWN or OCCUPIED, row 0 at the lowest y. Shape: (rows, cols).
        resolution_m: edge of a cell [m].
        origin: lower left corner of the image and its rotation [map frame].
    """

    classes: NDArray[np.int8]
    resolution_m: float
    origin: Pose


def read_map(path: str | Path) -> GridImage:
    """Read a map from its YAML file.

    Modes ``trinary`` and ``scale`` are both read as free, unknown or occupied.

    Raises:
        WorldError: a file is missing, empty or not what it should be, or a field is missing or wrong; names the
            file and the field.
    """
    path = Path(path)
    fields = _read_fields(path)
    mode = fields.get('mode', 'trinary')
    if mode not in ('trinary', 'scale'):
        raise WorldError(f'{path}: mode must be trinary or scale, got {mode!r}')
    resolution_m = _number(path, fields, 'resolution')
    if resolution_m <= 0.0:
        raise WorldError(f'{path}: resolution must be positive [m per cell], got {resolution_m}')
    occupied_threshold = _number(path, fields, 'occupied_thresh', OCCUPIED_THRESHOLD)
    free_threshold = _number(path, fields, 'free_thresh', FREE_THRESHOLD)
    if not 0.0 <= free_threshold < occupied_threshold <= 1.0:
        raise WorldError(f'{path}: thresholds must satisfy 0 <= free_thresh < occupied_thresh <= 1, '
                         f'got {free_threshold} and {occupied_threshold}')
    negate = fields.get('negate', 0)
    if negate not in (0, 1):
        raise WorldError(f'{path}: negate must be 0 or 1, got {negate!r}')
    image = fields.get('image')
    if not isinstance(image, str) or not image:
        raise WorldError(f'{path}: image must name a file, got {image!r}')
    darkness = _read_image(path.parent / image)
    if negate:
        darkness = 1.0 - darkness
    classes = np.zeros(darkness.shape, np.int8)
    classes[darkness > occupied_threshold] = OCCUPIED
    classes[darkness < free_threshold] = FREE
    return GridImage(np.ascontiguousarray(classes[::-1]), resolution_m, _origin(path, fields))


def write_map(stem: str | Path, classes: NDArray[np.int8], resolution_m: float, origin: Pose,
              image_format: str = 'pgm') -> Path:
    """Write ``stem``.yaml and its image; returns the path of the YAML file.

    Args:
        stem: path without suffix.
        classes: FREE, UNKNOWN or OCCUPIED, row 0 at the lowest y. Shape: (rows, cols).
        resolution_m: edge of a cell [m].
        origin: lower left corner [map frame].
        image_format: ``pgm`` or ``png``.

    Raises:
        WorldError: an unknown format, or a file cannot be written.
    """
    if image_format not in FORMATS:
        raise WorldError(f'{stem}: image_format must be one of {", ".join(FORMATS)}, got {image_format!r}')
    stem = Path(stem)
    image = stem.with_name(f'{stem.name}.{image_format}')
    sheet = stem.with_name(f'{stem.name}.yaml')
    pixels = np.full(classes.shape, UNKNOWN_PIXEL, np.uint8)
    pixels[classes == FREE] = FREE_PIXEL
    pixels[classes == OCCUPIED] = OCCUPIED_PIXEL
    fields = {'image': image.name, 'mode': 'trinary', 'resolution': float(resolution_m),
              'origin': [float(value) for value in origin], 'negate': 0,
              'occupied_thresh': OCCUPIED_THRESHOLD, 'free_thresh': FREE_THRESHOLD}
    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[::-1]).save(image, format='PPM' if image_format == 'pgm' else 'PNG')
        sheet.write_text(yaml.safe_dump(fields, sort_keys=False), encoding='utf-8')
    except OSError as error:
        raise WorldError(f'{stem}: map cannot be written ({error.strerror})') from error
    return sheet


def require_free_space(grid: GridImage, source: str | Path) -> None:
    """Check that a robot could be anywhere at all.

    Raises:
        WorldError: no cell is free; names ``source`` and counts the classes.
    """
    if not (grid.classes == FREE).any():
        occupied = int(np.count_nonzero(grid.classes == OCCUPIED))
        raise WorldError(f'{source}: no free space ({occupied} cells occupied, '
                         f'{int(np.count_nonzero(grid.classes == UNKNOWN))} unknown); check negate and thresholds')


def _read_fields(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding='utf-8')
    except OSError as error:
        raise WorldError(f'{path}: map file cannot be read ({error.strerror})') from error
    except UnicodeDecodeError as error:
        raise WorldError(f'{path}: is not a text file; give the YAML file, not the image') from error
    if not text.strip():
        raise WorldError(f'{path}: map file is empty')
    try:
        fields = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise WorldError(f'{path}: is not YAML ({error})') from error
    if not isinstance(fields, dict):
        raise WorldError(f'{path}: expected keys image, resolution, origin, ..., got {type(fields).__name__}')
    return fields


def _number(path: Path, fields: dict[str, Any], key: str, default: float | None = None) -> float:
    value = fields.get(key, default)
    if value is None:
        raise WorldError(f'{path}: {key} is missing')
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not isfinite(value):
        raise WorldError(f'{path}: {key} must be a finite number, got {value!r}')
    return float(value)


def _origin(path: Path, fields: dict[str, Any]) -> Pose:
    value = fields.get('origin')
    numbers = isinstance(value, list) and len(value) == 3 and all(
        isinstance(entry, (int, float)) and not isinstance(entry, bool) and isfinite(entry) for entry in value)
    if not numbers:
        raise WorldError(f'{path}: origin must be [x, y, heading] in metres and radians, got {value!r}')
    return Pose(*(float(entry) for entry in value))


def _read_image(path: Path) -> NDArray[np.float64]:
    """Darkness from 0 (white) to 1 (black). Shape: (rows, cols)."""
    try:
        if path.stat().st_size == 0:
            raise WorldError(f'{path}: image is empty')
        with Image.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise WorldError(f'{path}: image of {image.width} x {image.height} pixels is too large')
            if image.mode.startswith('I'):
                return 1.0 - np.asarray(image, np.float64) / 65535.0
            # Nav2 averages the channels; palettes and bit maps have none until they are converted.
            kept = image if image.mode in ('L', 'LA', 'RGB', 'RGBA') else image.convert('RGB')
            channels = np.asarray(kept, np.float64)
    except UnidentifiedImageError as error:
        raise WorldError(f'{path}: is not an image') from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise WorldError(f'{path}: image cannot be read ({error})') from error
    return 1.0 - (channels if channels.ndim == 2 else channels.mean(axis=2)) / 255.0
