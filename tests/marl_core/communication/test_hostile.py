"""What strangers, clones and wrong clocks may do to a fleet: be counted, cost little, leave the honest map right."""

import tracemalloc
from dataclasses import replace
from math import inf, nan

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from marl_core.communication import wire
from marl_core.communication.authentication import GroupMac, Plain
from marl_core.communication.budget import Budget
from marl_core.communication.communicator import CommunicationConfig, Communicator
from marl_core.mapping.bounds import MapBounds
from marl_core.mapping.codec import TileBatch, encode
from marl_core.mapping.replica import Replica, ReplicaConfig
from marl_core.mapping.votes import TILE_CELLS
from marl_core.types import LayerDigest, LayerId, MapDigest, MapFeatures, Pose, RobotStatus, Twist, VersionRange

BOUNDS = MapBounds(resolution_m=0.05, planning_factor=4, tiles_x=8, tiles_y=8)
ALL = np.argwhere(np.ones(BOUNDS.tiles_shape, bool)).astype(np.int32)
TICK_S = 0.1
BUDGET = Budget()


class Member:
    """A robot (or a map node, without status and own layer) reduced to map and communication."""

    def __init__(self, name, epoch=1, is_robot=True, seal=None, config=None):
        self.name, self.epoch, self.is_robot = name, epoch, is_robot
        self.replica = Replica(BOUNDS, name, LayerId(name, epoch) if is_robot else None, config)
        self.link = Communicator(name, epoch, CommunicationConfig(budget=BUDGET), seal)
        self.truth = np.zeros(BOUNDS.shape, np.int8)
        self.ahead_s = 0.0
        self.said_bytes = 0

    def see(self, seed):
        random = np.random.default_rng((seed, self.epoch, *self.name.encode()))
        seen = random.random(BOUNDS.shape) < 0.02
        self.truth[seen] = random.choice((-1, 1), BOUNDS.shape)[seen]
        self.replica.write(self.replica.own, ALL, self.truth)

    def tick(self, inbox, now):
        now += self.ahead_s
        self.link.receive(inbox, self.replica, now)
        stamp_s = now if abs(now) < 1e9 else 0.0
        status = RobotStatus(self.name, self.epoch, stamp_s, Pose(0, 0, 0), Twist(0, 0)) if self.is_robot else None
        packets = self.link.send(status, self.replica, now)
        self.said_bytes += sum(map(len, packets))
        return packets


class Air:
    """Everybody hears everybody one tick later, and what ``inject`` adds."""

    def __init__(self, *members):
        self.members, self.now, self.said = members, 0.0, [[] for _ in members]
        self.overheard = []

    def run(self, duration_s, inject=()):
        left = list(inject)
        for _ in range(max(round(duration_s / TICK_S), len(left))):
            self.now += TICK_S
            extra = [left.pop(0)] if left else []
            heard = [[*(packet for other, packets in enumerate(self.said) if other != number for packet in packets),
                      *extra] for number in range(len(self.members))]
            self.said = [member.tick(inbox, self.now) for member, inbox in zip(self.members, heard, strict=True)]
            self.overheard += [packet for packets in self.said for packet in packets]


def assert_right(members, writers):
    """The writers' parts are what they saw, everywhere; who holds nothing else has their vote as its map."""
    for member in members:
        for writer in writers:
            held = member.replica.layers[writer.replica.own].tiles
            expected = writer.truth.reshape(8, 32, 8, 32).swapaxes(1, 2).reshape(-1, TILE_CELLS)
            np.testing.assert_array_equal(held, expected)


def patch(seed=0, where=(0, 0), count=1, first=1, codec='raw'):
    """Data of a message: so many tiles of noise from a tile on."""
    tiles = np.array([(where[0], where[1] + number) for number in range(count)], np.int32)
    classes = np.random.default_rng(seed).integers(-1, 2, (count, TILE_CELLS)).astype(np.int8)
    versions = VersionRange(first, first + count - 1)
    return versions, encode(TileBatch(tiles, np.arange(first, first + count), classes), versions, codec)


