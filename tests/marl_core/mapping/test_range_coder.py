from math import exp, log2

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from marl_core.mapping.range_coder import (
    CERTAIN,
    MAX_LOG_ODDS,
    STEPS_PER_NAT,
    code_bit,
    finish,
    is_starved,
    logistic_table,
    reader,
    writer,
)


def written(decisions: list[tuple[int, int]]) -> np.ndarray:
    data, coder = np.empty(2 * len(decisions) + 16, np.uint8), writer()
    for probability, bit in decisions:
        code_bit(coder, data, probability, bit)
    return data[:finish(coder, data)].copy()


probabilities = st.one_of(st.integers(1, CERTAIN - 1), st.sampled_from((1, CERTAIN // 2, CERTAIN - 1)))


@given(decisions=st.lists(st.tuples(probabilities, st.integers(0, 1)), max_size=300))
@settings(max_examples=200, deadline=None)
def test_what_is_written_is_read(decisions):
    data = written(decisions)
    coder = reader(data)
    for probability, bit in decisions:
        assert code_bit(coder, data, probability, 0) == bit
        assert not is_starved(coder, data)


def test_carries_run_through_bytes_of_ones():
    """The least likely outcome again and again puts the interval at its upper end."""
    decisions = [(CERTAIN - 1, 0)] * 40 + [(1, 1)] * 3 + [(CERTAIN - 1, 0)] * 40
    data = written(decisions)
    coder = reader(data)
    assert [code_bit(coder, data, probability, 0) for probability, _ in decisions] == [bit for _, bit in decisions]


def test_size_is_what_the_probabilities_say():
    random = np.random.default_rng(0)
    probability = CERTAIN // 16
    bits = (random.random(20_000) < 1 / 16).astype(int)
    entropy_bytes = sum(-log2(1 / 16 if bit else 15 / 16) for bit in bits) / 8
    size = len(written([(probability, int(bit)) for bit in bits]))
    assert entropy_bytes <= size <= 1.001 * entropy_bytes + 4


def test_probabilities_of_log_odds():
    table = logistic_table()
    assert table.size == 2 * MAX_LOG_ODDS + 1
    assert table[MAX_LOG_ODDS] == CERTAIN // 2
    assert table[MAX_LOG_ODDS + STEPS_PER_NAT] == 47911  # 65536 / (1 + 1/e)
    np.testing.assert_array_equal(table + table[::-1], CERTAIN)
    exact = [CERTAIN / (1 + exp(-k / STEPS_PER_NAT)) for k in range(-MAX_LOG_ODDS, MAX_LOG_ODDS + 1)]
    assert np.abs(table - exact).max() <= 0.5 + 1e-6
    assert (table.min(), table.max()) == (1, CERTAIN - 1)


def test_a_reader_that_goes_on_past_the_end_is_starved():
    data = np.array((0x12, 0x34), np.uint8)
    coder = reader(data)
    for _ in range(80):
        code_bit(coder, data, CERTAIN // 2, 0)
    assert is_starved(coder, data)
