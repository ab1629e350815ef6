import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from marl_core.mapping.insertion import scan_scratch, stop_at_discs, turn_beams

PLACES = st.floats(-30.0, 30.0)


@settings(deadline=None)  # the first example compiles
@given(beams=st.integers(1, 90), first_rad=st.floats(-7.0, 7.0), turn=st.floats(-1.0, 1.0),
       discs=st.lists(st.tuples(PLACES, PLACES, st.floats(0.0, 12.0)), min_size=1, max_size=4),
       seed=st.integers(0, 2**16))
def test_only_beams_that_point_at_a_disc_are_looked_at_and_none_is_missed(
        beams: int, first_rad: float, turn: float, discs: list[tuple[float, float, float]], seed: int) -> None:
    angles = first_rad + np.arange(beams) * turn * 2.0 * np.pi / beams
    reach = np.random.default_rng(seed).uniform(0.5, 40.0, beams)
    is_hit = np.random.default_rng(seed).random(beams) < 0.8
    scratch = scan_scratch(beams, 50.0, (100, 100))
    scratch.reach[:], scratch.is_hit[:] = reach, is_hit
    turn_beams(np.cos(angles), np.sin(angles), 0.0, scratch)
    stop_at_discs(beams, 3.0, -2.0, np.array(discs), scratch)
    for x, y, radius in discs:
        along = np.cos(angles) * (x - 3.0) + np.sin(angles) * (y + 2.0)
        under = radius**2 - ((x - 3.0)**2 + (y + 2.0)**2 - along**2)
        half = np.sqrt(np.maximum(under, 0.0))
        ends = is_hit & (under > 1e-9) & (along - half <= reach) & (reach <= along + half)
        reach, is_hit = np.where(ends, np.maximum(along - half, 0.0), reach), is_hit & ~ends
    np.testing.assert_allclose(scratch.reach, reach, atol=1e-6)
    assert np.array_equal(scratch.is_hit != 0, is_hit)
