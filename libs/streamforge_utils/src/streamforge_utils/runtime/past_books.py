"""Order books of past moments, from what a sink has stored: a whole book, the diffs behind it, and the ledger."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import AsyncIterator, Iterable
from functools import partial

import msgspec

from streamforge_utils.model.books.messages import DepthDiff
from streamforge_utils.model.books.past import PastBook, book_at
from streamforge_utils.model.books.records import (
    StoredDepth,
    StoredDepthCheckpoint,
    StoredDepthInterval,
    book_of,
    diff_of,
    interval_of,
)
from streamforge_utils.model.books.segments import (
    CONTENT,
    MANIFEST,
    decode_manifest,
    diffs_of,
    first_id_of,
    segment_prefix,
)
from streamforge_utils.model.books.trust import BookInterval
from streamforge_utils.model.errors import PermanentError
from streamforge_utils.model.kinds.registry import kind_named
from streamforge_utils.model.series import Series
from streamforge_utils.ports.object_store import ObjectStore
from streamforge_utils.ports.store import DocumentStore

_DIFFS_A_PAGE = 1000
_KEYS = 1_000_000
_LATE_ENTRIES = 20
"""So many entries of the ledger are looked at that begin before an id: late ones lie between others."""
_LATE_SEGMENTS = 2
_MOST_DIFFS = 500_000

_read_checkpoint = msgspec.json.Decoder(StoredDepthCheckpoint).decode
_read_diff = msgspec.json.Decoder(StoredDepth).decode
_read_interval = msgspec.json.Decoder(StoredDepthInterval).decode


class NoBook(PermanentError):
    """Nothing is stored of which the book could be made."""


class PastBooks:
    """The books of one symbol in one collection."""

    def __init__(self, store: DocumentStore, objects: ObjectStore | None, collection: str, symbol: str) -> None:
        """objects: where segments are; None: diffs are looked for in the collection alone."""
        self._store = store
        self._objects = objects
        self._collection = collection
        self._symbol = symbol
        self._diffs, self._wholes, self._ledger = (
            (kind, partial(kind.key, Series(symbol, name)))
            for name in ("depth", "depth_checkpoint", "depth_interval")
            for kind in (kind_named(name),)
        )

    async def at(self, at_ms: int) -> PastBook:
        """The book right after its last diff at or before a moment. Raises NoBook or RetryableError."""
        whole = await self._whole_before(at_ms)
        if whole is None:
            raise NoBook(f"no order book of {self._symbol} is stored in {self._collection} of that moment or before")
        diffs = [diff async for diff in self._stored_diffs(whole.last_update_id, at_ms)]
        if not diffs or diffs[-1].time_ms <= at_ms:
            diffs += [diff async for diff in self._segment_diffs(whole.last_update_id, at_ms)]
            diffs = _followed(diffs, whole.last_update_id, at_ms)
        last_id = diffs[-1].last_id if diffs else whole.last_update_id
        intervals = await self._intervals(whole.last_update_id, last_id)
        return book_at(book_of(whole), whole.timestamp, diffs, intervals, at_ms)

    async def _whole_before(self, at_ms: int) -> StoredDepthCheckpoint | None:
        """The last whole book that was taken then or before."""
        kind, key = self._wholes
        keys = await self._store.keys(self._collection, first=key(0), last=key(10**kind.digits - 1), limit=_KEYS)
        low, high, found = 0, len(keys), None
        while low < high:
            middle = (low + high) // 2
            documents = await self._store.read(self._collection, first=keys[middle], limit=1)
            one = _read_checkpoint(documents[0].body) if documents and documents[0].key == keys[middle] else None
            if one is not None and one.timestamp <= at_ms:
                low, found = middle + 1, one
            else:
                high = middle
        return found

    async def _segment_diffs(self, last_id: int, at_ms: int) -> AsyncIterator[DepthDiff]:
        """Those of the segments that may have some of these diffs, in any order. Raises PermanentError: damaged."""
        objects = self._objects
        if objects is None:
            return
        names = [one.name async for one in objects.list(segment_prefix(self._symbol))]
        begun = sorted((first, name) for name in names if (first := first_id_of(name)) is not None)
        count, at = 0, bisect_right(begun, last_id, key=lambda one: one[0])
        for _, name in begun[max(0, at - _LATE_SEGMENTS) :]:
            manifest = decode_manifest(await _content(objects, name))
            if manifest.last_u <= last_id:
                continue
            for diff in diffs_of(await _content(objects, name.removesuffix(MANIFEST) + CONTENT), manifest, last_id):
                yield diff
            count += manifest.count
            if manifest.start_ms > at_ms or count >= _MOST_DIFFS:
                return

    async def _stored_diffs(self, last_id: int, at_ms: int) -> AsyncIterator[DepthDiff]:
        """The diffs that follow an update, without a gap, up to the first one behind the moment."""
        kind, key = self._diffs
        first, end, count = key(last_id + 1), key(10**kind.digits - 1), 0
        while True:
            page = await self._store.read(self._collection, first=first, last=end, limit=_DIFFS_A_PAGE)
            for document in page:
                diff = diff_of(_read_diff(document.body))
                yield diff
                count += 1
                if diff.time_ms > at_ms or diff.first_id > last_id + 1 or count >= _MOST_DIFFS:
                    return
                last_id = diff.last_id
            if len(page) < _DIFFS_A_PAGE:
                return
            first = key(last_id + 1)

    async def _intervals(self, first_id: int, last_id: int) -> list[BookInterval]:
        """The entries of the ledger that mention these ids."""
        _, key = self._ledger
        before = await self._store.keys(self._collection, first=key(0), last=key(first_id + 1), limit=_KEYS)
        first = before[-_LATE_ENTRIES:][0] if before else key(first_id)
        documents = await self._store.read(self._collection, first=first, last=key(last_id + 1), limit=_KEYS)
        return [interval_of(_read_interval(document.body)) for document in documents]


async def _content(objects: ObjectStore, name: str) -> bytes:
    return b"".join([block async for block in objects.get(name)])


def _followed(diffs: Iterable[DepthDiff], last_id: int, at_ms: int) -> list[DepthDiff]:
    """Of diffs in any order those that follow an update, up to the first one behind a gap or the moment."""
    found: list[DepthDiff] = []
    for diff in sorted(diffs, key=lambda one: (one.last_id, one.first_id)):
        if diff.last_id <= last_id:
            continue
        found.append(diff)
        if diff.time_ms > at_ms or diff.first_id > last_id + 1:
            break
        last_id = diff.last_id
    return found
