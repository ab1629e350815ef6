"""Graded evidence from scans to the shared map: what one replica says of faint walls all others hold, or refuse."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marl_core.config import from_mapping
from marl_core.errors import ConfigError, MessageError
from marl_core.mapping.bounds import TILE, MapBounds, MapConfig
from marl_core.mapping.evidence import ODDS
from marl_core.mapping.layers import Urgency
from marl_core.mapping.persistence import load, save
from marl_core.mapping.range_coder import CERTAIN
from marl_core.mapping.replica import Replica, ReplicaConfig
from marl_core.mapping.world_model import WorldModel
from marl_core.types import FAINT, FREE, OCCUPIED, LaserScan, LayerId, Pose

CONFIG = MapConfig(width_m=6.4, height_m=6.4, evidence='graded')
BOUNDS = MapBounds.from_config(CONFIG)
ALL = np.argwhere(np.ones(BOUNDS.tiles_shape, bool)).astype(np.int32)
NAMES = ('ada', 'bob', 'cy')


def replica(name: str, codec: str = 'context-graded') -> Replica:
    return Replica(BOUNDS, name, LayerId(name, 1), ReplicaConfig(codec=codec, urgency=Urgency(hold_cells=1)))


def noise(seed: int) -> np.ndarray:
    """Walls, faint and not, amid unknown; now and then a tile of all four in disorder."""
    random = np.random.default_rng(seed)
    classes = (random.integers(-1, 3, BOUNDS.shape) * (random.random(BOUNDS.shape) < 0.05)).astype(np.int8)
    classes[:TILE, :TILE] = random.integers(-1, 3, (TILE, TILE))
    return classes


def raster(tiles: np.ndarray) -> np.ndarray:
    ty, tx = BOUNDS.tiles_shape
    return tiles.reshape(ty, tx, TILE, TILE).swapaxes(1, 2).reshape(BOUNDS.shape)


@given(said=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), min_size=1, max_size=8), data=st.data())
@settings(max_examples=30, deadline=None)
def test_joins_of_graded_messages_are_idempotent_and_know_no_order(said, data):
    writers, messages, last = [replica(name) for name in NAMES], [], {}
    for who, seed in said:
        writers[who].write(writers[who].own, ALL, noise(seed))
        message = writers[who].publish(writers[who].own, 60_000, 0.0)
        if message is not None:
            messages.append(message)
        last[who] = noise(seed)
    listeners = [Replica(BOUNDS, f'map_{n}', config=ReplicaConfig(codec='rle-zstd-graded')) for n in range(2)]
    for listener in listeners:
        for message in (*data.draw(st.permutations(messages)), *messages):
            listener.join(message)
    assert listeners[0].state_hash() == listeners[1].state_hash()
    for who, classes in last.items():
        np.testing.assert_array_equal(raster(listeners[0].layers[writers[who].own].tiles), classes)
    free = sum(2 * (classes == FREE) for classes in last.values())
    occupied = sum(2 * (classes == OCCUPIED) + (classes == FAINT) for classes in last.values())
    expected = np.where((occupied > 0) & (occupied >= free), OCCUPIED, np.where(free > 0, FREE, 0))
    np.testing.assert_array_equal(listeners[0].fused, expected)


@given(seeds=st.lists(st.integers(0, 9), min_size=2, max_size=5))
@settings(max_examples=20, deadline=None)
def test_messages_that_build_on_earlier_ones_say_what_is_faint(seeds):
    ada, bob = replica('ada'), replica('bob')
    for seed in seeds:
        ada.write(ada.own, ALL, noise(seed))
        message = ada.publish(ada.own, 60_000, 0.0, bases=None, seen_from=(0.3, -0.2))
        if message is not None:
            bob.join(message)
        np.testing.assert_array_equal(raster(bob.layers[ada.own].tiles), noise(seed))


@pytest.mark.parametrize(('speaks', 'hears'), [('context', 'context-graded'), ('raw', 'rle-zstd-graded'),
                                               ('context-graded', 'context'), ('raw-graded', 'rle-zstd')])
def test_a_fleet_of_the_other_evidence_is_refused_by_name(speaks, hears):
    ada, bob = replica('ada', speaks), replica('bob', hears)
    ada.write(ada.own, ALL, np.ones(BOUNDS.shape, np.int8))
    with pytest.raises(MessageError, match='map.evidence') as caught:
        bob.join(ada.publish(ada.own, 60_000, 0.0))
    assert caught.value.reason == 'foreign-evidence'
    assert not bob.known_cells


def test_a_saved_map_keeps_what_is_faint_and_a_trinary_replica_says_why_it_reads_nothing(tmp_path):
    ada = replica('ada')
    ada.write(ada.own, ALL, noise(3))
    ada.publish(ada.own, 60_000, 0.0)
    save(ada, tmp_path / 'map')
    back = Replica(BOUNDS, 'map', config=ReplicaConfig.for_map(CONFIG))
    assert load(back, tmp_path / 'map').complete
    assert back.state_hash() == ada.state_hash()
    assert 'map.evidence' in str(load(Replica(BOUNDS, 'map'), tmp_path / 'map'))


def test_the_setting_reaches_scans_and_messages():
    model = WorldModel(LayerId('ada', 1), 0.1, 0.0, CONFIG)
    scan = LaserScan(0.0, -0.1, 0.01, 0.1, 8.0, np.full(21, 1.0, np.float32))
    seen = []
    for _ in range(5):
        model.sense(scan, Pose(0.0, 0.0, 0.0), Pose(0.0, 0.0, 0.0), np.empty((0, 3)))
        seen.append(int(model.own.classes[BOUNDS.cell_of(1.01, 0.0)]))
    assert seen == [0, FAINT, FAINT, OCCUPIED, OCCUPIED]
    message = model.replica.publish(model.replica.own, 60_000, 0.0)
    assert message.codec == 'context-graded'
    assert WorldModel(LayerId('ada', 1), 0.1, 0.0, MapConfig()).replica.config.codec == 'context'


def test_an_unknown_evidence_is_refused_by_name():
    with pytest.raises(ConfigError, match='trinary, graded'):
        from_mapping(MapConfig, {'evidence': 'binary'})


def test_odds_are_probabilities_of_all_contexts():
    assert ODDS.shape == (64,)
    assert (ODDS > 0).all() and (ODDS < CERTAIN).all()
