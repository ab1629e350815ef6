import os
import resource
import signal
import struct
import subprocess
import time
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marl_core.errors import MapError, MessageError
from marl_core.mapping import persistence
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


def test_killed_at_any_moment_a_whole_save_comes_back(tmp_path):
    path, ada, map_node = tmp_path / 'fleet.map', replica('ada'), empty()
    # What the map grows by between two saves, and what it is then known by.
    news, states = [], [map_node.state_hash()]
    for seed in range(12):
        grown_to = ada.issued
        news.append(_said_since(grown(ada, seed), grown_to))
        for message in news[-1]:
            map_node.join(message)
        states.append(map_node.state_hash())
    random, kills, saved, rounds = np.random.default_rng(0), 0, 0, 0
    while kills < 60:
        back = empty()
        recovered = load(back, path)
        assert recovered.complete or saved == 0, str(recovered)
        if recovered.complete:
            at = states.index(back.state_hash())
            assert saved <= at  # What a process was told to be saved is never lost.
        else:
            back, at = empty(), 0
        if at == len(news):
            for old in generations(path):
                old.unlink(missing_ok=True)
            saved, rounds = 0, rounds + 1
            continue
        saved, was_killed = _save_until_killed(path, back, news[at:], at, saved, random.uniform(0.0, 0.03))
        kills += was_killed
    assert rounds + saved > 0


def _said_since(ada, version):
    lacking, said = ((version + 1, ada.issued),), []
    while lacking:
        said.append(ada.answer(ada.own, lacking, 800, 0.0))
        lacking = tuple((first, said[-1].versions.first - 1) for first, _ in lacking
                        if first < said[-1].versions.first)
    return said


def _save_until_killed(path, held, news, at, saved, after_s):
    """Let a process save more and more; returns how far it surely got, and whether its end came from outside."""
    ears, mouth = os.pipe()
    child = os.fork()
    if child == 0:
        for messages in news:
            for message in messages:
                held.join(message)
            save(held, path)
            os.write(mouth, b'.')
        os._exit(0)
    os.close(mouth)
    time.sleep(after_s)
    os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    with os.fdopen(ears, 'rb') as heard:
        done = len(heard.read())
    return at + done if done else saved, os.WIFSIGNALED(status)


@pytest.mark.parametrize('torn', ['cut', 'zeros'])
def test_torn_at_every_byte(tmp_path, torn):
    path = tmp_path / 'fleet.map'
    ada = replica('ada')
    ada.write(ada.own, ALL[:2], np.ones(BOUNDS.shape, np.int8))
    ada.publish(ada.own, 60_000, 0.0)
    save(ada, path)
    first = empty()
    load(first, path)
    ada.write(ada.own, ALL[1:3], np.full(BOUNDS.shape, -1, np.int8))
    ada.publish(ada.own, 60_000, 0.0)
    save(ada, path)
    data = path.read_bytes()
    for kept in range(len(data)):
        rest = b'' if torn == 'cut' else bytes(len(data) - kept)
        if data[kept:] == rest:
            continue  # The footer may end in zeros.
        path.write_bytes(data[:kept] + rest)
        back = empty()
        recovered = load(back, path)
        assert not recovered.complete and recovered.problems and recovered.files[-1].endswith('.previous')
        held, older, newer = (one.layers[ada.own] for one in (back, first, ada))
        assert (held.versions >= older.versions).all()
        assert ((held.tiles == newer.tiles) | (held.versions == older.versions)[:, None]).all()


def test_every_flipped_bit_is_noticed(tmp_path):
    path = tmp_path / 'fleet.map'
    ada = replica('ada')
    ada.write(ada.own, ALL[:4], np.ones(BOUNDS.shape, np.int8))
    ada.publish(ada.own, 60_000, 0.0)
    save(ada, path)
    data = path.read_bytes()
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        back = empty()
        recovered = load(back, path)
        assert not recovered.complete and recovered.problems
        assert recovered.tiles == 0 or back.state_hash() == ada.state_hash()


