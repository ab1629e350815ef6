import pytest

from marl_core.communication.redundancy import Holdings, RedundancyConfig, Repeats
from marl_core.types import VersionRange

CONFIG = RedundancyConfig(lossy_from=0.05, missed_by=1e-4, spread_s=2.0, max_copies=20, fresh_s=12.0, grace_s=1.0)


def ranges(*pairs):
    return tuple(VersionRange(*pair) for pair in pairs)


@pytest.mark.parametrize(('loss', 'copies'), [
    (0.0, 1), (0.049, 1), (0.05, 4), (0.1, 4), (0.3, 8), (0.5, 14), (0.9, 20), (1.0, 20), (float('nan'), 1)])
def test_copies_make_it_improbable_that_all_are_lost(loss, copies):
    assert Repeats(CONFIG).copies(loss) == copies


def test_copies_are_spread_evenly_and_end():
    repeats, said_s = Repeats(CONFIG), []
    repeats.plan(VersionRange(1, 3), 0.3, 10.0)
    for tick in range(60):
        now = 10.0 + tick / 10
        if repeats.due(now):
            assert repeats.due(now) == ranges((1, 3))
            repeats.said(VersionRange(1, 3), now)
            said_s.append(now)
    assert len(said_s) == 7  # and once when it was published
    assert said_s[0] <= 10.4
    assert 11.9 <= said_s[-1] <= 12.1
    assert repeats.open == ()


def say(repeats, versions, now):
    assert repeats.due(now)
    repeats.said(VersionRange(*versions), now)


def test_newer_versions_are_said_along_and_outlive_the_older_ones():
    repeats = Repeats(CONFIG)
    repeats.plan(VersionRange(1, 3), 0.1, 10.0)
    say(repeats, (1, 3), 11.0)
    repeats.plan(VersionRange(4, 6), 0.1, 11.0)
    assert repeats.open == ranges((1, 6))
    say(repeats, (1, 6), 12.0)
    say(repeats, (1, 6), 13.0)
    assert repeats.open == ranges((4, 6))
    say(repeats, (4, 6), 14.0)
    assert repeats.open == ()
    assert repeats.due(14.5) == ()


def test_a_repetition_that_left_out_the_oldest_part_goes_on_with_it():
    repeats = Repeats(CONFIG)
    repeats.plan(VersionRange(1, 6), 0.05, 10.0)
    for now in (11.0, 12.0, 13.0):
        assert repeats.due(now) == ranges((1, 6))
        repeats.said(VersionRange(3, 6), now)
        assert repeats.due(now) == ranges((1, 2))
        repeats.said(VersionRange(1, 2), now)
    assert repeats.open == ()


def test_what_the_budget_has_no_room_for_is_left_to_answers():
    repeats = Repeats(CONFIG)
    repeats.plan(VersionRange(1, 6), 0.3, 10.0)
    say(repeats, (3, 6), 11.0)
    assert repeats.due(14.0) == ranges((1, 2))
    assert repeats.due(14.1) == repeats.open == ()


def test_what_is_published_during_a_pass_waits_for_the_next_one():
    repeats = Repeats(CONFIG)
    repeats.plan(VersionRange(1, 6), 0.05, 10.0)
    say(repeats, (3, 6), 11.0)
    repeats.plan(VersionRange(7, 8), 0.05, 11.0)
    assert repeats.due(11.0) == ranges((1, 2))
    say(repeats, (1, 2), 11.0)
    say(repeats, (1, 8), 12.0)
    say(repeats, (1, 8), 13.0)
    assert repeats.open == ranges((7, 8))


def test_what_everybody_holds_is_not_repeated():
    repeats = Repeats(CONFIG)
    repeats.plan(VersionRange(1, 3), 0.3, 10.0)
    repeats.plan(VersionRange(4, 6), 0.3, 10.0)
    repeats.confirm(ranges((1, 5)))
    assert repeats.open == ranges((4, 6))
    repeats.confirm(ranges((1, 6)))
    assert repeats.due(11.0) == ()


def test_a_new_plan_takes_the_place_of_the_old_one():
    repeats = Repeats(CONFIG)
    repeats.plan(VersionRange(1, 3), 0.3, 10.0)
    repeats.restart(ranges((5, 6), (8, 9)), 0.3, 20.0)
    assert repeats.open == ranges((5, 6), (8, 9))
    assert repeats.due(20.0) == ()
    assert repeats.due(20.5) == ranges((5, 6), (8, 9))
    repeats.restart((), 0.3, 21.0)
    assert repeats.due(30.0) == ()


def test_confirmed_is_what_all_peers_hold():
    holdings, published = Holdings(CONFIG), ranges((1, 9))
    assert holdings.confirmed(published, True, 0.0) == ()  # nobody is there
    for peer in ('bob', 'cy'):
        holdings.hear(peer, 0.0)
    holdings.hear_digest('bob', ranges((1, 8)), 0.0)
    assert holdings.confirmed(published, False, 0.0) == ()  # cy has not said
    holdings.hear_digest('cy', ranges((1, 2), (4, 9)), 0.0)
    assert holdings.confirmed(published, False, 0.0) == ranges((1, 2), (4, 8))
    holdings.hear('bob', 10.0)
    assert holdings.confirmed(published, False, 12.1) == ranges((1, 8))  # cy fell silent
    holdings.hear_digest('bob', (), 12.2)  # and bob started anew
    assert holdings.confirmed(published, False, 12.2) == ()


def test_a_trusted_link_is_believed_until_a_newer_digest_contradicts():
    holdings = Holdings(CONFIG)
    holdings.hear('bob', 0.0)
    for second in range(1, 6):
        holdings.said(VersionRange(2 * second - 1, 2 * second), float(second))
    holdings.hear_digest('bob', ranges((1, 4)), 3.5)
    # What was said from 2.5 s on may have crossed the digest; 1 to 4 it names.
    assert holdings.confirmed(ranges((1, 10)), True, 5.0) == ranges((1, 10))
    assert holdings.confirmed(ranges((1, 10)), False, 5.0) == ranges((1, 4))
    holdings.hear_digest('bob', ranges((1, 4)), 4.5)
    assert holdings.confirmed(ranges((1, 10)), True, 5.0) == ranges((1, 4), (7, 10))


def test_peers_are_bounded_and_the_silent_make_room():
    holdings = Holdings(CONFIG)
    for number in range(Holdings.MAX_PEERS):
        assert holdings.hear(str(number), 0.0)
    assert not holdings.hear('one more', 1.0)
    assert holdings.hear('one more', 13.0)


@pytest.mark.parametrize('values', [{'lossy_from': 0.0}, {'missed_by': 1.0}, {'spread_s': 0.0}, {'max_copies': 0},
                                    {'fresh_s': -1.0}, {'grace_s': -1.0}])
def test_wrong_settings_are_refused(values):
    with pytest.raises(ValueError, match=next(iter(values))):
        RedundancyConfig(**values)
