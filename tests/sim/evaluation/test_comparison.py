"""Paired comparison."""

import math

import numpy as np
import pytest

from marl_core.errors import TrainingError
from sim.evaluation.comparison import compare, table, write
from sim.evaluation.statistics import interquartile_mean


def test_interquartile_mean_by_hand():
    assert interquartile_mean(np.array([1000.0, 3.0, 1.0, 4.0, 2.0, 5.0, -99.0, 0.0])) == pytest.approx(2.5)


def test_ratio_is_paired():
    theirs = np.exp(np.random.default_rng(0).normal(4, 2, 60))
    result = compare('ours', 'base', 'makespan_s', theirs * 0.9, theirs)
    assert result.ratio.value == pytest.approx(0.9)
    assert result.ratio.low == pytest.approx(0.9)  # the same everywhere: no doubt, however different the worlds
    assert result.ratio.high == pytest.approx(0.9)
    assert result.better == 1.0


def test_interval_covers_the_truth_as_often_as_promised():
    random, covered = np.random.default_rng(1), 0
    for _ in range(100):
        theirs = np.exp(random.normal(4, 1, 50))
        result = compare('a', 'b', 'm', theirs * np.exp(random.normal(-0.05, 0.1, 50)), theirs, samples=300)
        covered += result.ratio.low < math.exp(-0.05) < result.ratio.high
    assert 88 <= covered <= 99


def test_unfinished_episodes_are_dropped_from_both_and_counted():
    result = compare('a', 'b', 'm', [1.0, math.inf, 2.0], [1.0, 1.0, math.nan])
    assert (result.episodes, result.dropped, result.ratio.value) == (1, 2, 1.0)


def test_refusals():
    with pytest.raises(TrainingError, match='not paired'):
        compare('a', 'b', 'm', [1.0], [1.0, 2.0])
    with pytest.raises(TrainingError, match='no episode'):
        compare('a', 'b', 'm', [math.inf], [1.0])


def test_table_and_file(tmp_path):
    rows = [compare('ours', 'base', 'makespan_s', [9.0, 8.0, 7.0], [10.0, 10.0, 10.0])]
    assert 'ours' in table(rows)
    assert 'makespan_s, 3 paired episodes' in table(rows)
    write(tmp_path / 'result.json', rows, {'episodes': 3})
    assert '"policy": "ours"' in (tmp_path / 'result.json').read_text()
