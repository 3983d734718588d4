"""The SQL of the tables of records in a collection, one for each series. Blocking; called in a store's threads."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec

from streamforge_utils.adapters.embedded.store.layout import Codec, Layout, Row, codec_of, flat
from streamforge_utils.ports.store import Document

CREATE: Final = "CREATE TABLE series (id INTEGER PRIMARY KEY, prefix TEXT NOT NULL UNIQUE, layout BLOB NOT NULL)"
_VARIABLES: Final = 32_766
"""What every SQLite that we use takes in one statement."""
_LOOKUP: Final = 500

_encode = msgspec.json.Encoder().encode


class Table:
    """The records of a series, in a file that is open; what its methods do is part of the caller's transaction.

    Rows are as `Codec` makes and takes them.
    """

    def __init__(self, connection: sqlite3.Connection, number: int, layout: Layout) -> None:
        self.layout = layout
        self._codec = codec_of(layout)
        self._name = f"records_{number}"
        self._execute = connection.execute
        self._connection = connection

    @property
    def codec(self) -> Codec:
        return self._codec

    def any_within(self, first: int, last: int) -> bool:
        """Whether a position with first <= position <= last is there."""
        sql = f"SELECT EXISTS (SELECT 1 FROM {self._name} WHERE position BETWEEN ? AND ?)"  # noqa: S608
        return bool(self._execute(sql, (first, last)).fetchone()[0])

    def insert(self, rows: Sequence[Row], *, replace: bool = False) -> None:
        """Add rows; their positions are not there yet, or else `replace` is given."""
        width = self._codec.width
        most = _VARIABLES // width
        verb = "REPLACE" if replace else "INSERT"
        start = f"{verb} INTO {self._name} ({self._codec.columns}) VALUES "
        # Many rows in one statement: while it runs, other threads may; between two, each waits for the interpreter.
        for first in range(0, len(rows), most):
            part = rows[first : first + most]
            self._execute(_statement(start, width, len(part)), flat(part))

    def existing(self, positions: Sequence[int]) -> dict[int, Row]:
        """The rows at these positions, by position."""
        sql = f"SELECT {self._codec.columns} FROM {self._name} WHERE position IN ({_marks(_LOOKUP)})"  # noqa: S608
        return {row[0]: row for part in lookups(positions) for row in self._execute(sql, part)}

    def confirm(self, versions: Sequence[tuple[int, int]]) -> None:
        """Give rows another version: (version, position) of each."""
        self._connection.executemany(f"UPDATE {self._name} SET version = ? WHERE position = ?", versions)  # noqa: S608

    def documents(self, within: range, limit: int) -> list[Document]:
        """The records at positions within a range as documents, ascending, `limit` at most."""
        if not within:
            return []
        sql = (
            f"SELECT position, version, {self._codec.select()} FROM {self._name}"  # noqa: S608
            " WHERE position BETWEEN ? AND ? ORDER BY position LIMIT ?"
        )
        rows = [(row[0], row[1], *row[2:]) for row in self._execute(sql, (within[0], within[-1], limit))]
        return self._codec.documents(rows)

    def fetch(self, positions: Sequence[int]) -> list[Document]:
        """The records at these positions as documents."""
        sql = (
            f"SELECT position, version, {self._codec.select()} FROM {self._name}"  # noqa: S608
            f" WHERE position IN ({_marks(_LOOKUP)})"
        )
        found = {row[0]: row for part in lookups(positions) for row in self._execute(sql, part)}
        return self._codec.documents([found[position] for position in sorted(found)])

    def values(self, within: range, names: Sequence[str], limit: int) -> Sequence[Row]:
        """The fields of these names of the records at positions within a range, ascending, `limit` at most."""
        if not within:
            return []
        sql = (
            f"SELECT {self._codec.select(names)} FROM {self._name}"  # noqa: S608
            " WHERE position BETWEEN ? AND ? ORDER BY position LIMIT ?"
        )
        return self._codec.values(self._execute(sql, (within[0], within[-1], limit)).fetchall(), names)

    def positions(self, within: range, limit: int) -> list[int]:
        """The positions within a range, ascending, `limit` at most: joined by SQLite, beside other threads."""
        if not within:
            return []
        sql = (
            "SELECT '[' || group_concat(position) || ']' FROM "  # noqa: S608
            f"(SELECT position FROM {self._name} WHERE position BETWEEN ? AND ? ORDER BY position LIMIT ?)"
        )
        (text,) = self._execute(sql, (within[0], within[-1], limit)).fetchone()
        return [] if text is None else _decode_positions(text)

    def present(self, positions: Sequence[int]) -> set[int]:
        """Which of the positions are there."""
        sql = f"SELECT position FROM {self._name} WHERE position IN ({_marks(_LOOKUP)})"  # noqa: S608
        return {row[0] for part in lookups(positions) for row in self._execute(sql, part)}

    def count(self, within: range) -> int:
        """How many positions of a range are there."""
        if not within:
            return 0
        sql = f"SELECT count(*) FROM {self._name} WHERE position BETWEEN ? AND ?"  # noqa: S608
        return int(self._execute(sql, (within[0], within[-1])).fetchone()[0])

    def delete(self, within: range) -> int:
        """Remove the records at positions within a range; returns how many there were."""
        if not within:
            return 0
        sql = f"DELETE FROM {self._name} WHERE position BETWEEN ? AND ?"  # noqa: S608
        return self._execute(sql, (within[0], within[-1])).rowcount

    def delete_positions(self, positions: Sequence[int]) -> None:
        """Remove the records at these positions."""
        sql = f"DELETE FROM {self._name} WHERE position IN ({_marks(_LOOKUP)})"  # noqa: S608
        for part in lookups(positions):
            self._execute(sql, part)


def tables(connection: sqlite3.Connection) -> list[Table]:
    """Every table of a file, in the order of the prefixes of their keys."""
    rows = connection.execute("SELECT id, layout FROM series ORDER BY prefix").fetchall()
    return [Table(connection, number, _layout(layout)) for number, layout in rows]


def table_of(connection: sqlite3.Connection, prefix: str) -> Table | None:
    """The table of the series whose keys begin so."""
    row = connection.execute("SELECT id, layout FROM series WHERE prefix = ?", (prefix,)).fetchone()
    return None if row is None else Table(connection, row[0], _layout(row[1]))


def table_for(connection: sqlite3.Connection, layout: Layout) -> Table | None:
    """The table for records of a layout, which is made if need be.

    None: keys of this series are those of a table with another layout, so these records lie as documents.
    """
    found = table_of(connection, layout.prefix)
    if found is not None:
        return found if found.layout == layout else None
    if any(layout.overlaps(other.layout) for other in tables(connection)):
        return None
    inserted = connection.execute("INSERT INTO series (prefix, layout) VALUES (?, ?)", (layout.prefix, _encode(layout)))
    number = inserted.lastrowid or 0
    connection.execute(layout.create(f"records_{number}"))
    return Table(connection, number, layout)


def lookups(wanted: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Values in parts of the length that a statement asks for; the last one is filled up."""
    for start in range(0, len(wanted), _LOOKUP):
        part = wanted[start : start + _LOOKUP]
        yield [*part, *[part[-1]] * (_LOOKUP - len(part))]


_decode_positions = msgspec.json.Decoder(list[int]).decode


@lru_cache(maxsize=1024)
def _layout(encoded: bytes) -> Layout:
    return msgspec.json.decode(encoded, type=Layout)


@lru_cache(maxsize=64)
def _statement(start: str, width: int, rows: int) -> str:
    return start + ", ".join([f"({_marks(width)})"] * rows)


def _marks(count: int) -> str:
    return ", ".join("?" * count)