class Stranger:
    """Says anything, in packets that are well sealed."""

    def __init__(self, name='eve', epoch=1, seal=None):
        self.name, self.epoch, self.seal, self.sequence = name, epoch, seal or Plain(), 0

    def say(self, message, name=None):
        self.sequence += 1
        return self.seal.close(wire.encode(replace(message, robot=name or self.name), self.epoch, self.sequence))

    def features(self, layer=None, resolution_m=0.05, codec='raw', data=None, versions=None, **given):
        made, patched = patch(codec=codec, **given)
        return self.say(MapFeatures(self.name, 0.0, layer or LayerId(self.name, self.epoch),
                                    VersionRange(*(versions or made)),
                                    resolution_m, codec, patched if data is None else data))

    def status(self, stamp_s=0.0, x_m=0.0, radius_m=0.2, issued=0):
        return self.say(RobotStatus(self.name, self.epoch, stamp_s, Pose(x_m, 0.0, 0.0), Twist(0.0, 0.0),
                                    radius_m=radius_m, issued=issued))

    def digest(self, layers):
        return self.say(MapDigest(self.name, 0.0, layers))


def form(count):
    """How the data of a message of so many tiles begins."""
    out, number = bytearray(), count << 3
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes((*out, number))


REFUSED = {
    'far-tiles': (lambda eve: eve.features(where=(4, 0)), 'outside-bounds'),
    'furthest-tiles': (lambda eve: eve.features(where=(-2**30, 2**30), codec='rle-zstd'), 'outside-bounds'),
    'far-tiles-context': (lambda eve: eve.features(where=(10**6, -10**6), codec='context'), 'outside-bounds'),
    'huge-count': (lambda eve: eve.features(data=form(2**31) + b'\1', versions=(1, 2**32 - 1)), 'too-many-tiles'),
    'more-than-there-are': (lambda eve: eve.features(data=form(64) + b'\1'), 'bad-range'),
    'nothing-behind-a-count': (lambda eve: eve.features(data=form(64), versions=(1, 2000)), 'truncated'),
    'nothing-behind-a-count-in-a-stream': (lambda eve: eve.features(
        data=form(64), versions=(1, 64), codec='context'), 'outside-bounds'),
    'foreign-cells': (lambda eve: eve.features(resolution_m=0.1), 'resolution'),
    'no-cells': (lambda eve: eve.features(resolution_m=0.0), 'resolution'),
    'speaks-for-us': (lambda eve: eve.features(layer=LayerId('ada', 1), first=2**32 - 1), 'own-layer'),
    'far-away': (lambda eve: eve.status(x_m=1e30), 'bad-status'),
    'as-large-as-a-house': (lambda eve: eve.status(radius_m=50.0), 'bad-status'),
    'from-the-future': (lambda eve: eve.status(stamp_s=1e9), 'time-travel'),
    'from-the-end-of-time': (lambda eve: eve.status(stamp_s=4294967295.0), 'time-travel'),
    'calls-itself-us': (lambda eve: eve.say(RobotStatus('', 1, 0.0, Pose(0, 0, 0), Twist(0, 0)), 'ada'), 'own-name'),
    'noise': (lambda eve: b'\1\0' + bytes(40), 'bad-name'),
    'empty': (lambda eve: b'', 'truncated'),
    'too-large': (lambda eve: bytes(70_000), 'oversized'),
    'of-the-future': (lambda eve: b'\2' + eve.status()[1:], 'foreign-version'),
    'no-kind': (lambda eve: b'\1\7' + eve.status()[2:], 'unknown-kind'),
    'damaged': (lambda eve: eve.status()[:-1] + b'\0\0', 'corrupt'),
}


@pytest.mark.parametrize('case', REFUSED)
def test_each_is_counted_under_its_name_and_changes_nothing(case):
    ada = Member('ada')
    ada.see(1)
    ada.tick([], 0.0)
    make, reason = REFUSED[case]
    packet = make(Stranger(epoch=9))
    before, fused = ada.replica.state_hash(), ada.replica.fused.copy()
    tracemalloc.start()
    ada.link.receive([packet], ada.replica, 0.1)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert ada.link.drops == {reason: 1}
    assert ada.replica.state_hash() == before
    np.testing.assert_array_equal(ada.replica.fused, fused)
    assert peak_bytes < 4_000_000  # room for as many tiles as a message may have, whatever it says


@given(cases=st.lists(st.sampled_from(sorted(set(REFUSED) - {'speaks-for-us'})), min_size=1, max_size=40),
       damaged=st.integers(0, 10), seed=st.integers(0, 2**16))
