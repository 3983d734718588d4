"""Sorted, disjoint ranges of indexes: what is in two lists of them, and what is left of one."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence


def common(some: Sequence[range], others: Sequence[range]) -> list[range]:
    """What is in both."""
    found: list[range] = []
    at = bisect_right(some, others[0].start, key=lambda one: one.stop) if others else 0
    other = 0
    while at < len(some) and other < len(others):
        one, two = some[at], others[other]
        both = range(max(one.start, two.start), min(one.stop, two.stop))
        if both:
            found.append(both)
        if one.stop <= two.stop:
            at += 1
        else:
            other += 1
    return found


def outside(whole: range, cuts: Sequence[range]) -> list[range]:
    """What is left of `whole` without `cuts`, which lie in it."""
    starts, ends = [whole.start, *(cut.stop for cut in cuts)], [*(cut.start for cut in cuts), whole.stop]
    return [range(start, end) for start, end in zip(starts, ends, strict=True) if start < end]
