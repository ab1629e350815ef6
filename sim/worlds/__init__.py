"""Worlds by name. A new one takes a file with a generator and a line in WORLDS."""

from collections.abc import Callable

from marl_core.errors import WorldError
from sim.worlds.cave import cave
from sim.worlds.map_file import world_from_map
from sim.worlds.maze import maze
from sim.worlds.office import office
from sim.worlds.rooms import rooms
from sim.worlds.warehouse import warehouse
from sim.worlds.world import World, WorldSize

Generator = Callable[[int, WorldSize], World]

WORLDS: dict[str, Generator] = {
    'rooms': rooms,
    'office': office,
    'maze': maze,
    'cave': cave,
    'warehouse': warehouse,
}

__all__ = ['WORLDS', 'Generator', 'World', 'WorldSize', 'load_world']


def load_world(name: str, size: WorldSize | None = None, speckle_m2: float = 0.0) -> World:
    """Generate a world, or read one from a map.

    Args:
        name: ``office`` (seed 0), ``office:3`` (seed 3), ``office:3@30x20`` (seed 3, 30 x 20 m), or the path of a
            map_server YAML file, with ``:3`` to draw another start (``depot.yaml:3``).
        size: of a generated world where the name gives none (default 20 x 15 m).
        speckle_m2: solid islands up to this area are removed from a map that was read [m^2].

    Raises:
        WorldError: unknown generator, bad seed or size, unreadable map, or no free space.
    """
    stem, _, extent = name.partition('@') if '.yaml' not in name else (name, '', '')
    kind, separator, seed_text = stem.rpartition(':')
    if not separator or (seed_text.endswith('.yaml')):
        kind, seed_text = stem, '0'
    if not seed_text.isdecimal():
        raise WorldError(f'world {name!r}: the seed after the colon must be a whole number, got {seed_text!r}')
    if kind.endswith('.yaml'):
        return world_from_map(kind, int(seed_text), speckle_m2)
    if kind not in WORLDS:
        raise WorldError(f'world {name!r}: no generator {kind!r}; valid are {", ".join(WORLDS)}, or a map .yaml file')
    return WORLDS[kind](int(seed_text), _size(name, extent) if extent else size or WorldSize())


def _size(name: str, extent: str) -> WorldSize:
    try:
        width_text, height_text = extent.split('x')
        return WorldSize(float(width_text), float(height_text))
    except ValueError as error:
        raise WorldError(f'world {name!r}: the size after @ must be like 30x20 [m]; {error}') from error
