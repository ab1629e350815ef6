from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from marl_core.errors import WorldError
from marl_core.mapping.map_server import write_map
from marl_core.types import FREE, OCCUPIED, UNKNOWN, Pose
from sim.testing import check_world
from sim.worlds import WORLDS, WorldSize, load_world
from sim.worlds.world import World


@pytest.mark.parametrize('name', WORLDS)
def test_every_generator_keeps_its_promises(name: str) -> None:
    check_world(WORLDS[name], name)


def with_a_hole_to_the_outside(occupied: np.ndarray) -> None:
    occupied[-1, 3] = False


def with_a_room_without_a_door(occupied: np.ndarray) -> None:
    occupied[-20:, -20:] = True
    occupied[-12:-8, -12:-8] = False


@pytest.mark.parametrize(('change', 'said'), [(with_a_hole_to_the_outside, 'rooms:0@20x15: is not closed'),
                                              (with_a_room_without_a_door, 'rooms:0@20x15: has free space that')])
def test_the_check_finds_what_is_wrong(change: Callable[[np.ndarray], None], said: str) -> None:
    def generator(seed: int, size: WorldSize) -> World:
        world = WORLDS['rooms'](seed, size)
        occupied = world.occupied.copy()
        change(occupied)
        return World(world.name, occupied, size.resolution_m, world.origin_x_m, world.origin_y_m, world.anchor_x_m,
                     world.anchor_y_m)

    with pytest.raises(AssertionError, match=said):
        check_world(generator, 'rooms')


def test_names_say_seed_and_size() -> None:
    world = load_world('office:3@30x20')
    assert (world.name, world.width_m, world.height_m) == ('office:3', pytest.approx(30.0), pytest.approx(20.0))
    assert np.array_equal(load_world('maze').occupied, load_world('maze:0').occupied)
    small = WorldSize(10.0, 8.0)
    assert np.array_equal(load_world('cave:2', small).occupied, load_world('cave:2@10x8').occupied)


@pytest.mark.parametrize(('name', 'said'), [('castle:1', 'rooms, office'), ('office:x', 'whole number'),
                                            ('office:1@30', '30x20'), ('office:1@2x2', '6 .. 200'),
                                            ('nowhere.yaml', 'nowhere.yaml')])
def test_wrong_names_are_answered_with_what_is_valid(name: str, said: str) -> None:
    with pytest.raises(WorldError, match=said):
        load_world(name)


def test_a_map_of_a_robot_is_a_world(tmp_path: Path) -> None:
    """4 x 3 m of 0.1 m cells; unknown cells are solid, a speckle is removed, the smaller of two rooms is filled."""
    classes = np.full((30, 40), OCCUPIED, np.int8)
    classes[2:28, 2:28] = FREE
    classes[2:28, 30:38] = FREE
    classes[20:28, 20:28] = UNKNOWN
    classes[10, 10] = OCCUPIED
    path = write_map(tmp_path / 'flat', classes, 0.1, Pose(-1.0, -2.0, 0.0)) or tmp_path / 'flat.yaml'
    world = load_world(f'{path}:1', speckle_m2=0.02)
    assert (world.origin_x_m, world.origin_y_m, world.resolution_m) == (-1.0, -2.0, pytest.approx(0.1))
    assert not world.occupied[10, 10]
    assert world.occupied[20:28, 20:28].all()
    assert world.occupied[:, 28:].all()
    assert (~world.occupied).sum() == 26 * 26 - 8 * 8
    assert load_world(str(path)).occupied[10, 10]
    starts = {load_world(f'{path}:{seed}').cell_of(load_world(f'{path}:{seed}').anchor_x_m, 0.0)[1]
              for seed in range(6)}
    assert len(starts) > 1


def test_clearance_and_fits_by_hand() -> None:
    occupied = np.zeros((10, 20), np.bool_)
    occupied[:, 15] = True
    world = World('by hand', occupied, 0.1, 1.0, 2.0, 1.5, 2.5)
    assert world.cell_of(1.25, 2.91) == (9, 2)
    assert world.clearance_m[5, 10] == pytest.approx(0.5)
    assert world.clearance_m[0, 3] == pytest.approx(0.1)  # outside is solid
    assert world.fits(2.0, 2.5, 0.45)
    assert not world.fits(2.1, 2.5, 0.45)
    assert not world.fits(1.3, 2.5, 0.35)
    assert not world.is_free(0.9, 2.5)
    assert world.reachable.sum() == 150


def test_a_world_without_room_says_so() -> None:
    occupied = np.ones((20, 20), np.bool_)
    with pytest.raises(WorldError, match='no free space'):
        World('rock', occupied, 0.1, 0.0, 0.0, 1.0, 1.0)
    occupied[5:15, 5:15] = False
    with pytest.raises(WorldError, match='start'):
        World('rock', occupied, 0.1, 0.0, 0.0, 0.1, 0.1)
    room = World('room', occupied, 0.1, 0.0, 0.0, 1.0, 1.0)
    assert len(room.start_poses(1, 0.2)) == 1
    with pytest.raises(WorldError, match='has room for 1 robots'):
        room.start_poses(9, 0.2)
