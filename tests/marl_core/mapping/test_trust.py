"""Who may be believed: maps drawn by hand, so that every verdict can be told by looking at them."""

from math import nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marl_core.errors import MapError
from marl_core.mapping.bounds import TILE, MapBounds
from marl_core.mapping.consistency import AGREEMENTS, CONFLICTS, OVERLAP, Consistency
from marl_core.mapping.layers import Urgency
from marl_core.mapping.replica import Replica, ReplicaConfig
from marl_core.mapping.trust import OPERATOR, Trust, TrustConfig, judge
from marl_core.types import FREE, OCCUPIED, STOP, LayerId, Pose, RobotStatus

BOUNDS = MapBounds(resolution_m=0.05, planning_factor=4, tiles_x=8, tiles_y=8)
ALL = np.argwhere(np.ones(BOUNDS.tiles_shape, bool)).astype(np.int32)
CONFIG = TrustConfig()
HONEST = ('ada', 'bob', 'cy')
AT_ONCE = ReplicaConfig(codec='raw', urgency=Urgency(hold_cells=1))


def hall(row: int = 0, col: int = 0) -> np.ndarray:
    """A hall of 11 x 11 m with rows of posts 40 cells apart, moved by some cells."""
    classes = np.zeros(BOUNDS.shape, np.int8)
    classes[16:240, 16:240] = FREE
    for y in range(36, 230, 40):
        for x in range(36, 230, 40):
            classes[y + row:y + row + 8, x + col:x + col + 8] = OCCUPIED
    return classes


def with_phantoms() -> np.ndarray:
    classes = hall()
    for y in range(56, 230, 40):
        classes[y:y + 2, 17:230:5] = OCCUPIED
    return classes


LIES = {
    'shifted': hall(20, 20),
    'phantoms': with_phantoms(),
    'erased': np.where(hall() == OCCUPIED, FREE, hall()).astype(np.int8),
    'noise': np.where(np.random.default_rng(1).random(BOUNDS.shape) < 0.1, -hall(), hall()).astype(np.int8),
}


class Fleet:
    """Writers, a map node that hears them all, and what it thinks of them."""

    def __init__(self, config: TrustConfig = CONFIG) -> None:
        self.node, self.trust = Replica(BOUNDS, 'map'), Trust(BOUNDS, config)
        self.writers: dict[str, Replica] = {}
        self.now = 0.0

    def tell(self, classes: np.ndarray, *names: str, epoch: int = 1) -> None:
        for name in names:
            layer = LayerId(name, epoch)
            writer = self.writers.setdefault(f'{name} {epoch}', Replica(BOUNDS, name, layer, AT_ONCE))
            writer.write(layer, ALL, classes)
            while (message := writer.publish(layer, 60_000, self.now)) is not None:
                self.node.join(message)

    def judge(self, seconds: int = 12, own: str | None = None, statuses: tuple = ()) -> list[tuple[str, str]]:
        changes = []
        for _ in range(seconds):
            self.now += 1.0
            own_layer = LayerId(own, 1) if own else None
            changes += self.trust.update(self.node, statuses, own_layer, self.now)
        return [(change.robot, change.after.standing) for change in changes]


@pytest.mark.parametrize('lie', LIES.values(), ids=LIES.keys())
def test_one_liar_among_four_is_doubted_then_quarantined_and_leaves_the_map_to_the_others(lie):
    fleet = Fleet()
    fleet.tell(hall(), *HONEST)
    alone = fleet.node.fused.copy()
    fleet.tell(lie, 'eve')
    state_hash = fleet.node.state_hash()
    assert fleet.judge() == [('eve', 'doubted'), ('eve', 'quarantined')]
    np.testing.assert_array_equal(fleet.node.fused, alone)
    assert fleet.node.state_hash() == state_hash
    state = fleet.trust.state('eve')
    assert state.score < CONFIG.quarantine_below
    assert state.reason.startswith('contradicted by ada, bob, cy over')
    assert all(fleet.trust.state(name).score > CONFIG.trust_above for name in HONEST)
    assert fleet.trust.conflicts == ()


