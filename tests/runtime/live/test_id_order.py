"""Records with ids are given in order, each once, however they come."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamforge_utils.model.kinds.paging import Page
from streamforge_utils.runtime.live.id_order import RECORD_BYTES, IdOrder


def records(*ids: int) -> Page:
    return Page(ids, [1000 + one for one in ids], [b"k%d" % one for one in ids], [b"v%d" % one for one in ids])


def given_back(order: IdOrder, most: int = 1000) -> list[int]:
    page = order.give(most)
    assert (page.times, page.keys, page.values) == (
        [1000 + one for one in page.positions],
        [b"k%d" % one for one in page.positions],
        [b"v%d" % one for one in page.positions],
    )
    return list(page.positions)


@given(
    st.lists(st.lists(st.integers(0, 12), max_size=8), max_size=12),
    st.integers(0, 4),
    st.integers(1, 5),
)
def test_what_follows_is_given_once_and_what_it_holds_is_counted(
    batches: list[list[int]], first: int, most: int
) -> None:
    order, seen, out = IdOrder(), set[int](), list[int]()
    order.begin(first)
    for batch in batches:
        new = {one for one in batch if one >= first} - seen
        assert order.take(records(*batch)) == len(new)
        seen |= new
        out += given_back(order, most)
    while order.ready:
        out += given_back(order, most)
    expected = first
    while expected in seen:
        expected += 1
    assert out == [*range(first, expected)]
    behind = sorted(one for one in seen if one >= expected)
    assert order.holds == bool(behind)
    assert order.gap == (range(expected, behind[0]) if behind else None)
    assert order.bytes == sum(len(b"v%d" % one) + RECORD_BYTES for one in behind)
    order.skip(behind[0] if behind else expected)
    assert given_back(order)[:1] == behind[:1]


@pytest.mark.parametrize(
    ("before", "first", "after", "out"),
    [
        ([], None, [7, 6, 8], [6, 7, 8]),
        ([8, 7], None, [9], [7, 8, 9]),
        ([3, 7, 8], 7, [9], [7, 8, 9]),
        ([3, 4], 9, [9], [9]),
        ([], 7, [8], []),
    ],
)
def test_it_begins_at_the_id_that_is_named_or_at_the_least_one(
    before: list[int], first: int | None, after: list[int], out: list[int]
) -> None:
    order = IdOrder()
    order.take(records(*before))
    assert not order.ready
    assert order.gap is None
    order.begin(first)
    order.take(records(*after))
    assert given_back(order) == out
