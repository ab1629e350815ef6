import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marl_core.errors import MapError, MessageError
from marl_core.mapping.bounds import TILE, MapBounds
from marl_core.mapping.codec import TileBatch, encode
from marl_core.mapping.layers import Urgency
from marl_core.mapping.replica import Replica, ReplicaConfig
from marl_core.types import FREE, OCCUPIED, UNKNOWN, LayerId, MapDigest, MapFeatures, VersionRange

BOUNDS = MapBounds(resolution_m=0.05, planning_factor=4, tiles_x=4, tiles_y=4)
ALL = np.argwhere(np.ones(BOUNDS.tiles_shape, bool)).astype(np.int32)
NAMES = ('ada', 'bob', 'cy', 'dot', 'eve')


AT_ONCE = Urgency(hold_cells=1)


def replica(name: str, epoch: int = 1, urgency: Urgency = AT_ONCE, **config) -> Replica:
    return Replica(BOUNDS, name, LayerId(name, epoch), ReplicaConfig(urgency=urgency, **config))


def filled(*cells: tuple[int, int, int]) -> np.ndarray:
    classes = np.zeros(BOUNDS.shape, np.int8)
    for row, col, value in cells:
        classes[row, col] = value
    return classes


def noise(seed: int, density: float = 0.05) -> np.ndarray:
    random = np.random.default_rng(seed)
    return (random.integers(-1, 2, BOUNDS.shape) * (random.random(BOUNDS.shape) < density)).astype(np.int8)


def voted(*replicas_layers: np.ndarray) -> np.ndarray:
    """Brute force over whole rasters."""
    free = sum((layer == FREE).astype(int) for layer in replicas_layers)
    occupied = sum((layer == OCCUPIED).astype(int) for layer in replicas_layers)
    fused = np.full(BOUNDS.shape, UNKNOWN, np.int8)
    fused[free > occupied] = FREE
    fused[(occupied >= free) & (occupied > 0)] = OCCUPIED
    return fused


def raster(tiles: np.ndarray) -> np.ndarray:
    ty, tx = BOUNDS.tiles_shape
    return tiles.reshape(ty, tx, TILE, TILE).swapaxes(1, 2).reshape(BOUNDS.shape)


def digest_of(held: Replica) -> MapDigest:
    return MapDigest(held.name, 0.0, held.digest())


def heal(teller: Replica, listener: Replica, budget_bytes: float = 60_000) -> int:
    """Answer a digest until nothing is lacking; returns the number of messages."""
    for messages in range(1000):
        lacking = teller.lacks(digest_of(listener))
        if not lacking:
            return messages
        message = teller.answer(lacking[0].layer, lacking[0].ranges, budget_bytes, 0.0)
        listener.join(message)
    raise AssertionError('never heals')


def test_own_cells_count_at_once_and_reach_others_when_published():
    ada, bob = replica('ada'), replica('bob')
    assert ada.write(ada.own, ALL, filled((0, 0, FREE), (40, 70, OCCUPIED))) == 2
    assert ada.fused[0, 0] == FREE
    assert ada.fused[40, 70] == OCCUPIED
    assert ada.known_cells == 2
    assert ada.take_changed().tolist() == [[0, 0], [1, 2]]
    assert ada.take_changed().shape == (0, 2)
    assert ada.digest() == ()
    message = ada.publish(ada.own, 8000, 3.5)
    assert message.versions == (1, 2)
    assert message.stamp_s == 3.5
    assert ada.waiting_tiles == 0
    assert bob.join(message) == 2
    np.testing.assert_array_equal(bob.fused, ada.fused)
    assert bob.known_area_m2 == pytest.approx(2 * 0.05**2)
    assert bob.state_hash() == ada.state_hash()
    assert bob.join(message) == 0


