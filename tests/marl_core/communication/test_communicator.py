from collections import Counter
from dataclasses import replace
from math import inf, nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marl_core.communication import wire
from marl_core.communication.authentication import Plain
from marl_core.communication.budget import MAP_NODE_BUDGET, Budget
from marl_core.communication.communicator import CommunicationConfig, Communicator
from marl_core.mapping.bounds import MapBounds
from marl_core.mapping.replica import Replica
from marl_core.types import LayerId, MapDigest, MapFeatures, Pose, RobotStatus, Twist, VersionRange

BOUNDS = MapBounds(resolution_m=0.05, planning_factor=4, tiles_x=8, tiles_y=8)
ALL = np.argwhere(np.ones(BOUNDS.tiles_shape, bool)).astype(np.int32)
TICK_S = 0.1


def opened(packet):
    return wire.decode(Plain().open(packet, '', 0.0), wire.peek(packet))


def packed(message, epoch=1, sequence=1):
    return Plain().close(wire.encode(message, epoch, sequence))


class Member:
    """A robot (or a map node, without status and own layer) reduced to map and communication."""

    def __init__(self, name: str, epoch: int = 1, budget: Budget | None = None, is_robot: bool = True) -> None:
        self.name, self.epoch, self.is_robot = name, epoch, is_robot
        self.replica = Replica(BOUNDS, name, LayerId(name, epoch) if is_robot else None)
        self.link = Communicator(name, epoch, CommunicationConfig(budget=budget or Budget()))
        self.truth = np.zeros(BOUNDS.shape, np.int8)

    def see(self, seed: int, density: float = 0.02) -> None:
        random = np.random.default_rng(seed)
        seen = random.random(BOUNDS.shape) < density
        self.truth[seen] = random.choice((-1, 1), BOUNDS.shape)[seen]
        self.replica.write(self.replica.own, ALL, self.truth)

    def status(self, now: float) -> RobotStatus | None:
        return RobotStatus(self.name, self.epoch, now, Pose(0, 0, 0), Twist(0, 0)) if self.is_robot else None

    def tick(self, inbox: list, now: float) -> list:
        self.link.receive(inbox, self.replica, now)
        return self.link.send(self.status(now), self.replica, now)


class Radio:
    """Everybody hears everybody, except what is lost, blocked or repeated; a message takes one tick."""

    def __init__(self, members: list[Member], loss: float = 0.0, repeat: float = 0.0, seed: int = 0) -> None:
        self.members, self.loss, self.repeat = members, loss, repeat
        self.random = np.random.default_rng(seed)
        self.blocked: set[frozenset[str]] = set()
        self.air: dict[str, list] = {}
        self.now = 0.0
        self.log: list[tuple[float, str, object]] = []
        self.sizes: list[tuple[float, str, int]] = []

    def run(self, duration_s: float) -> None:
        for _ in range(round(duration_s / TICK_S)):
            self.now += TICK_S
            heard, self.air = self.air, {}
            for member in self.members:
                for message in member.tick(heard.get(member.name, []), self.now):
                    self.log.append((self.now, member.name, opened(message)))
                    self.sizes.append((self.now, member.name, len(message)))
                    self._spread(member.name, message)

    def _spread(self, sender: str, message: object) -> None:
        for other in self.members:
            if other.name == sender or frozenset((sender, other.name)) in self.blocked:
                continue
            copies = int(self.random.random() >= self.loss) + int(self.random.random() < self.repeat)
            inbox = self.air.setdefault(other.name, [])
            inbox += [message] * copies
            self.random.shuffle(inbox)


def agree(members: list[Member]) -> bool:
    return len({member.replica.state_hash() for member in members}) == 1


def test_the_first_word_is_status_and_digest_and_tiles_come_in_turn():
    ada = Member('ada')
    ada.see(1)
    outbox = ada.tick([], 0.0)
    assert [type(opened(packet)) for packet in outbox] == [RobotStatus, MapDigest]
    assert ada.link.sent == {'status': 1, 'digest': 1}
    assert ada.link.sent_bytes['status'] == len(outbox[0])
    assert ada.tick([], 0.1) == []
    assert [type(opened(packet)) for packet in ada.tick([], 1.0)] == [RobotStatus, MapFeatures]


def test_robots_that_start_together_do_not_all_speak_at_once():
    members = [Member(f'robot_{number}') for number in range(4)]
    for number, member in enumerate(members):
        member.see(number)
    said = [sum(any(type(opened(packet)) is MapFeatures for packet in member.tick([], step / 10)) for member in members)
            for step in range(11)]
    assert sum(said) == 4
    assert max(said) <= 2


