"""Order books of past moments, from what a sink has stored: a whole book, the diffs behind it, and the ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

import msgspec

from streamforge_utils.model.books.book_reconstruction import Leading, PastBook
from streamforge_utils.model.books.records import (
    CHECKPOINT,
    DIFF,
    INTERVAL,
    StoredDepth,
    StoredDepthCheckpoint,
    StoredDepthInterval,
    book_of,
    diff_of,
    interval_of,
)
from streamforge_utils.model.books.segments import segment_prefix
from streamforge_utils.model.books.trust import BookInterval
from streamforge_utils.model.daily_collections import LEDGER
from streamforge_utils.model.errors import PermanentError
from streamforge_utils.model.kinds.registry import kind_named
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import format_ms
from streamforge_utils.ports.object_store import ObjectStore
from streamforge_utils.ports.store import DocumentStore
from streamforge_utils.runtime.sink.id_search import MOST, last_before, last_that
from streamforge_utils.runtime.sink.stored_segments import StoredSegments

MOST_COLLECTIONS = 9
"""In so many a whole book is looked for, in `_MOST_LOOKED_AT` an entry of the ledger: there is one for each day."""
_MOST_LOOKED_AT = 1000
_DIFFS_A_PAGE = 500
_LATE_ENTRIES = 20
"""So many entries of the ledger are looked at that begin before an id: late ones lie between others."""
_MOST_ENTRIES = 10_000
_RECENT_MS = 600_000
"""A whole book that is not older is near enough, and no other collection is looked into."""

_read_checkpoint = msgspec.json.Decoder(StoredDepthCheckpoint).decode
_read_diff = msgspec.json.Decoder(StoredDepth).decode
_read_interval = msgspec.json.Decoder(StoredDepthInterval).decode


class NoBook(PermanentError):
    """Nothing is stored of which the book could be made."""


class RebuiltBook(PastBook, frozen=True, kw_only=True):
    """With the whole book that it was made of: its collection, its last update and the moment of that, unix ms."""

    collection: str
    whole_id: int
    whole_ms: int


class BookSources(msgspec.Struct, frozen=True):
    """Of what the books of a time are made. wholes: whole books by their last updates. ledger: its entries."""

    wholes: list[StoredDepthCheckpoint]
    ledger: list[BookInterval]


class Recorded(msgspec.Struct, frozen=True):
    """Of which moments there are books: from the first whole one to the end of the ledger, unix milliseconds.

    cause: why they end there; empty: they go on.
    """

    start_ms: int
    end_ms: int
    cause: str


class PastBooks:
    """The books of one symbol. Every call reads a bounded number of records and holds one segment at most.

    Raises RetryableError or DamagedFile (a segment is damaged; the message names it).
    """

    def __init__(
        self,
        store: DocumentStore,
        objects: ObjectStore | None,
        collections: str | Sequence[tuple[str, int]],
        symbol: str,
    ) -> None:
        """collections: where they are, and when each was begun, unix milliseconds; the last one first. Or the only one.
        That of a ledger is begun before all others.

        objects: where segments are; None: diffs are looked for in the collections alone.
        """
        self._store = store
        self._segments = None if objects is None else StoredSegments(objects, segment_prefix(symbol))
        given = [(collections, 0)] if isinstance(collections, str) else collections
        self._collections = sorted(given, key=lambda one: not one[0].endswith(LEDGER))[:_MOST_LOOKED_AT]
        self._symbol = symbol
        self._diffs, self._wholes, self._ledger = (
            partial(kind_named(name).key, Series(symbol, name)) for name in (DIFF, CHECKPOINT, INTERVAL)
        )
        self._end_id = 10 ** kind_named(DIFF).digits - 1

    async def at(self, at_ms: int) -> RebuiltBook:
        """The book right after its last diff at or before a moment. Raises NoBook."""
        names = [name for name, begun_ms in self._collections if begun_ms <= at_ms]
        found = await self._whole_before(names[:MOST_COLLECTIONS], at_ms)
        if found is None:
            raise NoBook(f"no whole order book of {self._symbol} is stored of {format_ms(at_ms)} or before")
        collection, whole = found
        leading = Leading(book_of(whole), whole.timestamp, at_ms)
        await self._hear_stored(names[:MOST_COLLECTIONS], leading)
        if not leading.is_done:
            await self._hear_segments(leading)
        last_id = leading.book.last_id
        intervals = await self._intervals(names, leading.first_id, last_id)
        past = leading.judged(intervals)
        has_ended = any(one.last_id == last_id and one.cause == past.why for one in intervals if past.why)
        if past.trust is None and has_ended and not await self._goes_on(last_id):
            raise NoBook(f"the order books of {self._symbol} end before {format_ms(at_ms)}: {past.why}")
        return RebuiltBook(
            past.book,
            past.time_ms,
            past.trust,
            past.why,
            past.diffs,
            collection=collection,
            whole_id=whole.last_update_id,
            whole_ms=whole.timestamp,
        )

    async def sources(self, begin_ms: int, end_ms: int, last_id: int) -> BookSources:
        """For the books of a time: the last whole one at or before its beginning, those behind that up to an update."""
        names = [name for name, begun_ms in self._collections if begun_ms <= end_ms]
        before = await self._whole_before(names[:MOST_COLLECTIONS], begin_ms)
        wholes = [] if before is None else [before[1]]
        for name in names[:MOST_COLLECTIONS]:
            one = await self._whole_from(name, wholes[0].last_update_id + 1 if before else 0)
            while one is not None and one[0] <= last_id:
                wholes.append(one[1])
                one = await self._whole_from(name, one[0] + 1)
        wholes.sort(key=lambda one: one.last_update_id)
        return BookSources(wholes, await self._intervals(names, wholes[0].last_update_id, last_id) if wholes else [])

    async def recorded(self) -> Recorded | None:
        """What there is, as a whole; None: no book."""
        start_ms: int | None = None
        for name, _ in reversed(self._collections):
            if (whole := await self._whole_from(name, 0)) is not None:
                start_ms = whole[1].timestamp
                break
        for name, _ in self._collections:
            if entries := await self._entries(name, self._end_id - 1, _LATE_ENTRIES):
                last = max(entries, key=lambda one: one.end_ms)
                return None if start_ms is None else Recorded(start_ms, last.end_ms, last.cause)
        return None

    async def _whole_before(self, names: Sequence[str], at_ms: int) -> tuple[str, StoredDepthCheckpoint] | None:
        """The last whole book that was taken then or before, with its collection."""
        best: tuple[str, StoredDepthCheckpoint] | None = None
        for name in names:
            one = await last_that(partial(self._whole_from, name), lambda one: one.timestamp <= at_ms)
            if one is not None and (best is None or one.timestamp > best[1].timestamp):
                best = name, one
            if best is not None and best[1].timestamp >= at_ms - _RECENT_MS:
                break
        return best

    async def _whole_from(self, collection: str, update_id: int) -> tuple[int, StoredDepthCheckpoint] | None:
        """The first whole book from an update on, with its last one."""
        first, end = self._wholes(update_id), self._wholes(self._end_id)
        for document in await self._store.read(collection, first=first, last=end, limit=1):
            one = _read_checkpoint(document.body)
            return one.last_update_id, one
        return None

    async def _hear_stored(self, names: Sequence[str], leading: Leading) -> None:
        """Diffs of the collections, where a sink stores them there, too."""
        for name in reversed(names):
            leading.begin_source()
            reached = -1
            while not leading.is_done and reached < leading.book.last_id:
                reached = leading.book.last_id
                first, end = self._diffs(reached + 1), self._diffs(self._end_id)
                page = await self._store.read(name, first=first, last=end, limit=_DIFFS_A_PAGE)
                await asyncio.to_thread(leading.hear, (diff_of(_read_diff(one.body)) for one in page))

    async def _hear_segments(self, leading: Leading) -> None:
        if self._segments is None:
            return
        leading.begin_source()
        async for segment in self._segments.behind(leading.book.last_id):
            await asyncio.to_thread(leading.hear, segment.diffs(leading.book.last_id))
            if leading.is_done or leading.is_stuck or segment.manifest.start_ms > leading.at_ms:
                return

    async def _intervals(self, names: Sequence[str], first_id: int, last_id: int) -> list[BookInterval]:
        """The entries of the ledger that mention these ids.

        An entry may go on for weeks: the last one before is looked for. Beside collections of days entries lie in one
        of their own; those of older versions lie in the day of their beginning.
        """
        found: list[BookInterval] = []
        for name in names:
            entries = await self._entries(name, first_id, _LATE_ENTRIES, last_id)
            found += entries
            if any(one.first_id <= first_id for one in entries):
                break
        return found

    async def _entries(self, collection: str, first_id: int, late: int, last_id: int = 0) -> list[BookInterval]:
        """The last entries that begin at an id or before, and those behind it up to another id."""
        key, end = self._ledger, self._ledger(first_id + 1)
        last = max(end, key(last_id + 1))
        if not await self._store.keys(collection, first=key(0), last=last, limit=1):
            return []
        ask = partial(self._store.keys, collection, last=end, limit=MOST)
        before = await last_before(lambda first: ask(first=key(first)), first_id + 1, late)
        first = before[0] if before else end
        documents = await self._store.read(collection, first=first, last=last, limit=_MOST_ENTRIES)
        return [interval_of(_read_interval(one.body)) for one in documents]

    async def _goes_on(self, last_id: int) -> bool:
        """Whether the ledger has entries behind an update."""
        for name, _ in self._collections:
            first, end = self._ledger(last_id + 1), self._ledger(self._end_id)
            if await self._store.keys(name, first=first, last=end, limit=1):
                return True
        return False
