"""What a collection holds: records of known kinds in tables of their series, all else as documents.

A key is in one place only. What reads takes both together, so that a collection whose records are still documents, as
older versions stored them, is read and written like any other. Blocking; called in a store's threads.
"""

from __future__ import annotations

import heapq
import re
import sqlite3
from collections.abc import Callable, Sequence
from itertools import islice
from operator import attrgetter, lt
from typing import Any, Final, TypeVar

from streamforge_utils.adapters.embedded import sqlite
from streamforge_utils.adapters.embedded.store import record_tables
from streamforge_utils.adapters.embedded.store.layout import Layout, Row, constants_of, layout_of
from streamforge_utils.adapters.embedded.store.record_tables import Table, lookups, table_for, table_of, tables
from streamforge_utils.model.documents import all_acceptable, refusal
from streamforge_utils.model.kinds.kind import RecordKind
from streamforge_utils.model.kinds.registry import kind_of, kind_of_document
from streamforge_utils.model.series import Series
from streamforge_utils.ports.columns import DocumentColumns, RecordColumns
from streamforge_utils.ports.store import Answer, Document, Outcome

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
        (
            record_tables.CREATE,
            # moved: up to which row the records among the documents were moved into tables; null: all of them.
            "ALTER TABLE collection ADD COLUMN moved INTEGER",
            "UPDATE collection SET moved = 0",
        ),
    ),
)

MOVED_AT_ONCE: Final = 50_000
"""Documents that are looked at in one transaction when a collection of an older version is opened."""

T = TypeVar("T")
_BEYOND_KEYS = re.compile("[^\x00-\x7e].*", re.DOTALL)
_STORED, _UNCHANGED, _STALE = Answer(Outcome.STORED), Answer(Outcome.UNCHANGED), Answer(Outcome.STALE)
_key = attrgetter("key")
_INSERT = "INSERT INTO documents (key, version, body) VALUES (?, ?, ?)"
_ANY_WITHIN = "SELECT EXISTS (SELECT 1 FROM documents WHERE key >= ? AND key <= ?)"
_MARKS = ", ".join("?" * 500)
_PRESENT = f"SELECT key FROM documents WHERE key IN ({_MARKS})"  # noqa: S608
_DELETE = f"DELETE FROM documents WHERE key IN ({_MARKS})"  # noqa: S608
_EXISTING = f"SELECT key, version, body FROM documents WHERE key IN ({_MARKS})"  # noqa: S608


class Dropped(Exception):
    """The collection was dropped since it was opened."""


def require_kept(connection: sqlite3.Connection) -> None:
    """Raises Dropped; what it does not raise for stays kept in the transaction that is open."""
    row = connection.execute("SELECT dropped FROM collection").fetchone()
    if row is not None and row[0]:
        raise Dropped


# Storing


def upsert(connection: sqlite3.Connection, documents: Sequence[Document]) -> list[Answer]:
    """Store `documents` inside the transaction that is open; one answer each, in order."""
    if isinstance(documents, RecordColumns):
        answers = _upsert_records(connection, documents.kind, documents.keys, documents.records)
        if answers is not None:
            return answers
    return _upsert_documents(connection, DocumentColumns.of(documents))


def _upsert_records(
    connection: sqlite3.Connection, kind: RecordKind, keys: Sequence[str], records: Sequence[Any]
) -> list[Answer] | None:
    """Store records that were checked; None: not all of them lie in tables, so each has to be looked at."""
    found = [constants_of(kind, one) for one in records]
    if not found or found.count(found[0]) < len(found):
        return None
    layout = layout_of(kind, found[0])
    table = None if layout is None else table_for(connection, layout)
    rows = None if table is None else table.codec.rows(records)
    if table is None or rows is None:
        return None
    positions = [row[0] for row in rows]
    ascending = all(map(lt, positions, islice(positions, 1, None)))
    first, last = (keys[0], keys[-1]) if ascending else (min(keys), max(keys))
    if connection.execute(_ANY_WITHIN, (first, last)).fetchone()[0]:
        return None
    if (ascending or len({*positions}) == len(positions)) and not table.any_within(min(positions), max(positions)):
        table.insert(rows)
        return [_STORED] * len(rows)
    return _merge_rows(table, rows)


