"""Weights of layers: whatever the order of changes, the fused map is what counting from scratch gives."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marl_core.errors import MapError
from marl_core.mapping.bounds import TILE, MapBounds
from marl_core.mapping.layers import Urgency
from marl_core.mapping.replica import Replica, ReplicaConfig
from marl_core.mapping.votes import FULL_WEIGHT
from marl_core.types import FAINT, FREE, OCCUPIED, UNKNOWN, LayerId

BOUNDS = MapBounds(resolution_m=0.05, planning_factor=4, tiles_x=2, tiles_y=2)
ALL = np.argwhere(np.ones(BOUNDS.tiles_shape, bool)).astype(np.int32)
WHOLE = tuple(slice(0, edge) for edge in BOUNDS.shape)
WRITERS = ('ada', 'bob', 'cy', 'dot')
AT_ONCE = ReplicaConfig(codec='raw', urgency=Urgency(hold_cells=1))
GRADED = ReplicaConfig(codec='raw-graded', urgency=Urgency(hold_cells=1))


def replica(name: str, epoch: int = 1, config: ReplicaConfig = AT_ONCE) -> Replica:
    return Replica(BOUNDS, name, LayerId(name, epoch), config)


def cells(**values: int) -> np.ndarray:
    """A map with the cells r0, r1, ... of row 0 set."""
    classes = np.zeros(BOUNDS.shape, np.int8)
    for name, value in values.items():
        classes[0, int(name[1:])] = value
    return classes


def tell(teller: Replica, listener: Replica, classes: np.ndarray) -> None:
    teller.write(teller.own, ALL, classes)
    listener.join(teller.publish(teller.own, 60_000, 0.0))


def from_scratch(held: Replica) -> np.ndarray:
    """Weighted votes over whole layers, as the docstring of votes.py says it."""
    free, occupied = np.zeros((2, *BOUNDS.shape), int)
    for layer in held.layers.values():
        seen = layer.seen.reshape(*BOUNDS.tiles_shape, TILE, TILE).swapaxes(1, 2).reshape(BOUNDS.shape)
        free += held.weight(layer.id.robot) * 2 * (seen == FREE)
        occupied += held.weight(layer.id.robot) * (2 * (seen == OCCUPIED) + (seen == FAINT))
    return np.where((occupied > 0) & (occupied >= free), OCCUPIED, np.where(free > 0, FREE, UNKNOWN))


def test_a_doubted_wall_loses_against_one_who_is_believed_and_a_quarantined_layer_leaves_the_map():
    ada, bob = replica('ada'), replica('bob')
    ada.write(ada.own, ALL, cells(r0=FREE, r1=UNKNOWN))
    tell(bob, ada, cells(r0=OCCUPIED, r1=OCCUPIED))
    assert ada.fused[0, :2].tolist() == [OCCUPIED, OCCUPIED]
    ada.take_changed()
    before = ada.state_hash(), ada.digest()
    ada.set_weight('bob', 1)
    assert ada.fused[0, :2].tolist() == [FREE, OCCUPIED]
    assert ada.take_changed().tolist() == [[0, 0]]
    ada.set_weight('bob', 0)
    assert ada.fused[0, :2].tolist() == [FREE, UNKNOWN]
    assert ada.known_cells == 1
    ada.set_weight('bob', FULL_WEIGHT)
    assert ada.fused[0, :2].tolist() == [OCCUPIED, OCCUPIED]
    assert ada.known_cells == 2
    assert (ada.state_hash(), ada.digest()) == before


def test_a_faint_wall_loses_against_free_space_two_of_them_do_not_and_votes_are_probabilities():
    ada, bob, cy = (replica(name, config=GRADED) for name in ('ada', 'bob', 'cy'))
    ada.write(ada.own, ALL, cells(r0=FREE, r1=FREE, r2=FAINT, r3=OCCUPIED, r33=FREE))
    tell(bob, ada, cells(r0=FAINT, r1=OCCUPIED, r2=FAINT))
    assert ada.fused[0, :4].tolist() == [FREE, OCCUPIED, OCCUPIED, OCCUPIED]
    # By hand: one vote is 0.825 nats, so 1 / (1 + exp(0.825 n)) for n = 2, 0, -4, -4, and 4 where only free was seen.
    assert ada.occupancy(slice(0, 1), slice(0, 5)).tolist() == [[16, 50, 96, 96, -1]]
    assert ada.occupancy(slice(0, 2), slice(32, 34)).tolist() == [[-1, 4], [-1, -1]]
    tell(cy, ada, cells(r0=FAINT))
    assert ada.fused[0, 0] == OCCUPIED
    assert ada.occupancy(slice(0, 1), slice(0, 1)).tolist() == [[50]]


def test_a_weight_holds_for_all_lives_of_a_robot_also_later_ones():
    ada = replica('ada')
    ada.set_weight('bob', 0)
    for epoch in (1, 2):
        tell(replica('bob', epoch), ada, cells(r0=OCCUPIED))
    assert ada.known_cells == 0
    ada.set_weight('bob', 1)
    assert ada.fused[0, 0] == OCCUPIED


@pytest.mark.parametrize('weight', [-1, FULL_WEIGHT + 1, 0.5])
def test_a_weight_that_does_not_exist_is_refused(weight):
    with pytest.raises(MapError, match='weight'):
        replica('ada').set_weight('bob', weight)


@given(actions=st.lists(st.tuples(st.sampled_from(('weigh', 'tell', 'write')), st.integers(0, 3), st.integers(0, 99)),
                        max_size=40), config=st.sampled_from((AT_ONCE, GRADED)))
@settings(max_examples=80, deadline=None)
def test_weights_and_tiles_in_any_order_give_what_counting_from_scratch_gives(actions, config):
    writers = [replica(name, config=config) for name in WRITERS]
    held, unweighted = writers[0], Replica(BOUNDS, 'map', config=config)
    for kind, who, seed in actions:
        if kind == 'weigh':
            held.set_weight(WRITERS[who], seed % 3)
        elif kind == 'tell' and who == 0:
            continue
        else:
            random = np.random.default_rng(seed)
            values = random.integers(-1, 3 if config is GRADED else 2, BOUNDS.shape)
            classes = (values * (random.random(BOUNDS.shape) < 0.5)).astype(np.int8)
            writers[who].write(writers[who].own, ALL, classes)
            message = writers[who].publish(writers[who].own, 60_000, 0.0) if kind == 'tell' else None
            if message is not None:
                held.join(message)
                unweighted.join(message)
    before = held.fused.copy()
    percent = held.occupancy(*WHOLE)
    assert config is GRADED or np.isin(percent, (-1, 0, 100)).all()
    np.testing.assert_array_equal(percent >= 50, held.fused == OCCUPIED)
    np.testing.assert_array_equal(percent < 0, held.fused == UNKNOWN)
    np.testing.assert_array_equal(held.fused, from_scratch(held))
    assert held.known_cells == np.count_nonzero(held.fused)
    assert held.state_hash() == unweighted.state_hash()
    held.take_changed()
    for name in WRITERS:
        held.set_weight(name, FULL_WEIGHT)
    np.testing.assert_array_equal(held.fused, from_scratch(held))
    flagged = np.zeros(BOUNDS.tiles_shape, bool)
    flagged[tuple(held.take_changed().T)] = True
    moved = (held.fused != before).reshape(2, TILE, 2, TILE).any(axis=(1, 3))
    assert not (moved & ~flagged).any()