def test_who_agrees_within_the_tolerance_is_trusted():
    fleet = Fleet()
    for name, moved in zip((*HONEST, 'dot'), ((0, 0), (5, 0), (0, -5), (3, 4))):
        fleet.tell(hall(*moved), name)
    assert fleet.judge(30) == []
    assert fleet.trust.state('ada').score > 0.95
    assert fleet.trust.state('ada').overlap_m2 == pytest.approx(11.2**2, abs=0.1)


def test_of_two_who_contradict_each_other_nobody_is_blamed_and_the_conflict_is_reported():
    fleet = Fleet()
    fleet.tell(hall(), 'ada')
    fleet.tell(hall(20, 20), 'eve')
    assert fleet.judge() == []
    (conflict,) = fleet.trust.conflicts
    assert (conflict.robot, conflict.other) == ('ada', 'eve')
    assert conflict.area_m2 > 5.0
    assert fleet.trust.state('eve').score == CONFIG.doubt_below
    assert 'nothing tells who is right' in fleet.trust.state('eve').reason


def test_own_sensors_make_a_robot_doubt_one_other_but_not_quarantine_it():
    fleet = Fleet()
    fleet.tell(hall(), 'ada')
    fleet.tell(with_phantoms(), 'eve')
    assert (fleet.node.fused != hall()).any()
    assert fleet.judge(own='ada') == [('eve', 'doubted')]
    np.testing.assert_array_equal(fleet.node.fused, hall())
    assert fleet.trust.state('ada').standing == 'trusted'


def test_a_robot_that_all_others_contradict_says_so_of_itself_and_keeps_its_own_votes():
    fleet = Fleet()
    fleet.tell(hall(), *HONEST)
    fleet.tell(hall(20, 20), 'eve')
    assert fleet.judge(own='eve') == [('eve', 'doubted'), ('eve', 'quarantined')]
    assert fleet.node.weight('eve') == fleet.node.weight('ada') == 2


def test_who_corrects_a_doubtful_map_is_trusted_again_after_a_while():
    fleet = Fleet(TrustConfig(quarantine_below=1e-30))
    fleet.tell(hall(), *HONEST)
    fleet.tell(with_phantoms(), 'eve')
    assert fleet.judge() == [('eve', 'doubted')]
    fleet.tell(hall(), 'eve')
    assert fleet.judge(10) == []
    assert fleet.judge(2) == [('eve', 'trusted')]


def test_quarantine_holds_for_later_lives_until_the_operator_ends_it():
    fleet = Fleet()
    fleet.tell(hall(), *HONEST)
    fleet.tell(hall(20, 20), 'eve')
    fleet.judge()
    fleet.tell(hall(), 'eve', epoch=2)
    assert fleet.judge(30) == []
    fleet.trust.reinstate('eve')
    assert fleet.judge(30) == [('eve', 'trusted')]
    assert fleet.node.weight('eve') == 2
    fleet.tell(LIES['erased'], 'eve', epoch=2)
    assert fleet.judge() == [('eve', 'doubted'), ('eve', 'quarantined')]


def test_the_operator_quarantines_at_once_also_whom_nobody_has_heard_yet():
    fleet = Fleet()
    fleet.trust.quarantine('eve')
    assert fleet.judge(1) == [('eve', 'quarantined')]
    fleet.tell(hall(), 'eve')
    assert fleet.judge(60) == []
    assert fleet.node.known_cells == 0
    assert fleet.trust.state('eve').reason == OPERATOR


def status(x_m: float, y_m: float = 0.0, name: str = 'ada') -> RobotStatus:
    return RobotStatus(name, 1, 0.0, Pose(x_m, y_m, 0.0), STOP)


