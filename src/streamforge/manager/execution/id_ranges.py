"""Records with consecutive ids: those that a range of time has at the exchange, and those that are stored of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from streamforge.manager.persistence.coverage_store import SeriesCoverage
from streamforge.manager.persistence.stored_ids import ids_of, stored_ids, time_of
from streamforge_utils.model.completeness.rule import missing
from streamforge_utils.model.completeness.sequence import Run, filled, segments_of
from streamforge_utils.model.coverage import Segment, Verdict, touching
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.model.kinds.paging import ById, ByTime
from streamforge_utils.model.kinds.registry import kind_of
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.exchange import History
from streamforge_utils.ports.store import DocumentStore

_CONFIRMATIONS = 5


async def ids_at_exchange(exchange: History, series: Series, span: TimeRange, now_ms: int) -> range:
    """The ids of the records of `span` that the exchange has, also of those that it does not give any more.

    They are those between the neighbours beyond both ends, which are asked for. Raises RetryableError.
    """
    first = await _first_from(exchange, series, span.start_ms, now_ms)
    return range(first, max(first, await _first_from(exchange, series, span.end_ms, now_ms)))


async def bounds_at_exchange(
    exchange: History, series: Series, now_ms: int, *, trading: bool
) -> tuple[int, int | None] | None:
    """When the first record of the series happened, and the last one if no more will come; None: there is none.

    Each is asked for by two requests cut differently. Raises RetryableError.
    """
    whole = TimeRange(0, now_ms)
    for _ in range(_CONFIRMATIONS):
        by_id = await exchange.page(series, ById(0, limit=1))
        by_time = await exchange.page(series, ByTime(whole, limit=1))
        if not by_id and not by_time and not await exchange.page(series, ByTime(whole, newest=True)):
            return None
        if by_id and by_time and by_id.positions[0] == by_time.positions[0]:
            break
    else:
        raise _contradicted(series)
    if trading:
        return by_id.times[0], None
    next_id = await _first_from(exchange, series, now_ms, now_ms)
    last = await exchange.page(series, ById(next_id - 1, limit=1))
    if not last:
        raise _contradicted(series)
    return by_id.times[0], last.times[-1]


async def _first_from(exchange: History, series: Series, time_ms: int, now_ms: int) -> int:
    """The id of the first record that happened at `time_ms` or later; the one after the last record where none did.

    The record before it is asked for too: it must have happened earlier. Raises RetryableError.
    """
    for _ in range(_CONFIRMATIONS):
        found = None
        if time_ms < now_ms:
            page = await exchange.page(series, ByTime(TimeRange(time_ms, now_ms), limit=1))
            found = page.positions[0] if page else None
        if found is None:
            page = await exchange.page(series, ByTime(TimeRange(0, max(now_ms, 1)), limit=1, newest=True))
            if not page:
                continue
            found = page.positions[-1] + (1 if page.times[-1] < time_ms else 0)
        around = await exchange.page(series, ById(max(0, found - 1), limit=2))
        times = dict(zip(around.positions, around.times, strict=True))
        if times.get(found - 1, -1) < time_ms <= times.get(found, time_ms):
            return found
    raise _contradicted(series)


def _contradicted(series: Series) -> RetryableError:
    return RetryableError(
        f"{series.id}: the exchange contradicted itself {_CONFIRMATIONS} times about which records a range has"
    )


_KEYS_A_PAGE = 50_000
_replace = msgspec.structs.replace


async def count_ids(
    store: DocumentStore, series: Series, collections: Iterable[str], span: TimeRange, ids: range | None
) -> list[Segment]:
    """What the collections hold of `span`: stored and counted, or `unknown` where no one has a record.

    ids: those of the span's records; None: they are not known, so that nothing is said of what lies before the first
    stored record and behind the last one. Of two collections with a record the first counts. Raises RetryableError.
    """
    runs: list[Run] = []
    for collection in collections:
        within = ids if ids is not None else await stored_ids(store, collection, series, span)
        found = [Run(*ends, collection) for ends in await _runs(store, collection, series, within)]
        if not runs and ids is not None and ids:
            runs = [Run(ids[0], ids[-1])]
        runs = filled(runs, found) if ids is not None else _merged(runs, found)
    if not runs:
        return [_unknown(span.start_ms, span.end_ms)]
    runs = [await _with_times(store, series, run) for run in runs]
    if ids is not None:
        return segments_of(span, runs)
    inner = TimeRange(max(span.start_ms, runs[0].first_ms), min(span.end_ms, runs[-1].last_ms + 1))
    around = [_unknown(span.start_ms, inner.start_ms), *segments_of(inner, runs), _unknown(inner.end_ms, span.end_ms)]
    return [segment for segment in around if segment.start_ms < segment.end_ms]


async def counted_ids(
    store: DocumentStore, known: SeriesCoverage, span: TimeRange, *, every_key: bool
) -> list[Segment]:
    """What `known` says of stored records that happened in `span`, counted: what a stored segment lacks is `ours`.

    Raises RetryableError.
    """
    found: list[Segment] = []
    for segment in touching(known.segments, span):
        if segment.verdict is not Verdict.STORED or segment.collection is None:
            continue
        within = segment.span.intersection(span)
        if within is None:
            continue
        ids = await ids_of(store, known.series, segment, within)
        if not every_key and len(ids) == await _number(store, segment.collection, known.series, ids):
            stored = Segment(
                start_ms=within.start_ms,
                end_ms=within.end_ms,
                verdict=Verdict.STORED,
                collection=segment.collection,
                records=len(ids),
                first_id=ids[0] if ids else None,
                last_id=ids[-1] if ids else None,
            )
            found.append(stored)
            continue
        counted = await count_ids(store, known.series, [segment.collection], within, ids)
        found += [_replace(s, verdict=Verdict.OURS) if s.verdict is Verdict.UNKNOWN else s for s in counted]
    return found


async def _number(store: DocumentStore, collection: str, series: Series, ids: range) -> int:
    kind = kind_of(series)
    return await store.count(collection, first=kind.key(series, ids.start), last=kind.key(series, ids.stop))


async def _runs(store: DocumentStore, collection: str, series: Series, ids: range) -> list[tuple[int, int]]:
    """The runs of consecutive ids of `ids` that are stored, by their first and last one."""
    kind = kind_of(series)
    first, last = kind.key(series, ids.start), kind.key(series, ids.stop)
    holes: list[tuple[int, int]] = []
    next_id = ids.start
    while True:
        keys = await store.keys(collection, first=first, last=last, limit=_KEYS_A_PAGE)
        positions = kind.positions(series, keys)
        full = len(keys) == _KEYS_A_PAGE
        until = positions[-1] + 1 if full and positions else ids.stop if not full else next_id
        holes += missing(range(next_id, until), positions)
        if not full:
            return _between(ids, holes)
        next_id, first = until, keys[-1] + "\x00"


def _between(ids: range, holes: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    runs, next_id = [], ids.start
    for first, last in holes:
        if first > next_id:
            runs.append((next_id, first - 1))
        next_id = last + 1
    if next_id < ids.stop:
        runs.append((next_id, ids.stop - 1))
    return runs


def _merged(runs: list[Run], more: list[Run]) -> list[Run]:
    """Both, with holes for the ids between them."""
    every = sorted([*runs, *more], key=lambda run: run.first_id)
    if not every:
        return []
    stored = [run for run in runs if run.collection is not None]
    whole = [Run(every[0].first_id, max(run.last_id for run in every))]
    return filled(filled(whole, stored), more)


async def _with_times(store: DocumentStore, series: Series, run: Run) -> Run:
    """The run with the times of its first and last record, which are stored."""
    if run.collection is None:
        return run
    first_ms = await time_of(store, run.collection, series, run.first_id)
    last_ms = await time_of(store, run.collection, series, run.last_id)
    if first_ms is None or last_ms is None:
        raise RetryableError(f"{run.collection}: records of {series.id} were removed while they were being counted")
    return Run(run.first_id, run.last_id, run.collection, first_ms, last_ms)


def _unknown(start_ms: int, end_ms: int) -> Segment:
    return Segment(start_ms=start_ms, end_ms=end_ms, verdict=Verdict.UNKNOWN)
