"""The order books of a small market as a sink stores them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from streamforge_utils.adapters.object_storage.object_folder import ObjectFolder
from streamforge_utils.model.books.book_messages import DepthDiff, checked, read_message, read_snapshot
from streamforge_utils.model.books.order_book import OrderBook
from streamforge_utils.model.books.records import (
    Depth,
    checkpoint_of,
    depth_template,
    diff_of,
    id_key,
    interval_record,
    kind_name_of,
)
from streamforge_utils.model.books.segments import CONTENT, MANIFEST, OpenSegment, SegmentManifest, lines_of
from streamforge_utils.model.books.trust import BookInterval, Trust
from streamforge_utils.model.kinds.kind import Record
from streamforge_utils.model.kinds.registry import kind_named
from streamforge_utils.model.series import Series
from streamforge_utils.ports.store import Document, Store
from tests.doubles.market import START_MS, SYMBOL, Market

COLLECTION = "btcusdt_ws_orderbook_2024_08_09"
SERIES = Series(SYMBOL, "depth")


def at_ms(last_id: int) -> int:
    """The moment of an update."""
    return START_MS + 100 * last_id


class StoredBooks:
    """A market of `count` updates, and where its books are stored."""

    def __init__(self, store: Store, folder: Path, count: int = 200) -> None:
        self.store, self.objects = store, ObjectFolder(folder)
        self.market = Market(3, count)

    async def segment(self, first_id: int, last_id: int, width: int = 5) -> str:
        """Put the diffs of these updates, so many in each; returns the name of the manifest."""
        return await self.segment_of(self.diffs(first_id, last_id, width))

    def diffs(self, first_id: int, last_id: int, width: int = 5) -> list[bytes]:
        """The messages about these updates."""
        return [self.market.diff(one, one + width - 1) for one in range(first_id, last_id + 1, width)]

    async def segment_of(self, payloads: Iterable[bytes]) -> str:
        segment = OpenSegment(SYMBOL)
        for value in records(payloads)[1]:
            segment.add(value)
        name, content, manifest = segment.close()
        await self.objects.put(name + CONTENT, content)
        await self.objects.put(name + MANIFEST, msgspec.json.encode(manifest))
        return name + MANIFEST

    async def checkpoint(self, last_id: int, collection: str = COLLECTION, *, limit: int = 1000) -> None:
        """Store the whole book after an update, as far as a snapshot of so many levels a side reaches."""
        book = OrderBook.of_snapshot(read_snapshot(self.market.snapshot(last_id, limit), limit))
        await self._store(checkpoint_of(book, SYMBOL, at_ms(last_id), at_ms(last_id)), collection)

    async def entry(
        self,
        first_id: int,
        last_id: int,
        *,
        trust: Trust = Trust.VERIFIED,
        cause: str = "",
        collection: str = COLLECTION,
    ) -> None:
        """Store an entry of the ledger."""
        why = "" if trust is Trust.VERIFIED else "awaiting snapshot"
        times = {"start_ms": at_ms(first_id), "end_ms": at_ms(last_id) + 1}
        one = BookInterval(first_id=first_id, last_id=last_id, trust=trust, why=why, cause=cause, messages=1, **times)
        await self._store(interval_record(one, SYMBOL, at_ms(last_id)), collection)

    async def stored_diffs(self, payloads: Iterable[bytes], collection: str = COLLECTION) -> None:
        """Store diffs in the collection, too."""
        kind = kind_named("depth")
        found = [kind.document(*one) for one in zip(*records(payloads), strict=True)]
        await self.store.upsert(collection, [Document(*one) for one in found])

    async def _store(self, record: Record, collection: str) -> None:
        kind, key = kind_named(kind_name_of(record.key.encode())), record.key.encode()
        await self.store.upsert(collection, [Document(*kind.document(key, msgspec.json.encode(record)))])


def records(payloads: Iterable[bytes]) -> tuple[list[bytes], list[bytes]]:
    """Keys and values of the records of diffs, as they travel."""
    keys, values, template = list[bytes](), list[bytes](), depth_template(SYMBOL)
    for payload in payloads:
        diff = read_message(payload)
        assert isinstance(diff, DepthDiff)
        keys.append(id_key(SYMBOL, diff.last_id).encode())
        ids = (diff.first_id, diff.last_id, diff.time_ms)
        values.append(template % (keys[-1], START_MS, *ids, START_MS * 1000, 0, checked(payload, diff)))
    return keys, values


def diffs_of(content: bytes, manifest: SegmentManifest) -> list[DepthDiff]:
    """The diffs of a segment, in the order of its lines."""
    return [diff_of(msgspec.json.decode(line, type=Depth)) for line in lines_of(content, manifest)]