def _merge_rows(table: Table, rows: Sequence[Row]) -> list[Answer]:
    there = table.existing([*dict.fromkeys(row[0] for row in rows)])
    latest, answers = dict(there), list[Answer]()
    for row in rows:
        old = latest.get(row[0])
        if old is None:
            latest[row[0]] = row
            answers.append(_STORED)
        elif old[2:] == row[2:]:
            if row[1] > old[1]:
                latest[row[0]] = row
            answers.append(_UNCHANGED)
        elif row[1] < old[1]:
            answers.append(_STALE)
        else:
            latest[row[0]] = row
            answers.append(_STORED)
    table.insert([row for position, row in latest.items() if there.get(position) != row], replace=True)
    return answers


def _upsert_documents(connection: sqlite3.Connection, columns: DocumentColumns) -> list[Answer]:
    if _all_new(connection, columns):
        _insert(connection, list(columns))
        return [_STORED] * len(columns)
    refusals = [refusal(one.key, one.version, one.body) for one in columns]
    wanted = dict.fromkeys(key for key, reason in zip(columns.keys, refusals, strict=True) if reason is None)
    there = {one.key: one for one in fetch(connection, [*wanted])}
    latest, answers = dict(there), list[Answer]()
    for given, reason in zip(columns, refusals, strict=True):
        if reason is not None:
            answers.append(Answer(Outcome.REFUSED, reason))
            continue
        old = latest.get(given.key)
        document = given if old is None or old.body == given.body else _as_read(given)
        if old is not None and old.body == document.body:
            latest[document.key] = max(old, document, key=attrgetter("version"))
            answers.append(_UNCHANGED)
        elif old is not None and document.version < old.version:
            answers.append(_STALE)
        else:
            latest[document.key] = document
            answers.append(_STORED)
    changed = [one for key, one in latest.items() if there.get(key) != one]
    delete_keys(connection, [one.key for one in changed if one.key in there])
    _insert(connection, changed)
    return answers


def _all_new(connection: sqlite3.Connection, columns: DocumentColumns) -> bool:
    """Whether each document is acceptable and none of its keys is there; a cheap test, so `False` proves nothing."""
    keys = columns.keys
    ascending = all(map(lt, keys, islice(keys, 1, None)))
    if not ascending and len(set(keys)) < len(keys):
        return False
    if not all_acceptable(keys, columns.versions, columns.bodies, encoded=columns.encoded):
        return False
    first, last = (keys[0], keys[-1]) if ascending else (min(keys), max(keys))
    if connection.execute(_ANY_WITHIN, (first, last)).fetchone()[0]:
        return False
    return not any(table.count(table.layout.within(first, last + "\x00")) for table in tables(connection))


def _insert(connection: sqlite3.Connection, documents: Sequence[Document]) -> None:
    """Add documents, none of whose keys is there: what is a record into the table of its series."""
    rest, rows = _sorted_out(connection, documents)
    for table, some in rows:
        table.insert(some)
    connection.executemany(_INSERT, [(one.key, one.version, one.body) for one in rest])


def _sorted_out(
    connection: sqlite3.Connection, documents: Sequence[Document]
) -> tuple[list[Document], list[tuple[Table, list[Row]]]]:
    """What lies as documents, and the rows of what lies in tables, which are made if need be."""
    rest, found = list[Document](), dict[Layout, tuple[Table, list[Row]]]()
    for document in documents:
        layout, record = _record(document)
        table = None
        if layout is not None:
            known = found.get(layout)
            table = table_for(connection, layout) if known is None else known[0]
        rows = None if table is None else table.codec.rows([record])
        if layout is None or table is None or rows is None:
            rest.append(document)
        else:
            found.setdefault(layout, (table, []))[1].extend(rows)
    return rest, [*found.values()]