def test_identical_tiles_are_not_written_again():
    ada = replica('ada')
    classes = noise(1)
    assert ada.write(ada.own, ALL, classes) == 16
    ada.publish(ada.own, 60_000, 0.0)
    assert ada.write(ada.own, ALL, classes) == 0
    classes[5, 5] = OCCUPIED if classes[5, 5] != OCCUPIED else FREE
    assert ada.write(ada.own, ALL, classes) == 1
    assert ada.waiting_tiles == 1


def test_a_change_that_is_taken_back_is_not_published():
    ada = replica('ada')
    ada.write(ada.own, ALL, filled((0, 0, FREE)))
    ada.publish(ada.own, 8000, 0.0)
    ada.write(ada.own, ALL, filled((0, 0, OCCUPIED)))
    ada.write(ada.own, ALL, filled((0, 0, FREE)))
    assert ada.publish(ada.own, 8000, 0.0) is None


def test_votes_ties_are_walls_and_majorities_of_free_are_free():
    ada, bob, cy = replica('ada'), replica('bob'), replica('cy')
    ada.write(ada.own, ALL, filled((0, 0, OCCUPIED), (0, 1, OCCUPIED)))
    for other in (bob, cy):
        other.write(other.own, ALL, filled((0, 0, FREE)))
    ada.join(bob.publish(bob.own, 8000, 0.0))
    assert ada.fused[0, :3].tolist() == [OCCUPIED, OCCUPIED, UNKNOWN]
    ada.join(cy.publish(cy.own, 8000, 0.0))
    assert ada.fused[0, :3].tolist() == [FREE, OCCUPIED, UNKNOWN]
    assert ada.known_cells == 2


def test_what_was_published_is_answered_although_it_changed_since():
    ada, bob, cy = replica('ada'), replica('bob'), replica('cy')
    ada.write(ada.own, ALL, filled((0, 0, FREE)))
    bob.join(ada.publish(ada.own, 8000, 0.0))
    ada.write(ada.own, ALL, filled((0, 0, OCCUPIED)))
    heal(ada, cy)
    assert cy.fused[0, 0] == FREE
    assert cy.state_hash() == bob.state_hash() == ada.state_hash()


def test_most_changed_tiles_go_first_and_values_override():
    ada = replica('ada', max_tiles_per_message=1)
    classes = filled((0, 0, FREE))
    classes[40:50, 70:80] = FREE
    ada.write(ada.own, ALL, classes)
    value = np.zeros(BOUNDS.tiles_shape)
    value[0, 0] = 1.0
    twin = replica('ada', max_tiles_per_message=1)
    twin.write(twin.own, ALL, classes)
    by_cells, by_value = ada.publish(ada.own, 8000, 0.0), twin.publish(twin.own, 8000, 0.0, value)
    assert by_cells.versions == by_value.versions == (1, 1)
    bob, cy = replica('bob'), replica('cy')
    bob.join(by_cells)
    cy.join(by_value)
    assert bob.take_changed().tolist() == [[1, 2]]
    assert cy.take_changed().tolist() == [[0, 0]]


def test_no_tile_starves_under_constant_change_elsewhere():
    ada, bob = replica('ada', urgency=Urgency(1, 0.0, 4.0), max_tiles_per_message=1), replica('bob')
    classes = filled((0, 0, FREE))
    for turn in range(40):
        classes[32:64, 32:64] = noise(turn, 1.0)[32:64, 32:64]
        ada.write(ada.own, ALL, classes)
        bob.join(ada.publish(ada.own, 8000, float(turn)))
        if bob.fused[0, 0] == FREE:
            break
    assert 1 <= turn <= 6


def test_small_changes_of_what_is_known_wait_for_company():
    ada = replica('ada', urgency=Urgency(hold_cells=3, hold_s=5.0))
    ada.write(ada.own, ALL, filled((0, 0, FREE)))
    assert ada.publish(ada.own, 8000, 10.0).versions == (1, 1)
    ada.write(ada.own, ALL, filled((0, 0, FREE), (0, 1, FREE), (0, 2, FREE)))
    assert ada.publish(ada.own, 8000, 11.0) is None
    assert ada.waiting_tiles == 1
    assert ada.publish(ada.own, 8000, 15.9) is None
    assert ada.publish(ada.own, 8000, 16.0).versions == (2, 2)
    ada.write(ada.own, ALL, filled((0, 1, OCCUPIED), (0, 2, FREE)))
    assert ada.publish(ada.own, 8000, 17.0) is None
    ada.write(ada.own, ALL, filled((0, 1, OCCUPIED), (0, 2, OCCUPIED)))
    assert ada.publish(ada.own, 8000, 17.1).versions == (3, 3)


