"""Coverage against the plainest model of it: a verdict for each instant."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamforge_utils.model.coverage import (
    MOST_READ,
    SETTLED,
    IdsRead,
    Segment,
    Verdict,
    clip,
    extent,
    joined_reads,
    lacking,
    overlay,
    touching,
    without_records,
    without_stored,
)
from streamforge_utils.model.kinds.candles import Interval
from streamforge_utils.model.timeranges import TimeRange
from tests.model.strategies import SMALL, coverages, spans

Painted = dict[int, tuple[Verdict, str | None]]


def painted(segments: Sequence[Segment]) -> Painted:
    return {t: (s.verdict, s.collection) for s in segments for t in range(s.start_ms, s.end_ms)}


def tidy(segments: Sequence[Segment]) -> bool:
    return all(left.end_ms <= right.start_ms for left, right in itertools.pairwise(segments))


def joined_and_tidy(segments: Sequence[Segment]) -> bool:
    return tidy(segments) and not any(
        left.end_ms == right.start_ms and (left.verdict, left.collection) == (right.verdict, right.collection)
        for left, right in itertools.pairwise(segments)
    )


@given(coverages(), coverages())
def test_overlay_takes_the_new_where_both_speak(old: list[Segment], new: list[Segment]) -> None:
    found = overlay(old, new)
    assert painted(found) == painted(old) | painted(new)
    assert joined_and_tidy(found)
    assert all(segment.records in (0, segment.end_ms - segment.start_ms) for segment in found)
    assert painted(overlay(found, new)) == painted(found)
    assert [s.span for s in overlay(found, [])] == [s.span for s in found]


@given(coverages(), spans())
def test_clip_speaks_of_every_instant_of_the_span(segments: list[Segment], span: TimeRange) -> None:
    found = clip(segments, span)
    assert joined_and_tidy(found)
    assert (found[0].start_ms, found[-1].end_ms) == (span.start_ms, span.end_ms)
    was = painted(segments)
    unknown = (Verdict.UNKNOWN, None)
    assert painted(found) == {t: was.get(t, unknown) for t in range(span.start_ms, span.end_ms)}


@given(coverages(), spans())
def test_what_touches_a_span_is_all_that_shares_a_part_with_it(segments: list[Segment], span: TimeRange) -> None:
    assert touching(segments, span) == [one for one in segments if one.span.intersection(span) is not None]


@given(coverages())
def test_whole_bars_hold_the_same_open_times_with_the_same_verdicts(segments: list[Segment]) -> None:
    # One instant of the strategies is 400 ms: five of them are two bars of a second.
    scaled = [
        msgspec.structs.replace(s, start_ms=s.start_ms * 400, end_ms=s.end_ms * 400) for s in overlay((), segments)
    ]
    found = Interval.S1.rule.whole(scaled, None)
    assert tidy(found)
    assert all(time % 1000 == 0 for s in found for time in (s.start_ms, s.end_ms))
    before, after = (
        {t: (s.verdict, s.collection) for s in some for t in Interval.S1.rule.times(s.start_ms, s.end_ms)}
        for some in (scaled, found)
    )
    assert after == before


@given(coverages(), spans())
def test_lacking_is_what_is_neither_stored_nor_missing_at_the_exchange(
    segments: list[Segment], span: TimeRange
) -> None:
    was = painted(segments)
    done = {Verdict.STORED, Verdict.EXCHANGE, Verdict.CLOSED, Verdict.LOST}
    found = lacking(segments, span)
    instants = [t for r in found for t in range(r.start_ms, r.end_ms)]
    assert instants == [t for t in range(span.start_ms, span.end_ms) if was.get(t, (Verdict.UNKNOWN,))[0] not in done]
    assert all(left.end_ms < right.start_ms for left, right in itertools.pairwise(found))


@given(coverages(), spans(), st.sampled_from(sorted(SETTLED)))
def test_what_was_lacking_and_is_settled_lacks_no_more(
    segments: list[Segment], span: TimeRange, verdict: Verdict
) -> None:
    new = [Segment(start_ms=r.start_ms, end_ms=r.end_ms, verdict=verdict) for r in lacking(segments, span)]
    left = lacking(overlay(segments, new), span)
    again = verdict in (Verdict.PENDING, Verdict.EXPIRED)
    assert left == (lacking(segments, span) if again else [])


def test_a_new_verdict_in_the_middle_cuts_the_old_and_its_count() -> None:
    old = [Segment(start_ms=0, end_ms=SMALL, verdict=Verdict.STORED, collection="a", records=SMALL)]
    new = [Segment(start_ms=10, end_ms=20, verdict=Verdict.EXCHANGE)]
    assert overlay(old, new) == [
        Segment(start_ms=0, end_ms=10, verdict=Verdict.STORED, collection="a"),
        Segment(start_ms=10, end_ms=20, verdict=Verdict.EXCHANGE),
        Segment(start_ms=20, end_ms=SMALL, verdict=Verdict.STORED, collection="a"),
    ]


def test_a_finished_workflow_has_neither_ours_nor_unknown() -> None:
    assert frozenset(Verdict) - SETTLED == {Verdict.OURS, Verdict.UNKNOWN}


def stored(start: int, end: int, collection: str = "a", records: int = 0) -> Segment:
    return Segment(start_ms=start, end_ms=end, verdict=Verdict.STORED, collection=collection, records=records)


def said(start: int, end: int, verdict: Verdict) -> Segment:
    return Segment(start_ms=start, end_ms=end, verdict=verdict)


def test_what_ends_where_another_begins_is_not_cut_and_keeps_its_count() -> None:
    old = [stored(0, 10, records=10), stored(20, 30, records=10)]
    new = [said(10, 20, Verdict.OURS)]
    assert overlay(old, new) == [old[0], new[0], old[1]]


def test_neighbours_that_are_joined_are_counted_together_if_both_are_counted() -> None:
    assert overlay([stored(0, 10, records=10)], [stored(10, 20, records=7)]) == [stored(0, 20, records=17)]
    assert overlay([stored(0, 10, records=10)], [stored(10, 20)]) == [stored(0, 20)]
    assert overlay([stored(0, 10)], [stored(10, 20, records=7)]) == [stored(0, 20)]
    assert overlay([stored(0, 10, records=1)], [stored(10, 20, "b", records=1)]) == [
        stored(0, 10, records=1),
        stored(10, 20, "b", records=1),
    ]


def test_a_segment_that_is_clipped_keeps_its_count_only_as_a_whole() -> None:
    segments = [stored(0, 10, records=10), stored(20, 30, "b", records=9), said(30, 40, Verdict.CLOSED)]
    assert clip(segments, TimeRange(5, 35)) == [
        stored(5, 10),
        said(10, 20, Verdict.UNKNOWN),
        stored(20, 30, "b", records=9),
        said(30, 35, Verdict.CLOSED),
    ]


def test_what_is_stored_is_spoken_of_as_stored_or_not_at_all() -> None:
    old = [stored(0, 10), stored(20, 30, "b"), said(40, 50, Verdict.UNKNOWN), said(50, 60, Verdict.OURS)]
    new = [said(5, 25, Verdict.EXCHANGE), stored(25, 28, "c"), said(40, 60, Verdict.CLOSED)]
    assert without_stored(new, old) == [said(10, 20, Verdict.EXCHANGE), *new[1:]]
    assert without_stored(new, old, "a") == [said(5, 20, Verdict.EXCHANGE), *new[1:]]
    assert without_stored(new, old, "b") == [said(10, 25, Verdict.EXCHANGE), *new[1:]]


def test_only_the_records_of_one_collection_are_gone() -> None:
    segments = [stored(0, 10, records=10), stored(10, 20, "b", records=10), said(20, 30, Verdict.EXCHANGE)]
    assert without_records(segments, "a", TimeRange(2, 25)) == [stored(0, 2), *segments[1:]]
    assert without_records(segments, "b", TimeRange(2, 15)) == [segments[0], stored(15, 20, "b"), segments[2]]


MINUTE_MS, DAY_MS = 60_000, 86_400_000


@pytest.mark.parametrize(
    ("interval", "phase_ms", "records"),
    [(Interval.M1, None, (1440, 2880)), (Interval.D1, None, (1, 2)), (Interval.D3, DAY_MS, (0, 1))],
)
def test_stored_segments_are_counted_by_the_grid(
    interval: Interval, phase_ms: int | None, records: tuple[int, int]
) -> None:
    segments = [stored(0, DAY_MS), said(DAY_MS, 2 * DAY_MS, Verdict.EXCHANGE), stored(4 * DAY_MS, 6 * DAY_MS, "b", 5)]
    first, last = records
    assert interval.rule.counted(segments, phase_ms) == [
        stored(0, DAY_MS, records=first),
        segments[1],
        stored(4 * DAY_MS, 6 * DAY_MS, "b", last),
    ]


def test_bars_of_three_days_keep_their_count_where_the_grid_is_not_known() -> None:
    segments = [stored(0, DAY_MS, records=7)]
    assert Interval.D3.rule.counted(segments, None) == segments


def test_the_extent_goes_from_the_first_to_the_last_that_holds_records_or_may() -> None:
    inner = [said(10, 20, Verdict.UNKNOWN), stored(20, 30), said(30, 40, Verdict.OURS), said(50, 60, Verdict.EXCHANGE)]
    before, after = said(0, 10, Verdict.CLOSED), said(60, 70, Verdict.CLOSED)
    assert extent([before, *inner, after]) == TimeRange(10, 60)
    assert extent([before, inner[1], after]) == TimeRange(20, 30)
    assert extent([before, after]) == TimeRange(0, 70), "all of it is closed"
    assert extent([]) is None


def test_what_ends_where_a_later_segment_ends_leaves_nothing_behind_it() -> None:
    assert overlay([said(0, 10, Verdict.CLOSED)], [said(5, 10, Verdict.OURS)]) == [
        said(0, 5, Verdict.CLOSED),
        said(5, 10, Verdict.OURS),
    ]


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 9)), max_size=9), st.sets(st.integers(0, 50)))
def test_what_was_read_without_a_break_is_one(places: list[tuple[int, int]], market: set[int]) -> None:
    def read(start_ms: int, end_ms: int) -> IdsRead:
        ids = sorted(market & set(range(start_ms, end_ms)))  # the id is the time
        return IdsRead(
            start_ms=start_ms, end_ms=end_ms, first_id=min(ids, default=None), last_id=max(ids, default=None)
        )

    found = joined_reads([read(start, start + length) for start, length in places])
    assert found == tuple(read(one.start_ms, one.end_ms) for one in found)
    assert all(before.end_ms < after.start_ms for before, after in itertools.pairwise(found))
    assert {time for one in found for time in range(one.start_ms, one.end_ms)} == {
        time for start, length in places for time in range(start, start + length)
    }


def test_of_too_much_that_was_read_the_outer_ranges_are_kept() -> None:
    reads = [IdsRead(start_ms=2 * number, end_ms=2 * number + 1) for number in range(MOST_READ + 9)]
    assert joined_reads(reads) == (*reads[: MOST_READ // 2], *reads[-MOST_READ // 2 :])
