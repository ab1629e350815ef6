import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marl_core.errors import MessageError
from marl_core.mapping.coordinates import FURTHEST, STEP_CONTEXTS, checked, code_origin, code_steps
from marl_core.mapping.range_coder import CERTAIN, finish, reader, writer

places = st.integers(-FURTHEST, FURTHEST) | st.integers(-40, 40)


@given(tiles=st.lists(st.tuples(places, places), min_size=1, max_size=12, unique=True),
       origin=st.tuples(places, places))
@settings(max_examples=100, deadline=None)
def test_steps_come_back(tiles, origin):
    tiles, origin = np.array(tiles, np.int64), np.array(origin, np.int64)
    data, coder = np.empty(4096, np.uint8), writer()
    odds = np.full(STEP_CONTEXTS, CERTAIN // 2)
    code_origin(coder, data, origin.copy(), odds)
    code_steps(coder, data, 3, -4, tiles.copy(), odds)
    data = data[:finish(coder, data)].copy()
    coder, back_odds = reader(data), np.full(STEP_CONTEXTS, CERTAIN // 2)
    back, back_origin = np.zeros_like(tiles), np.zeros(2, np.int64)
    code_origin(coder, data, back_origin, back_odds)
    code_steps(coder, data, 3, -4, back, back_odds)
    np.testing.assert_array_equal(back, tiles)
    np.testing.assert_array_equal(back_origin, origin)
    np.testing.assert_array_equal(back_odds, odds)


@pytest.mark.parametrize(('tiles', 'reason'), [
    (((0, 0), (1, 1), (0, 0)), 'duplicate-tile'), (((0, FURTHEST + 1),), 'outside-bounds'),
    (((-FURTHEST - 1, 0),), 'outside-bounds')])
def test_what_no_message_may_name(tiles, reason):
    with pytest.raises(MessageError) as caught:
        checked(np.array(tiles, np.int64))
    assert caught.value.reason == reason


def test_tiles_at_the_very_edge_are_fine():
    edge = np.array(((FURTHEST, -FURTHEST), (-FURTHEST, FURTHEST)), np.int64)
    np.testing.assert_array_equal(checked(edge), edge)
