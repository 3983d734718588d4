"""Segments of whole bars: a part of a bar belongs to what holds the bar's open time, and to nothing else."""

from __future__ import annotations

import pytest

from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.kinds.candles import Interval
from streamforge_utils.model.timeranges import parse_time_range

DAY_MS = 86_400_000
UNKNOWN, OURS, EXCHANGE = Verdict.UNKNOWN, Verdict.OURS, Verdict.EXCHANGE


def said(first: float, last: float, verdict: Verdict, unit_ms: int = 60_000, records: int = 0) -> Segment:
    collection = "c" if verdict is Verdict.STORED else None
    start_ms, end_ms = int(first * unit_ms), int(last * unit_ms)
    return Segment(start_ms=start_ms, end_ms=end_ms, verdict=verdict, collection=collection, records=records)


def stored(first: float, last: float, records: int = 0) -> Segment:
    return said(first, last, Verdict.STORED, records=records)


def whole(*segments: Segment) -> list[Segment]:
    return Interval.M1.rule.whole(segments, None)


def test_a_part_without_an_open_time_has_no_verdict_of_its_own() -> None:
    for verdict in Verdict:
        assert whole(said(0.25, 0.5, verdict)) == []
    assert whole(said(0.5, 1, EXCHANGE), stored(1, 2, 1)) == [stored(1, 2, 1)]
    assert whole(stored(0, 0.5, 1), said(0.5, 1, EXCHANGE), stored(1, 2, 1)) == [stored(0, 2, 2)], "they touch now"


def test_what_holds_the_open_time_of_a_bar_holds_all_of_it_and_what_begins_in_it_nothing_of_it() -> None:
    assert whole(stored(0.5, 1.5, 1), said(1.5, 4.25, UNKNOWN), said(4.25, 5, EXCHANGE)) == [
        stored(1, 2, 1),
        said(2, 5, UNKNOWN),
    ]


def test_one_edge_inside_a_bar_is_enough() -> None:
    assert whole(stored(0, 1.5, 1)) == [stored(0, 2, 1)]
    assert whole(stored(0.5, 2, 1)) == [stored(1, 2, 1)]


def test_whole_bars_are_left_as_they_are() -> None:
    segments = [stored(0, 2, 2), said(2, 3, OURS), said(7, 9, UNKNOWN)]
    assert whole(*segments) == segments
    assert whole() == []


def test_bars_of_three_days_are_whole_on_their_own_grid() -> None:
    segments = [said(1, 2.5, OURS, DAY_MS), said(2.5, 3.75, UNKNOWN, DAY_MS), said(5, 6, EXCHANGE, DAY_MS)]
    assert Interval.D3.rule.whole(segments, None) == segments, "the grid is not known"
    assert Interval.D3.rule.whole(segments, 10 * DAY_MS) == [said(1, 4, OURS, DAY_MS)]
    assert Interval.D3.rule.whole(segments, 3 * DAY_MS) == [said(3, 6, UNKNOWN, DAY_MS)]
    assert Interval.D3.rule.whole([said(3, 6, OURS, DAY_MS)], DAY_MS) == [said(4, 7, OURS, DAY_MS)]


@pytest.mark.parametrize(
    ("interval", "given", "bars"),
    [
        (Interval.MO1, "2026-10-15:2026-11-15", "2026-11-01:2026-12-01"),
        (Interval.W1, "2026-11-20:2026-11-24", "2026-11-23:2026-11-30"),
        (Interval.W1, "2026-11-19:2026-11-26", "2026-11-23:2026-11-30"),
        (Interval.W1, "2026-11-22:2026-11-30", "2026-11-23:2026-11-30"),
        (Interval.W1, "2026-11-23:2026-11-29", "2026-11-23:2026-11-30"),
        (Interval.D1, "2026-11-19T01:00Z:2026-11-20T23:00Z", "2026-11-20:2026-11-21"),
    ],
)
def test_the_calendar_tells_which_bars_they_are(interval: Interval, given: str, bars: str) -> None:
    spans = [parse_time_range(text) for text in (given, bars)]
    before, after = (Segment(start_ms=s.start_ms, end_ms=s.end_ms, verdict=EXCHANGE) for s in spans)
    assert interval.rule.whole([before], None) == [after]