def test_periods_hold_at_ten_ticks_per_second():
    ada = Member('ada', budget=Budget(rate_bytes_per_s=40_000.0, burst_bytes=60_000.0))
    radio = Radio([ada])
    for seed in range(10):
        ada.see(seed, 0.1)
        radio.run(1.0)
    kinds = Counter(type(message) for _, _, message in radio.log)
    assert kinds[RobotStatus] == 20
    assert kinds[MapFeatures] == 9  # the first ones wait for their turn
    assert 4 <= kinds[MapDigest] <= 6


@pytest.mark.parametrize('budget', [Budget(), Budget(rate_bytes_per_s=500.0, burst_bytes=4800.0)])
def test_never_more_than_the_budget_and_no_message_above_the_burst(budget):
    members = [Member(name, budget=budget) for name in ('ada', 'bob')]
    radio = Radio(members)
    for seed in range(8):
        for number, member in enumerate(members):
            member.see(10 * seed + number, 0.2)
        radio.run(1.0)
    for member in members:
        sizes = [(now, size) for now, name, size in radio.sizes if name == member.name]
        assert max(size for _, size in sizes) <= budget.burst_bytes
        for start_s in range(0, 8):
            total = sum(size for now, size in sizes if now > start_s)
            assert total <= budget.burst_bytes + budget.rate_bytes_per_s * (8 - start_s) + 1.0
        assert sum(member.link.sent_bytes.values()) == sum(size for _, size in sizes)
        # With far more to say than may be said, status still goes out on time.
        assert member.link.sent['status'] == 16


def test_new_tiles_and_answers_leave_each_other_a_share():
    ada, bob = Member('ada', budget=Budget(rate_bytes_per_s=2000.0)), Member('bob')
    radio = Radio([ada, bob])
    for seed in range(10):
        bob.see(seed, 0.2)
        radio.run(3.0)
    late = Member('late')
    radio.members = [ada, late]
    ada.link.sent_bytes.clear()
    for seed in range(8):
        ada.see(seed, 0.5)
        radio.run(1.0)
    sent, total = ada.link.sent_bytes, sum(ada.link.sent_bytes.values())
    assert total > 8 * 1600
    assert sent['answer'] > 0.2 * total
    assert sent['features'] > 0.4 * total
    assert ada.link.sent['digest'] >= 4


def test_lossy_radio_ends_in_one_map():
    members = [Member(name) for name in ('ada', 'bob', 'cy')]
    members.append(Member('map', budget=MAP_NODE_BUDGET, is_robot=False))
    radio = Radio(members, loss=0.3, repeat=0.1, seed=3)
    for seed in range(5):
        for number, member in enumerate(members[:3]):
            member.see(10 * seed + number, 0.01)
        radio.run(2.0)
    radio.run(40.0)
    assert agree(members)
    assert members[3].replica.known_cells > 0
    # Once all agree, only status and digests are on the air.
    quiet = len(radio.log)
    radio.run(5.0)
    assert {type(message) for _, _, message in radio.log[quiet:]} == {RobotStatus, MapDigest}


@given(seed=st.integers(0, 10**6), loss=st.sampled_from((0.0, 0.2, 0.5)), dead=st.booleans())
@settings(max_examples=8, deadline=None)
def test_partitions_heal_and_late_joiners_need_no_writer(seed, loss, dead):
    ada, bob, cy = members = [Member(name) for name in ('ada', 'bob', 'cy')]
    radio = Radio(members, loss=loss, repeat=0.1, seed=seed)
    radio.blocked = {frozenset(('ada', 'cy')), frozenset(('bob', 'cy'))}
    for turn in range(3):
        for number, member in enumerate(members):
            member.see(seed + 10 * turn + number, 0.01)
        radio.run(2.0)
    if dead:
        radio.members.remove(ada)
    radio.blocked = set()
    late = Member('late')
    radio.members.append(late)
    radio.run(60.0)
    assert agree(radio.members)
    assert late.replica.known_cells == bob.replica.known_cells > 0
    assert bob.replica.waiting_tiles == cy.replica.waiting_tiles == 0


def test_a_restarted_robot_gets_its_previous_life_back():
    ada, bob = Member('ada'), Member('bob')
    ada.see(1)
    radio = Radio([ada, bob])
    radio.run(5.0)
    again = Member('ada', epoch=2)
    radio.members = [again, bob]
    again.see(2)
    radio.run(20.0)
    assert agree([again, bob])
    assert again.replica.layers.keys() == {LayerId('ada', 1), LayerId('ada', 2)}


