import zlib
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marl_core.errors import MessageError
from marl_core.mapping.bounds import TILE, MapBounds
from marl_core.mapping.codec import CODECS
from marl_core.mapping.layers import Urgency
from marl_core.mapping.replica import Replica, ReplicaConfig
from marl_core.mapping.votes import TILE_CELLS
from marl_core.types import LayerId, MapDigest, VersionRange

BOUNDS = MapBounds(resolution_m=0.05, planning_factor=4, tiles_x=6, tiles_y=6)
ALL = np.argwhere(np.ones(BOUNDS.tiles_shape, bool)).astype(np.int32)
CONTEXT = CODECS['context']
FROZEN = (444, 928311273)


def replica(name: str) -> Replica:
    return Replica(BOUNDS, name, LayerId(name, 1), ReplicaConfig(urgency=Urgency(hold_cells=1)))


def room(random: np.random.Generator) -> np.ndarray:
    """Free space in walls, as far as somebody in a random place saw it."""
    rows, cols = BOUNDS.shape
    classes = np.zeros(BOUNDS.shape, np.int8)
    top, left = random.integers(2, rows // 2), random.integers(2, cols // 2)
    bottom, right = random.integers(top + 4, rows - 2), random.integers(left + 4, cols - 2)
    classes[top:bottom, left:right] = 1
    classes[top + 1:bottom - 1, left + 1:right - 1] = -1
    row, col = random.integers(top, bottom), random.integers(left, right)
    y, x = np.mgrid[:rows, :cols]
    classes[np.hypot(y - row, x - col) > random.integers(10, 80)] = 0
    return classes


def grown(before: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """What was known stays known, some of it with another class."""
    after = np.where(before == 0, room(random), before)
    flips = random.random(before.shape) < random.choice((0.0, 0.001, 0.05))
    after[flips] = random.integers(-1, 2, np.count_nonzero(flips))
    return after.astype(np.int8)


def test_the_codec_is_frozen():
    """Robots that run different releases must agree on every bit; other weights need another version of the wire."""
    tiles = np.array(((0, 1), (0, 0), (1, 0), (-3, 7)), np.int32)
    classes = np.zeros((4, TILE_CELLS), np.int8)
    classes[0, 100:400] = -1
    classes[1, 500:] = -1
    classes[1, 31::32] = 1
    classes[2, ::3] = 1
    packed = CONTEXT.pack(tiles, classes, None, (40, -13))
    assert (len(packed), zlib.crc32(packed)) == FROZEN
    back_tiles, back_classes = CONTEXT.unpack(packed, 4, None)
    np.testing.assert_array_equal(back_tiles, tiles)
    np.testing.assert_array_equal(back_classes, classes)


@given(seed=st.integers(0, 2**32 - 1), origin=st.sampled_from((None, (0, 0), (-50, 90), (2**40, -2**40))))
@settings(max_examples=40, deadline=None)
def test_any_tiles_come_back_from_any_origin(seed, origin):
    random = np.random.default_rng(seed)
    count = random.integers(1, 9)
    tiles = random.permutation(np.unique(random.integers(-4, 4, (count, 2)), axis=0)).astype(np.int32)
    classes = random.integers(-1, 2, (len(tiles), TILE_CELLS)).astype(np.int8)
    classes[random.random(classes.shape) < random.choice((0.0, 0.9, 1.0))] = random.integers(-1, 2)
    back_tiles, back_classes = CONTEXT.unpack(CONTEXT.pack(tiles, classes, None, origin), len(tiles), None)
    np.testing.assert_array_equal(back_tiles, tiles)
    np.testing.assert_array_equal(back_classes, classes)


@given(data=st.binary(max_size=200), count=st.integers(1, 40))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_read_or_refused(data, count):
    try:
        tiles, classes = CONTEXT.unpack(data, count, None)
    except MessageError:
        return
    assert tiles.shape == (count, 2)
    assert np.isin(classes, (-1, 0, 1)).all()


def test_a_few_bytes_do_not_make_many_tiles():
    """Reading stops where the data end, not where the tiles do."""
    with pytest.raises(MessageError) as caught:
        CONTEXT.unpack(bytes.fromhex('5aa5f00f'), 1024, None)
    assert caught.value.reason in ('truncated', 'duplicate-tile', 'outside-bounds')


def test_what_was_held_makes_messages_smaller():
    random = np.random.default_rng(3)
    ada = replica('ada')
    classes = room(random)
    ada.write(ada.own, ALL, classes)
    whole = ada.publish(ada.own, 60_000, 0.0, bases=None, seen_from=(0.0, 0.0))
    classes[np.nonzero(classes == -1)[0][0], np.nonzero(classes == -1)[1][0]] = 1
    ada.write(ada.own, ALL, classes)
    again = ada.publish(ada.own, 60_000, 1.0, bases=None, seen_from=(0.0, 0.0))
    assert len(again.data) < 12 < len(whole.data)


@given(seed=st.integers(0, 2**32 - 1), lost=st.sampled_from((0.0, 0.3, 0.8)),
       told=st.sampled_from(('all', 'heard', 'none')))
@settings(max_examples=25, deadline=None)
def test_messages_that_build_on_others_never_mislead(seed, lost, told):
    """Lost, repeated, late, in any order: what is taken is right, and answers bring what is not."""
    random = np.random.default_rng(seed)
    ada, bob = replica('ada'), replica('bob')
    classes, late, heard = np.zeros(BOUNDS.shape, np.int8), [], ()
    published = {}
    for turn in range(8):
        classes = grown(classes, random)
        ada.write(ada.own, ALL, classes)
        bases = {'all': None, 'heard': heard, 'none': ()}[told]
        message = ada.publish(ada.own, random.choice((60, 600, 60_000)), float(turn), bases=bases,
                              seen_from=tuple(random.uniform(-5.0, 5.0, 2)))
        if message is None:
            continue
        for version, tile in zip(ada.layers[ada.own].versions, ada.layers[ada.own].tiles, strict=True):
            published[int(version)] = tile.copy()
        late.append(message)
        random.shuffle(late)
        for old in late[:random.integers(0, 4)]:
            if random.random() >= lost:
                with suppress(MessageError):
                    bob.join(old)
        if ada.own in bob.layers:
            heard = bob.layers[ada.own].known
            for version, tile in zip(bob.layers[ada.own].versions, bob.layers[ada.own].tiles, strict=True):
                np.testing.assert_array_equal(tile, published[int(version)] if version else 0)
    while lacking := ada.lacks(MapDigest('bob', 0.0, bob.digest())):
        bob.join(ada.answer(*lacking[0], 60_000, 0.0))
    assert bob.state_hash() == ada.state_hash()


def test_a_message_waits_for_what_it_builds_on():
    random = np.random.default_rng(5)
    ada, bob = replica('ada'), replica('bob')
    messages, classes = [], np.zeros(BOUNDS.shape, np.int8)
    for turn in range(3):
        classes = grown(classes, random)
        ada.write(ada.own, ALL, classes)
        messages.append(ada.publish(ada.own, 60_000, float(turn), bases=None))
    bob.join(messages[0])
    with pytest.raises(MessageError) as caught:
        bob.join(messages[2])
    assert caught.value.reason == 'missing-base'
    bob.join(messages[1])
    bob.join(messages[2])
    assert bob.state_hash() == ada.state_hash()
    for message in messages:
        assert bob.join(message) == 0


def test_bases_with_gaps_count_only_up_to_the_first_gap():
    random = np.random.default_rng(7)
    ada, bob = replica('ada'), replica('bob')
    classes = np.zeros(BOUNDS.shape, np.int8)
    for turn in range(3):
        classes = grown(classes, random)
        ada.write(ada.own, ALL, classes)
        bases = (VersionRange(1, 2), VersionRange(4, 1000))
        message = ada.publish(ada.own, 60_000, float(turn), bases=bases if turn else ())
        if turn == 0:
            first = message
    bob.join(ada.answer(ada.own, (VersionRange(1, 2),), 60_000, 0.0) or first)
    bob.join(first)
    new = message.versions.last - message.versions.first + 1
    assert bob.join(message) == new > 0
    held = bob.layers[ada.own]
    np.testing.assert_array_equal(held.tiles[held.versions >= message.versions.first],
                                  ada.layers[ada.own].tiles[held.versions >= message.versions.first])


def test_tiles_are_seen_alike_from_all_sides():
    """A tile and what is in it, turned and mirrored about the robot, costs the same but for its coordinates."""
    random = np.random.default_rng(11)
    tile = (np.cumsum(random.random((TILE, TILE)) < 0.02, axis=1) > 0).astype(np.int8)
    tile[tile == 1] = random.choice((-1, 1), np.count_nonzero(tile))
    sizes = []
    for mirrored, y in ((tile, 1), (tile[::-1], -2)):
        for image, x in ((mirrored, 3), (mirrored[:, ::-1], -4)):
            for turned, place in ((image, (y, x)), (image.T, (x, y))):
                cells = np.ascontiguousarray(turned).reshape(1, TILE_CELLS)
                sizes.append(len(CONTEXT.pack(np.array((place,), np.int32), cells, None, (0, 0))))
    assert max(sizes) > 50
    assert max(sizes) - min(sizes) <= 1
