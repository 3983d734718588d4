"""Coverage against the plainest model of it: a verdict for each instant."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from streamforge_utils.model.coverage import SETTLED, Segment, Verdict, clip, judged_by_bar, lacking, overlay
from streamforge_utils.model.intervals import Interval
from streamforge_utils.model.timeranges import TimeRange
from tests.model.strategies import SMALL, coverages, spans

Painted = dict[int, tuple[Verdict, str | None]]


def painted(segments: Sequence[Segment]) -> Painted:
    return {t: (s.verdict, s.collection) for s in segments for t in range(s.start_ms, s.end_ms)}


def tidy(segments: Sequence[Segment]) -> bool:
    return all(left.end_ms <= right.start_ms for left, right in itertools.pairwise(segments))


@given(coverages(), coverages())
def test_overlay_takes_the_new_where_both_speak(old: list[Segment], new: list[Segment]) -> None:
    found = overlay(old, new)
    assert painted(found) == painted(old) | painted(new)
    assert tidy(found)


@given(coverages(), coverages())
def test_overlay_joins_what_is_equal(old: list[Segment], new: list[Segment]) -> None:
    found = overlay(old, new)
    for left, right in itertools.pairwise(found):
        same = (left.verdict, left.collection) == (right.verdict, right.collection)
        assert not (same and left.end_ms == right.start_ms)


@given(coverages(), coverages())
def test_overlay_again_changes_nothing(old: list[Segment], new: list[Segment]) -> None:
    once = overlay(old, new)
    assert painted(overlay(once, new)) == painted(once)
    assert [(s.start_ms, s.end_ms) for s in overlay(once, [])] == [(s.start_ms, s.end_ms) for s in once]


@given(coverages(), coverages())
def test_a_count_of_records_is_kept_only_where_it_is_true(old: list[Segment], new: list[Segment]) -> None:
    for segment in overlay(old, new):
        assert segment.records in (0, segment.end_ms - segment.start_ms)


@given(coverages(), spans())
def test_clip_speaks_of_every_instant_of_the_span(segments: list[Segment], span: TimeRange) -> None:
    found = clip(segments, span)
    assert tidy(found)
    assert (found[0].start_ms, found[-1].end_ms) == (span.start_ms, span.end_ms)
    was = painted(segments)
    unknown = (Verdict.UNKNOWN, None)
    assert painted(found) == {t: was.get(t, unknown) for t in range(span.start_ms, span.end_ms)}


@given(coverages(), spans())
def test_clip_joins_what_is_equal(segments: list[Segment], span: TimeRange) -> None:
    for left, right in itertools.pairwise(clip(segments, span)):
        assert (left.verdict, left.collection) != (right.verdict, right.collection)


@given(coverages(), spans())
def test_an_unknown_part_in_which_no_bar_opens_has_the_verdict_of_its_bar(
    segments: list[Segment], span: TimeRange
) -> None:
    # One instant of the strategies is 400 ms: five of them are two bars of a second.
    scaled = [
        msgspec.structs.replace(s, start_ms=s.start_ms * 400, end_ms=s.end_ms * 400) for s in clip(segments, span)
    ]
    found = judged_by_bar(scaled, Interval.S1, None)
    assert tidy(found)
    assert (found[0].start_ms, found[-1].end_ms) == (scaled[0].start_ms, scaled[-1].end_ms)
    before = {t: (s.verdict, s.collection) for s in scaled for t in range(s.start_ms, s.end_ms, 200)}
    after = {t: (s.verdict, s.collection) for s in found for t in range(s.start_ms, s.end_ms, 200)}
    barless = {
        t
        for s in scaled
        if s.verdict is Verdict.UNKNOWN and not len(Interval.S1.grid(s.start_ms, s.end_ms))
        for t in range(s.start_ms, s.end_ms, 200)
    }
    for time, verdict in after.items():
        bar = time // 1000 * 1000
        assert verdict == (before.get(bar, before[time]) if time in barless else before[time])


@given(coverages(), spans())
def test_lacking_is_what_is_neither_stored_nor_missing_at_the_exchange(
    segments: list[Segment], span: TimeRange
) -> None:
    was = painted(segments)
    done = {Verdict.STORED, Verdict.EXCHANGE, Verdict.CLOSED}
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
    assert left == ([] if verdict is not Verdict.PENDING else lacking(segments, span))


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
