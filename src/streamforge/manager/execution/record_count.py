"""Counting what the store holds against what coverage says of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from streamforge.manager.execution.survey import Survey, survey
from streamforge.manager.persistence.coverage_store import Known
from streamforge.manager.persistence.phases import phase_of
from streamforge_utils.model.candles import FIRST_TIME_MS, candle_key
from streamforge_utils.model.coverage import Segment, Verdict, clip, overlay
from streamforge_utils.model.intervals import Interval
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.store import DocumentStore

_replace = msgspec.structs.replace


async def stored_in(
    store: DocumentStore,
    collection: str,
    series: Series,
    span: TimeRange,
    phase_ms: int | None,
    *,
    every_key: bool = True,
) -> Survey:
    """Which bars of `span` are in `collection`.

    every_key: False looks at the keys only where their number is not that of the bars. Raises RetryableError.
    """
    interval = Interval(series.interval)
    if not every_key:
        expected = len(interval.grid(span.start_ms, span.end_ms, phase_ms))
        first, last = (candle_key(series.symbol, interval.value, max(t, FIRST_TIME_MS)) for t in _ends(span))
        if not expected or await store.count(collection, first=first, last=last) == expected:
            return Survey(span=span, expected=expected, stored=expected, holes=())
    return await survey(store, collection, series.symbol, interval, span, phase_ms)


async def counted(store: DocumentStore, known: Known, span: TimeRange, *, every_key: bool) -> list[Segment]:
    """What is known of `span`, each stored segment counted: what it lacks is `ours`.

    It was stored once, so that the exchange has it. Raises RetryableError.
    """
    phase_ms = await phase_of(store, known)
    interval = Interval(known.series.interval)
    found: list[Segment] = []
    for segment in clip(known.segments, span):
        if segment.verdict is not Verdict.STORED or segment.collection is None:
            found.append(segment)
        elif phase_ms is None and not interval.aligned_by_calendar:
            found.append(verdict_of(segment.span, Verdict.OURS))  # not one record of the series is there
        elif not len(interval.grid(segment.start_ms, segment.end_ms, phase_ms)):
            found.append(segment)
        else:
            here = await stored_in(store, segment.collection, known.series, segment.span, phase_ms, every_key=every_key)
            found += pieces(here, segment.collection, interval, phase_ms, Verdict.OURS)
    return found


def gone(found: Iterable[Segment], known: Sequence[Segment]) -> list[Segment]:
    """What of `found` is `ours` though `known` calls it stored."""
    lacking: list[Segment] = []
    for segment in found:
        if segment.verdict is Verdict.OURS:
            lacking += [
                verdict_of(one.span, Verdict.OURS) for one in clip(known, segment.span) if one.verdict is Verdict.STORED
            ]
    return lacking


def pieces(
    found: Survey, collection: str, interval: Interval, phase_ms: int | None, hole: Verdict = Verdict.UNKNOWN
) -> list[Segment]:
    """The survey as segments without a gap: `stored` between the holes, which have the verdict `hole`.

    Where no bar opens nothing is stored, though nothing is lacking: that is like a hole.
    """
    segments: list[Segment] = []
    cursor_ms = found.span.start_ms
    for gap in [*found.holes, None]:
        until_ms = found.span.end_ms if gap is None else gap.start_ms
        if until_ms > cursor_ms:
            records = len(interval.grid(cursor_ms, until_ms, phase_ms))
            segments.append(
                Segment(
                    start_ms=cursor_ms,
                    end_ms=until_ms,
                    verdict=Verdict.STORED,
                    collection=collection,
                    records=records,
                )
                if records
                else verdict_of(TimeRange(cursor_ms, until_ms), hole)
            )
        if gap is not None:
            cursor_ms = min(gap.end_ms, found.span.end_ms)
            segments.append(verdict_of(TimeRange(gap.start_ms, cursor_ms), hole))
    return overlay((), segments)


def verdict_of(span: TimeRange, verdict: Verdict) -> Segment:
    """A segment of `span` that holds no records."""
    return Segment(start_ms=span.start_ms, end_ms=span.end_ms, verdict=verdict)


def _ends(span: TimeRange) -> tuple[int, int]:
    return span.start_ms, span.end_ms
