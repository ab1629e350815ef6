"""Sets of versions as disjoint ascending ranges: what a replica knows of a layer, and what another lacks.

All functions take ranges in that normal form and give them back in it, except ``normalized``, which makes it.
Their cost grows with the number of ranges, never with the number of versions.
"""

from collections.abc import Iterable

from marl_core.types import VersionRange

Ranges = tuple[VersionRange, ...]
"""Disjoint, ascending, not touching."""


def normalized(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Sort ranges and merge those that overlap or touch."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            if last > merged[-1][1]:
                merged[-1] = (merged[-1][0], last)
        else:
            merged.append((first, last))
    return tuple(VersionRange(first, last) for first, last in merged)


def from_versions(versions: Iterable[int]) -> Ranges:
    """Ranges that hold exactly the given versions."""
    return normalized((version, version) for version in versions)


def union(left: Ranges, right: Ranges) -> Ranges:
    """Versions in either."""
    return normalized((*left, *right))


def subtract(left: Ranges, right: Ranges) -> Ranges:
    """Versions in ``left`` that are not in ``right``."""
    kept: list[VersionRange] = []
    start = 0
    for first, last in left:
        while start < len(right) and right[start].last < first:
            start += 1
        position = start
        while first <= last and position < len(right) and right[position].first <= last:
            if first < right[position].first:
                kept.append(VersionRange(first, right[position].first - 1))
            first = max(first, right[position].last + 1)
            position += 1
        if first <= last:
            kept.append(VersionRange(first, last))
    return tuple(kept)


def intersect(left: Ranges, right: Ranges) -> Ranges:
    """Versions in both."""
    return subtract(left, subtract(left, right))


def covers(outer: Ranges, inner: Ranges) -> bool:
    """Whether every version of ``inner`` is in ``outer``."""
    return not subtract(inner, outer)


def above(ranges: Ranges, version: int) -> Ranges:
    """Versions greater than ``version``."""
    return tuple(VersionRange(max(first, version + 1), last) for first, last in ranges if last > version)