@example(['as-large-as-a-house'], 2, 11294)  # the same honest packet twice
@settings(max_examples=6, deadline=None)
def test_among_hostile_packets_the_fleet_agrees_and_is_right(cases, damaged, seed):
    """Refused packets of all kinds, honest ones again, and honest ones with a byte changed."""
    ada, bob, keeper = members = Member('ada'), Member('bob'), Member('map', is_robot=False)
    air, eve, random = Air(*members), Stranger(epoch=9), np.random.default_rng(seed)
    for member in (ada, bob):
        member.see(seed)
    air.run(1.0)
    hostile = [REFUSED[case][0](eve) for case in cases]
    for _ in range(damaged):
        packet = bytearray(air.overheard[random.integers(len(air.overheard))])
        hostile.append(bytes(packet))
        packet[random.integers(len(packet))] ^= 1 + random.integers(255)
        hostile.append(bytes(packet))
    dropped = [sum(member.link.drops.values()) for member in members]
    air.run(1.0, hostile)
    ada.see(seed + 1)
    air.run(12.0)
    assert_right(members, (ada, bob))
    assert len({member.replica.state_hash() for member in members}) == 1
    np.testing.assert_array_equal(keeper.replica.fused, ada.replica.fused)
    for member, before in zip(members, dropped, strict=True):
        # Echoes of the own voice are no faults; what calls itself ada is one only to ada.
        echoes = sum(packet in air.overheard for packet in hostile)
        elsewhere = cases.count('calls-itself-us')
        assert sum(member.link.drops.values()) - before >= len(hostile) - echoes - elsewhere - damaged
        assert member.said_bytes <= BUDGET.burst_bytes + BUDGET.rate_bytes_per_s * air.now


def test_nobody_else_can_invent_tiles_of_a_robot_that_is_there():
    ada, bob = members = Member('ada'), Member('bob')
    air, eve = Air(*members), Stranger()
    ada.see(1)
    air.run(3.0)
    air.run(5.0, [eve.features(layer=ada.replica.own, first=2**32 - 1)])
    assert ada.link.drops['own-layer'] == 1
    assert_right(members, (ada,))


@pytest.mark.parametrize('seal', [None, GroupMac(bytes(32))])
def test_two_robots_of_one_name_are_noticed_by_all_and_spoil_nobody_elses_part(seal):
    old, new, bob, keeper = members = (Member('ada', 1, seal=seal), Member('ada', 2, seal=seal),
                                       Member('bob', seal=seal), Member('map', is_robot=False, seal=seal))
    air = Air(*members)
    for seed in range(6):
        for member in (old, new, bob):
            member.see(seed)
        air.run(2.0)
    air.run(8.0)
    assert old.link.drops['own-name'] > 10 and new.link.drops['own-name'] > 10
    assert bob.link.drops['epoch-rollback'] > 10 and keeper.link.drops['epoch-rollback'] > 10
    # Epochs keep their parts of the map apart: the newer life is right everywhere, and so is everybody else.
    assert_right((bob, keeper), (new, bob))
    assert bob.replica.state_hash() == keeper.replica.state_hash()


def test_twins_of_one_name_and_epoch_are_noticed_and_spoil_nobody_elses_part():
    twins = [Member('ada'), Member('ada')]
    bob, keeper = Member('bob'), Member('map', is_robot=False)
    twins[1].tick([], 0.0)
    air = Air(*twins, bob, keeper)
    for seed in range(6):
        twins[0].see(seed)
        twins[1].see(seed + 100)
        bob.see(seed)
        air.run(2.0)
    air.run(8.0)
    # Who is behind hears numbers that it has not given yet.
    assert sum(twin.link.drops.get('own-name', 0) for twin in twins) > 10
    assert bob.link.drops['repeated'] > 10
    assert_right((bob, keeper), (bob,))


@pytest.mark.parametrize(('seal', 'silence_s', 'is_heard'), [
    (Plain(), 4.0, False), (Plain(), 6.0, True), (GroupMac(bytes(32)), 6.0, False),
    (GroupMac(bytes(32)), 500.0, False)])
def test_an_older_life_is_heard_only_if_names_prove_nothing_and_were_silent(seal, silence_s, is_heard):
    ada, now, old = Member('ada', seal=seal), Stranger(epoch=5, seal=seal), Stranger(epoch=4, seal=seal)
    ada.tick([now.features()], 0.0)
    ada.tick([old.features(where=(1, 1))], silence_s)
    assert (LayerId('eve', 4) in ada.replica.layers) == is_heard
    assert ada.link.drops.get('epoch-rollback', 0) == (0 if is_heard else 1)
    # Even then it is a layer of its own and touches nothing of the newer life.
    np.testing.assert_array_equal(ada.replica.layers[LayerId('eve', 5)].versions, np.eye(1, 64, 36, dtype=np.uint32)[0])