def drive(fleet: Fleet, from_m: float, to_m: float, grows: bool) -> list[tuple[str, str]]:
    """Go along x at 0.5 m/s, as the map does up to 1 m before if it grows."""
    changes, known = [], np.zeros(BOUNDS.shape, np.int8)
    for x_m in np.arange(from_m, to_m, 0.5):
        if grows:
            known[100:150, :BOUNDS.cell_of(x_m + 1.0, 0.0)[1]] = FREE
            fleet.tell(known, 'ada')
        changes += fleet.judge(1, statuses=(status(x_m),))
    return changes


def test_a_map_that_does_not_grow_where_its_robot_goes_is_doubted():
    fleet = Fleet()
    known = np.zeros(BOUNDS.shape, np.int8)
    known[100:150, :128] = FREE  # x < 0
    fleet.tell(known, 'ada')
    assert drive(fleet, -5.0, 0.0, grows=False) == []
    assert drive(fleet, 0.0, 6.0, grows=False) == [('ada', 'doubted')]
    assert 'frozen' in fleet.trust.state('ada').reason
    assert fleet.trust.state('ada').score >= CONFIG.quarantine_below


@pytest.mark.parametrize(('has_wall', 'changes'), [(False, [('ada', 'doubted')]), (True, [])])
def test_who_looks_from_its_map_into_what_that_does_not_know_sends_an_old_one(has_wall, changes):
    fleet = Fleet()
    known = np.zeros(BOUNDS.shape, np.int8)
    known[100:150, :128] = FREE  # x < 0
    if has_wall:
        known[100:150, 126:128] = OCCUPIED
    fleet.tell(known, 'ada')
    assert drive(fleet, -3.0, 0.0, grows=False) + fleet.judge(10, statuses=(status(-0.5),)) == changes


def test_a_map_that_grows_along_is_trusted_and_nonsense_in_poses_is_no_evidence():
    fleet = Fleet()
    assert drive(fleet, -5.0, 6.0, grows=True) == []
    statuses = tuple(status(nan) for _ in range(3)) + (status(1e300), status(1.0, 1.0, 'nobody'))
    assert fleet.judge(30, statuses=statuses) == []
    assert fleet.trust.state('ada').score == CONFIG.prior


def test_a_clock_that_jumps_back_only_makes_verdicts_wait():
    fleet = Fleet()
    fleet.tell(hall(), *HONEST)
    fleet.tell(hall(20, 20), 'eve')
    fleet.judge(2)
    fleet.now = -1000.0
    assert fleet.judge(3) == []
    assert fleet.judge(1) == [('eve', 'doubted')]


def pairs(count: int, *hostile: tuple[int, int]) -> np.ndarray:
    honesty = np.full((count, count), 0.99)
    for i, j in hostile:
        honesty[i, j] = honesty[j, i] = 0.01
    return honesty


@pytest.mark.parametrize(('count', 'hostile', 'blamed'), [
    (4, [(3, 0), (3, 1), (3, 2)], [3]),
    (3, [(2, 0), (2, 1)], [2]),
    (2, [(0, 1)], []),
    (3, [(0, 1), (1, 2), (0, 2)], []),  # everybody contradicts everybody
    (4, [(0, 2), (0, 3), (1, 2), (1, 3)], []),  # two camps
    (5, [(i, j) for j in (3, 4) for i in range(j)], [3, 4]),  # two liars that disagree as well
    (5, [(i, j) for j in (3, 4) for i in range(3)], [3, 4]),  # two liars that agree
    (6, [(0, 1), (5, 1), (5, 2), (5, 3), (5, 4)], [5]),
])
def test_blame_falls_on_those_whose_removal_explains_most(count, hostile, blamed):
    scores, is_active = judge(pairs(count, *hostile), np.zeros(count, bool), 0.5, 0.9)
    assert np.flatnonzero(~is_active).tolist() == blamed
    assert all(scores[i] < 0.5 for i in blamed)
    assert all(scores[i] >= 0.5 for i in range(count) if i not in blamed)