@contextmanager
def _full_after(size_bytes):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_is_full_at_any_byte_keeps_the_old_map(tmp_path):
    path, ada = tmp_path / 'fleet.map', grown(replica('ada'), 1)
    save(ada, path)
    before = ada.state_hash()
    size_bytes = save(grown(ada, 2), tmp_path / 'larger.map')
    for limit_bytes in range(0, size_bytes, 37):
        with _full_after(limit_bytes), pytest.raises(MapError, match='fleet.map: map cannot be saved'):
            save(ada, path)
        assert os.listdir(tmp_path).count('fleet.map.new') == 0
    back = empty()
    assert load(back, path).complete
    assert back.state_hash() == before
    assert save(ada, path) == size_bytes


@pytest.fixture
def small_disk(tmp_path):
    disk = tmp_path / 'disk'
    disk.mkdir()
    mounted = subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=16k', 'tmpfs', disk], capture_output=True)
    if mounted.returncode:
        pytest.skip('needs the right to mount a file system of 16 kB')
    yield disk
    subprocess.run(['umount', disk], check=True)


def test_a_full_file_system_keeps_the_old_map_and_takes_the_new_one_when_there_is_room(small_disk):
    path, ada = small_disk / 'fleet.map', grown(replica('ada'), 1)
    save(ada, path)
    before = ada.state_hash()
    ballast = small_disk / 'ballast'
    with pytest.raises(OSError):
        ballast.write_bytes(bytes(16384))
    for seed in range(2, 5):
        with pytest.raises(MapError, match='No space left'):
            save(grown(ada, seed), path)
    back = empty()
    assert load(back, path).complete
    assert back.state_hash() == before
    ballast.unlink()
    save(ada, path)
    again = empty()
    assert load(again, path).complete
    assert again.state_hash() == ada.state_hash()


def test_a_file_is_bounded_however_long_the_fleet_runs(tmp_path):
    config = ReplicaConfig(max_layers=4)
    map_node, sizes, refused = Replica(BOUNDS, 'map', None, config), [], 0
    random = np.random.default_rng(0)
    for epoch in range(1, 8):
        ada = Replica(BOUNDS, 'ada', LayerId('ada', epoch))
        for _ in range(5):
            # Noise, which no codec makes smaller.
            ada.write(ada.own, ALL, random.integers(-1, 2, BOUNDS.shape).astype(np.int8))
            while (message := ada.publish(ada.own, 60_000, 0.0)) is not None:
                try:
                    map_node.join(message)
                except MessageError as error:
                    refused += error.reason == 'too-many-layers'
        sizes.append(save(map_node, tmp_path / 'fleet.map'))
    assert refused > 0
    assert max(sizes) == sizes[-1] <= config.max_layers * BOUNDS.tiles_x * BOUNDS.tiles_y * 1100
    back = Replica(BOUNDS, 'map', None, config)
    assert load(back, tmp_path / 'fleet.map').complete
    assert back.state_hash() == map_node.state_hash()


def test_a_killed_swap_is_finished_before_the_next_save(tmp_path):
    path, ada = tmp_path / 'fleet.map', grown(replica('ada'), 1)
    save(ada, path)
    os.rename(path, generations(path)[2])
    save(grown(ada, 3), path)
    os.rename(path, generations(path)[1])
    with _full_after(100), pytest.raises(MapError):
        save(grown(ada, 2), path)
    assert load(empty(), path).complete


def test_records_with_right_checksums_and_wrong_contents_are_counted(tmp_path):
    path = tmp_path / 'fleet.map'
    header = persistence._record(b'H', struct.pack('<d', BOUNDS.resolution_m))
    wrong = [persistence._record(b'F', body)
             for body in (b'', bytes(20), bytes(19) + b'\xff' + bytes(300), b'\xff' * 400)]
    path.write_bytes(persistence.MAGIC + header + persistence._record(b'H', b'{}') + persistence._record(b'E', b'')
                     + persistence._record(b'?', b'') + b''.join(wrong))
    recovered = load(empty(), path)
    assert (recovered.tiles, recovered.complete) == (0, False)
    assert 'damaged after 4 intact records' in str(recovered)
    assert 'truncated' in str(recovered)
