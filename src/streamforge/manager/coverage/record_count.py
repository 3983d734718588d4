"""What the store holds of a series: where its records lie, and which of those lack that must be there."""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing

import msgspec

from streamforge.manager.coverage.store import SeriesCoverage
from streamforge_utils.model.completeness.rule import Run, missing
from streamforge_utils.model.coverage import Segment, Verdict, clip, joined, touching, verdict_of
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.model.index_ranges import common, outside
from streamforge_utils.model.kinds.registry import kind_of, rule_of
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.store import RecordStore, Store

_POSITIONS_A_PAGE = 50_000
_READ_OVER = 2_000
"""Positions between two that are looked for that are read, too: they cost less than another question."""

_replace = msgspec.structs.replace


async def first_stored_from(store: Store, collection: str, series: Series, within: range, time_ms: int) -> int:
    """A position of `within`: no stored record before it happened at `time_ms` or later, and none from it on earlier.

    Where times alone do not tell, the record right before it is stored, unless it is the first position of `within`.
    Raises RetryableError.
    """
    kind, low, high = kind_of(series), within.start, within.stop
    told = kind.rule(series).position_at(time_ms)
    if told is not None:
        return min(max(told, low), high)
    while low < high:
        middle = (low + high) // 2
        found = await store.read(collection, first=kind.key(series, middle), last=kind.key(series, high), limit=1)
        position = kind.positions(series, [found[0].key])[0] if found else None
        if position is None or kind.time_of(found[0].body) >= time_ms:
            high = middle
        else:
            low = position + 1
    return low


async def stored_positions(store: Store, collection: str, series: Series, span: TimeRange) -> range:
    """Between which positions the records of `span` lie that are stored in `collection`. Raises RetryableError."""
    every = range(10 ** kind_of(series).digits - 1)
    first = await first_stored_from(store, collection, series, every, span.start_ms)
    return range(first, await first_stored_from(store, collection, series, range(first, every.stop), span.end_ms))


async def key_range(store: Store, collection: str, series: Series, span: TimeRange) -> tuple[str, str]:
    """The first key of the records of `span` in `collection`, and the first one behind them. Raises RetryableError."""
    return kind_of(series).key_range(series, await stored_positions(store, collection, series, span))


def beside(series: Series, kept: Iterable[Segment], collection: str, span: TimeRange) -> tuple[str, str]:
    """The first key behind what is kept in `collection` before `span`, and the first one of what is kept behind it.

    Where records have ids several share a millisecond: those at the edge of `span` may be of the segment beside it.
    """
    kind, first, end = kind_of(series), 0, 10 ** kind_of(series).digits - 1
    for one in kept:
        if one.verdict is not Verdict.STORED or one.collection != collection:
            continue
        if one.last_id is not None and one.end_ms <= span.start_ms:
            first = max(first, one.last_id + 1)
        if one.first_id is not None and one.start_ms >= span.end_ms:
            end = min(end, one.first_id)
    return kind.key_range(series, range(first, max(first, end)))


async def time_of(store: Store, collection: str, series: Series, position: int) -> int | None:
    """When the stored record happened; None: it is not stored. Raises RetryableError."""
    kind = kind_of(series)
    told = kind.rule(series).time_at(position)
    if told is not None:
        return told
    key = kind.key(series, position)
    found = await store.read(collection, first=key, last=key + "\x00", limit=1)
    return kind.time_of(found[0].body) if found else None


