"""Edges between documents in SQLite. Blocking; called in a store's threads."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import starmap
from pathlib import Path
from typing import Final

from streamforge_utils.adapters.embedded import sqlite
from streamforge_utils.model.documents import check_edge, check_name, is_document
from streamforge_utils.ports.store import Edge

FORMAT: Final = sqlite.Format(
    "store of edges",
    (
        (
            "CREATE TABLE edges (collection TEXT NOT NULL, source TEXT NOT NULL, destination TEXT NOT NULL,"
            " body BLOB NOT NULL, PRIMARY KEY (collection, source, destination)) WITHOUT ROWID",
            "CREATE INDEX edges_by_destination ON edges (collection, destination, source)",
        ),
    ),
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
        for edge in edges:
            check_edge(edge.source, edge.destination, edge.body)
        connection = self._file.get()
        with sqlite.transaction(connection, self._file.path):
            connection.executemany(
                "INSERT INTO edges (collection, source, destination, body) VALUES (?, ?, ?, ?) "
                "ON CONFLICT DO UPDATE SET body = excluded.body",
                [(collection, e.source, e.destination, e.body) for e in edges],
            )

    def links(self, collection: str, source: str | None, destination: str | None) -> list[Edge]:
        """The edges of `source` and `destination`, where given, sorted."""
        check_name(collection)
        if (source is not None and not is_document(source)) or (
            destination is not None and not is_document(destination)
        ):
            return []
        where, values = "collection = ?", [collection]
        if source is not None:
            where, values = where + " AND source = ?", [*values, source]
        if destination is not None:
            where, values = where + " AND destination = ?", [*values, destination]
        connection = self._file.get()
        with sqlite.translated(self._file.path, "read"):
            rows = connection.execute(
                f"SELECT source, destination, body FROM edges WHERE {where} ORDER BY source, destination",  # noqa: S608
                values,
            ).fetchall()
        return list(starmap(Edge, rows))
