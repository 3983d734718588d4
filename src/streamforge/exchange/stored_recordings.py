"""Serving what StreamForge has stored as if the exchange were live: series of a data directory, and its order books."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from streamforge.exchange.config import SymbolSpec
from streamforge.exchange.endpoint import RowsEndpoint
from streamforge.exchange.recorded_rows import Held, Part, Versions, part_of
from streamforge.exchange.recordings import Key, Recordings, hand_over, spec_of
from streamforge.exchange.stored_depth import StoredBook
from streamforge.exchange.stored_tops import StoredTops
from streamforge_utils.model.books.segments import SegmentManifest
from streamforge_utils.model.errors import PermanentError
from streamforge_utils.model.kinds.registry import kind_of_document, kinds_in_segments
from streamforge_utils.ports.object_store import ObjectStore
from streamforge_utils.ports.store import Document, Store
from streamforge_utils.runtime.sink.stored_segments import StoredSegments

T = TypeVar("T")
_PAGE = 5000
_MINUTE_MS = 60_000
_DIGITS = re.compile(r"\d+")


class StoredPlace(msgspec.Struct, frozen=True):
    """Where series are stored. Both make an adapter, which who calls them closes."""

    make_store: Callable[[], Store]
    make_objects: Callable[[], ObjectStore]

    def read(self, work: Callable[[Store, ObjectStore], Awaitable[T]]) -> T:
        """Do something with what is stored, and wait for it: in a thread, on a loop of its own."""

        async def done() -> T:
            store, objects = self.make_store(), self.make_objects()
            try:
                return await work(store, objects)
            finally:
                await store.close()
                await objects.close()

        # No `Lane`: who calls this waits without an event loop, or blocks the one it has.
        with ThreadPoolExecutor(1, thread_name_prefix="stored") as pool:
            return pool.submit(asyncio.run, done()).result()


def load_stored(place: StoredPlace, folder: Path, endpoints: Sequence[RowsEndpoint]) -> Recordings:
    """Let `endpoints` serve the candles and trades that are stored; order books are read as they are asked for.

    All rows are read once, to know how many there are. folder: for messages. Raises PermanentError or RetryableError.
    """
    found = place.read(_Loading(place, folder, endpoints).load)
    held = Held()
    symbols: dict[str, int] = {}
    end_ms = hand_over(endpoints, found.parts, held, symbols)
    for symbol, segments in found.segments.items():
        start_ms = min(one.start_ms for _, one in segments) // _MINUTE_MS * _MINUTE_MS
        symbols[symbol] = min(start_ms, symbols.get(symbol, start_ms))
        end_ms = max(end_ms, max(one.end_ms for _, one in segments))
    if not symbols:
        raise PermanentError(f"replay {folder}: no candles, trades or order books are stored there")
    specs: dict[str, SymbolSpec] = {symbol: spec_of(symbol, listed_ms) for symbol, listed_ms in symbols.items()}
    books = {symbol: StoredBook(place.read, symbol, found.books.get(symbol, [])) for symbol in found.segments}
    streams = StoredTops(place.read, found.segments, held, books)
    return Recordings(specs, found.ignored, {}, streams, books, end_ms, held)


class _Loading:
    """What is found. parts: of each series, each a page of a collection at most. books: collections of order books, and
    when each was begun, by symbol. ignored: collections that are not served, each with the reason."""

    def __init__(self, place: StoredPlace, folder: Path, endpoints: Sequence[RowsEndpoint]) -> None:
        self._place, self._folder = place, folder
        self._endpoints = {endpoint.stored: endpoint for endpoint in endpoints if endpoint.stored}
        self.parts: dict[Key, list[Part]] = {}
        self.books: dict[str, list[tuple[str, int]]] = {}
        self.segments: dict[str, list[tuple[str, SegmentManifest]]] = {}
        self.ignored: dict[str, str] = {}

    async def load(self, store: Store, objects: ObjectStore) -> _Loading:
        """Read all of it."""
        segmented = kinds_in_segments()
        books = {name for kind in segmented for name in (kind.name, *(kind.intervals.beside if kind.intervals else ()))}
        for name in await store.names():
            first = await store.read(name, limit=1)
            kind = kind_of_document(first[0].key, first[0].body) if first else None
            if kind is not None and kind.name in books:
                symbol = kind.series_of_document(first[0].body).symbol
                self.books.setdefault(symbol, []).append((name, kind.time_of(first[0].body)))
            elif kind is None or kind.name not in self._endpoints:
                self.ignored[name] = "no candles, trades or order books"
            else:
                async for page in _pages(store, name):
                    self._add(name, page)
        await self._find_segments(objects)
        return self

    def _add(self, collection: str, page: Sequence[Document]) -> None:
        """Add a part for each series of which records follow each other in a page."""
        for key, documents in groupby(page, partial(self._key_of, collection)):
            if key is not None:
                rows = [*documents]
                span = rows[0].key, rows[-1].key + "\x00"
                read = partial(self._read, collection, span, key[0])
                if (part := part_of(self._rows(collection, rows, key[0]), read)) is not None:
                    self.parts.setdefault(key, []).append(part)

    def _key_of(self, collection: str, document: Document) -> Key | None:
        """The series of a record; None: it is not served."""
        kind = kind_of_document(document.key, document.body)
        endpoint = None if kind is None else self._endpoints.get(kind.name)
        if endpoint is None:
            self.ignored[f"{collection}/{document.key}"] = "no candle and no trade"
            return None
        record: Mapping[str, Any] = msgspec.json.decode(document.body)
        return endpoint, record["symbol"], endpoint.variant_of_stored(record)

    def _read(self, collection: str, span: tuple[str, str], endpoint: RowsEndpoint) -> Versions:
        async def read(store: Store, _: ObjectStore) -> Sequence[Document]:
            return await store.read(collection, first=span[0], last=span[1], limit=_PAGE)

        return self._rows(collection, self._place.read(read), endpoint)

    def _rows(self, collection: str, documents: Iterable[Document], endpoint: RowsEndpoint) -> Versions:
        for document in documents:
            try:
                yield document.version, endpoint.row_of_stored(msgspec.json.decode(document.body))
            except ValueError as error:
                raise PermanentError(f"replay {self._folder}: {collection}/{document.key} {error}") from error

    async def _find_segments(self, objects: ObjectStore) -> None:
        for folder in [kind.segments for kind in kinds_in_segments()]:
            found = StoredSegments(objects, folder)
            async for one in objects.list(folder):
                if _DIGITS.fullmatch(one.name.rpartition("/")[2].removesuffix(".json")) is None:
                    continue
                if (manifest := await found.manifest(one.name)) is not None:
                    self.segments.setdefault(manifest.symbol, []).append((one.name, manifest))


async def _pages(store: Store, collection: str) -> AsyncIterator[Sequence[Document]]:
    first = ""
    while page := await store.read(collection, first=first, limit=_PAGE):
        yield page
        first = page[-1].key + "\x00"
