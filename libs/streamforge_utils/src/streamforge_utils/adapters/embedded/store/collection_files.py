"""Which file holds which collection, so that a collection can be dropped while other processes have it open.

A catalogue gives each collection a file name that is never used again. Dropping marks the file inside a transaction,
unlinks it and takes it out of the catalogue: a process that has it open sees the mark in its next transaction, asks
the catalogue again and never writes into a file that others cannot find. Blocking; called in a store's threads.
"""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from streamforge_utils.adapters.embedded import sqlite
from streamforge_utils.adapters.embedded.store import collection_rows
from streamforge_utils.adapters.embedded.wal_copier import WRITER_BYTES, FailedCopies, WalCopier
from streamforge_utils.model.errors import ConfigError, RetryableError
from streamforge_utils.model.names import fit

T = TypeVar("T")

OPEN_LIMIT: Final = 16
"""How many collections a thread keeps open."""

FORMAT: Final = sqlite.Format(
    "catalogue of collections",
    # AUTOINCREMENT: an id is never given twice, so neither is the file name that is made of it.
    (("CREATE TABLE collections (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE)",),),
)

_REOPENINGS = 20


class Catalogue:
    """The collections of a directory, and the open connections of one thread. failed: as `WalCopier` takes it."""

    def __init__(self, directory: Path, failed: FailedCopies | None = None) -> None:
        self._directory = directory
        self._path = directory / "collections.db"
        self._catalogue = sqlite.LazyConnection(self._path, FORMAT)
        self._open: OrderedDict[str, tuple[sqlite3.Connection, Path]] = OrderedDict()
        self._copier = WalCopier(collection_rows.PAGE_SIZE, failed)

    def names(self) -> list[str]:
        """The names of all collections, sorted."""
        catalogue = self._catalogue.get()
        with sqlite.translated(self._path, "read"):
            rows = catalogue.execute("SELECT name FROM collections ORDER BY name").fetchall()
        return [row[0] for row in rows]

    def write(
        self, collection: str, work: Callable[[sqlite3.Connection], T], *, size: int = 0, create: bool = True
    ) -> T | None:
        """Do `work` in a writing transaction of the collection; None if there is none and `create` is false.

        size: bytes that it writes, about.
        """
        done = self._do(collection, partial(_work_if_kept, work), sqlite.transaction, create=create)
        if (opened := self._open.get(collection)) is not None:
            self._copier.written(opened[1], size)
        return done

    def read(self, collection: str, work: Callable[[sqlite3.Connection], T]) -> T | None:
        """Do `work` on one snapshot of the collection; None if there is none."""
        return self._do(collection, partial(_work_if_kept, work), sqlite.snapshot, create=False)

    def look(self, collection: str, work: Callable[[sqlite3.Connection], T | None], nothing: T) -> T | None:
        """As `read`, of what may find None by itself; `nothing` if there is no such collection."""
        found = self.read(collection, lambda connection: (work(connection),))
        return nothing if found is None else found[0]

    def check(self, collection: str, within_s: float) -> bool:
        """As `sqlite.check`; a collection that is not there is whole."""
        found = self._find(collection, create=False)
        if found is None:
            return True
        connection, path = found
        with self._reopened_after_failure(collection), sqlite.translated(path, "read"):
            return sqlite.check(connection, path, within_s)

    def compact(self, collection: str) -> None:
        """Give back the room of what was removed from the collection's file; a missing collection is no error."""
        found = self._find(collection, create=False)
        if found is None:
            return
        connection, path = found
        with self._reopened_after_failure(collection), sqlite.translated(path, "compact"):
            connection.execute("VACUUM")

    def drop(self, collection: str) -> None:
        """Remove the collection; it is no error if there is none."""
        catalogue = self._catalogue.get()
        self._forget(collection)
        with sqlite.transaction(catalogue, self._path):
            identity = self._lookup(collection)
            if identity is None:
                return
            path = self._file(collection, identity)
            self._mark_dropped(path)
            sqlite.remove(path)
            catalogue.execute("DELETE FROM collections WHERE id = ?", (identity,))

    def flush(self, collection: str) -> None:
        """Bring to the disk what was committed to the collection by any process; a missing collection is no error."""
        found = self._find(collection, create=False)
        if found is not None:
            sqlite.flush(found[1])

    def close(self) -> None:
        """Close every connection."""
        self._copier.close()
        for collection in list(self._open):
            self._forget(collection)
        self._catalogue.close()

    def _do(
        self,
        collection: str,
        work: Callable[[sqlite3.Connection], T],
        transaction: Callable[[sqlite3.Connection, Path], AbstractContextManager[None]],
        *,
        create: bool,
    ) -> T | None:
        for _ in range(_REOPENINGS):
            found = self._find(collection, create=create)
            if found is None:
                return None
            connection, path = found
            with (
                suppress(collection_rows.Dropped),
                self._reopened_after_failure(collection),
                transaction(connection, path),
            ):
                return work(connection)
            self._settle_drop(collection, path)
        raise RetryableError(f"collection {collection} is dropped again and again by another process; try again")

    def _find(self, collection: str, *, create: bool) -> tuple[sqlite3.Connection, Path] | None:
        opened = self._open.get(collection)
        if opened is not None:
            self._open.move_to_end(collection)
            return opened
        catalogue = self._catalogue.get()
        for _ in range(_REOPENINGS):
            with sqlite.translated(self._path, "read"):
                identity = self._lookup(collection)
            if identity is not None:
                path = self._file(collection, identity)
                try:
                    return self._remember(collection, self._open_file(path, create=False), path)
                except FileNotFoundError:
                    pass
            if not create:
                return None
            with sqlite.transaction(catalogue, self._path):
                self._make(catalogue, collection)
        raise RetryableError(f"collection {collection} is dropped again and again by another process; try again")

    def _make(self, catalogue: sqlite3.Connection, collection: str) -> None:
        """Make the file before the catalogue names it, so that every process finds it whole."""
        identity = self._lookup(collection)
        if identity is not None:
            if self._file(collection, identity).exists():
                return
            # Moved away by hand or lost in the middle of a drop: a new name, as someone may still have it open.
            catalogue.execute("DELETE FROM collections WHERE id = ?", (identity,))
        inserted = catalogue.execute("INSERT INTO collections (name) VALUES (?)", (collection,))
        path = self._file(collection, inserted.lastrowid or 0)
        sqlite.remove(path)  # of a process that was killed here before; its id was undone
        with closing(self._open_file(path, create=True)) as connection:
            connection.execute("INSERT INTO collection (name) VALUES (?)", (collection,))

    def _open_file(self, path: Path, *, create: bool) -> sqlite3.Connection:
        connection = sqlite.connect(
            path,
            collection_rows.FORMAT,
            synchronous="NORMAL",
            create=create,
            page_size=collection_rows.PAGE_SIZE,
        )
        connection.execute(f"PRAGMA wal_autocheckpoint = {WRITER_BYTES // collection_rows.PAGE_SIZE}")
        if not path.exists():
            # Dropped between the opening of the file and of its log: the log opened here is one of our own making,
            # without the mark. The file goes first, so where it is still there the log was the right one.
            connection.close()
            sqlite.remove(path)
            raise FileNotFoundError(path)
        return connection

    def _remember(self, collection: str, connection: sqlite3.Connection, path: Path) -> tuple[sqlite3.Connection, Path]:
        self._open[collection] = (connection, path)
        if len(self._open) > OPEN_LIMIT:
            self._close(*self._open.popitem(last=False)[1])
        return connection, path

    @contextmanager
    def _reopened_after_failure(self, collection: str) -> Iterator[None]:
        try:
            yield
        except (ConfigError, RetryableError):
            self._forget(collection)
            raise

    def _forget(self, collection: str) -> None:
        opened = self._open.pop(collection, None)
        if opened is not None:
            self._close(*opened)

    def _close(self, connection: sqlite3.Connection, path: Path) -> None:
        self._copier.forget(path)
        connection.close()

    def _settle_drop(self, collection: str, path: Path) -> None:
        """After the mark was seen: wait for the drop to be complete, or complete it if it was cut short."""
        self._forget(collection)
        catalogue = self._catalogue.get()
        with sqlite.transaction(catalogue, self._path):
            identity = self._lookup(collection)
            if identity is not None and self._file(collection, identity) == path:
                sqlite.remove(path)
                catalogue.execute("DELETE FROM collections WHERE id = ?", (identity,))

    def _mark_dropped(self, path: Path) -> None:
        with (
            suppress(FileNotFoundError, ConfigError),  # lost or broken: no other process can use it either
            closing(sqlite.connect(path, synchronous="NORMAL", create=False)) as connection,
            sqlite.transaction(connection, path),
        ):
            connection.execute("UPDATE collection SET dropped = 1")

    def _lookup(self, collection: str) -> int | None:
        row = self._catalogue.get().execute("SELECT id FROM collections WHERE name = ?", (collection,)).fetchone()
        return None if row is None else int(row[0])

    def _file(self, collection: str, identity: int) -> Path:
        # Lower case: to some file systems a and A are the same; the id differs.
        return self._directory / f"{fit(collection.lower(), 100, 'a-z0-9_-', joint='_')}.{identity}.db"


def _work_if_kept(work: Callable[[sqlite3.Connection], T], connection: sqlite3.Connection) -> T:
    collection_rows.require_kept(connection)
    return work(connection)
