"""Stored records as they are read: compared with what the coverage has proven, so that no part passes for the whole."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec

from streamforge.manager.coverage.placed_records import day_of
from streamforge.manager.coverage.record_count import key_range, positions_of, stored_positions
from streamforge.manager.coverage.store import CoverageStore, SeriesCoverage
from streamforge.manager.exports.rows import RecordRows
from streamforge.manager.exports.segment_records import diffs_in_segments
from streamforge.manager.use_cases import Incomplete
from streamforge_utils.model.coverage import Verdict
from streamforge_utils.model.daily_collections import Placement, days_of
from streamforge_utils.model.errors import PermanentError
from streamforge_utils.model.json_documents import with_key
from streamforge_utils.model.kinds.registry import kind_of, kind_of_document, rule_of, series_of_document, type_of
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.object_store import ObjectStore
from streamforge_utils.ports.store import Document, Store

BATCH = 5000
_SHOWN = 5
_FIRST_MS = 10**12
"""From here on (2001-09-09) times have 13 digits, so that keys that end in one sort by it."""


class RecordReader:
    """The records of a collection, by key."""

    def __init__(self, store: Store, coverage: CoverageStore, objects: ObjectStore | None = None) -> None:
        """objects: where diffs of order books are."""
        self._store = store
        self._objects = objects
        self._coverage = coverage

    async def read(
        self,
        collection: str,
        *,
        span: TimeRange | None,
        after: str | None,
        limit: int,
        whole: bool,
        series: Series | None = None,
    ) -> AsyncIterator[Sequence[tuple[str, bytes]]]:
        """Records (key, JSON), oldest first, in batches, `limit` in all; of those that open in `span`, where given.

        after: continue behind this key. whole: look before the first batch whether all is there. series: read this one
        alone; what others lack in the same collection is not its matter.
        Raises Incomplete where fewer come than the coverage has proven, or RetryableError.
        """
        if series is not None and kind_of(series).segments and self._objects is not None:
            span = day_of(collection, series) if span is None else span
            async for batch in diffs_in_segments(self._objects, series, span, after, limit):
                yield batch
            return
        only = None if series is None else kind_of(series).prefix(series)
        first = max("" if after is None else after + "\x00", only or "")
        proven = [part async for part in self._proven(collection, span, series)]
        if whole:
            await self._compare(collection, proven, first)
        if series is not None and (after is None or kind_of(series).position_of(after) is not None):
            try:
                async for rows in self._rows(collection, series, span, after, limit, proven):
                    after, limit = rows[-1][0], limit - len(rows)
                    yield rows
                return
            except PermanentError:  # a document that is no record, which is shown as it is
                first = max("" if after is None else after + "\x00", only or "")
        left = limit
        while left > 0:
            beginning, end, prefix, found = first, None, only, series
            if prefix is None and span is not None:
                following = await self._store.read(collection, first=first, limit=1)
                if not following:
                    break
                prefix = following[0].key.rpartition("_")[0] + "_"
                found = series_of_document(following[0].key, following[0].body)
            if prefix is not None:
                end = _behind(prefix)
                if span is not None:
                    # Within one series the keys are in the order of time: what lies outside the span is not read.
                    if found is not None:
                        start, end = await key_range(self._store, collection, found, span)
                    else:
                        start, end = (f"{prefix}{max(time_ms, _FIRST_MS)}" for time_ms in (span.start_ms, span.end_ms))
                    beginning = max(first, start)
            size = min(left, BATCH)
            documents = await self._store.read(collection, first=beginning, last=end, limit=size)
            full = len(documents) == size
            following_first: str | None = documents[-1].key + "\x00" if full else None
            if not full and only is None and prefix is not None:
                following_first = _behind(prefix)
            _check(proven, [document.key for document in documents], first, following_first)
            if documents:
                yield [(d.key, _shown(d, series)) for d in documents]
                left -= len(documents)
            if following_first is None:
                return
            first = following_first
        if left > 0:
            _check(proven, [], first, None)

    async def _rows(
        self,
        collection: str,
        series: Series,
        span: TimeRange | None,
        after: str | None,
        limit: int,
        proven: Sequence[_Part],
    ) -> AsyncIterator[RecordRows]:
        """As `read`, of one series. Raises PermanentError too: of a document that is no record."""
        kind = kind_of(series)
        first = 0 if after is None else (kind.position_of(after) or 0) + 1
        within = range(first, 10**kind.digits - 1)
        if span is not None:
            of_span = await stored_positions(self._store, collection, series, span)
            within = range(max(first, of_span.start), of_span.stop)
        while limit > 0:
            size = min(limit, BATCH)
            rows = RecordRows(series, await self._store.values(collection, series, within, kind.columns, limit=size))
            positions = rows.positions()
            full = len(rows) == size
            _check_positions(proven, positions, first, positions[-1] + 1 if full else None)
            if rows:
                yield rows
            if not full:
                return
            limit -= len(rows)
            first = positions[-1] + 1
            within = range(first, within.stop)

    async def named(self, name: str, series: Series | None, there: Sequence[str]) -> Sequence[str]:
        """The collections, of those that are there, of a base; a name alone where the records of a series are segments.

        Empty: nothing of that name is there, or in the coverage.
        """
        ledger = Placement(name, daily=True).ledger
        found = [*days_of(name, there), *(one for one in there if one == ledger)]
        if series is None or not kind_of(series).segments or self._objects is None:
            return found
        return [name] if found or any(one.collection == name for one in await self._coverage.of(series)) else []

    async def read_each(
        self, collections: Sequence[str], *, after: str | None, limit: int, **what: Any
    ) -> AsyncIterator[Sequence[tuple[str, bytes]]]:
        """As `read`, of one collection after the other."""
        held = [name for name in collections if after is not None and await self._store.present(name, [after])]
        at = collections.index(held[0]) if held else 0
        for name in collections[at:]:
            # Without the record that it names, only the order of keys tells what lies behind it.
            behind = after if name == collections[at] or not held else None
            async for batch in self.read(name, after=behind, limit=limit, **what):
                yield batch
                limit -= len(batch)
            if limit <= 0:
                return

    async def _proven(self, collection: str, span: TimeRange | None, series: Series | None) -> AsyncIterator[_Part]:
        async for known in self._known(series):
            if not rule_of(known.series).is_counted:
                continue  # keys do not tell what lacks, and most of it lies in segments
            held = [s for s in known.segments if s.verdict is Verdict.STORED and s.collection == collection]
            if not held:
                continue
            for segment in held:
                common = segment.span if span is None else segment.span.intersection(span)
                if common is None:
                    continue
                grid = await positions_of(self._store, known.series, segment, common, known.grid_ms)
                if grid is None:
                    raise _incomplete(known.series, f"{common} is all gone", collection)
                if grid:
                    yield _Part(known.series, common, grid)

    async def _known(self, series: Series | None) -> AsyncIterator[SeriesCoverage]:
        if series is not None:
            yield await self._coverage.known(series)
            return
        async for known in self._coverage.all():
            yield known

    async def _compare(self, collection: str, proven: Sequence[_Part], first: str) -> None:
        lacking: list[tuple[Series, str]] = []
        for part in proven:
            grid = part.grid[bisect_left(part.grid, first, key=part.key) :]
            if not grid:
                continue
            start, end = part.key(grid[0]), part.key(grid[-1] + 1)
            there = await self._store.count(collection, first=start, last=end)
            if there < len(grid):
                lacking.append((part.series, f"{part.span} lacks {len(grid) - there:,} of {len(grid):,}"))
        if lacking:
            first_series = lacking[0][0]
            told = [what for series, what in lacking if series == first_series]
            more = f" and {len(told) - _SHOWN} more ranges" if len(told) > _SHOWN else ""
            raise _incomplete(first_series, "; ".join(told[:_SHOWN]) + more, collection)


def _shown(document: Document, series: Series | None) -> bytes:
    """A document as it is read: one that is no record of a kind has a key that nothing else in it tells."""
    if series is not None:
        body = kind_of(series).as_exported(document.body)
        if body is not document.body:  # it is one of the series, as nearly all are
            return body
    kind = kind_of_document(document.key, document.body)
    return with_key(document.key, document.body) if kind is None else kind.as_exported(document.body)


def _behind(prefix: str) -> str:
    """The first key behind a series whose keys begin with `prefix`: "`" is the character after "_"."""
    return prefix[:-1] + "`"


class _Part(msgspec.Struct, frozen=True):
    """A range of a series that the collection is proven to hold. grid: the positions of its records; not empty."""

    series: Series
    span: TimeRange
    grid: Sequence[int]

    def key(self, position: int) -> str:
        return kind_of(self.series).key(self.series, position)

    def shown(self, position: int) -> str:
        return rule_of(self.series).shown(position)


def _check(proven: Sequence[_Part], keys: Sequence[str], first: str, last: str | None) -> None:
    """Raises Incomplete if `keys`, which are all with first <= key < last, lack some that are proven to be there."""
    for part in proven:
        if (last is not None and part.key(part.grid[0]) >= last) or part.key(part.grid[-1]) < first:
            continue
        start = bisect_left(part.grid, first, key=part.key)
        end = len(part.grid) if last is None else bisect_left(part.grid, last, key=part.key)
        grid = part.grid[start:end]
        if not grid:
            continue
        low, high = (bisect_left(keys, part.key(time)) for time in (grid[0], grid[-1] + 1))
        _require(part, grid, kind_of(part.series).positions(part.series, keys[low:high]))


def _check_positions(proven: Sequence[_Part], positions: Sequence[int], first: int, stop: int | None) -> None:
    """Raises Incomplete if `positions`, which are all from `first` to before `stop`, lack some that are proven."""
    for part in proven:
        start = bisect_left(part.grid, first)
        grid = part.grid[start : len(part.grid) if stop is None else bisect_left(part.grid, stop)]
        if grid:
            low, high = bisect_left(positions, grid[0]), bisect_left(positions, grid[-1] + 1)
            _require(part, grid, positions[low:high])


def _require(part: _Part, grid: Sequence[int], there: Sequence[int]) -> None:
    if len(there) == len(grid) and all(map(int.__eq__, there, grid)):
        return
    missing = sorted(set(grid) - set(there))
    if missing:
        first_one, last_one, at = (part.shown(one) for one in (grid[0], grid[-1], missing[0]))
        lacks = f"between {first_one} and {last_one} {len(missing):,} of {len(grid):,} lack"
        raise _incomplete(part.series, f"{lacks}, the first at {at}", "the collection")


def _incomplete(series: Series, what: str, collection: str) -> Incomplete:
    type_ = type_of(series)
    return Incomplete(
        f"{collection} holds fewer records of {series.symbol} {type_} than were proven: {what}", series.symbol, type_
    )
