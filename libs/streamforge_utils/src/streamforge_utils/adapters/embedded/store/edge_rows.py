"""Edges in SQLite. Blocking; called in a store's thread.

A row has all edges that leave one document, and another one says from where edges arrive there. Documents are named by
numbers, given as they come: rows are small, and new ones lie together. In the order of names each batch of a graph's
edges would touch pages all over the file.
"""

# ruff: noqa: S608 - fixed texts

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec

from streamforge_utils.adapters.embedded import sqlite
from streamforge_utils.adapters.embedded.store.record_tables import lookups
from streamforge_utils.model.documents import are_edges, check_edge, check_name, is_document
from streamforge_utils.model.errors import PermanentError
from streamforge_utils.ports.store import Edge

_LAST: Final = (1 << 31) - 1

FORMAT: Final = sqlite.Format(
    "store of edges",
    (
        (
            "CREATE TABLE edges (collection TEXT NOT NULL, source TEXT NOT NULL, destination TEXT NOT NULL,"
            " body BLOB NOT NULL, PRIMARY KEY (collection, source, destination)) WITHOUT ROWID",
        ),
        (
            "ALTER TABLE edges RENAME TO named",
            "CREATE TABLE ends (id INTEGER PRIMARY KEY, collection TEXT NOT NULL, name TEXT NOT NULL,"
            " UNIQUE (collection, name))",
            "CREATE TABLE edges (pair INTEGER PRIMARY KEY, body BLOB NOT NULL)",
            # The same edges, with their ends exchanged.
            "CREATE TABLE arrivals (pair INTEGER PRIMARY KEY)",
            "INSERT INTO ends (collection, name)"
            " SELECT collection, source FROM named UNION SELECT collection, destination FROM named",
            "INSERT INTO edges SELECT s.id << 31 | d.id, body FROM named"
            " JOIN ends s ON s.collection = named.collection AND s.name = source"
            " JOIN ends d ON d.collection = named.collection AND d.name = destination",
            f"INSERT INTO arrivals SELECT (pair & {_LAST}) << 31 | (pair >> 31) FROM edges",
            "DROP TABLE named",
        ),
        (
            # JSON: an object with a body for each number of a destination, and a list of the numbers of sources.
            "CREATE TABLE leaving (id INTEGER PRIMARY KEY, row BLOB NOT NULL)",
            "CREATE TABLE arriving (id INTEGER PRIMARY KEY, row BLOB NOT NULL)",
            "INSERT INTO leaving SELECT pair >> 31,"
            f" CAST('{{' || group_concat('\"' || (pair & {_LAST}) || '\":' || CAST(body AS TEXT), ',') || '}}' AS BLOB)"
            " FROM edges GROUP BY pair >> 31",
            f"INSERT INTO arriving SELECT pair >> 31, CAST('[' || group_concat(pair & {_LAST}, ',') || ']' AS BLOB)"
            " FROM arrivals GROUP BY pair >> 31",
            "DROP TABLE edges",
            "DROP TABLE arrivals",
        ),
    ),
)

_MANY: Final = 5_000
_CACHE_KIB: Final = 32_768
"""Pages of a transaction that do not fit in there are written and read again and again."""

_IDS = "SELECT name, id FROM ends WHERE collection = ? AND name IN ({})"
_NAMES = "SELECT id, name FROM ends WHERE id IN ({})"
_UNUSED = (
    "DELETE FROM ends WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM leaving WHERE id = ?1)"
    " AND NOT EXISTS (SELECT 1 FROM arriving WHERE id = ?1)"
)
_encode = msgspec.json.Encoder().encode
_bodies = msgspec.json.Decoder(dict[int, msgspec.Raw]).decode
_sources = msgspec.json.Decoder(set[int]).decode


