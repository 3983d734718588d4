"""What is stored of records with consecutive ids, as segments of coverage."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from streamforge.manager.persistence.coverage_store import Known
from streamforge.manager.persistence.stored_ids import ids_of, stored_ids, time_of
from streamforge_utils.model.completeness.rule import missing
from streamforge_utils.model.completeness.sequence import Run, filled, segments_of
from streamforge_utils.model.coverage import Segment, Verdict, touching
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.model.kinds.registry import kind_of
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.store import DocumentStore

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


async def counted_ids(store: DocumentStore, known: Known, span: TimeRange, *, every_key: bool) -> list[Segment]:
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
