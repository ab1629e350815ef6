from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marl_core.communication.budget import MAP_NODE_BUDGET, Budget, SteadyClock, TokenBucket


def test_bucket_starts_full_and_refills_to_the_burst():
    bucket = TokenBucket(100.0, 250.0)
    assert bucket.available(10.0) == 250.0
    assert bucket.spend(200.0, 10.0)
    assert not bucket.spend(51.0, 10.0)
    assert bucket.available(11.0) == pytest.approx(150.0)
    assert bucket.available(100.0) == 250.0


def test_new_tiles_and_answers_leave_each_other_their_share():
    budget = Budget(rate_bytes_per_s=1000.0, feature_period_s=2.0, answer_share=0.3, answer_bytes=500.0)
    assert budget.reserved_bytes == pytest.approx(600.0)
    assert Budget(rate_bytes_per_s=1000.0, feature_period_s=2.0, answer_share=0.3, answer_bytes=700.0).reserved_bytes \
        == 700.0
    assert [budget.accrued_bytes(until_s) for until_s in (3.0, 2.0, 0.5, 0.0, -9.0)] == pytest.approx(
        [0.0, 0.0, 1050.0, 1400.0, 1400.0])


def test_time_that_does_not_pass_adds_nothing():
    bucket = TokenBucket(100.0, 250.0)
    bucket.spend(250.0, 10.0)
    assert bucket.available(9.0) == 0.0
    assert bucket.available(nan) == 0.0
    assert bucket.available(inf) == 0.0
    assert bucket.available(9.5) == pytest.approx(50.0)


def test_nothing_negative_or_unreal_is_spent():
    bucket = TokenBucket(100.0, 250.0)
    assert not bucket.spend(-5.0, 0.0)
    assert not bucket.spend(nan, 0.0)
    assert bucket.available(0.0) == 250.0


@given(st.lists(st.tuples(st.floats(0.0, 3.0), st.floats(0.0, 400.0)), max_size=60))
def test_never_more_than_the_burst_and_the_rate(steps):
    bucket, now, spent = TokenBucket(100.0, 250.0), 0.0, 0.0
    bucket.available(now)
    for elapsed_s, size_bytes in steps:
        now += elapsed_s
        spent += size_bytes if bucket.spend(size_bytes, now) else 0.0
        assert spent <= 250.0 + 100.0 * now + 1e-6


def test_steady_clock_counts_and_bridges_faults():
    clock = SteadyClock()
    assert clock.advance(nan) == 0.0
    assert [clock.advance(t) for t in (100.0, 101.0, 50.0, 50.5, nan, inf, 51.0)] == [
        100.0, 101.0, 101.0, 101.5, 101.5, 101.5, 102.0]
    assert clock.faults == 4


@pytest.mark.parametrize(('field', 'value'), [
    ('rate_bytes_per_s', 0.0), ('rate_bytes_per_s', nan), ('burst_bytes', 100.0), ('burst_bytes', inf),
    ('digest_period_s', -1.0), ('answer_share', 1.0), ('answer_bytes', 0.0)])
def test_wrong_budgets_are_refused(field, value):
    with pytest.raises(ValueError, match=field):
        Budget(**{field: value})


def test_a_map_node_may_say_more():
    assert MAP_NODE_BUDGET.rate_bytes_per_s > Budget().rate_bytes_per_s


def test_a_burst_must_hold_an_answer_and_its_share():
    with pytest.raises(ValueError, match='burst_bytes'):
        Budget(answer_bytes=6000.0)
