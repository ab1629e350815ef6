import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marl_core.errors import MapError
from marl_core.mapping.bounds import MapBounds
from marl_core.mapping.persistence import generations, load, save
from marl_core.mapping.replica import Replica, ReplicaConfig
from marl_core.types import LayerId

BOUNDS = MapBounds(resolution_m=0.05, planning_factor=4, tiles_x=4, tiles_y=4)
ALL = np.argwhere(np.ones(BOUNDS.tiles_shape, bool)).astype(np.int32)


def replica(name: str, epoch: int = 1) -> Replica:
    # Small messages, so that a layer takes several records.
    return Replica(BOUNDS, name, LayerId(name, epoch), ReplicaConfig(max_message_bytes=800))


def grown(one: Replica, seed: int) -> Replica:
    random = np.random.default_rng(seed)
    classes = (random.integers(-1, 2, BOUNDS.shape) * (random.random(BOUNDS.shape) < 0.2)).astype(np.int8)
    one.write(one.own, ALL, classes)
    while one.publish(one.own, 60_000, 0.0):
        pass
    return one


def empty() -> Replica:
    return Replica(BOUNDS, 'map', None, ReplicaConfig(max_message_bytes=800))


def test_a_saved_map_comes_back_whole(tmp_path):
    ada = grown(grown(replica('ada'), 1), 2)
    size = save(ada, tmp_path / 'maps' / 'fleet.map')
    assert (tmp_path / 'maps' / 'fleet.map').stat().st_size == size
    back = empty()
    recovered = load(back, tmp_path / 'maps' / 'fleet.map')
    assert recovered.complete
    assert recovered.tiles == 16
    assert recovered.known_cells == back.known_cells == ada.known_cells
    assert recovered.problems == ()
    assert recovered.saved_at_s > 1.6e9
    assert str(recovered).startswith('16 tiles')
    assert back.state_hash() == ada.state_hash()
    again = replica('ada', epoch=2)
    load(again, tmp_path / 'maps' / 'fleet.map')
    np.testing.assert_array_equal(again.fused, ada.fused)


def test_missing_files_recover_nothing_and_say_so(tmp_path):
    recovered = load(empty(), tmp_path / 'no.map')
    assert (recovered.tiles, recovered.complete, recovered.files) == (0, False, ())
    assert 'no.map: missing' in str(recovered)


@given(kept=st.floats(0.0, 1.0, exclude_max=True))
@settings(max_examples=60, deadline=None)
def test_a_file_cut_anywhere_falls_back_to_the_previous_generation(tmp_path_factory, kept):
    path = tmp_path_factory.mktemp('cut') / 'fleet.map'
    ada = grown(replica('ada'), 1)
    save(ada, path)
    first = empty()
    load(first, path)
    save(grown(ada, 2), path)
    data = path.read_bytes()
    path.write_bytes(data[:int(kept * len(data))])
    back = empty()
    recovered = load(back, path)
    assert not recovered.complete
    assert 'damaged' in str(recovered)
    assert recovered.saved_at_s is not None
    # Nothing of the older generation is lost, and what is newer is right.
    assert {layer.id for layer in back.layers.values()} == {ada.own}
    held, whole = back.layers[ada.own], ada.layers[ada.own]
    assert (held.versions >= first.layers[ada.own].versions).all()
    newest = held.versions == whole.versions
    np.testing.assert_array_equal(held.tiles[newest], whole.tiles[newest])


@given(position=st.integers(0, 10**6), flip=st.integers(1, 255))
@settings(max_examples=60, deadline=None)
def test_a_flipped_byte_is_noticed(tmp_path_factory, position, flip):
    path = tmp_path_factory.mktemp('flip') / 'fleet.map'
    ada = grown(replica('ada'), 1)
    save(ada, path)
    save(ada, path)
    data = bytearray(path.read_bytes())
    data[position % len(data)] ^= flip
    path.write_bytes(data)
    back = empty()
    recovered = load(back, path)
    assert not recovered.complete
    assert recovered.problems
    assert back.state_hash() == ada.state_hash()


@pytest.mark.parametrize('names', [('new',), ('new', 'previous'), ('previous',)])
def test_killed_between_the_renames(tmp_path, names):
    path = tmp_path / 'fleet.map'
    ada = grown(replica('ada'), 1)
    save(ada, path)
    data = path.read_bytes()
    path.unlink()
    for name in names:
        path.with_name(f'fleet.map.{name}').write_bytes(data)
    back = empty()
    recovered = load(back, path)
    assert back.state_hash() == ada.state_hash()
    assert recovered.complete == ('new' in names)


def test_the_first_save_cut_short_still_gives_its_beginning(tmp_path):
    path = tmp_path / 'fleet.map'
    ada = grown(replica('ada'), 1)
    save(ada, path)
    data = path.read_bytes()
    path.rename(generations(path)[1])
    generations(path)[1].write_bytes(data[:len(data) // 2])
    recovered = load(empty(), path)
    assert 0 < recovered.tiles < 16


def test_another_resolution_is_refused(tmp_path):
    save(grown(replica('ada'), 1), tmp_path / 'fleet.map')
    coarse = Replica(MapBounds(0.1, 2, 4, 4), 'map')
    recovered = load(coarse, tmp_path / 'fleet.map')
    assert recovered.tiles == 0
    assert '0.05 m, this map has 0.1 m' in str(recovered)


def test_tiles_of_the_own_living_layer_are_not_taken_back(tmp_path):
    save(grown(replica('ada'), 1), tmp_path / 'fleet.map')
    recovered = load(replica('ada'), tmp_path / 'fleet.map')
    assert recovered.tiles == 0
    assert 'own-layer' in str(recovered)


def test_a_place_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(MapError, match='cannot be saved'):
        save(empty(), tmp_path / 'file' / 'fleet.map')