def _record(document: Document) -> tuple[Layout | None, Any]:
    """The layout of the record that a document is, and the record; None: it is no record of a kind."""
    if not document.key[-1:].isdigit():
        return None, None
    kind = kind_of_document(document.key, document.body)
    record = None if kind is None else kind.record_in(document.key, document.version, document.body)
    if kind is None or record is None:
        return None, None
    layout = layout_of(kind, constants_of(kind, record))
    if layout is None or layout.position_of(document.key) != getattr(record, kind.position):
        return None, None
    return layout, record


def _as_read(document: Document) -> Document:
    """A document as it would be read again: of a record the fields in their order, numbers as such."""
    kind = kind_of_document(document.key, document.body)
    return document if kind is None else Document(document.key, document.version, kind.as_exported(document.body))


# Reading


def read(connection: sqlite3.Connection, first: str, last: str | None, limit: int) -> list[Document]:
    """Documents with first <= key < last, ascending."""
    where, values = _range(first, last)

    def documents(most: int) -> list[Document]:
        sql = f"SELECT key, version, body FROM documents WHERE {where} ORDER BY key LIMIT ?"  # noqa: S608
        return [Document(*row) for row in connection.execute(sql, (*values, most))]

    parts: list[Callable[[int], list[Document]]] = [documents]
    for table, within in _within(connection, first, last):
        parts.append(lambda most, table=table, within=within: table.documents(within, most))  # type: ignore[misc]
    return _together(parts, limit, _key)


def keys(connection: sqlite3.Connection, first: str, last: str | None, limit: int) -> list[str]:
    """The keys that `read` would give."""
    where, values = _range(first, last)

    def documents(most: int) -> list[str]:
        sql = f"SELECT key FROM documents WHERE {where} ORDER BY key LIMIT ?"  # noqa: S608
        return [row[0] for row in connection.execute(sql, (*values, most))]

    parts: list[Callable[[int], list[str]]] = [documents]
    for table, within in _within(connection, first, last):
        parts.append(
            lambda most, table=table, within=within: table.layout.keys(table.positions(within, most))  # type: ignore[misc]
        )
    return _together(parts, limit, str)


def _together(parts: Sequence[Callable[[int], list[T]]], limit: int, key: Callable[[T], str]) -> list[T]:
    """The first `limit` of all parts, each of which is ascending."""
    found = [some for some in (part(max(limit, 0)) for part in parts) if some]
    return found[0] if len(found) == 1 else list(islice(heapq.merge(*found, key=key), limit))


def values(
    connection: sqlite3.Connection, series: Series, within: range, names: Sequence[str], limit: int
) -> Sequence[Row] | None:
    """The fields of these names of records of a series at positions within a range, ascending, `limit` at most.

    None: some may lie as documents.
    """
    table = _only_table(connection, series, within)
    return table if table is None or isinstance(table, tuple) else table.values(within, names, limit)


def positions(connection: sqlite3.Connection, series: Series, within: range, limit: int) -> Sequence[int] | None:
    """The positions within a range at which records of a series are, ascending, `limit` at most.

    None: some may lie as documents.
    """
    table = _only_table(connection, series, within)
    return table if table is None or isinstance(table, tuple) else table.positions(within, limit)


def _only_table(connection: sqlite3.Connection, series: Series, within: range) -> Table | tuple[()] | None:
    """The table in which all of these records lie; empty: there are none; None: some may lie as documents."""
    kind = kind_of(series)
    first, last = kind.key_range(series, within)
    if first >= last:
        return ()
    if connection.execute(_ANY_WITHIN, (first, last)).fetchone()[0]:
        return None
    found = table_of(connection, kind.prefix(series))
    return () if found is None else found


def present(connection: sqlite3.Connection, wanted: Sequence[str]) -> set[str]:
    """Which of the keys are there."""
    found = {row[0] for part in lookups([*wanted]) for row in connection.execute(_PRESENT, part)}
    for table, some in _divided(connection, wanted):
        found.update(table.layout.keys([*table.present(some)]))
    return found