@pytest.mark.parametrize('later', [-1e9, 1e9, float('nan')])
def test_held_back_tiles_survive_jumps_of_the_clock(later):
    ada = replica('ada', urgency=Urgency(hold_cells=3, hold_s=5.0))
    ada.write(ada.own, ALL, filled((0, 0, FREE)))
    ada.publish(ada.own, 8000, 10.0)
    ada.write(ada.own, ALL, filled((0, 0, OCCUPIED)))
    assert ada.publish(ada.own, 8000, 11.0) is None
    assert ada.publish(ada.own, 8000, later).versions == (2, 2)


@given(budget_bytes=st.integers(0, 3000), seed=st.integers(0, 100))
@settings(max_examples=40, deadline=None)
def test_no_message_exceeds_its_budget_and_progress_never_stops(budget_bytes, seed):
    ada, bob = replica('ada'), replica('bob')
    ada.write(ada.own, ALL, noise(seed, 0.3))
    single = replica('solo')
    single.write(single.own, ALL[:1], noise(seed, 0.3))
    for _ in range(20):
        message = ada.publish(ada.own, budget_bytes, 0.0)
        if message is None:
            break
        assert len(message.data) <= budget_bytes
        bob.join(message)
    # A tile of noise takes at most 0.4 kB; whoever has 0.6 kB always gets one across.
    if budget_bytes >= 600:
        assert ada.waiting_tiles == 0
        np.testing.assert_array_equal(bob.fused, ada.fused)


def test_wrong_use_is_refused():
    ada = replica('ada')
    other = LayerId('bob', 1)
    with pytest.raises(MapError, match='bob'):
        ada.write(other, ALL, noise(0))
    with pytest.raises(MapError, match='bob'):
        ada.publish(other, 8000, 0.0)
    with pytest.raises(MapError, match='int8'):
        ada.write(ada.own, ALL, noise(0).astype(np.int16))
    with pytest.raises(MapError, match='outside'):
        ada.write(ada.own, np.array([[0, 4]], np.int32), noise(0))
    keeper = Replica(BOUNDS, 'map', None)
    with pytest.raises(MapError, match='no layer'):
        keeper.write(ada.own, ALL, noise(0))
    assert ada.answer(other, (VersionRange(1, 3),), 8000, 0.0) is None


def features(layer=LayerId('bob', 1), versions=(1, 1), tiles=((0, 0),), **changes) -> MapFeatures:  # noqa: B008
    versions = VersionRange(*versions)
    tiles = np.array(tiles, np.int32).reshape(-1, 2)
    batch = TileBatch(tiles, np.arange(versions.first, versions.first + len(tiles)),
                      np.full((len(tiles), TILE * TILE), FREE, np.int8))
    values = {'robot': 'bob', 'stamp_s': 0.0, 'layer': layer, 'versions': versions, 'resolution_m': 0.05,
              'codec': 'raw', 'data': encode(batch, versions, 'raw')}
    return MapFeatures(**(values | changes))


