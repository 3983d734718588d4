"""The embedded store: SQLite files in a directory, shared by any number of processes of one machine.

Each collection of documents has a file of its own, so that sinks of different workflows do not wait for each other;
states and edges have one file each. Reading and writing happen in threads, each with its own connections: a reader
never waits for a writer.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence, Set
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, Unpack

from streamforge_utils.adapters.call_thread import Lane
from streamforge_utils.adapters.embedded import sqlite
from streamforge_utils.adapters.embedded.store import collection_rows
from streamforge_utils.adapters.embedded.store.collection_files import Catalogue
from streamforge_utils.adapters.embedded.store.edge_rows import Edges
from streamforge_utils.adapters.embedded.store.state_rows import States, Wanted
from streamforge_utils.adapters.embedded.wal_copier import FailedCopies
from streamforge_utils.model.documents import check_name
from streamforge_utils.model.errors import StreamForgeError
from streamforge_utils.model.series import Series
from streamforge_utils.ports.columns import DocumentColumns, RecordColumns
from streamforge_utils.ports.instrumentation import NullObserver, Observer
from streamforge_utils.ports.records import positions_of_keys, values_of_documents
from streamforge_utils.ports.store import Answer, Document, Edge, Labels, Selected, State, Usage, count_outcomes

T = TypeVar("T")

RECORD_BYTES = 100
"""Of one record in a table, about."""


class EmbeddedStore:
    """Documents, states and edges in `directory` (made when needed).

    Documents and edges survive SIGKILL of any process; states, and documents after `flush`, power loss as well.
    Counts `store_documents` (by outcome), `store_write_seconds` and `wal_copy_failures`.
    Raises ConfigError if SQLite is too old.
    """

    def __init__(self, directory: Path, *, observer: Observer | None = None) -> None:
        sqlite.require_version()
        self._directory = directory
        self._observer = observer or NullObserver()
        documents, failed = directory / "documents", FailedCopies(observer)
        self._writing, self._written = Lane("store-write"), Catalogue(documents, failed)
        self._reading, self._read = Lane("store-read"), Catalogue(documents, failed)
        self._changing, self._changed = Lane("store-states-write"), States(directory / "states.db")
        self._looking, self._looked = Lane("store-states-read"), States(directory / "states.db")
        self._linking, self._linked = Lane("store-edges"), Edges(directory / "edges.db")

    @property
    def upserts_at_once(self) -> int:
        return 1

    async def connect(self) -> None:
        """Does nothing: files are opened when they are needed."""

    async def upsert(self, collection: str, documents: Sequence[Document]) -> Sequence[Answer]:
        """One transaction; see `DocumentStore.upsert`. Raises PermanentError for an illegal collection name."""
        check_name(collection)
        if not documents:
            return []
        began = time.perf_counter()
        columns = DocumentColumns.of(documents)
        store = partial(collection_rows.upsert, documents=columns)
        answers = await self._writing.run(self._written.write, collection, store, size=_size_of(columns))
        assert answers is not None  # noqa: S101 - it was to be created
        self._observer.count("store_write_seconds", time.perf_counter() - began)
        for outcome, number in count_outcomes(answers).items():
            self._observer.count("store_documents", number, outcome=outcome.value)
        return answers

    async def read(
        self, collection: str, *, first: str = "", last: str | None = None, limit: int = 1000
    ) -> Sequence[Document]:
        return await self._ask(collection, lambda held: collection_rows.read(held, first, last, limit)) or []

    async def values(
        self, collection: str, series: Series, within: range, names: Sequence[str], *, limit: int
    ) -> Sequence[tuple[Any, ...]]:
        look = partial(collection_rows.values, series=series, within=within, names=names, limit=limit)
        found = await self._typed(collection, look)
        return await values_of_documents(self, collection, series, within, names, limit) if found is None else found

    async def positions(self, collection: str, series: Series, within: range, *, limit: int) -> Sequence[int]:
        look = partial(collection_rows.positions, series=series, within=within, limit=limit)
        found = await self._typed(collection, look)
        return await positions_of_keys(self, collection, series, within, limit) if found is None else found

    async def move(self, collection: str) -> bool:
        """Move some records of a collection of an older version into tables; whether there may be more.

        With the last ones the file is made smaller. Raises RetryableError; what was moved before stays so.
        """
        if not await self._ask(collection, collection_rows.moves):
            return False
        move = partial(collection_rows.move, most=collection_rows.MOVED_AT_ONCE)
        if await self._writing.run(self._written.write, collection, move, create=False):
            return True
        await self._writing.run(self._written.compact, collection)
        return False

    async def move_all(self, said: Callable[[str], object]) -> bool:
        """Move the records that an older version stored as documents into tables; whether all of them are there then.

        What is cut short goes on the next time. A collection that cannot be used, and one for which there is no room,
        stays as it is: a reader of it is told why. said: is given a sentence about each collection in which there is
        something to move. Raises ConfigError or RetryableError where the collections cannot be listed.
        """
        whole = True
        for name in await self.names():
            steps = 0
            try:
                while await self.move(name):
                    if not steps:
                        said(f"the records of {name}, which an older version stored, are being moved into tables")
                    steps += 1
            except StreamForgeError as error:
                said(f"the records of {name} stay where an older version stored them: {error}")
                whole = False
        return whole

    async def keys(
        self, collection: str, *, first: str = "", last: str | None = None, limit: int = 100_000
    ) -> Sequence[str]:
        return await self._ask(collection, lambda held: collection_rows.keys(held, first, last, limit)) or []

    async def present(self, collection: str, keys: Sequence[str]) -> Set[str]:
        return await self._ask(collection, lambda held: collection_rows.present(held, keys)) or frozenset()

    async def fetch(self, collection: str, keys: Sequence[str]) -> Sequence[Document]:
        return await self._ask(collection, lambda held: collection_rows.fetch(held, keys)) or []

    async def count(self, collection: str, *, first: str = "", last: str | None = None) -> int:
        return await self._ask(collection, lambda held: collection_rows.count(held, first, last)) or 0

    async def names(self) -> Sequence[str]:
        return await self._reading.run(self._read.names)

    async def check(self, collection: str, *, within_s: float) -> bool:
        """Read all that the collection's file holds; False: that takes longer. Raises DamagedFile or RetryableError."""
        return await self._reading.run(self._read.check, collection, within_s)

    async def drop(self, collection: str) -> None:
        check_name(collection)
        await self._writing.run(self._written.drop, collection)
        await self._linking.run(self._linked.drop, collection)

    async def delete(self, collection: str, *, first: str, last: str) -> int:
        check_name(collection)
        remove = partial(collection_rows.delete, first=first, last=last)
        return await self._writing.run(self._written.write, collection, remove, create=False) or 0

    async def delete_keys(self, collection: str, keys: Sequence[str]) -> None:
        check_name(collection)
        remove = partial(collection_rows.delete_keys, keys=keys)
        await self._writing.run(self._written.write, collection, remove, create=False)

    async def flush(self, collection: str) -> None:
        check_name(collection)
        await self._reading.run(self._read.flush, collection)

    async def get(self, kind: str, id: str) -> State | None:
        return await self._looking.run(self._looked.get, kind, id)

    async def get_many(self, kind: str, ids: Sequence[str]) -> Mapping[str, State]:
        return await self._looking.run(self._looked.get_many, kind, ids) if ids else {}

    async def put(
        self, kind: str, id: str, body: bytes, *, expected: str | None, labels: Labels = None, created_ms: int = 0
    ) -> State:
        return await self._changing.run(
            self._changed.put, kind, id, body, expected=expected, labels=labels, created_ms=created_ms
        )

    async def find(
        self, kind: str, *, after: str | None = None, limit: int = 100, **selected: Unpack[Selected]
    ) -> Sequence[State]:
        return await self._looking.run(self._looked.find, kind, Wanted.of(**selected), after=after, limit=limit)

    async def tally(self, kind: str, label: str, **selected: Unpack[Selected]) -> Mapping[str, int]:
        return await self._looking.run(self._looked.tally, kind, label, Wanted.of(**selected))

    async def remove(self, kind: str, id: str, *, expected: str) -> None:
        await self._changing.run(self._changed.remove, kind, id, expected=expected)

    async def link(self, collection: str, edges: Sequence[Edge]) -> None:
        await self._linking.run(self._linked.link, collection, edges)

    async def links(
        self, collection: str, *, source: str | None = None, destination: str | None = None
    ) -> Sequence[Edge]:
        return await self._linking.run(self._linked.links, collection, source, destination)

    async def links_from(self, collection: str, sources: Sequence[str]) -> Sequence[Edge]:
        return await self._linking.run(self._linked.links_from, collection, sources)

    async def unlink(self, collection: str, sources: Sequence[str]) -> None:
        await self._linking.run(self._linked.unlink, collection, sources)

    async def usage(self) -> Usage:
        return Usage(used_bytes=await self._reading.run(_size, self._directory))

    async def close(self) -> None:
        """Finish what was begun, then close every file. A second call does nothing."""
        await asyncio.gather(self._reading.close(self._read.close), self._looking.close(self._looked.close))
        # Afterwards, not beside them: SQLite puts a file's log away when the last connection closes, and of two that
        # close at the same moment each may take the other for the last.
        await asyncio.gather(
            self._writing.close(self._written.close),
            self._changing.close(self._changed.close),
            self._linking.close(self._linked.close),
        )

    async def _typed(
        self, collection: str, look: Callable[[sqlite3.Connection], Sequence[T] | None]
    ) -> Sequence[T] | None:
        """What `look` finds in one snapshot of the collection; empty if there is none."""
        check_name(collection)
        return await self._reading.run(self._read.look, collection, look, ())

    async def _ask(self, collection: str, work: Callable[[sqlite3.Connection], T]) -> T | None:
        """What `work` finds in one snapshot of the collection; None if there is none."""
        check_name(collection)
        return await self._reading.run(self._read.read, collection, work)


def _size_of(columns: DocumentColumns) -> int:
    """Bytes that documents take, about."""
    return RECORD_BYTES * len(columns) if isinstance(columns, RecordColumns) else sum(map(len, columns.bodies))


def _size(directory: Path) -> int:
    """Bytes of all files; what is removed meanwhile counts nothing."""
    total = 0
    for path in directory.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue
    return total