def test_who_was_set_apart_before_accuses_nobody():
    honesty = pairs(3, (2, 0), (2, 1), (0, 1))
    scores, is_active = judge(honesty, np.array([False, False, True]), 0.5, 0.9)
    assert is_active.tolist() == [True, True, False]
    assert scores.tolist() == [0.5, 0.5, 0.01]


@pytest.mark.parametrize(('first', 'second', 'score'), [
    (1e-15, 0.2, 1.3104e-05),  # log-odds 2.2 - (2.2 + 34.5 + 2.2 + 1.4) / 3 = -11.24
    (0.2, 0.2, 0.2),
    (1e-15, 0.6, 0.5),  # one accuser proves nothing
])
def test_accusers_count_together_once_two_accuse(first, second, score):
    honesty = pairs(4)
    honesty[3, 0] = honesty[0, 3] = first
    honesty[3, 1] = honesty[1, 3] = second
    scores, _ = judge(honesty, np.zeros(4, bool), 0.5, 0.9)
    assert scores[3] == pytest.approx(score, rel=1e-3)


def test_what_is_counted_in_a_block():
    """One post of a block: seen by both, by one where the other is open, and 0.4 m beside (near, so agreed)."""
    robots = ['ada', 'bob']

    def counts(one: np.ndarray, other: np.ndarray) -> list[int]:
        fleet = Fleet()
        fleet.tell(one, 'ada')
        fleet.tell(other, 'bob')
        consistency = Consistency(BOUNDS, 0.4)
        consistency.update(fleet.node)
        return consistency.tally(robots)[:, 0, 1].tolist()

    empty = np.full(BOUNDS.shape, FREE, np.int8)
    post, beside, far = empty.copy(), empty.copy(), empty.copy()
    post[128:136, 128:136] = beside[136:144, 128:136] = far[144:152, 128:136] = OCCUPIED
    blocks = (BOUNDS.shape[0] // 8)**2
    assert counts(post, post) == [0, 2, blocks]
    assert counts(post, empty) == [1, 0, blocks]
    assert counts(post, beside) == [0, 2, blocks]
    assert counts(post, far) == [2, 0, blocks]
    assert counts(post, np.zeros_like(post)) == [0, 0, 0]
    assert (CONFLICTS, AGREEMENTS, OVERLAP) == (0, 1, 2)


@given(steps=st.lists(st.tuples(st.sampled_from(('ada', 'bob', 'cy')), st.integers(1, 2), st.integers(0, 99)),
                      max_size=12), looks=st.sets(st.integers(0, 11)))
@settings(max_examples=20, deadline=None)
def test_counting_what_changed_equals_counting_all(steps, looks):
    fleet, gradual, whole = Fleet(), Consistency(BOUNDS, 0.4), Consistency(BOUNDS, 0.4)
    for index, (name, epoch, seed) in enumerate(steps):
        random = np.random.default_rng(seed)
        coarse = random.choice((FREE, FREE, FREE, OCCUPIED, 0), (32, 32)).astype(np.int8)
        classes = np.kron(coarse, np.ones((8, 8), np.int8))
        classes[:, :TILE * (seed % 5)] = 0
        fleet.tell(classes, name, epoch=epoch)
        if index in looks:
            gradual.update(fleet.node)
    gradual.update(fleet.node)
    whole.update(fleet.node)
    robots = ['ada', 'bob', 'cy']
    np.testing.assert_array_equal(gradual.tally(robots), whole.tally(robots))


def test_tolerances_beyond_a_tile_and_limits_out_of_order_are_refused():
    with pytest.raises(MapError, match='tolerance_m'):
        Consistency(BOUNDS, 1.7)
    with pytest.raises(ValueError, match='quarantine_below'):
        TrustConfig(quarantine_below=0.6)