@pytest.mark.parametrize(('message', 'reason'), [
    (features(codec='jpeg'), 'bad-codec'),
    (features(resolution_m=0.1), 'resolution'),
    (features(resolution_m=float('nan')), 'resolution'),
    (features(tiles=((2, 0),)), 'outside-bounds'),
    (features(tiles=((0, -3),)), 'outside-bounds'),
    (features(tiles=((2**31 - 1, 0),)), 'outside-bounds'),
    (features(layer=LayerId('', 1)), 'bad-layer'),
    (features(layer=LayerId('x' * 65, 1)), 'bad-layer'),
    (features(layer=LayerId('\ud800', 1)), 'bad-layer'),
    (features(layer=LayerId('bob', -1)), 'bad-layer'),
    (features(layer=LayerId('ada', 1)), 'own-layer'),
    (features(versions=(0, 0)), 'bad-range'),
    (features(versions=(3, 2)), 'bad-range'),
    (features(versions=(1, 2**32)), 'bad-range'),
    (features(tiles=((0, 0), (0, 0)), versions=(1, 2)), 'duplicate-tile'),
    (features(data=b''), 'truncated'),
    (features(data=bytes(60_001)), 'oversized'),
])
def test_malformed_messages_are_refused_by_name_and_change_nothing(message, reason):
    ada = replica('ada')
    before = ada.state_hash()
    with pytest.raises(MessageError) as caught:
        ada.join(message)
    assert caught.value.reason == reason
    assert ada.state_hash() == before
    assert list(ada.layers) == [ada.own]


NUMBERS = st.one_of(st.integers(-2, 40), st.integers(-2**70, 2**70), st.just(2**32 - 1))


@given(robot=st.text(max_size=70), epoch=NUMBERS, first=NUMBERS, extent=NUMBERS, resolution_m=st.sampled_from(
    (0.05, 0.05, 0.0, float('inf'))), codec=st.sampled_from(('raw', 'context', 'rle-zstd', 'zip')),
    tiles=st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), max_size=3), cut=st.integers(0, 40))
@settings(max_examples=200, deadline=None)
def test_whatever_is_heard_is_joined_or_refused(robot, epoch, first, extent, resolution_m, codec, tiles, cut):
    ada = replica('ada')
    data = features(versions=(1, 3), tiles=tiles).data
    message = MapFeatures('bob', 0.0, LayerId(robot, epoch), VersionRange(first, first + extent), resolution_m,
                          codec, data[:len(data) - cut] if cut < 20 else data)
    before = ada.state_hash()
    try:
        ada.join(message)
    except MessageError as error:
        assert str(error).startswith(error.reason)  # noqa: PT017
        assert ada.state_hash() == before
    np.testing.assert_array_equal(ada.fused, voted(*(raster(layer.seen) for layer in ada.layers.values())))


def test_a_flood_of_layers_and_fragments_is_bounded():
    ada = replica('ada', max_layers=3, max_ranges_per_layer=4)
    for epoch in range(2):
        ada.join(features(layer=LayerId('bob', epoch)))
    with pytest.raises(MessageError) as caught:
        ada.join(features(layer=LayerId('bob', 2)))
    assert caught.value.reason == 'too-many-layers'
    for first in (3, 5, 7):
        ada.join(features(layer=LayerId('bob', 1), versions=(first, first)))
    with pytest.raises(MessageError) as caught:
        ada.join(features(layer=LayerId('bob', 1), versions=(9, 9)))
    assert caught.value.reason == 'too-many-ranges'
    assert ada.join(features(layer=LayerId('bob', 1), versions=(2, 2))) == 0


def test_absurd_versions_harm_only_the_layer_they_name():
    ada, bob, cy = replica('ada'), replica('bob'), replica('cy')
    bob.write(bob.own, ALL, noise(1))
    cy.write(cy.own, ALL, noise(2))
    top = 2**32 - 1
    ada.join(features(layer=LayerId('cy', 1), versions=(top, top)))
    ada.join(features(layer=LayerId('mallory', 1), versions=(1, top), tiles=()))
    ada.join(bob.publish(bob.own, 60_000, 0.0))
    ada.join(cy.publish(cy.own, 60_000, 0.0))
    assert raster(ada.layers[bob.own].tiles).tolist() == noise(1).tolist()
    # Of cy's layer only the tile that was forged is wrong.
    wrong = raster(ada.layers[cy.own].tiles) != noise(2)
    assert wrong[64:96, 64:96].any()
    wrong[64:96, 64:96] = False
    assert not wrong.any()
    assert heal(ada, bob) < 10


