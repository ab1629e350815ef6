"""Advantages against numbers worked out by hand."""

import numpy as np
import pytest

from sim.learning.gae import advantages, standardised


def _column(*values):
    return np.array(values, np.float32).reshape(-1, 1)


def _always(rows):
    return np.ones((rows, 1), bool)


def test_advantages_by_hand():
    result = advantages(_column(1, 2, 3), _column(0.5, 1.0, 1.5, 9.0), _column(1, 1, 1),
                        np.array([[False], [False], [True]]), _always(3), _always(3), discount=0.9, trace=0.5)
    # surprises: 1 + .9*1 - .5 = 1.4; 2 + .9*1.5 - 1 = 2.35; 3 - 1.5 = 1.5 (the 9 behind the end does not count)
    # advantages: 1.5; 2.35 + .45*1.5 = 3.025; 1.4 + .45*3.025 = 2.76125
    assert result[:, 0] == pytest.approx([2.76125, 3.025, 1.5])


def test_long_decisions_discount_more():
    result = advantages(_column(0, 0), _column(0, 4, 8), _column(2, 3), np.zeros((2, 1), bool), _always(2),
                        _always(2), discount=0.5, trace=1.0)
    # last: 0.5^3 * 8 - 4 = -3; first: 0.5^2 * 4 - 0 + 0.5^2 * -3 = 0.25
    assert result[:, 0] == pytest.approx([0.25, -3.0])


def test_cutting_time_finer_changes_nothing_with_full_trace():
    """Ten seconds in one decision or in two of 4 s and 6 s: the same advantage, if the reward comes at the end."""
    whole = advantages(_column(3), _column(1, 7), _column(10), np.zeros((1, 1), bool), _always(1), _always(1), 0.9,
                       1.0)
    parts = advantages(_column(0, 3 / 0.9 ** 4), _column(1, 5, 7), _column(4, 6), np.zeros((2, 1), bool),
                       _always(2), _always(2), 0.9, 1.0)
    assert parts[0] == pytest.approx(whole[0], rel=1e-5)


def test_cut_off_episodes_count_on_the_value_of_their_end():
    cut = advantages(_column(1), _column(0, 10), _column(1), np.array([[False]]), _always(1), _always(1), 0.5, 0.9)
    ended = advantages(_column(1), _column(0, 10), _column(1), np.array([[True]]), _always(1), _always(1), 0.5, 0.9)
    assert cut[0, 0] == pytest.approx(6.0)
    assert ended[0, 0] == pytest.approx(1.0)


def test_agents_that_are_gone_pass_nothing_back():
    alive = np.array([[True, True], [True, False]])
    rewards = np.array([[1, 1], [5, 5]], np.float32)
    result = advantages(rewards, np.zeros((3, 2), np.float32), np.ones((2, 2), np.float32),
                        np.array([[False, True], [True, False]]), alive, alive, 1.0, 1.0)
    assert result.tolist() == [[6.0, 1.0], [5.0, 0.0]]


def test_steps_without_a_choice_are_part_of_the_decision_before():
    ended = np.array([[False], [False], [True]])
    result = advantages(_column(1, 2, 3), _column(0.5, 1.0, 1.5, 9.0), _column(1, 1, 1), ended, _always(3),
                        np.array([[True], [False], [True]]), discount=0.9, trace=0.5)
    # surprises as above: 1.4, 2.35, 1.5. Lambda weighs only what lies behind a choice:
    # 1.5; 2.35 + .9*.5*1.5 = 3.025; 1.4 + .9*3.025 = 4.1225. What was not chosen has no advantage.
    assert result[:, 0] == pytest.approx([4.1225, 0.0, 1.5])
    # The same as one decision of 2 units that earned 1 + .9*2, whatever the value in between:
    merged = advantages(_column(2.8, 3), _column(0.5, 1.5, 9.0), _column(2, 1), ended[1:], _always(2), _always(2),
                        discount=0.9, trace=0.5)
    assert merged[:, 0] == pytest.approx(result[[0, 2], 0])


def test_values_of_steps_without_a_choice_are_not_looked_at():
    ended, choosing = np.array([[False], [False], [True]]), np.array([[True], [False], [True]])
    results = [advantages(_column(1, 2, 3), _column(0.5, between, 1.5, 9.0), _column(1, 1, 1), ended, _always(3),
                          choosing, discount=0.9, trace=0.5) for between in (1.0, -50.0)]
    assert results[0].tolist() == results[1].tolist()


def test_robust_scale_survives_a_stuck_episode():
    values = np.concatenate([np.random.default_rng(0).normal(0, 1, 1000), np.full(20, -500.0)]).astype(np.float32)
    robust, plain = standardised(values, 4.0, True), standardised(values, 4.0, False)
    assert robust[:1000].std() > 0.5
    assert plain[:1000].std() < 0.1
    assert np.abs(robust).max() <= 4.0


def test_robust_scale_is_the_deviation_of_normal_values():
    values = np.random.default_rng(1).normal(3.0, 7.0, 20_000).astype(np.float32)
    assert standardised(values, 10.0, True).std() == pytest.approx(1.0, abs=0.03)
