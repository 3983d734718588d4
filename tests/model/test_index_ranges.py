"""Ranges of indexes against sets of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from streamforge_utils.model.index_ranges import common, outside

MOST = 40


@st.composite
def ranges(draw: st.DrawFn) -> list[range]:
    ends = sorted(draw(st.sets(st.integers(0, MOST), max_size=12)))
    return [range(start, stop) for start, stop in zip(ends[::2], ends[1::2], strict=False)]


def members(found: Sequence[range]) -> set[int]:
    assert all(one for one in found)
    assert all(one.stop <= other.start for one, other in pairwise(found)), "sorted and disjoint"
    return {index for one in found for index in one}


@given(ranges(), ranges())
def test_common_is_what_is_in_both(some: list[range], others: list[range]) -> None:
    assert members(common(some, others)) == members(some) & members(others)


@given(ranges())
def test_outside_is_what_is_left(cuts: list[range]) -> None:
    whole = range(MOST)
    assert members(outside(whole, cuts)) == set(whole) - members(cuts)