def test_own_old_versions_are_ignored_and_previous_lives_come_back():
    first = replica('ada', epoch=1)
    first.write(first.own, ALL, noise(3))
    said = first.publish(first.own, 60_000, 0.0)
    assert first.join(said) == 0
    bob = replica('bob')
    bob.join(said)
    again = replica('ada', epoch=2)
    heal(bob, again)
    np.testing.assert_array_equal(again.fused, first.fused)
    again.write(again.own, ALL, noise(4))
    np.testing.assert_array_equal(again.fused, voted(noise(3), noise(4)))


def test_what_was_replaced_is_not_believed_without_its_replacement():
    """bob hears that version 1 is obsolete while the message with version 2 was lost and its writer died."""
    ada, bob, cy = replica('ada'), replica('bob'), replica('cy')
    ada.write(ada.own, ALL, filled((0, 0, FREE)))
    cy.join(ada.publish(ada.own, 8000, 0.0))
    ada.write(ada.own, ALL, filled((0, 0, OCCUPIED)))
    ada.publish(ada.own, 8000, 0.0)
    obsolete = ada.answer(ada.own, (VersionRange(1, 1),), 8000, 0.0)
    assert bob.join(obsolete) == 0
    assert bob.digest() == ()
    heal(cy, bob)
    assert bob.fused[0, 0] == FREE
    assert bob.state_hash() == cy.state_hash()


def test_tiles_of_an_unsettled_range_are_known_one_by_one():
    """Equal digests must mean equal tiles, so whatever is held is told."""
    ada, bob = replica('ada'), replica('bob')
    for step in range(3):
        ada.write(ada.own, ALL[step:step + 2], np.full(BOUNDS.shape, step % 2 * 2 - 1, np.int8))
        ada.publish(ada.own, 8000, 0.0)
    # Versions: tiles 0, 1 | 1, 2 | 2, 3; so 2 and 4 are replaced.
    assert bob.join(ada.answer(ada.own, (VersionRange(1, 4),), 8000, 0.0)) == 2
    assert bob.digest()[0].ranges == ((1, 1), (3, 3))
    assert bob.join(ada.answer(ada.own, (VersionRange(5, 6),), 8000, 0.0)) == 2
    assert bob.join(ada.answer(ada.own, (VersionRange(1, 4),), 8000, 0.0)) == 0
    assert bob.digest() == ada.digest()


def test_cells_that_become_unknown_are_counted_out():
    ada = replica('ada')
    ada.write(ada.own, ALL, filled((0, 0, FREE), (0, 1, OCCUPIED)))
    ada.write(ada.own, ALL, filled((0, 1, OCCUPIED)))
    assert ada.known_cells == 1
    assert ada.fused[0, 0] == UNKNOWN


def test_small_budgets_settle_real_intervals_from_the_top():
    ada, bob = replica('ada'), replica('bob')
    for seed in range(6):
        ada.write(ada.own, ALL, noise(seed, 0.02))
        ada.publish(ada.own, 60_000, 0.0)
    assert ada.digest()[0].ranges == ((1, 96),)
    message = ada.answer(ada.own, ada.digest()[0].ranges, 360, 0.0)
    assert len(message.data) <= 360
    assert message.versions.last == 96
    assert message.versions.first > 81
    bob.join(message)
    assert bob.digest()[0].ranges == (message.versions,)
    heal(ada, bob, budget_bytes=360)
    assert bob.digest() == ada.digest()
    assert bob.state_hash() == ada.state_hash()