async def positions_of(
    store: Store, series: Series, segment: Segment, within: TimeRange, phase_ms: int | None
) -> Sequence[int] | None:
    """The positions that `within`, a part of a stored segment, must have; empty: it is proven that it has none.

    None: no record is there that tells where they may lie, or whether there are any. Raises RetryableError.
    """
    rule = rule_of(series)
    if not rule.is_fixed(phase_ms):
        return None
    (part,) = clip([segment], within)
    expected = rule.expected(part, phase_ms)
    if expected is not None:
        return expected
    kind, collection = kind_of(series), segment.collection or ""
    first, end = segment.first_id, None if segment.last_id is None else segment.last_id + 1
    if first is None or end is None:
        within_span, there = await _there(store, collection, series, segment.span)
        if not there or (end is not None and end <= there.start) or (first is not None and first >= there.stop):
            return None
        first, end = within_span.start if first is None else first, there.stop if end is None else end
    start = first
    if within.start_ms > segment.start_ms:
        start = await first_stored_from(store, collection, series, range(first, end), within.start_ms)
    if within.end_ms < segment.end_ms:
        end = await first_stored_from(store, collection, series, range(start, end), within.end_ms)
    if start < end:
        return range(start, end)
    # Nothing happened then if the records on both sides follow each other: each is there, or no id of the segment.
    first_key, end_key = kind.key_range(series, range(max(0, start - 1), start + 1))
    there_ids = kind.positions(series, await store.keys(collection, first=first_key, last=end_key, limit=2))
    before = start == segment.first_id or start - 1 in there_ids
    after = start - 1 == segment.last_id or start in there_ids
    return range(start, start) if before and after else None


async def holes_in(store: RecordStore, collection: str, series: Series, wanted: Sequence[int]) -> list[tuple[int, int]]:
    """The first and the last position of each part of `wanted` at which `collection` has no record; ascending.

    Raises RetryableError.
    """
    holes = list[tuple[int, int]]()
    if not wanted:
        return holes
    at, within = 0, range(wanted[0], wanted[-1] + 1)
    async with aclosing(_pages(store, collection, series, within)) as pages:
        async for positions, full in pages:
            until = bisect_right(wanted, positions[-1], at) if full else len(wanted)
            holes += missing(wanted[at:until], positions)
            at = until
    return holes


async def _pages(
    store: RecordStore, collection: str, series: Series, within: range
) -> AsyncGenerator[tuple[Sequence[int], bool]]:
    """The stored positions of a range, a page at a time, and whether another one follows, which is read meanwhile."""
    reading = asyncio.ensure_future(store.positions(collection, series, within, limit=_POSITIONS_A_PAGE))
    try:
        while len(positions := await reading) == _POSITIONS_A_PAGE:
            left = range(positions[-1] + 1, within.stop)
            reading = asyncio.ensure_future(store.positions(collection, series, left, limit=_POSITIONS_A_PAGE))
            await asyncio.sleep(0)  # it begins before the page is looked at, which takes the event loop
            yield positions, True
        yield positions, False
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


async def survey(
    store: Store,
    series: Series,
    span: TimeRange,
    wanted: Sequence[int] | None,
    places: Sequence[Segment],
    phase_ms: int | None,
) -> list[Segment]:
    """`span` as segments without a gap: stored and counted, or `unknown` where no place has a record.

    wanted: the positions of its records; None: they are not known, so that nothing is said of what lies before the
    first stored record and behind the last one. places: stored segments, each for its own time or ids; of two with a
    record the first counts. Raises RetryableError.
    """
    rule, inner = rule_of(series), span
    known = wanted is not None
    wanted = await between_stored(store, series, span, places) if wanted is None else wanted
    runs = [await with_times(store, series, run) for run in await _runs(store, series, span, wanted, places)]
    if runs and not known:
        inner = TimeRange(max(span.start_ms, runs[0].first_ms), min(span.end_ms, runs[-1].last_ms + 1))
    return clip(rule.survey(inner, runs, phase_ms), span)


