"""Where the double keeps its data: SQLite, in memory or in a file that outlives the process.

A request is answered after its writes are in the file (not after a sync of the disk: a killed process loses nothing,
a power cut may).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.doubles.arangodb.values import Doc, decode, encode

_FIRST = 10_000
_RESERVED = 100_000


class Storage:
    """One table of facts (databases, collections, users) and one table for the documents of each collection."""

    def __init__(self, path: Path | None) -> None:
        self._db = sqlite3.connect(path or ":memory:", isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=OFF")
        self._db.execute("PRAGMA cache_size=-65536")
        self._db.execute("CREATE TABLE IF NOT EXISTS facts (kind TEXT, id TEXT, body BLOB, PRIMARY KEY (kind, id))")
        self._tick = self._limit = _FIRST
        for fact in self.facts("tick"):
            self._tick = self._limit = int(fact["limit"])

    def close(self) -> None:
        self._db.close()

    def tick(self) -> int:
        """A number above all before, also above those of an earlier process on the same file."""
        if self._tick >= self._limit:
            self._limit = self._tick + _RESERVED
            self.keep("tick", "tick", {"limit": self._limit})
        self._tick += 1
        return self._tick

    def begin(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        self._db.execute("COMMIT")

    def roll_back(self) -> None:
        self._db.execute("ROLLBACK")

    def facts(self, kind: str) -> list[Any]:
        rows = self._db.execute("SELECT body FROM facts WHERE kind = ? ORDER BY rowid", (kind,)).fetchall()
        return [decode(body) for (body,) in rows]

    def keep(self, kind: str, name: str, body: Any) -> None:
        self._db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?, ?)", (kind, name, encode(body)))

    def forget(self, kind: str, name: str) -> None:
        self._db.execute("DELETE FROM facts WHERE kind = ? AND id = ?", (kind, name))

    def create_table(self, table: str) -> None:
        self._db.execute(f"CREATE TABLE {table} (n INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, body BLOB NOT NULL)")

    def drop_table(self, table: str) -> None:
        self._db.execute(f"DROP TABLE {table}")

    def clear_table(self, table: str) -> None:
        self._db.execute(f"DELETE FROM {table}")

    def put(self, table: str, key: str, body: bytes | None) -> None:
        """Within begin and commit; None removes. A document that is written again keeps its place."""
        if body is None:
            self._db.execute(f"DELETE FROM {table} WHERE key = ?", (key,))
        else:
            insert = f"INSERT INTO {table} (key, body) VALUES (?, ?)"
            self._db.execute(f"{insert} ON CONFLICT (key) DO UPDATE SET body = excluded.body", (key, body))

    def get(self, table: str, key: str) -> Doc | None:
        row = self._db.execute(f"SELECT body FROM {table} WHERE key = ?", (key,)).fetchone()
        return decode(row[0]) if row else None

    def get_many(self, table: str, keys: Iterable[str]) -> dict[str, Doc]:
        listed = encode(list(keys)).decode()
        sql = f"SELECT key, body FROM {table} WHERE key IN (SELECT value FROM json_each(?))"
        return {key: decode(body) for key, body in self._db.execute(sql, (listed,))}

    def count(self, table: str) -> int:
        return int(self._db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])

    def size(self, table: str) -> int:
        """Bytes of the documents."""
        return int(self._db.execute(f"SELECT coalesce(sum(length(body)), 0) FROM {table}").fetchone()[0])

    def scan(self, table: str) -> Iterator[Doc]:
        """All documents, in the order in which they were written first."""
        for (body,) in self._db.execute(f"SELECT body FROM {table} ORDER BY n"):
            yield decode(body)

    def scan_keys(
        self, table: str, low: str | None, open_low: bool, high: str | None, open_high: bool
    ) -> Iterator[Doc]:
        """The documents between two keys (None: no end), by key."""
        bounds = ((">" if open_low else ">=", low), ("<" if open_high else "<=", high))
        given = [(sign, key) for sign, key in bounds if key is not None]
        where = " AND ".join(["1", *(f"key {sign} ?" for sign, _ in given)])
        sql = f"SELECT body FROM {table} WHERE {where} ORDER BY key"
        for (body,) in self._db.execute(sql, [key for _, key in given]):
            yield decode(body)