class World:
    """Replicas, every message ever sent, and what the writers saw."""

    def __init__(self, count: int) -> None:
        self.replicas = [replica(name) for name in NAMES[:count]]
        self.sent: list[MapFeatures] = []
        self.truth = [np.zeros(BOUNDS.shape, np.int8) for _ in self.replicas]

    def act(self, action: str, who: int, whom: int, seed: int) -> None:
        one, other = (self.replicas[index % len(self.replicas)] for index in (who, whom))
        if action == 'write':
            tile = seed % 16
            part = np.s_[32 * (tile // 4):32 * (tile // 4) + 32, 32 * (tile % 4):32 * (tile % 4) + 32]
            truth = self.truth[who % len(self.replicas)]
            truth[part] = noise(seed)[part]
            one.write(one.own, ALL, truth)
        elif action == 'publish':
            message = one.publish(one.own, 200 + 40 * seed, 0.0)
            self.sent += [message] if message is not None else []
        elif action == 'hear' and self.sent:
            one.join(self.sent[seed % len(self.sent)])
        elif action == 'answer':
            lacking = one.lacks(digest_of(other))
            if lacking:
                entry = lacking[seed % len(lacking)]
                message = one.answer(entry.layer, entry.ranges[seed % 2:] or entry.ranges, 200 + 40 * seed, 0.0)
                self.sent += [message] if message is not None else []


ACTIONS = st.lists(st.tuples(st.sampled_from(('write', 'publish', 'hear', 'hear', 'answer')), st.integers(0, 4),
                             st.integers(0, 4), st.integers(0, 30)), max_size=60)


def gossip(replicas: list[Replica], budget_bytes: float = 400) -> None:
    for _ in range(2):
        for teller in replicas:
            for listener in replicas:
                if teller is not listener:
                    heal(teller, listener, budget_bytes)


@given(count=st.integers(2, 5), actions=ACTIONS)
@settings(max_examples=60, deadline=None)
def test_any_order_loss_and_repetition_converges_after_resync(count, actions):
    world = World(count)
    for action in actions:
        world.act(*action)
    for one in world.replicas:
        while one.waiting_tiles:
            one.publish(one.own, 2000, 0.0)
    gossip(world.replicas)
    expected = voted(*world.truth)
    for one in world.replicas:
        assert one.state_hash() == world.replicas[0].state_hash()
        np.testing.assert_array_equal(one.fused, expected)
        assert one.known_cells == np.count_nonzero(expected)


@given(count=st.integers(3, 5), actions=ACTIONS)
@settings(max_examples=60, deadline=None)
def test_survivors_converge_when_writers_die_with_their_last_words_lost(count, actions):
    world = World(count)
    for action in actions:
        world.act(*action)
    survivors = world.replicas[2:] + [Replica(BOUNDS, 'late', None)]
    for one in survivors:
        if one.own is not None:
            while one.waiting_tiles:
                one.publish(one.own, 2000, 0.0)
    gossip(survivors)
    for one in survivors:
        assert one.state_hash() == survivors[0].state_hash()
        np.testing.assert_array_equal(one.fused, survivors[0].fused)
        np.testing.assert_array_equal(one.fused, voted(*(raster(layer.seen) for layer in one.layers.values())))


@given(actions=ACTIONS)
@settings(max_examples=40, deadline=None)
def test_the_fused_map_and_change_flags_follow_from_the_state(actions):
    world = World(3)
    seen = [one.fused.copy() for one in world.replicas]
    for action in actions:
        world.act(*action)
    for one, before in zip(world.replicas, seen):
        np.testing.assert_array_equal(one.fused, voted(*(raster(layer.seen) for layer in one.layers.values())))
        flagged = np.zeros(BOUNDS.tiles_shape, bool)
        flagged[tuple(one.take_changed().T)] = True
        moved = (one.fused != before).reshape(4, TILE, 4, TILE).any(axis=(1, 3))
        assert not (moved & ~flagged).any()


def test_a_late_joiner_gets_everything_from_another_replica_than_the_writer():
    ada, keeper, late = replica('ada'), Replica(BOUNDS, 'map', None), replica('late')
    for seed in range(3):
        ada.write(ada.own, ALL, noise(seed))
        keeper.join(ada.publish(ada.own, 60_000, 0.0))
    heal(keeper, late)
    np.testing.assert_array_equal(late.fused, ada.fused)
    assert late.state_hash() == ada.state_hash()
