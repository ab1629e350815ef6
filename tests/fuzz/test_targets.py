"""The targets of the fuzzer with inputs from hypothesis: noise, and valid inputs with some bytes changed."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marl_core.mapping.codec import CODECS
from tests.fuzz.targets import TARGETS, seeds

changes = st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), max_size=6)


TAKEN = {'packets': 6, 'tiles': 1 + len(CODECS), 'joins': 1, 'links': 1, 'files': 1}
"""Seeds of which something is believed: the other tiles build on what a reader without a map lacks, and what is joined
but for the last is held already."""


@pytest.mark.parametrize('target', TARGETS)
def test_valid_inputs_are_believed(target):
    assert sum(TARGETS[target](seed) > 0 for seed in seeds(target)) == TAKEN[target]


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
