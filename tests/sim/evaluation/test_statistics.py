import numpy as np
import pytest

from sim.evaluation.statistics import Stratum, compare, interquartile_mean


def test_half_the_time_is_a_ratio_of_one_half():
    row = compare([Stratum([1.0, 2.0, 4.0], [2.0, 4.0, 8.0], [0, 1, 2])])
    assert (row.mean.value, row.mean.low, row.mean.high) == pytest.approx((0.5, 0.5, 0.5))
    assert row.better.value == 1.0
    assert (row.episodes, row.lost, row.won) == (3, 0, 0)


def test_means_are_geometric_and_ties_count_half():
    row = compare([Stratum([1.0, 4.0, 3.0], [2.0, 2.0, 3.0], [0, 1, 2])])
    assert row.mean.value == pytest.approx(1.0)
    assert row.better.value == pytest.approx(0.5)


def test_spread_is_that_of_single_ratios():
    row = compare([Stratum([2.0, 0.5, 2.0, 0.5], [1.0] * 4, [0, 1, 2, 3])])
    assert row.spread.value == pytest.approx(np.log(2.0))
    assert compare([Stratum([0.5] * 9, [1.0] * 9, range(9))]).spread.high == pytest.approx(0.0)


def test_unfinished_episodes_are_counted_and_not_averaged():
    row = compare([Stratum([np.nan, 1.0, np.nan, 1.0], [1.0, np.nan, np.nan, 2.0], [0, 1, 2, 3])])
    assert row.mean.value == pytest.approx(0.5)
    assert (row.episodes, row.lost, row.won) == (1, 1, 1)
    assert compare([Stratum([np.nan], [1.0], [0])]) is None


def test_starts_in_one_world_are_no_independent_evidence():
    random = np.random.default_rng(0)
    ratios = np.repeat(np.exp(random.normal(0.0, 0.2, 10)), 20)
    ones = np.ones(ratios.size)
    alone = compare([Stratum(ratios, ones, np.arange(ratios.size))])
    together = compare([Stratum(ratios, ones, np.repeat(np.arange(10), 20))])
    assert together.mean.value == pytest.approx(alone.mean.value)
    assert together.mean.high - together.mean.low > 3.0 * (alone.mean.high - alone.mean.low)


def test_sets_are_resampled_each_for_itself():
    """Sets that differ much do not widen the interval: each keeps its size in every sample."""
    row = compare([Stratum([2.0] * 30, [1.0] * 30, list(range(30))), Stratum([0.5] * 30, [1.0] * 30, list(range(30)))])
    assert (row.mean.low, row.mean.high) == pytest.approx((1.0, 1.0))


def test_interquartile_mean_by_hand():
    assert interquartile_mean(np.array([1000.0, 3.0, 1.0, 4.0, 2.0, 5.0, -99.0, 0.0])) == pytest.approx(2.5)


def test_interval_covers_the_truth_as_often_as_promised():
    random, covered = np.random.default_rng(1), 0
    for _ in range(100):
        theirs = np.exp(random.normal(4, 1, 50))
        row = compare([Stratum(theirs * np.exp(random.normal(-0.05, 0.1, 50)), theirs, range(50))], samples=300)
        covered += row.mean.low < np.exp(-0.05) < row.mean.high
    assert 88 <= covered <= 99
