import pytest
from hypothesis import given
from hypothesis import strategies as st

from marl_core.communication.digests import DigestConfig, DigestSchedule
from marl_core.types import LayerDigest, LayerId, VersionRange

ADA, BOB = LayerId('ada', 1), LayerId('bob', 1)
CONFIG = DigestConfig(early_s=(0.3, 0.5), eager_s=5.0, meet_s=(0.1, 0.5), idle_s=5.0, idle_after_s=10.0, layers=12)


def ranges(*pairs):
    return tuple(VersionRange(*pair) for pair in pairs)


def held(count: int) -> tuple[LayerDigest, ...]:
    return tuple(LayerDigest(LayerId(f'robot{number:03}', 1), ranges((1, 5))) for number in range(count))


def say(schedule: DigestSchedule, entries: tuple[LayerDigest, ...], now: float) -> tuple[list[LayerId], bool]:
    said, whole = schedule.compose(entries, now)
    schedule.said(said, whole, now)
    return [entry.layer for entry in said], whole


def waits(schedule: DigestSchedule, entries: tuple[LayerDigest, ...], start_s: float, duration_s: float) -> list[float]:
    """When digests are due, by ticks of 0.1 s."""
    times_s = []
    for tick in range(round(10 * duration_s)):
        now = start_s + tick / 10
        if schedule.is_due(now):
            say(schedule, entries, now)
            times_s.append(now)
    return times_s


def test_the_first_one_comes_at_once_and_then_one_per_period():
    schedule = DigestSchedule('ada', 2.0, CONFIG)
    schedule.changed(100.0)
    times_s = waits(schedule, (), 100.0, 10.0)
    assert times_s[0] == 100.0
    assert all(1.8 <= later - sooner <= 2.31 for sooner, later in zip(times_s, times_s[1:]))


def test_when_nothing_changes_they_become_rare():
    schedule = DigestSchedule('ada', 2.0, CONFIG)
    schedule.changed(100.0)
    times_s = [time_s for time_s in waits(schedule, (), 100.0, 60.0) if time_s > 112.0]
    assert all(4.7 <= later - sooner <= 5.31 for sooner, later in zip(times_s, times_s[1:]))
    schedule.changed(160.0)
    assert len(waits(schedule, (), 160.0, 6.0)) >= 3


def test_what_is_missing_is_asked_for_early_and_alone():
    schedule = DigestSchedule('ada', 2.0, CONFIG)
    say(schedule, held(2), 100.0)
    schedule.exists(BOB, 7, ranges((1, 5)), 0.0, 100.5)
    assert not schedule.is_due(100.79)
    assert schedule.is_due(101.0)
    assert schedule.compose((*held(2), LayerDigest(BOB, ranges((1, 5)))), 101.0) == (
        (LayerDigest(BOB, ranges((1, 5))),), False)


def test_what_may_still_be_on_its_way_is_waited_for():
    schedule = DigestSchedule('ada', 10.0, CONFIG)
    say(schedule, (), 100.0)
    schedule.exists(BOB, 7, (), 2.0, 100.0)
    assert not schedule.is_due(102.2)
    assert schedule.is_due(102.5)
    schedule.exists(BOB, 7, ranges((1, 7)), 2.0, 102.5)
    assert not schedule.is_due(102.5)
    assert not schedule.missing


def test_requests_that_bring_nothing_become_rare_and_any_success_renews_them():
    schedule = DigestSchedule('ada', 1000.0, CONFIG)
    say(schedule, (), 100.0)
    schedule.exists(BOB, 9, (), 0.0, 100.0)
    times_s = waits(schedule, (), 100.0, 60.0)
    assert 8 <= sum(time_s < 105.0 for time_s in times_s) <= 12
    assert len(times_s) <= 18
    schedule.exists(BOB, 9, ranges((1, 3)), 0.0, 160.0)
    assert len(waits(schedule, (), 160.0, 40.0)) > 5


def test_who_is_heard_again_is_told_soon_but_not_at_every_meeting():
    schedule = DigestSchedule('ada', 2.0, CONFIG)
    say(schedule, (), 100.0)
    schedule.meet(101.5)
    assert not schedule.is_due(101.59)
    assert schedule.is_due(102.0)
    say(schedule, (), 102.0)
    for tick in range(9):
        schedule.meet(102.0 + tick / 10)
        assert not schedule.is_due(102.0 + tick / 10)


def test_few_layers_are_told_whole():
    assert say(DigestSchedule('ada', 2.0, CONFIG), held(12), 100.0) == ([entry.layer for entry in held(12)], True)


@given(st.integers(13, 200), st.sets(st.integers(0, 199), max_size=30))
def test_many_layers_come_a_few_at_a_time_all_in_turn_and_what_is_missing_first(count, gaps):
    schedule, entries = DigestSchedule('ada', 2.0, CONFIG), held(count)
    for gap in gaps:
        schedule.exists(LayerId(f'robot{gap:03}', 1), 6, ranges((1, 5)), 0.0, 0.0)
    told = []
    for turn in range(-(-count // 4) + 1):
        layers, whole = say(schedule, entries, 10.0 * (turn + 1))
        assert not whole
        assert len(layers) == len(set(layers)) <= 12
        told.append(layers)
    everything = {layer for layers in told for layer in layers}
    assert everything >= {entry.layer for entry in entries}
    missing = {LayerId(f'robot{gap:03}', 1) for gap in gaps}
    assert len(missing & set(told[0])) >= min(len(missing), 8)


def test_unknown_layers_are_asked_for_by_name():
    schedule = DigestSchedule('ada', 2.0, CONFIG)
    say(schedule, held(20), 100.0)
    schedule.exists(ADA, 4, (), 0.0, 100.0)
    entries, whole = schedule.compose(held(20), 100.6)
    assert (entries, whole) == ((LayerDigest(ADA, ()),), False)


def test_memory_is_bounded():
    schedule = DigestSchedule('ada', 2.0, DigestConfig(max_layers=3))
    say(schedule, (), 0.0)
    for number in range(10):
        schedule.exists(LayerId(f'robot{number}', 1), 5, (), 0.0, 0.0)
    assert len(schedule.compose((), 1.0)[0]) == 3


@pytest.mark.parametrize('values', [{'early_s': (0.5, 0.3)}, {'meet_s': (-1.0, 0.3)}, {'layers': 0}, {'idle_s': 0.0}])
def test_wrong_settings_are_refused(values):
    with pytest.raises(ValueError, match=next(iter(values))):
        DigestConfig(**values)