async def counted(store: Store, known: SeriesCoverage, span: TimeRange, *, every_key: bool) -> list[Segment]:
    """What `known` calls stored of `span`, each segment counted: what it lacks is `ours`.

    It was stored once, so that the exchange has it. every_key: False looks at the keys only where their number is not
    that of the records. Raises RetryableError.
    """
    series, rule, phase_ms = known.series, rule_of(known.series), known.grid_ms
    found: list[Segment] = []
    for segment in touching(known.segments, span):
        within, collection = segment.span.intersection(span), segment.collection
        if within is None or segment.verdict is not Verdict.STORED or collection is None:
            continue
        wanted = await positions_of(store, series, segment, within, phase_ms)
        if wanted is None:
            there = [verdict_of(within, Verdict.OURS)]  # not one record is there that tells of it
        elif not wanted:
            there = clip([segment], within)
        elif not every_key and await _number(store, collection, series, wanted) == len(wanted):
            there = rule.survey(within, [Run(wanted[0], wanted[-1], collection)], phase_ms)
        else:
            there = await survey(store, series, within, wanted, [segment], phase_ms)
        for one in there:
            lacks = one.verdict is not Verdict.STORED
            found.append(_replace(one, verdict=Verdict.OURS) if lacks else _replace(one, cause=segment.cause))
    return found


async def with_causes(
    store: Store, series: Series, segments: Iterable[Segment], causes: Sequence[Segment], phase_ms: int | None
) -> list[Segment]:
    """`segments` with the causes of others on what is stored of their time, cut there and counted. Raises
    RetryableError.

    Where records have ids, a piece that would have none stays a part of the one beside it.
    """
    found: list[Segment] = []
    for segment in segments:
        marks = touching(causes, segment.span) if segment.verdict is Verdict.STORED else ()
        pieces = [segment]
        for time_ms in sorted({time_ms for mark in marks for time_ms in (mark.start_ms, mark.end_ms)}):
            pieces += await _cut_at(store, series, pieces.pop(), time_ms)
        found += (
            _replace(one, cause=next((mark.cause for mark in touching(marks, one.span)), one.cause)) for one in pieces
        )
    return rule_of(series).counted(joined(found), phase_ms)


async def _cut_at(store: Store, series: Series, segment: Segment, time_ms: int) -> list[Segment]:
    if not segment.start_ms < time_ms < segment.end_ms:
        return [segment]
    before, after = _replace(segment, end_ms=time_ms, records=0), _replace(segment, start_ms=time_ms, records=0)
    if segment.first_id is None or segment.last_id is None:
        return [before, after]
    ids = range(segment.first_id, segment.last_id + 1)
    first = await first_stored_from(store, segment.collection or "", series, ids, time_ms)
    if first in (ids.start, ids.stop):
        return [segment]
    return [_replace(before, last_id=first - 1), _replace(after, first_id=first)]


def gone(found: Iterable[Segment], known: Sequence[Segment]) -> list[Segment]:
    """What of `found` is `ours` though `known` calls it stored."""
    lacking: list[Segment] = []
    for segment in found:
        if segment.verdict is Verdict.OURS:
            lacking += [
                verdict_of(one.span, Verdict.OURS) for one in clip(known, segment.span) if one.verdict is Verdict.STORED
            ]
    return lacking


async def _number(store: Store, collection: str, series: Series, wanted: Sequence[int]) -> int:
    first, last = kind_of(series).key_range(series, range(wanted[0], wanted[-1] + 1))
    return await store.count(collection, first=first, last=last)


async def _runs(
    store: Store, series: Series, span: TimeRange, wanted: Sequence[int], places: Iterable[Segment]
) -> list[Run]:
    """`wanted` in runs, each in the first of the places that has its records, or in none.

    Each collection is asked once for all the places in it that are not behind another one's.
    """
    every = range(len(wanted))
    holes, found, unseen = [every] if wanted else [], list[tuple[range, str]](), dict[str, list[range]]()
    for rank in await _ranks(store, series, span, wanted, places):
        for collection, parts in rank.items():
            left = unseen.get(collection, [every])
            asked = common(common(holes, parts), left)
            there: list[range] = []
            for hull in _hulls(asked):
                lacking = [
                    range(bisect_left(wanted, first), bisect_right(wanted, last))
                    for first, last in await holes_in(store, collection, series, wanted[hull.start : hull.stop])
                ]
                there += outside(hull, lacking)
            there = common(asked, there)
            found += [(one, collection) for one in there]
            holes = common(holes, outside(every, there))
            unseen[collection] = common(left, outside(every, asked))
    runs: list[Run] = []
    for one, where in sorted([*found, *((hole, None) for hole in holes)], key=lambda each: each[0].start):
        first, last = wanted[one.start], wanted[one.stop - 1]
        if runs and runs[-1].collection == where:
            runs[-1] = Run(runs[-1].first, last, where)
        else:
            runs.append(Run(first, last, where))
    return runs


