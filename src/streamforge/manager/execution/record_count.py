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


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    """Which bars of a range are stored. holes: ranges without a record, sorted. stored: number of records."""

    span: TimeRange
    expected: int
    stored: int
    holes: tuple[TimeRange, ...]


async def survey(
    store: DocumentStore, collection: str, series: Series, grid: Grid, span: TimeRange, phase_ms: int | None
) -> Survey:
    """Compare the keys in `collection` with the grid of `span`. Raises RetryableError."""
    kind = kind_of(series)
    first, last = kind.key_range(series, span)
    holes: list[tuple[int, int]] = []
    stored = 0
    cursor_ms = span.start_ms
    while True:
        keys = await store.keys(collection, first=first, last=last, limit=_KEYS_A_PAGE)
        times = kind.positions(series, keys)
        stored += len(times)
        full = len(keys) == _KEYS_A_PAGE
        until_ms = times[-1] + 1 if full else span.end_ms
        holes += missing(grid.times(cursor_ms, until_ms, phase_ms), times)
        if not full:
            break
        cursor_ms = until_ms
        first = keys[-1] + "\x00"
    expected = len(grid.times(span.start_ms, span.end_ms, phase_ms))
    return Survey(span=span, expected=expected, stored=stored, holes=tuple(grid.spans(holes)))


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
    grid = grid_of(series)
    if not every_key:
        expected = len(grid.times(span.start_ms, span.end_ms, phase_ms))
        first, last = kind_of(series).key_range(series, span)
        if not expected or await store.count(collection, first=first, last=last) == expected:
            return Survey(span=span, expected=expected, stored=expected, holes=())
    return await survey(store, collection, series, grid, span, phase_ms)


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
            here = await stored_in(store, segment.collection, known.series, segment.span, phase_ms, every_key=every_key)
            found += pieces(here, segment.collection, grid, phase_ms, Verdict.OURS)
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


def pieces(
    found: Survey, collection: str, grid: Grid, phase_ms: int | None, hole: Verdict = Verdict.UNKNOWN
) -> list[Segment]:
    """The survey as segments without a gap: `stored` between the holes, which have the verdict `hole`.

    Where no bar opens nothing is stored, though nothing is lacking: that is like a hole.
    """
    segments: list[Segment] = []
    cursor_ms = found.span.start_ms
    for gap in [*found.holes, None]:
        until_ms = found.span.end_ms if gap is None else gap.start_ms
        if until_ms > cursor_ms:
            records = len(grid.times(cursor_ms, until_ms, phase_ms))
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
