"""Which time ranges of a series are stored, and a verdict for each hole. Pure; times are unix milliseconds, UTC."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from enum import StrEnum

import msgspec

from streamforge_utils.model.intervals import Interval
from streamforge_utils.model.timeranges import TimeRange


class Verdict(StrEnum):
    """What is known of a time range of a series.

    stored: every bar of the grid is in the store. exchange: asked twice, the exchange has none.
    closed: before the listing or after the delisting. pending: not over yet. ours: the exchange has it, the store
    does not. unknown: not asked.
    """

    STORED = "stored"
    EXCHANGE = "exchange"
    CLOSED = "closed"
    PENDING = "pending"
    OURS = "ours"
    UNKNOWN = "unknown"


SETTLED = frozenset({Verdict.STORED, Verdict.EXCHANGE, Verdict.CLOSED, Verdict.PENDING})
"""The verdicts with which a workflow may be finished."""


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """A half-open time range with one verdict. collection: where its records lie, if stored. records: how many."""

    start_ms: int
    end_ms: int
    verdict: Verdict
    collection: str | None = None
    records: int = 0

    @property
    def span(self) -> TimeRange:
        return TimeRange(self.start_ms, self.end_ms)


def overlay(old: Sequence[Segment], new: Sequence[Segment]) -> list[Segment]:
    """`old` with `new` laid over it: where both speak, the new one counts. Sorted, disjoint, joined where equal.

    A stored segment that is cut keeps no count of records (0): only its grid tells its share (`counted`).
    """
    return _joined(sorted([*outside(old, new), *new], key=lambda s: s.start_ms))


def without_stored(new: Sequence[Segment], old: Iterable[Segment], collection: str | None = None) -> list[Segment]:
    """`new` without what speaks, other than as stored, of times whose records `old` knows in another collection."""
    kept = [s for s in old if s.verdict is Verdict.STORED and s.collection != collection]
    left: list[Segment] = []
    for segment in new:
        left.extend([segment] if segment.verdict is Verdict.STORED else _without(segment, kept))
    return left


def outside(segments: Iterable[Segment], cuts: Sequence[Segment]) -> list[Segment]:
    """The parts of `segments` of whose times `cuts` do not speak."""
    return [piece for segment in segments for piece in _without(segment, cuts)]


def touching(segments: Sequence[Segment], span: TimeRange) -> Sequence[Segment]:
    """Those of which a part lies in `span`. segments: sorted, disjoint."""
    first = bisect_right(segments, span.start_ms, key=lambda one: one.end_ms)
    return segments[first : bisect_left(segments, span.end_ms, lo=first, key=lambda one: one.start_ms)]


def clip(segments: Iterable[Segment], span: TimeRange) -> list[Segment]:
    """The part of `segments` inside `span`, joined where equal; what `segments` do not mention is `unknown`."""
    found: list[Segment] = []
    cursor = span.start_ms
    for segment in segments:
        start_ms, end_ms = max(segment.start_ms, span.start_ms), min(segment.end_ms, span.end_ms)
        if start_ms >= end_ms:
            continue
        if start_ms > cursor:
            found.append(Segment(start_ms=cursor, end_ms=start_ms, verdict=Verdict.UNKNOWN))
        if (start_ms, end_ms) != (segment.start_ms, segment.end_ms):
            segment = msgspec.structs.replace(segment, start_ms=start_ms, end_ms=end_ms, records=0)
        found.append(segment)
        cursor = end_ms
    if cursor < span.end_ms:
        found.append(Segment(start_ms=cursor, end_ms=span.end_ms, verdict=Verdict.UNKNOWN))
    return _joined(found)


def whole_bars(segments: Iterable[Segment], interval: Interval, phase_ms: int | None) -> list[Segment]:
    """`segments`, each from the first bar that opens in it to the end of the last one; without a bar it is left out.

    segments: sorted, disjoint. phase_ms: any open time of the series; those of `3d` are left as they are without it.
    """
    if phase_ms is None and not interval.aligned_by_calendar:
        return list(segments)
    segments, found = list(segments), list[Segment]()
    if interval.step_ms is not None:
        step_ms, open_ms = interval.step_ms, interval.floor(0, phase_ms)
        if not any((one.start_ms - open_ms) % step_ms or (one.end_ms - open_ms) % step_ms for one in segments):
            return segments  # mostly: a series may have thousands, and they are looked at with each change
    for segment in segments:
        start_ms, end_ms = (interval.ceil(time_ms, phase_ms) for time_ms in (segment.start_ms, segment.end_ms))
        if (start_ms, end_ms) != (segment.start_ms, segment.end_ms):
            if start_ms == end_ms:
                continue
            segment = msgspec.structs.replace(segment, start_ms=start_ms, end_ms=end_ms)
        found.append(segment)
    return _joined(found)


def counted(segments: Iterable[Segment], interval: Interval, phase_ms: int | None) -> list[Segment]:
    """`segments` with the number of records of each stored one: all bars of the grid that open in it.

    phase_ms: any open time of the series; `3d` segments keep their count without it, as their grid is not known then.
    """
    if phase_ms is None and not interval.aligned_by_calendar:
        return list(segments)
    return [
        msgspec.structs.replace(s, records=len(interval.grid(s.start_ms, s.end_ms, phase_ms)))
        if s.verdict is Verdict.STORED
        else s
        for s in segments
    ]


def extent(segments: Iterable[Segment]) -> TimeRange | None:
    """From the first to the last range that holds records, or was asked for and may hold some; None: there is none.

    What is closed at either end is left out, unless all of it is.
    """
    found = list(segments)
    inner = [s for s in found if s.verdict is not Verdict.CLOSED] or found
    return TimeRange(inner[0].start_ms, inner[-1].end_ms) if inner else None


def lacking(segments: Iterable[Segment], span: TimeRange) -> list[TimeRange]:
    """The ranges of `span` that must (still) be loaded: all but `stored`, `exchange` and `closed`. Sorted, disjoint."""
    done = (Verdict.STORED, Verdict.EXCHANGE, Verdict.CLOSED)
    ranges: list[TimeRange] = []
    for segment in clip(segments, span):
        if segment.verdict in done:
            continue
        if ranges and ranges[-1].end_ms == segment.start_ms:
            ranges[-1] = TimeRange(ranges[-1].start_ms, segment.end_ms)
        else:
            ranges.append(segment.span)
    return ranges


def without_records(segments: Iterable[Segment], collection: str, span: TimeRange) -> list[Segment]:
    """What is still known once the records of `collection` inside `span` are gone."""
    cut = (Segment(start_ms=span.start_ms, end_ms=span.end_ms, verdict=Verdict.UNKNOWN),)
    left: list[Segment] = []
    for segment in segments:
        left.extend(_without(segment, cut) if segment.collection == collection else [segment])
    return left


def _without(segment: Segment, cuts: Sequence[Segment]) -> list[Segment]:
    pieces = [segment]
    for cut in cuts:
        remaining: list[Segment] = []
        for piece in pieces:
            if cut.end_ms <= piece.start_ms or cut.start_ms >= piece.end_ms:
                remaining.append(piece)
                continue
            if piece.start_ms < cut.start_ms:
                remaining.append(msgspec.structs.replace(piece, end_ms=cut.start_ms, records=0))
            if cut.end_ms < piece.end_ms:
                remaining.append(msgspec.structs.replace(piece, start_ms=cut.end_ms, records=0))
        pieces = remaining
    return pieces


def _joined(segments: list[Segment]) -> list[Segment]:
    joined: list[Segment] = []
    for segment in segments:
        last = joined[-1] if joined else None
        if (
            last is not None
            and last.end_ms == segment.start_ms
            and last.verdict == segment.verdict
            and last.collection == segment.collection
        ):
            records = last.records + segment.records if last.records and segment.records else 0
            joined[-1] = msgspec.structs.replace(last, end_ms=segment.end_ms, records=records)
        else:
            joined.append(segment)
    return joined