async def _ranks(
    store: Store, series: Series, span: TimeRange, wanted: Sequence[int], places: Iterable[Segment]
) -> list[dict[str, list[range]]]:
    """Which of `wanted` may lie where: the places in their order, by collection where none is behind another one."""
    ranks: list[dict[str, list[range]]] = []
    end = 0
    for place in places if wanted else ():
        if place.collection is None:
            continue
        here = await _indexes(store, series, span, wanted, place)
        if not here:
            continue
        if not ranks or here.start < end:
            ranks.append({})
        ranks[-1].setdefault(place.collection, []).append(here)
        end = here.stop
    return ranks


async def _indexes(store: Store, series: Series, span: TimeRange, wanted: Sequence[int], place: Segment) -> range:
    """Those of `wanted`, which are the positions of `span`, of which `place` speaks.

    Where times alone do not tell, its ids do, or the times of what is stored there.
    """
    rule, next_id = rule_of(series), None if place.last_id is None else place.last_id + 1

    async def index(time_ms: int, known: int | None) -> int:
        position = rule.position_at(time_ms)
        position = known if position is None else position
        if position is None and time_ms <= span.start_ms:
            return 0
        if position is None and time_ms >= span.end_ms:
            return len(wanted)
        if position is None:
            within = range(wanted[0], wanted[-1] + 1)
            position = await first_stored_from(store, place.collection or "", series, within, time_ms)
        return bisect_left(wanted, position)

    return range(await index(place.start_ms, place.first_id), await index(place.end_ms, next_id))


def _hulls(parts: Iterable[range]) -> list[range]:
    """`parts` (sorted) made one where what lies between two of them costs less to read than another question."""
    hulls: list[range] = []
    for part in parts:
        if hulls and part.start - hulls[-1].stop <= _READ_OVER:
            hulls[-1] = range(hulls[-1].start, part.stop)
        else:
            hulls.append(part)
    return hulls


async def _there(store: Store, collection: str, series: Series, span: TimeRange) -> tuple[range, range]:
    """Between which positions the records of `span` lie in `collection`, and from the first to the last that is stored.

    Where times alone do not tell.
    """
    kind, within = kind_of(series), await stored_positions(store, collection, series, span)
    first, last = kind.key_range(series, within)
    keys = await store.keys(collection, first=first, last=last, limit=1) if within else ()
    # The one before its end is stored.
    return within, range(kind.positions(series, keys)[0], within.stop) if keys else range(0)


async def between_stored(store: Store, series: Series, span: TimeRange, places: Iterable[Segment]) -> range:
    """From the first to the last position of `span` that is stored in a place."""
    ends: list[int] = []
    for collection in dict.fromkeys(place.collection for place in places if place.collection is not None):
        _, there = await _there(store, collection, series, span)
        ends += (there.start, there.stop) if there else ()
    return range(min(ends), max(ends)) if ends else range(0)


async def with_times(store: Store, series: Series, run: Run) -> Run:
    """The run with the times of its first and last record, if they are stored."""
    if run.collection is None:
        return run
    first_ms = await time_of(store, run.collection, series, run.first)
    last_ms = await time_of(store, run.collection, series, run.last)
    if first_ms is None or last_ms is None:
        raise RetryableError(f"{run.collection}: records of {series.id} were removed while they were being counted")
    return _replace(run, first_ms=first_ms, last_ms=last_ms)
