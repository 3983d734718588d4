"""The SQL of one collection of documents: what is stored, and what is read. Blocking; called in a store's threads.

The rows lie in the order in which they arrived, an index holds the keys: of the layouts tried this one took ascending
keys fastest, and keys and counts come from the small index alone.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice, starmap
from operator import lt
from typing import Final, TypeVar

import msgspec

from streamforge_utils.adapters.embedded import sqlite
from streamforge_utils.model.documents import all_acceptable, refusal
from streamforge_utils.ports.columns import DocumentColumns
from streamforge_utils.ports.store import Answer, Bodies, Document, Outcome

PAGE_SIZE: Final = 16_384
"""Bytes. With larger pages a batch touches fewer of them; 300-byte documents gain half against 4 KiB."""

FORMAT: Final = sqlite.Format(
    "collection of documents",
    (
        (
            # dropped: set before the file is unlinked, so that processes that have it open notice.
            "CREATE TABLE collection (name TEXT NOT NULL, dropped INTEGER NOT NULL DEFAULT 0)",
            "CREATE TABLE documents"
            " (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, version INTEGER NOT NULL, body BLOB NOT NULL)",
        ),
    ),
)

_KEYS = msgspec.json.Decoder(list[str])
_LOOKUP = 500
T = TypeVar("T")
_BEYOND_KEYS = re.compile("[^\x00-\x7e].*", re.DOTALL)

_STORED = Answer(Outcome.STORED)
_UNCHANGED = Answer(Outcome.UNCHANGED)
_STALE = Answer(Outcome.STALE)

_INSERT = "INSERT INTO documents (key, version, body) VALUES (?, ?, ?)"
_AT_ONCE = 5000
"""Rows of one statement: while it runs, other threads may; between two, each waits for the interpreter."""
_INSERT_MANY = _INSERT + ", (?, ?, ?)" * (_AT_ONCE - 1)
_ANY_WITHIN = "SELECT EXISTS (SELECT 1 FROM documents WHERE key >= ? AND key <= ?)"
_PRESENT = f"SELECT key FROM documents WHERE key IN ({', '.join('?' * _LOOKUP)})"  # noqa: S608
_DELETE = f"DELETE FROM documents WHERE key IN ({', '.join('?' * _LOOKUP)})"  # noqa: S608
_EXISTING = f"SELECT key, version, body FROM documents WHERE key IN ({', '.join('?' * _LOOKUP)})"  # noqa: S608


class Dropped(Exception):
    """The collection was dropped since it was opened."""


def require_kept(connection: sqlite3.Connection) -> None:
    """Raises Dropped; what it does not raise for stays kept in the transaction that is open."""
    row = connection.execute("SELECT dropped FROM collection").fetchone()
    if row is not None and row[0]:
        raise Dropped


def upsert(connection: sqlite3.Connection, documents: Sequence[Document]) -> list[Answer]:
    """Store `documents` inside the transaction that is open; one answer each, in order."""
    # Columns, not rows: thousands of tuples at once would keep the garbage collector busy.
    columns = DocumentColumns.of(documents)
    all_keys, versions, bodies = columns.keys, columns.versions, columns.bodies
    if _all_new(connection, columns):
        _insert(connection, all_keys, versions, bodies)
        return [_STORED] * len(all_keys)
    return _merge(connection, list(zip(all_keys, versions, bodies, strict=True)))


def read(connection: sqlite3.Connection, first: str, last: str | None, limit: int) -> list[Document]:
    """Documents with first <= key < last, ascending."""
    where, values = _range(first, last)
    rows = connection.execute(
        f"SELECT key, version, body FROM documents WHERE {where} ORDER BY key LIMIT ?",  # noqa: S608 - fixed texts
        (*values, max(limit, 0)),
    )
    return list(starmap(Document, rows.fetchall()))


def bodies(connection: sqlite3.Connection, first: str, last: str | None, limit: int) -> Bodies:
    """The bodies of what `read` would give: joined by SQLite, without an object for each and beside other threads.

    By one statement, and outside a transaction: behind each a thread waits for the interpreter, where others compute.
    Raises Dropped.
    """
    where, values = _range(first, last)
    some = f"FROM documents WHERE {where} ORDER BY key"
    # The last key by the index alone: with each row it would be copied and compared.
    array, count, key, dropped = connection.execute(
        "SELECT CAST('[' || group_concat(body, ',') || ']' AS BLOB), count(*), "  # noqa: S608 - fixed texts
        f"coalesce((SELECT key {some} LIMIT 1 OFFSET ?), (SELECT key {some} DESC LIMIT 1)), "
        f"(SELECT max(dropped) FROM collection) FROM (SELECT body {some} LIMIT ?)",
        (*values, max(limit - 1, 0), *values, *values, max(limit, 0)),
    ).fetchone()
    if dropped:
        raise Dropped
    return Bodies(array, count, key) if count else Bodies.of(())


def keys(connection: sqlite3.Connection, first: str, last: str | None, limit: int) -> list[str]:
    """The keys that `read` would give; as `bodies` are, without an object for each row."""
    where, values = _range(first, last)
    (array,) = connection.execute(
        "SELECT json_group_array(key) "  # noqa: S608 - fixed texts
        f"FROM (SELECT key FROM documents WHERE {where} ORDER BY key LIMIT ?)",
        (*values, max(limit, 0)),
    ).fetchone()
    return _KEYS.decode(array)


def present(connection: sqlite3.Connection, wanted: Sequence[str]) -> set[str]:
    """Which of the keys are there."""
    found: set[str] = set()
    for part in lookups(list(wanted)):
        found.update(row[0] for row in connection.execute(_PRESENT, part))
    return found


def fetch(connection: sqlite3.Connection, wanted: Sequence[str]) -> list[Document]:
    """The documents with these keys that are there, sorted by key."""
    found = {row[0]: row for part in lookups(list(wanted)) for row in connection.execute(_EXISTING, part)}
    return [Document(*found[key]) for key in sorted(found)]


def count(connection: sqlite3.Connection, first: str, last: str | None) -> int:
    """How many documents have first <= key < last."""
    where, values = _range(first, last)
    row = connection.execute(f"SELECT count(*) FROM documents WHERE {where}", values).fetchone()  # noqa: S608
    return int(row[0])


def delete(connection: sqlite3.Connection, first: str, last: str) -> int:
    """Delete the documents with first <= key < last inside the transaction that is open; returns how many."""
    where, values = _range(first, last)
    return connection.execute(f"DELETE FROM documents WHERE {where}", values).rowcount  # noqa: S608


def delete_keys(connection: sqlite3.Connection, keys: Sequence[str]) -> None:
    """Delete the documents with these keys inside the transaction that is open."""
    for part in lookups(keys):
        connection.execute(_DELETE, part)


_Row = tuple[str, int, bytes]


def _all_new(connection: sqlite3.Connection, columns: DocumentColumns) -> bool:
    """Whether every row is acceptable and none of its keys is there; a cheap test, so `False` proves nothing."""
    all_keys = columns.keys
    ascending = all(map(lt, all_keys, islice(all_keys, 1, None)))
    if not ascending and len(set(all_keys)) < len(all_keys):
        return False
    if not all_acceptable(all_keys, columns.versions, columns.bodies, encoded=columns.encoded):
        return False
    ends = (all_keys[0], all_keys[-1]) if ascending else (min(all_keys), max(all_keys))
    found = connection.execute(_ANY_WITHIN, ends).fetchone()
    return not found[0]


def _merge(connection: sqlite3.Connection, rows: Sequence[_Row]) -> list[Answer]:
    refusals = [refusal(*row) for row in rows]
    wanted = dict.fromkeys(row[0] for row, reason in zip(rows, refusals, strict=True) if reason is None)
    there = _existing(connection, list(wanted))
    latest = dict(there)
    answers: list[Answer] = []
    for (key, version, body), reason in zip(rows, refusals, strict=True):
        if reason is not None:
            answers.append(Answer(Outcome.REFUSED, reason))
            continue
        old = latest.get(key)
        if old is None:
            latest[key] = (version, body)
            answers.append(_STORED)
        elif old[1] == body:
            if version > old[0]:
                latest[key] = (version, old[1])
            answers.append(_UNCHANGED)
        elif version < old[0]:
            answers.append(_STALE)
        else:
            latest[key] = (version, body)
            answers.append(_STORED)
    _write(connection, there, latest)
    return answers


def _existing(connection: sqlite3.Connection, wanted: Sequence[str]) -> dict[str, tuple[int, bytes]]:
    found: dict[str, tuple[int, bytes]] = {}
    for part in lookups(wanted):
        found.update((key, (version, body)) for key, version, body in connection.execute(_EXISTING, part))
    return found


def lookups(wanted: Sequence[T]) -> Iterator[Sequence[T]]:
    """The keys in parts of the length that a statement asks for; the last one is filled up."""
    for start in range(0, len(wanted), _LOOKUP):
        part = wanted[start : start + _LOOKUP]
        yield [*part, *[part[-1]] * (_LOOKUP - len(part))]


def _write(
    connection: sqlite3.Connection,
    there: dict[str, tuple[int, bytes]],
    latest: dict[str, tuple[int, bytes]],
) -> None:
    added: list[_Row] = []
    replaced: list[tuple[int, bytes, str]] = []
    confirmed: list[tuple[int, str]] = []
    for key, (version, body) in latest.items():
        old = there.get(key)
        if old is None:
            added.append((key, version, body))
        elif old[1] != body:
            replaced.append((version, body, key))
        elif old[0] != version:
            confirmed.append((version, key))
    if added:
        _insert(connection, *zip(*added, strict=True))
    _many(connection, "UPDATE documents SET version = ?, body = ? WHERE key = ?", replaced)
    _many(connection, "UPDATE documents SET version = ? WHERE key = ?", confirmed)


def _insert(
    connection: sqlite3.Connection, all_keys: Sequence[str], versions: Sequence[int], bodies: Sequence[bytes]
) -> None:
    whole = len(all_keys) - len(all_keys) % _AT_ONCE
    for first in range(0, whole, _AT_ONCE):
        rows = slice(first, first + _AT_ONCE)
        values: list[str | int | bytes] = [0] * (3 * _AT_ONCE)
        values[0::3], values[1::3], values[2::3] = all_keys[rows], versions[rows], bodies[rows]
        connection.execute(_INSERT_MANY, values)
    connection.executemany(_INSERT, zip(all_keys[whole:], versions[whole:], bodies[whole:], strict=True))


def _many(connection: sqlite3.Connection, sql: str, rows: Iterable[tuple[object, ...]]) -> None:
    connection.executemany(sql, rows)


def _range(first: str, last: str | None) -> tuple[str, tuple[str, ...]]:
    bound: Callable[[str], str] = _bound
    if last is None:
        return "key >= ?", (bound(first),)
    return "key >= ? AND key < ?", (bound(first), bound(last))


def _bound(text: str) -> str:
    """A text that SQLite can take, with the same keys below it: keys hold nothing above `~`."""
    return _BEYOND_KEYS.sub("\x7f", text)
