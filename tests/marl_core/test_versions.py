from hypothesis import given
from hypothesis import strategies as st

from marl_core.types import VersionRange
from marl_core.versions import above, covers, from_versions, intersect, normalized, subtract, union

SETS = st.sets(st.integers(1, 30))


def members(ranges) -> set[int]:
    return {version for first, last in ranges for version in range(first, last + 1)}


def assert_normal(ranges) -> None:
    for first, last in ranges:
        assert first <= last
    for lower, upper in zip(ranges, ranges[1:]):
        assert lower.last + 1 < upper.first


@given(SETS, SETS, st.integers(0, 31))
def test_ranges_behave_as_sets(left, right, version):
    one, other = from_versions(left), from_versions(right)
    assert_normal(one)
    assert members(one) == left
    for result, expected in ((union(one, other), left | right), (subtract(one, other), left - right),
                             (intersect(one, other), left & right),
                             (above(one, version), {entry for entry in left if entry > version})):
        assert_normal(result)
        assert members(result) == expected
    assert covers(one, other) == (right <= left)


def test_normal_form_merges_what_overlaps_or_touches():
    assert normalized([(7, 9), (1, 3), (4, 5), (8, 8)]) == (VersionRange(1, 5), VersionRange(7, 9))


def test_huge_ranges_cost_nothing():
    assert subtract(((VersionRange(1, 2**32 - 1)),), (VersionRange(5, 2**31),)) == ((1, 4), (2**31 + 1, 2**32 - 1))