@given(jumps=st.lists(st.sampled_from((-1e9, -100.0, -1.0, -0.05, 3.0, 1e4, 1e9, 1e12, inf, -inf, nan)), min_size=1,
                      max_size=5))
@settings(max_examples=6, deadline=None)
def test_clocks_that_jump_cost_neither_agreement_nor_budget(jumps):
    ada, bob, keeper = members = Member('ada'), Member('bob'), Member('map', is_robot=False)
    air = Air(*members)
    for number, ahead_s in enumerate(jumps):
        ada.ahead_s = ahead_s
        ada.see(number)
        bob.see(number)
        air.run(1.0)
    ada.ahead_s = 0.0
    air.run(20.0)
    assert_right(members, (ada, bob))
    assert len({member.replica.state_hash() for member in members}) == 1
    # A jump may be taken for time that passed and fill the bucket, no more.
    assert ada.said_bytes <= (2 + len(jumps)) * BUDGET.burst_bytes + BUDGET.rate_bytes_per_s * air.now
    assert bob.said_bytes <= BUDGET.burst_bytes + BUDGET.rate_bytes_per_s * air.now


def test_layers_without_end_are_bounded_and_counted():
    config = ReplicaConfig(max_layers=8)
    ada, bob = Member('ada', config=config), Member('bob', config=config)
    air, eve = Air(ada, bob), Stranger()
    for member in (ada, bob):
        member.see(1)
    air.run(3.0)
    flood = [eve.features(layer=LayerId(f'ghost-{number}', number)) for number in range(100)]
    ada.link.receive(flood, ada.replica, air.now)
    assert len(ada.replica.layers) == 8
    assert ada.link.drops['too-many-layers'] == 94
    ada.see(2)
    bob.see(2)
    air.run(10.0)
    assert_right((ada, bob), (ada, bob))
    assert ada.said_bytes <= BUDGET.burst_bytes + BUDGET.rate_bytes_per_s * air.now


def test_names_without_end_are_bounded_and_counted():
    ada, bob = members = Member('ada'), Member('bob')
    air = Air(*members)
    for member in members:
        member.see(1)
    air.run(3.0)
    ada.link.receive([Stranger(f'ghost-{number}').status(stamp_s=air.now) for number in range(1000)], ada.replica,
                     air.now)
    assert sum(ada.link.drops.values()) >= 1000 - 256
    assert len(ada.link.traffic) <= 256
    bob.see(2)
    air.run(10.0)
    assert_right(members, members)


def test_versions_that_nobody_can_give_cost_only_budget():
    """Somebody claims to hold what nobody ever issued, of everybody."""
    ada, bob = members = Member('ada'), Member('bob')
    air, eve = Air(*members), Stranger()
    for seed in range(4):
        for member in members:
            member.see(seed)
        lies = [eve.status(stamp_s=air.now, issued=2**32 - 1), eve.digest(tuple(
            LayerDigest(LayerId(name, 1), (VersionRange(1, 2**32 - 1),)) for name in ('ada', 'bob', 'eve', 'ghost')))]
        air.run(3.0, lies)
    air.run(12.0)
    assert_right(members, members)
    for member in members:
        assert member.said_bytes <= BUDGET.burst_bytes + BUDGET.rate_bytes_per_s * air.now


def test_the_largest_batch_there_may_be_is_bounded_in_memory():
    """As many tiles as a message may have, out of next to no bytes."""
    tiles = np.argwhere(np.ones((8, 8), bool)).astype(np.int32) - 4
    versions = VersionRange(1, 64)
    data = encode(TileBatch(tiles, np.arange(1, 65), np.full((64, TILE_CELLS), -1, np.int8)), versions, 'context')
    assert len(data) < 200
    ada, packet = Member('ada'), Stranger().features(data=data, versions=versions, codec='context')
    ada.link.receive([packet], ada.replica, 0.0)
    tracemalloc.start()
    ada.link.receive([Stranger('mallory').features(data=data, versions=versions, codec='context')], ada.replica, 0.1)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 2_000_000
    assert not ada.link.drops
