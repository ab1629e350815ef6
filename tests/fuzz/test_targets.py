"""The targets of the fuzzer with inputs from hypothesis: noise, and valid inputs with some bytes changed."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS, seeds

changes = st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), max_size=6)


@pytest.mark.parametrize('target', TARGETS)
def test_valid_inputs_pass(target):
    for seed in seeds(target):
        TARGETS[target](seed)


@pytest.mark.parametrize('target', TARGETS)
@given(data=st.binary(max_size=400))
@settings(max_examples=60, deadline=None)
def test_noise_is_refused_or_harmless(target, data):
    TARGETS[target](data)


@pytest.mark.parametrize('target', TARGETS)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_damage_is_refused_or_harmless(target, data):
    known = seeds(target)
    seed = bytearray(data.draw(st.sampled_from(known)))
    for position, value in data.draw(changes):
        seed[position % len(seed)] = value
    seed = bytes(seed)[:data.draw(st.integers(0, len(seed)))] if data.draw(st.booleans()) else bytes(seed)
    TARGETS[target](seed)
