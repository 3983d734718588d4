"""Pages of records that never change: what of an answer is taken, and in which order."""

from __future__ import annotations

import msgspec
import pytest

from streamforge_utils.model.kinds.kind import Record
from streamforge_utils.model.kinds.paging import Asked, ById, ByTime, Question, page_of
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange


def asked(question: Question, limit: int) -> Asked:
    series = Series("BTCUSDT", "trades")
    return Asked(series=series, question=question, sent=question, limit=limit, observed_ms=10_000, local_ms=10_000)


@pytest.mark.parametrize(
    ("question", "limit", "positions", "dropped"),
    [
        (ById(3), 10, [3, 4, 5, 6], {"repeated": 1, "unasked": 2}),
        (ById(3), 2, [3, 4], {"repeated": 1, "unasked": 2}),
        (ByTime(TimeRange(200, 600)), 10, [2, 3, 4, 5], {"repeated": 1, "unasked": 2}),
        (ByTime(TimeRange(200, 600), newest=True), 2, [4, 5], {"repeated": 1, "unasked": 2}),
        (ByTime(TimeRange(900, 999)), 2, [], {"unasked": 7}),
    ],
)
def test_what_was_asked_for_is_taken_once_in_order(
    question: Question, limit: int, positions: list[int], dropped: dict[str, int]
) -> None:
    rows = [(n, n * 100, Record(key=f"BTCUSDT_{n}", version=1)) for n in (5, 1, 2, 6, 3, 4, 4)]
    page = page_of(rows, asked(question, limit))
    assert page.positions == positions
    assert page.times == [n * 100 for n in positions]
    assert page.keys == [f"BTCUSDT_{n}".encode() for n in positions]
    assert [msgspec.json.decode(value)["_key"] for value in page.values] == [f"BTCUSDT_{n}" for n in positions]
    assert page.dropped == dropped
