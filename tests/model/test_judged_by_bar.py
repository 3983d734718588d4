"""Parts of bars: what nobody asked for and holds no open time has the verdict of the bar that it lies in."""

from __future__ import annotations

from streamforge_utils.model.coverage import Segment, Verdict, judged_by_bar
from streamforge_utils.model.intervals import Interval

DAY_MS = 86_400_000
UNKNOWN, OURS, EXCHANGE = Verdict.UNKNOWN, Verdict.OURS, Verdict.EXCHANGE


def said(first: float, last: float, verdict: Verdict, unit_ms: int = 60_000, records: int = 0) -> Segment:
    collection = "c" if verdict is Verdict.STORED else None
    start_ms, end_ms = int(first * unit_ms), int(last * unit_ms)
    return Segment(start_ms=start_ms, end_ms=end_ms, verdict=verdict, collection=collection, records=records)


def stored(first: float, last: float, records: int = 0) -> Segment:
    return said(first, last, Verdict.STORED, records=records)


def judged(*segments: Segment) -> list[Segment]:
    return judged_by_bar(segments, Interval.M1, None)


def test_a_part_has_the_verdict_of_what_holds_the_open_time_of_its_bar_and_no_records() -> None:
    ours, part = said(1.5, 1.75, OURS), said(1.75, 2, UNKNOWN)
    assert judged(stored(0, 1.5, 2), ours, part) == [stored(0, 1.5, 2), ours, stored(1.75, 2)]
    assert judged(stored(0, 1, 1), said(1, 1.5, EXCHANGE), said(1.5, 2, UNKNOWN)) == [
        stored(0, 1, 1),
        said(1, 2, EXCHANGE),
    ]


def test_a_bar_of_which_the_open_time_is_unknown_stays_unknown() -> None:
    for whole in ((stored(0, 1, 1), said(1, 2, UNKNOWN)), (said(0.5, 0.75, UNKNOWN), stored(0.75, 1))):
        assert judged(*whole) == list(whole)
    beyond = (stored(0, 1.5, 2), said(1.5, 2.25, UNKNOWN))
    assert judged(*beyond) == list(beyond), "a bar opens in it"


def test_bars_of_three_days_are_judged_on_their_own_grid() -> None:
    held = said(1, 2.5, Verdict.STORED, DAY_MS, records=1)
    segments = [held, said(2.5, 4, UNKNOWN, DAY_MS), said(4, 5, UNKNOWN, DAY_MS)]
    inside = [held, said(2.5, 3.75, UNKNOWN, DAY_MS), said(3.75, 4.5, OURS, DAY_MS)]
    assert judged_by_bar(segments, Interval.D3, None) == segments
    assert judged_by_bar(segments, Interval.D3, 10 * DAY_MS) == [
        said(1, 4, Verdict.STORED, DAY_MS),
        said(4, 5, UNKNOWN, DAY_MS),
    ]
    assert judged_by_bar(inside, Interval.D3, 3 * DAY_MS) == inside, "of another grid a bar opens in it"
