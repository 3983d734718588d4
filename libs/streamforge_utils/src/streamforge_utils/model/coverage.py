"""Which time ranges of a series are stored, and a verdict for each hole. Pure; times are unix milliseconds, UTC."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence, Set
from enum import StrEnum
from itertools import pairwise
from typing import Protocol

import msgspec

from streamforge_utils.model.errors import StreamForgeError
from streamforge_utils.model.timeranges import TimeRange


class Verdict(StrEnum):
    """What is known of a time range of a series.

    stored: every record that the kind's rule expects is in the store. exchange: asked twice, the exchange has none.
    closed: before the listing, after the delisting, or the exchange has none and says that the symbol is not traded.
    pending: not over yet. lost: of a stream, it happened while nobody received it and cannot be had again. expired:
    removed by retention. ours: the exchange has it, the store does not. unknown: not asked.
    """

    STORED = "stored"
    EXCHANGE = "exchange"
    CLOSED = "closed"
    PENDING = "pending"
    LOST = "lost"
    EXPIRED = "expired"
    OURS = "ours"
    UNKNOWN = "unknown"


SETTLED = frozenset(Verdict) - {Verdict.OURS, Verdict.UNKNOWN}
"""The verdicts with which a workflow may be finished."""
COMPLETE = SETTLED - {Verdict.LOST, Verdict.EXPIRED}
"""The verdicts of a complete range: every record that there is, or will be, is stored."""
KEPT = COMPLETE | {Verdict.EXPIRED}
"""The verdicts of a range that lacks nothing: what was removed by retention was to be."""

DONE = COMPLETE - {Verdict.PENDING} | {Verdict.LOST}
"""The verdicts of what is not to be loaded any more."""
PASSED = DONE | {Verdict.EXPIRED}
"""The verdicts of what one without an end does not load again by itself: what was removed stays so."""


_DAY_MS = 86_400_000
DISPUTED = "checksum-disputed"
"""Begins the cause of a stored segment whose file does not meet its published checksum, though all else agrees."""
FROM_FILES_ALONE = "it was wanted from files alone"
"""Begins the cause of an unknown range that no file has, and that nobody was to ask for by requests."""
FILE_AWAITED = "no file of it could be read yet"
"""The cause of a hole that the exchange does not fill by requests, and of which a file may still come."""
GONE, DAMAGED = "its segment is gone", "its segment is damaged"
"""Why what was stored is lost: a verification has said so, and may take it back."""


class Segment(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A half-open time range with one verdict. collection: where its records lie, if stored. records: how many.

    first_id, last_id: of its records, where they have ids in sequence and both are known; of `expired` the last one
    alone. cause: why, of `lost` and `expired`, and of `unknown` where it is known; of `ours` which records contradict
    each other; of `stored` what is in doubt about its records; of `exchange` that a file may still have its records.
    """

    start_ms: int
    end_ms: int
    verdict: Verdict
    collection: str | None = None
    records: int = 0
    first_id: int | None = None
    last_id: int | None = None
    cause: str = ""

    @property
    def span(self) -> TimeRange:
        return TimeRange(self.start_ms, self.end_ms)


READ_AT_MOST = 3
"""How often what moves while it is read is read."""


class Moved(StreamForgeError):
    """What was read is stored elsewhere now, or nowhere: some of it may have been gone already."""

    def __init__(self, symbol: str, type: str, span: TimeRange) -> None:
        super().__init__(
            f"what is stored of {symbol} {type} {span} was removed or replaced while it was read: do the same again "
            "when no workflow loads it and nothing is removed"
        )


class Ranged(Protocol):
    """A range with a verdict."""

    @property
    def start_ms(self) -> int: ...
    @property
    def end_ms(self) -> int: ...
    @property
    def verdict(self) -> str: ...


class Placed(Ranged, Protocol):
    """A range with a verdict, and the collection of its records, if stored."""

    @property
    def collection(self) -> str | None: ...


