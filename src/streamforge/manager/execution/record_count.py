"""What the store holds: its keys against the grid, and counted against what coverage says of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from streamforge.manager.execution.id_ranges import counted_ids
from streamforge.manager.persistence.coverage_store import SeriesCoverage
from streamforge_utils.model.completeness.grid import Grid
from streamforge_utils.model.completeness.rule import missing
from streamforge_utils.model.coverage import Segment, Verdict, clip, overlay
from streamforge_utils.model.errors import ConfigError
from streamforge_utils.model.kinds.registry import kind_of, rule_of
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.store import DocumentStore

_KEYS_A_PAGE = 50_000
_replace = msgspec.structs.replace


async def holes_in(
    store: DocumentStore, collection: str, series: Series, span: TimeRange, phase_ms: int | None
) -> list[TimeRange]:
    """The parts of `span` of whose bars `collection` has no key, sorted. Raises RetryableError."""
    kind, grid = kind_of(series), grid_of(series)
    first, last = kind.key_range(series, span)
    holes: list[tuple[int, int]] = []
    cursor_ms = span.start_ms
    while True:
        keys = await store.keys(collection, first=first, last=last, limit=_KEYS_A_PAGE)
        times = kind.positions(series, keys)
        full = len(keys) == _KEYS_A_PAGE
        until_ms = times[-1] + 1 if full else span.end_ms
        holes += missing(grid.times(cursor_ms, until_ms, phase_ms), times)
        if not full:
            return list(grid.spans(holes))
        cursor_ms = until_ms
        first = keys[-1] + "\x00"


async def stored_in(
    store: DocumentStore,
    collection: str,
    series: Series,
    span: TimeRange,
    phase_ms: int | None,
    *,
    every_key: bool = True,
    hole: Verdict = Verdict.UNKNOWN,
) -> list[Segment]:
    """`span` as segments without a gap: `stored` where `collection` has the bars, else `hole`.

    Where no bar opens nothing is stored, though nothing is lacking: that is like a hole. every_key: False looks at the
    keys only where their number is not that of the bars. Raises RetryableError.
    """
    grid = grid_of(series)

    def bars(start_ms: int, end_ms: int) -> int:
        return len(grid.times(start_ms, end_ms, phase_ms))

    expected = bars(span.start_ms, span.end_ms)
    first, last = kind_of(series).key_range(series, span)
    if not every_key and (not expected or await store.count(collection, first=first, last=last) == expected):
        holes = []
    else:
        holes = await holes_in(store, collection, series, span, phase_ms)
    segments: list[Segment] = []
    cursor_ms = span.start_ms
    for gap in [*holes, TimeRange(span.end_ms, span.end_ms + 1)]:
        if gap.start_ms > cursor_ms:
            records = bars(cursor_ms, gap.start_ms)
            part = verdict_of(TimeRange(cursor_ms, gap.start_ms), Verdict.STORED if records else hole)
            segments.append(_replace(part, collection=collection, records=records) if records else part)
        cursor_ms = min(gap.end_ms, span.end_ms)
        if cursor_ms > gap.start_ms:
            segments.append(verdict_of(TimeRange(gap.start_ms, cursor_ms), hole))
    return overlay((), segments)


async def counted(store: DocumentStore, known: SeriesCoverage, span: TimeRange, *, every_key: bool) -> list[Segment]:
    """What is known of `span`, each stored segment counted: what it lacks is `ours`.

    It was stored once, so that the exchange has it. Raises RetryableError.
    """
    if rule_of(known.series).by_id:
        return await counted_ids(store, known, span, every_key=every_key)
    phase_ms = known.grid_ms
    grid = grid_of(known.series)
    found: list[Segment] = []
    for segment in clip(known.segments, span):
        if segment.verdict is not Verdict.STORED or segment.collection is None:
            found.append(segment)
        elif not grid.is_fixed(phase_ms):
            found.append(verdict_of(segment.span, Verdict.OURS))  # not one record of the series is there
        elif not len(grid.times(segment.start_ms, segment.end_ms, phase_ms)):
            found.append(segment)
        else:
            found += await stored_in(
                store, segment.collection, known.series, segment.span, phase_ms, every_key=every_key, hole=Verdict.OURS
            )
    return found


def grid_of(series: Series) -> Grid:
    """The grid of a series. Raises ConfigError for one without."""
    rule = rule_of(series)
    if not isinstance(rule, Grid):
        raise ConfigError(f"{series.id}: its kind has another completeness rule than a grid")
    return rule


def gone(found: Iterable[Segment], known: Sequence[Segment]) -> list[Segment]:
    """What of `found` is `ours` though `known` calls it stored."""
    lacking: list[Segment] = []
    for segment in found:
        if segment.verdict is Verdict.OURS:
            lacking += [
                verdict_of(one.span, Verdict.OURS) for one in clip(known, segment.span) if one.verdict is Verdict.STORED
            ]
    return lacking


def verdict_of(span: TimeRange, verdict: Verdict) -> Segment:
    """A segment of `span` that holds no records."""
    return Segment(start_ms=span.start_ms, end_ms=span.end_ms, verdict=verdict)
