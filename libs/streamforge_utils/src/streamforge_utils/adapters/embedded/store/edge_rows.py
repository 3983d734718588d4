"""Edges in SQLite. Blocking; called in a store's thread.

A pair of documents is one number, made of one for each end, given as they come: rows are small, and new ones lie
together. In the order of names each batch of a graph's edges would touch pages all over the file.
"""

# ruff: noqa: S608 - fixed texts

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from itertools import chain, starmap
from pathlib import Path
from typing import Final

from streamforge_utils.adapters.embedded import sqlite
from streamforge_utils.adapters.embedded.store.document_rows import lookups
from streamforge_utils.model.documents import are_edges, check_edge, check_name, is_document
from streamforge_utils.ports.store import Edge

_BITS: Final = 31
_LAST: Final = (1 << _BITS) - 1

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
            f"INSERT INTO edges SELECT s.id << {_BITS} | d.id, body FROM named"
            " JOIN ends s ON s.collection = named.collection AND s.name = source"
            " JOIN ends d ON d.collection = named.collection AND d.name = destination",
            f"INSERT INTO arrivals SELECT (pair & {_LAST}) << {_BITS} | (pair >> {_BITS}) FROM edges",
            "DROP TABLE named",
        ),
    ),
)

_MANY: Final = 5_000
_CACHE_KIB: Final = 32_768
"""Pages of a transaction that do not fit in there are written and read again and again."""
_AT_ONCE: Final = 5_000
"""Rows of one statement."""

# SQLite gives << and >>, & and | one precedence.
_IDS = "SELECT name, id FROM ends WHERE collection = ? AND name IN ({})"
_EDGE, _ARRIVAL = "REPLACE INTO edges VALUES (?, ?)", "INSERT OR IGNORE INTO arrivals VALUES (?)"
_OF = f"pair BETWEEN {{0}} << {_BITS} AND {{0}} << {_BITS} | {_LAST}"
_LINKS = (
    "SELECT s.name, d.name, body FROM ends s CROSS JOIN edges ON " + _OF.format("s.id") + " CROSS JOIN ends d"
    f" ON d.id = pair & {_LAST} WHERE s.collection = ?"
)
_ARRIVING = (
    "SELECT s.name, d.name, body FROM ends d CROSS JOIN arrivals a ON a." + _OF.format("d.id") + " CROSS JOIN ends s"
    f" ON s.id = a.pair & {_LAST} CROSS JOIN edges e ON e.pair = s.id << {_BITS} | d.id WHERE d.collection = ?"
)
_UNUSED = (
    "DELETE FROM ends WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM edges WHERE " + _OF.format("?1") + ") "
    "AND NOT EXISTS (SELECT 1 FROM arrivals WHERE " + _OF.format("?1") + ")"
)


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
            connection.executemany(
                "INSERT OR IGNORE INTO ends (collection, name) VALUES (?, ?)", [(collection, name) for name in names]
            )
            ids = _ids(connection, collection, names)
            pairs = {ids[one.source] << _BITS | ids[one.destination]: one.body for one in edges}
            _insert(connection, _EDGE, 2, chain.from_iterable(sorted(pairs.items())))
            _insert(connection, _ARRIVAL, 1, sorted([_turned(pair) for pair in pairs]))

    def links(self, collection: str, source: str | None, destination: str | None) -> list[Edge]:
        """The edges of `source` and `destination`, where given, sorted."""
        check_name(collection)
        ends = {"s": source, "d": destination}
        given = {alias: name for alias, name in ends.items() if name is not None}
        if not all(map(is_document, given.values())):
            return []
        sql = _LINKS if source is not None or destination is None else _ARRIVING
        sql += "".join(f" AND {alias}.name = ?" for alias in given) + " ORDER BY s.name, d.name"
        connection = self._file.get()
        with sqlite.translated(self._file.path, "read"):
            return list(starmap(Edge, connection.execute(sql, (collection, *given.values())).fetchall()))

    def links_from(self, collection: str, sources: Sequence[str]) -> list[Edge]:
        """The edges of these sources, sorted."""
        return [edge for source in sorted(set(sources)) for edge in self.links(collection, source, None)]

    def unlink(self, collection: str, sources: Sequence[str]) -> None:
        """Remove the edges of these sources, all or none."""
        check_name(collection)
        connection = self._file.get()
        with sqlite.transaction(connection, self._file.path):
            touched = set[int]()
            for id in _ids(connection, collection, sources).values():
                found = connection.execute(f"DELETE FROM edges WHERE {_OF.format('?1')} RETURNING pair", (id,))
                pairs = [pair for (pair,) in found.fetchall()]
                connection.executemany("DELETE FROM arrivals WHERE pair = ?", [(_turned(pair),) for pair in pairs])
                touched.update([id], [pair & _LAST for pair in pairs])
            connection.executemany(_UNUSED, [(id,) for id in sorted(touched)])

    def drop(self, collection: str) -> None:
        """Remove all edges of a collection; of most there are none, and no file."""
        if not self._file.path.exists():
            return
        connection = self._file.get()
        with sqlite.translated(self._file.path, "read"):
            if connection.execute("SELECT 1 FROM ends WHERE collection = ? LIMIT 1", (collection,)).fetchone() is None:
                return  # nor does it wait for who writes others
        with sqlite.transaction(connection, self._file.path):
            for table in ("edges", "arrivals"):
                connection.execute(
                    f"DELETE FROM {table} WHERE pair IN (SELECT pair FROM ends e CROSS JOIN {table} ON "
                    f"{_OF.format('e.id')} WHERE e.collection = ?)",
                    (collection,),
                )
            connection.execute("DELETE FROM ends WHERE collection = ?", (collection,))


def _turned(pair: int) -> int:
    return (pair & _LAST) << _BITS | pair >> _BITS


def _ids(connection: sqlite3.Connection, collection: str, names: Sequence[str]) -> dict[str, int]:
    """Of those that are there."""
    found: dict[str, int] = {}
    for part in lookups(names):
        found.update(connection.execute(_IDS.format(", ".join("?" * len(part))), (collection, *part)))
    return found


def _insert(connection: sqlite3.Connection, sql: str, width: int, values: Iterable[int | bytes]) -> None:
    """Rows of so many values each."""
    flat = list(values)
    row = sql.partition("VALUES ")[2]
    for first in range(0, len(flat), _AT_ONCE * width):
        some = flat[first : first + _AT_ONCE * width]
        connection.execute(sql + f", {row}" * (len(some) // width - 1), some)