def fetch(connection: sqlite3.Connection, wanted: Sequence[str]) -> list[Document]:
    """The documents with these keys that are there, sorted by key."""
    found = {row[0]: Document(*row) for part in lookups([*wanted]) for row in connection.execute(_EXISTING, part)}
    for table, some in _divided(connection, wanted):
        found.update((one.key, one) for one in table.fetch(some))
    return [found[key] for key in sorted(found)]


def count(connection: sqlite3.Connection, first: str, last: str | None) -> int:
    """How many documents have first <= key < last."""
    where, values = _range(first, last)
    documents = int(connection.execute(f"SELECT count(*) FROM documents WHERE {where}", values).fetchone()[0])  # noqa: S608
    return documents + sum(table.count(within) for table, within in _within(connection, first, last))


# Removing


def delete(connection: sqlite3.Connection, first: str, last: str) -> int:
    """Delete the documents with first <= key < last inside the transaction that is open; returns how many."""
    where, values = _range(first, last)
    documents = connection.execute(f"DELETE FROM documents WHERE {where}", values).rowcount  # noqa: S608
    return documents + sum(table.delete(within) for table, within in _within(connection, first, last))


def delete_keys(connection: sqlite3.Connection, keys: Sequence[str]) -> None:
    """Delete the documents with these keys inside the transaction that is open."""
    for part in lookups([*keys]):
        connection.execute(_DELETE, part)
    for table, some in _divided(connection, keys):
        table.delete_positions(some)


# Collections of older versions, in which every record is a document


def moves(connection: sqlite3.Connection) -> bool:
    """Whether records may still lie as documents that belong into tables."""
    row = connection.execute("SELECT moved FROM collection").fetchone()
    return row is not None and row[0] is not None


def move(connection: sqlite3.Connection, most: int = MOVED_AT_ONCE) -> bool:
    """Move some documents that are records into the tables of their series; whether there may be more.

    Inside the transaction that is open. What one transaction has moved, none looks at again.
    """
    row = connection.execute("SELECT moved FROM collection").fetchone()
    if row is None or row[0] is None:
        return False
    found = connection.execute(
        "SELECT id, key, version, body FROM documents WHERE id > ? ORDER BY id LIMIT ?", (row[0], most)
    ).fetchall()
    documents = [Document(*one[1:]) for one in found]
    rest, rows = _sorted_out(connection, documents)
    kept = {one.key for one in rest}
    for part in lookups([one.key for one in documents if one.key not in kept]):
        connection.execute(_DELETE, part)
    for table, some in rows:
        _merge_rows(table, some)
    connection.execute("UPDATE collection SET moved = ?", (found[-1][0] if len(found) == most else None,))
    return len(found) == most


# Keys


def _within(connection: sqlite3.Connection, first: str, last: str | None) -> list[tuple[Table, range]]:
    """The tables that may have keys with first <= key < last, each with the range of positions."""
    found = ((table, table.layout.within(first, last)) for table in tables(connection))
    return [(table, within) for table, within in found if within]


def _divided(connection: sqlite3.Connection, wanted: Sequence[str]) -> list[tuple[Table, list[int]]]:
    """The positions that keys name, by the table of their series."""
    found = list[tuple[Table, list[int]]]()
    for table in tables(connection) if wanted else ():
        positions = (table.layout.position_of(key) for key in wanted)
        if some := [one for one in positions if one is not None]:
            found.append((table, some))
    return found


def _range(first: str, last: str | None) -> tuple[str, tuple[str, ...]]:
    if last is None:
        return "key >= ?", (_bound(first),)
    return "key >= ? AND key < ?", (_bound(first), _bound(last))


def _bound(text: str) -> str:
    """A text that SQLite can take, with the same keys below it: keys hold nothing above `~`."""
    return _BEYOND_KEYS.sub("\x7f", text)