def awaits_file(segment: Segment, now_ms: int | None = None) -> bool:
    """Whether a file may have what requests did not give. now_ms: and may be there by now, as its day is over."""
    if segment.verdict is not Verdict.EXCHANGE or segment.cause != FILE_AWAITED:
        return False
    return now_ms is None or segment.end_ms <= now_ms - now_ms % _DAY_MS


class IdsRead(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A half-open time range that was read to its end. first_id, last_id: of its records; None: it has none."""

    start_ms: int
    end_ms: int
    first_id: int | None = None
    last_id: int | None = None

    @property
    def ids(self) -> range:
        return range(0) if self.first_id is None or self.last_id is None else range(self.first_id, self.last_id + 1)


MOST_READ = 200
"""Ranges that were read that a document names, at most."""


def joined_reads(reads: Iterable[IdsRead]) -> tuple[IdsRead, ...]:
    """`reads`, sorted; those that meet are one. Of more than `MOST_READ` the outer ones: they prove edges."""
    found: list[IdsRead] = []
    for one in sorted(reads, key=lambda one: one.start_ms):
        last = found[-1] if found else one
        if last.end_ms < one.start_ms or not found:
            found.append(one)
            continue
        ids = [number for each in (last, one) if each.ids for number in (each.ids[0], each.ids[-1])]
        found[-1] = IdsRead(
            start_ms=last.start_ms,
            end_ms=max(last.end_ms, one.end_ms),
            first_id=min(ids, default=None),
            last_id=max(ids, default=None),
        )
    return tuple(found if len(found) <= MOST_READ else [*found[: MOST_READ // 2], *found[-MOST_READ // 2 :]])


def without(span: TimeRange | None, parts: Iterable[TimeRange]) -> list[TimeRange]:
    """The ranges of `span` that lie in none of `parts`."""
    if span is None:
        return []
    cuts = [verdict_of(part, Verdict.UNKNOWN) for part in parts]
    return [left.span for left in outside([verdict_of(span, Verdict.UNKNOWN)], cuts)]


def verdict_of(span: TimeRange, verdict: Verdict) -> Segment:
    """A segment of `span` that holds no records."""
    return Segment(start_ms=span.start_ms, end_ms=span.end_ms, verdict=verdict)


def overlay(old: Sequence[Segment], new: Sequence[Segment]) -> list[Segment]:
    """`old` with `new` laid over it: of two verdicts the new one counts. Sorted, disjoint, joined where equal.

    A stored segment that is cut keeps no count of records (0): only its grid tells its share (`counted`).
    """
    return joined(sorted([*outside(old, new), *new], key=lambda s: s.start_ms))


def without_stored(new: Sequence[Segment], old: Iterable[Segment], collection: str | None = None) -> list[Segment]:
    """`new` but for verdicts other than stored on times whose records `old` knows in another collection."""
    kept = [s for s in old if s.verdict is Verdict.STORED and s.collection != collection]
    left: list[Segment] = []
    for segment in new:
        left.extend([segment] if segment.verdict is Verdict.STORED else _without(segment, kept))
    return left


def outside(segments: Iterable[Segment], cuts: Sequence[Segment]) -> list[Segment]:
    """The parts of `segments` outside `cuts`, which cost least where they are sorted and disjoint."""
    apart = all(before.end_ms <= after.start_ms for before, after in pairwise(cuts))
    return [
        piece for segment in segments for piece in _without(segment, touching(cuts, segment.span) if apart else cuts)
    ]


def touching(segments: Sequence[Segment], span: TimeRange) -> Sequence[Segment]:
    """Those of which a part lies in `span`. segments: sorted, disjoint."""
    first = bisect_right(segments, span.start_ms, key=lambda one: one.end_ms)
    return segments[first : bisect_left(segments, span.end_ms, lo=first, key=lambda one: one.start_ms)]


def clip(segments: Iterable[Segment], span: TimeRange) -> list[Segment]:
    """The part of `segments` inside `span`, joined where equal; what is in none of them is `unknown`."""
    found: list[Segment] = []
    cursor = span.start_ms
    for segment in segments:
        start_ms, end_ms = max(segment.start_ms, span.start_ms), min(segment.end_ms, span.end_ms)
        if start_ms >= end_ms:
            continue
        if start_ms > cursor:
            found.append(Segment(start_ms=cursor, end_ms=start_ms, verdict=Verdict.UNKNOWN))
        if (start_ms, end_ms) != (segment.start_ms, segment.end_ms):
            segment = _cut(segment, start_ms, end_ms)
        found.append(segment)
        cursor = end_ms
    if cursor < span.end_ms:
        found.append(Segment(start_ms=cursor, end_ms=span.end_ms, verdict=Verdict.UNKNOWN))
    return joined(found)


def extent(segments: Iterable[Segment]) -> TimeRange | None:
    """From the first to the last range that holds records, or was asked for and may hold some; None: there is none.

    What is closed at either end is left out, unless all of it is.
    """
    found = list(segments)
    inner = [s for s in found if s.verdict is not Verdict.CLOSED] or found
    return TimeRange(inner[0].start_ms, inner[-1].end_ms) if inner else None


def stored_spans(placed: Iterable[Placed]) -> list[TimeRange]:
    """The ranges that are stored."""
    return [TimeRange(one.start_ms, one.end_ms) for one in placed if one.verdict == Verdict.STORED]


def holds(some: Sequence[TimeRange], others: Sequence[TimeRange]) -> bool:
    """Whether `some` (each sorted, disjoint) hold all of `others`."""
    at = 0
    for other in others:
        start_ms = other.start_ms
        while at < len(some) and some[at].end_ms <= start_ms:
            at += 1
        while start_ms < other.end_ms:
            if at == len(some) or some[at].start_ms > start_ms:
                return False
            start_ms = some[at].end_ms
            at += 1 if start_ms < other.end_ms else 0
    return True


def keeps(now: Sequence[Placed], before: Sequence[Placed]) -> bool:
    """Whether all that was stored `before` lies in the same collections `now`; more may be stored.

    Copies go once the coverage names others. So who has read what it named before asks it again behind the last
    record: where it keeps them, none was gone.
    """
    return all(
        holds(*(stored_spans(one for one in some if one.collection == name) for some in (now, before)))
        for name in {one.collection for one in before if one.verdict == Verdict.STORED}
    )


def lacking(segments: Iterable[Segment], span: TimeRange, done: Set[Verdict] = DONE) -> list[TimeRange]:
    """The ranges of `span` that must (still) be loaded: all but those with a verdict of `done`. Sorted, disjoint."""
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
    cut = (verdict_of(span, Verdict.UNKNOWN),)
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
                remaining.append(_cut(piece, piece.start_ms, cut.start_ms))
            if cut.end_ms < piece.end_ms:
                remaining.append(_cut(piece, cut.end_ms, piece.end_ms))
        pieces = remaining
    return pieces


def _cut(segment: Segment, start_ms: int, end_ms: int) -> Segment:
    """A part of it: what its records are is known no more at an end that was cut."""
    return msgspec.structs.replace(
        segment,
        start_ms=start_ms,
        end_ms=end_ms,
        records=0,
        first_id=segment.first_id if start_ms == segment.start_ms else None,
        last_id=segment.last_id if end_ms == segment.end_ms else None,
    )


def joined(segments: Iterable[Segment]) -> list[Segment]:
    """`segments` (sorted, disjoint) with those made one that follow each other and are alike."""
    found: list[Segment] = []
    for segment in segments:
        last = found[-1] if found else None
        if last is not None and last.end_ms == segment.start_ms and _are_alike(last, segment):
            records = last.records + segment.records if last.records and segment.records else 0
            found[-1] = msgspec.structs.replace(last, end_ms=segment.end_ms, records=records, last_id=segment.last_id)
        else:
            found.append(segment)
    return found


def _are_alike(before: Segment, after: Segment) -> bool:
    if before.verdict != after.verdict or before.collection != after.collection or before.cause != after.cause:
        return False
    return before.last_id is None or after.first_id is None or after.first_id == before.last_id + 1