class Edges:
    """The edges of one file, for one thread."""

    def __init__(self, path: Path) -> None:
        self._file = sqlite.LazyConnection(path, FORMAT, synchronous="NORMAL")

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def link(self, collection: str, edges: Sequence[Edge]) -> None:
        """Store the edges, all or none. Raises PermanentError naming the malformed one."""
        check_name(collection)
        names = sorted({edge.source for edge in edges} | {edge.destination for edge in edges})
        if not are_edges(names, [edge.body for edge in edges]):
            for edge in edges:
                check_edge(edge.source, edge.destination, edge.body)
        connection = self._file.get()
        if len(edges) > _MANY:
            connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        with sqlite.transaction(connection, self._file.path):
            (last,) = connection.execute("SELECT coalesce(max(id), 0) FROM ends").fetchone()
            connection.executemany(
                "INSERT OR IGNORE INTO ends (collection, name) VALUES (?, ?)", [(collection, name) for name in names]
            )
            ids = _ids(connection, collection, names)
            leaving, arriving = defaultdict[int, dict[int, msgspec.Raw]](dict), defaultdict[int, set[int]](set)
            for edge in edges:
                source, destination = ids[edge.source], ids[edge.destination]
                leaving[source][destination] = msgspec.Raw(edge.body)
                arriving[destination].add(source)
            for id, row in _rows(connection, "leaving", [id for id in leaving if id <= last]).items():
                leaving[id] = _bodies(row) | leaving[id]
            for id, row in _rows(connection, "arriving", [id for id in arriving if id <= last]).items():
                arriving[id] |= _sources(row)
            rows = [(id, _encode(leaving[id])) for id in sorted(leaving)]
            _require_objects(collection, leaving, rows)
            connection.executemany("REPLACE INTO leaving VALUES (?, ?)", rows)
            rows = [(id, _encode(sorted(arriving[id]))) for id in sorted(arriving)]
            connection.executemany("REPLACE INTO arriving VALUES (?, ?)", rows)

    def links(self, collection: str, source: str | None, destination: str | None) -> list[Edge]:
        """The edges of `source` and `destination`, where given, sorted."""
        check_name(collection)
        if not all(is_document(name) for name in (source, destination) if name is not None):
            return []
        connection = self._file.get()
        with sqlite.translated(self._file.path, "read"):
            if source is not None:
                found = _leaving(connection, _ids(connection, collection, [source]))
            elif destination is not None:
                arriving = _rows(connection, "arriving", [*_ids(connection, collection, [destination]).values()])
                sources = {id for row in arriving.values() for id in _sources(row)}
                found = _leaving(connection, {name: id for id, name in _names(connection, sources).items()})
            else:
                ids = connection.execute("SELECT name, id FROM ends WHERE collection = ?", (collection,)).fetchall()
                return _leaving(connection, dict(ids))
        return [edge for edge in found if destination in (None, edge.destination)]

    def links_from(self, collection: str, sources: Sequence[str]) -> list[Edge]:
        """The edges of these sources, sorted."""
        check_name(collection)
        connection = self._file.get()
        with sqlite.translated(self._file.path, "read"):
            return _leaving(connection, _ids(connection, collection, sources))

    def unlink(self, collection: str, sources: Sequence[str]) -> None:
        """Remove the edges of these sources, all or none."""
        check_name(collection)
        connection = self._file.get()
        with sqlite.transaction(connection, self._file.path):
            gone = [*_ids(connection, collection, sources).values()]
            left = defaultdict[int, set[int]](set)
            for id, row in _rows(connection, "leaving", gone).items():
                for destination in _bodies(row):
                    left[destination].add(id)
            connection.executemany("DELETE FROM leaving WHERE id = ?", [(id,) for id in gone])
            for id, row in _rows(connection, "arriving", [*left]).items():
                others = _sources(row) - left[id]
                if others:
                    connection.execute("REPLACE INTO arriving VALUES (?, ?)", (id, _encode(sorted(others))))
                else:
                    connection.execute("DELETE FROM arriving WHERE id = ?", (id,))
            connection.executemany(_UNUSED, [(id,) for id in sorted({*gone, *left})])

    def drop(self, collection: str) -> None:
        """Remove all edges of a collection; of most there are none, and no file."""
        if not self._file.path.exists():
            return
        connection = self._file.get()
        with sqlite.translated(self._file.path, "read"):
            if connection.execute("SELECT 1 FROM ends WHERE collection = ? LIMIT 1", (collection,)).fetchone() is None:
                return  # nor does it wait for who writes others
        with sqlite.transaction(connection, self._file.path):
            for table in ("leaving", "arriving"):
                connection.execute(
                    f"DELETE FROM {table} WHERE id IN (SELECT id FROM ends WHERE collection = ?)", (collection,)
                )
            connection.execute("DELETE FROM ends WHERE collection = ?", (collection,))


def _require_objects(
    collection: str, leaving: Mapping[int, Collection[int]], rows: Sequence[tuple[int, bytes]]
) -> None:
    """Raises PermanentError where a body would break the others of its row."""
    for id, row in rows:
        try:
            whole = len(_bodies(row)) == len(leaving[id])
        except msgspec.DecodeError:
            whole = False
        if not whole:
            raise PermanentError(
                f"edges of {collection}: a body among these is not a JSON object, store them with one each: "
                + row[:300].decode(errors="replace")
            )


def _leaving(connection: sqlite3.Connection, ids: Mapping[str, int]) -> list[Edge]:
    """The edges of these sources, sorted."""
    rows = {id: _bodies(row) for id, row in _rows(connection, "leaving", [*ids.values()]).items()}
    names = _names(connection, {end for bodies in rows.values() for end in bodies})
    edges: list[Edge] = []
    for source in sorted(ids):
        bodies = rows.get(ids[source], {})
        edges += sorted((Edge(source, names[end], bytes(body)) for end, body in bodies.items()), key=_destination)
    return edges


def _destination(edge: Edge) -> str:
    return edge.destination


def _ids(connection: sqlite3.Connection, collection: str, names: Sequence[str]) -> dict[str, int]:
    """Of those that are there."""
    found: dict[str, int] = {}
    for part in lookups(names):
        found.update(connection.execute(_IDS.format(", ".join("?" * len(part))), (collection, *part)))
    return found


def _names(connection: sqlite3.Connection, ids: Collection[int]) -> dict[int, str]:
    found: dict[int, str] = {}
    for part in lookups(sorted(ids)):
        found.update(connection.execute(_NAMES.format(", ".join("?" * len(part))), part))
    return found


def _rows(
    connection: sqlite3.Connection, table: Literal["leaving", "arriving"], ids: Sequence[int]
) -> dict[int, bytes]:
    """Of those that have one."""
    found: dict[int, bytes] = {}
    sql = f"SELECT id, row FROM {table} WHERE id IN ({{}})"
    for part in lookups(sorted(ids)):
        found.update(connection.execute(sql.format(", ".join("?" * len(part))), part))
    return found