def test_one_lack_is_answered_about_once():
    members = [Member(name) for name in ('ada', 'bob', 'cy', 'dot', 'eve')]
    members[0].see(1, 0.02)
    radio = Radio(members)
    radio.run(5.0)
    radio.members = [*members, Member('late')]
    before = len(radio.log)
    radio.run(10.0)
    assert agree(radio.members)
    answers = [message for _, _, message in radio.log[before:] if isinstance(message, MapFeatures)]
    once = sum(message.versions.last - message.versions.first + 1 for message in answers)
    held = sum(entry.versions.last - entry.versions.first + 1 for entry in
               [answer for answer in answers if answer.layer == LayerId('ada', 1)])
    assert held == once == 64


def test_clocks_that_run_backwards_or_are_not_numbers_do_not_stop_it():
    ada, bob = Member('ada'), Member('bob')
    for step, now in enumerate((nan, 100.0, 100.1, inf, 50.0, nan, 50.1, 0.0)):
        ada.see(step, 0.001)
        bob.link.receive(ada.tick([], now), bob.replica, 100.0 + step / 10)
    assert ada.link.clock_faults == 8  # Each step back once; what is no number is read twice per tick.
    for step in range(1, 60):
        bob.link.receive(ada.tick([], step / 10), bob.replica, 101.0 + step / 10)
    np.testing.assert_array_equal(bob.replica.fused, ada.truth)
    assert all(np.isfinite(mate.age_s) for mate in bob.link.teammates(107.0))
    assert ada.link.sent['status'] >= 12


def test_what_is_wrong_is_counted_and_the_rest_is_used():
    ada, bob = Member('ada'), Member('bob')
    ada.see(1)
    status, digest = ada.tick([], 0.0)
    _, features = ada.tick([], 1.0)
    forged = replace(opened(features), robot='mallory', layer=LayerId('bob', 1))
    heard = [packed(forged), packed(replace(opened(features), robot='bob', layer=LayerId('ada', 1)), 7), b'noise', b'',
             packed(MapDigest('bob', 0.0, ()), 9), status[:-1] + b'?', status, features, digest, status]
    assert bob.link.receive(heard, bob.replica, 0.1) == 64
    assert bob.link.drops == {'own-layer': 1, 'own-name': 2, 'foreign-version': 1, 'truncated': 1, 'corrupt': 1,
                              'repeated': 1}
    assert bob.link.traffic.keys() == {'ada', 'mallory'}
    assert bob.link.traffic['ada'].packets == 3
    assert bob.link.traffic['ada'].bytes_by_kind['features'] == len(features)
    assert [mate.status.robot for mate in bob.link.teammates(0.1)] == ['ada']


def test_the_own_voice_is_no_stranger():
    ada = Member('ada')
    ada.see(1)
    outbox = ada.tick([], 0.0)
    assert ada.link.receive(outbox, ada.replica, 0.1) == 0
    assert ada.link.drops == {}


def test_stamps_of_features_and_digests_do_not_matter():
    ada, bob = Member('ada'), Member('bob')
    ada.see(1)
    _, digest, _, features = map(opened, ada.tick([], 0.0) + ada.tick([], 1.0))
    for number, stamp_s in enumerate((-4e9, 0.0, 4e9)):
        wrong = [packed(replace(features, stamp_s=stamp_s), 1, 2 * number + 1),
                 packed(replace(digest, stamp_s=stamp_s), 1, 2 * number + 2)]
        bob.link.receive(wrong, bob.replica, 0.1)
    assert bob.link.drops == {}
    assert agree([ada, bob])


def test_a_stamp_that_no_packet_can_carry_is_counted_and_the_rest_is_said():
    ada = Member('ada')
    ada.see(1)
    assert [type(opened(packet)) for packet in ada.tick([], 1e300)] == [MapFeatures, MapDigest]
    assert ada.link.drops == {'stamp': 1}


def test_a_digest_beyond_the_burst_is_cut_and_counted():
    ada = Member('ada', budget=Budget(1000.0, 2000.0, answer_bytes=500.0))
    fragments = tuple(VersionRange(3 * n + 1, 3 * n + 1) for n in range(1200))

    class Fragmented:
        own, waiting_tiles = None, 0
        digest = staticmethod(lambda: ((_entry(fragments)),))

    def _entry(ranges):
        from marl_core.types import LayerDigest
        return LayerDigest(LayerId('bob', 1), ranges)

    outbox = ada.link.send(None, Fragmented(), 0.0)
    assert len(outbox[0]) <= 2000
    ranges = opened(outbox[0]).layers[0].ranges
    assert 100 <= len(ranges) < len(fragments)
    assert ranges == fragments[-len(ranges):]
    assert ada.link.drops == {'digest-cut': 1}
