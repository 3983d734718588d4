"""States in SQLite: compare-and-set, and pages by label. Blocking; called in a store's threads."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Unpack

import msgspec

from streamforge_utils.adapters.embedded import sqlite
from streamforge_utils.model.errors import ConflictError, InvalidInput
from streamforge_utils.ports.store import Labels, Selected, State

FORMAT: Final = sqlite.Format(
    "store of states",
    (
        (
            # The last revision given; it outlives the states, so that none is ever given twice.
            "CREATE TABLE revisions (last INTEGER NOT NULL)",
            "INSERT INTO revisions VALUES (0)",
            "CREATE TABLE states (kind TEXT NOT NULL, id TEXT NOT NULL, revision INTEGER NOT NULL,"
            " created_ms INTEGER NOT NULL, labels BLOB NOT NULL, body BLOB NOT NULL)",
            "CREATE UNIQUE INDEX states_by_id ON states (kind, id)",
            "CREATE INDEX states_by_time ON states (kind, created_ms, id)",
            "CREATE TABLE labels (kind TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL,"
            " created_ms INTEGER NOT NULL, id TEXT NOT NULL,"
            " PRIMARY KEY (kind, name, value, created_ms, id)) WITHOUT ROWID",
            "CREATE UNIQUE INDEX labels_by_state ON labels (kind, id, name, value)",
        ),
    ),
)

_MANY = 4
"""A label that more than one in so many states has so is no rare one."""

_KEPT_TALLIES = 100

_COLUMNS = "s.id, s.revision, s.body, s.labels, s.created_ms"
_decode_labels = msgspec.json.Decoder(dict[str, str]).decode
_encode_labels = msgspec.json.Encoder().encode


class _OfLabel(NamedTuple):
    """What a label must be. equal: one of these values; else it begins so that `test` holds, with its values.

    test: of the column that is put in for `{}`.
    """

    equal: Sequence[str]
    test: str
    values: tuple[str, ...]


class Wanted(NamedTuple):
    """Which states are meant. labels: by name; all must hold. prefix: what the ids begin with.

    none: a label may have no value at all, so that there are no such states.
    """

    labels: Mapping[str, _OfLabel]
    prefix: str
    none: bool

    @classmethod
    def of(cls, **selected: Unpack[Selected]) -> Wanted:
        """As `StateStore.find` has it."""
        labels: dict[str, _OfLabel] = {}
        for name, given in (selected.get("where") or {}).items():
            values = tuple(sorted(set(given)))
            labels[name] = _OfLabel(values, f"{{}} IN ({', '.join('?' * len(values))})", values)
        for name, given in (selected.get("begins") or {}).items():
            beginnings = sorted(set(given))
            test = " OR ".join(["({} >= ? AND {} < ?)"] * len(beginnings))
            # Texts are compared by their UTF-8, in which this character comes last.
            ends = tuple(text for one in beginnings for text in (one, f"{one}\U0010ffff"))
            labels[name] = _OfLabel((), f"({test})", ends)
        return cls(labels, selected.get("prefix", ""), not all(one.values for one in labels.values()))


class States:
    """The states of one file, for one thread."""

    def __init__(self, path: Path) -> None:
        self._file = sqlite.LazyConnection(path, FORMAT)
        self._tallies: dict[object, dict[str, int]] = {}
        self._tallied = -1

    def close(self) -> None:
        """Close the file."""
        self._tallied = -1
        self._file.close()

    def get(self, kind: str, id: str) -> State | None:
        """The state, or None."""
        connection = self._file.get()
        with sqlite.translated(self._file.path, "read"):
            return _get(connection, kind, id)

    def get_many(self, kind: str, ids: Sequence[str]) -> dict[str, State]:
        """The states that are there."""
        connection = self._file.get()
        with sqlite.snapshot(connection, self._file.path):
            found = [_get(connection, kind, id) for id in ids]
        return {state.id: state for state in found if state is not None}

    def put(self, kind: str, id: str, body: bytes, *, expected: str | None, labels: Labels, created_ms: int) -> State:
        """Write the state if its revision is `expected`. labels: None keeps those there are."""
        self._tallied = -1
        connection = self._file.get()
        with sqlite.transaction(connection, self._file.path):
            old = _get(connection, kind, id)
            _check(kind, id, old, expected)
            (revision,) = connection.execute("UPDATE revisions SET last = last + 1 RETURNING last").fetchone()
            kept = {} if old is None else old.labels
            state = State(
                id=id,
                revision=str(revision),
                body=body,
                labels=kept if labels is None else dict(labels),
                created_ms=created_ms if old is None else old.created_ms,
            )
            if old is None:
                connection.execute(
                    "INSERT INTO states (kind, id, revision, created_ms, labels, body) VALUES (?, ?, ?, ?, ?, ?)",
                    (kind, id, revision, state.created_ms, _encode_labels(state.labels), body),
                )
            else:
                connection.execute(
                    "UPDATE states SET revision = ?, labels = ?, body = ? WHERE kind = ? AND id = ?",
                    (revision, _encode_labels(state.labels), body, kind, id),
                )
            if state.labels != kept:
                _drop_labels(connection, kind, state, kept.items() - state.labels.items())
                connection.executemany(
                    "INSERT INTO labels (kind, name, value, created_ms, id) VALUES (?, ?, ?, ?, ?)",
                    [(kind, *label, state.created_ms, id) for label in state.labels.items() - kept.items()],
                )
        return state

    def find(self, kind: str, wanted: Wanted, *, after: str | None, limit: int) -> list[State]:
        """States by label, newest first. Raises InvalidInput if there is no state `after`."""
        connection = self._file.get()
        with sqlite.snapshot(connection, self._file.path):
            edge = None if after is None else _edge(connection, kind, after)
            return _find(connection, kind, wanted, edge, max(limit, 0))

    def tally(self, kind: str, label: str, wanted: Wanted) -> dict[str, int]:
        """How many states have each value of `label`, of those that `find` would give.

        Kept until a state changes: each page of a list tells the same counts.
        """
        connection = self._file.get()
        version = sqlite.data_version(connection, self._file.path)
        if version != self._tallied or len(self._tallies) >= _KEPT_TALLIES:
            self._tallied, self._tallies = version, {}
        asked = (kind, label, wanted.prefix, *((name, of.test, of.values) for name, of in wanted.labels.items()))
        if asked not in self._tallies:
            with sqlite.snapshot(connection, self._file.path):
                self._tallies[asked] = _tally(connection, kind, label, wanted)
        return dict(self._tallies[asked])

    def remove(self, kind: str, id: str, *, expected: str) -> None:
        """Remove the state if its revision is `expected`."""
        self._tallied = -1
        connection = self._file.get()
        with sqlite.transaction(connection, self._file.path):
            old = _get(connection, kind, id)
            if old is None:
                return
            _check(kind, id, old, expected)
            connection.execute("DELETE FROM states WHERE kind = ? AND id = ?", (kind, id))
            _drop_labels(connection, kind, old, old.labels.items())


def _get(connection: sqlite3.Connection, kind: str, id: str) -> State | None:
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM states s WHERE s.kind = ? AND s.id = ?",  # noqa: S608 - fixed texts
        (kind, id),
    ).fetchone()
    return None if row is None else _state(row)


def _check(kind: str, id: str, old: State | None, expected: str | None) -> None:
    found = None if old is None else old.revision
    if found == expected:
        return
    if found is None:
        raise ConflictError(f"{kind} {id}: it was removed since revision {expected} was read; read again and decide")
    if expected is None:
        raise ConflictError(f"{kind} {id}: there is one already (revision {found})")
    raise ConflictError(f"{kind} {id}: it is at revision {found}, not {expected} any more; read again and decide")


def _drop_labels(connection: sqlite3.Connection, kind: str, state: State, labels: Iterable[tuple[str, str]]) -> None:
    connection.executemany(
        "DELETE FROM labels WHERE kind = ? AND name = ? AND value = ? AND created_ms = ? AND id = ?",
        [(kind, *label, state.created_ms, state.id) for label in labels],
    )


def _edge(connection: sqlite3.Connection, kind: str, id: str) -> tuple[int, str]:
    row = connection.execute("SELECT created_ms FROM states WHERE kind = ? AND id = ?", (kind, id)).fetchone()
    if row is None:
        raise InvalidInput(
            "after", f"there is no {kind} {id[:80]!r} any more to continue after: begin again at the first page"
        )
    return int(row[0]), id


def _find(
    connection: sqlite3.Connection, kind: str, wanted: Wanted, edge: tuple[int, str] | None, limit: int
) -> list[State]:
    if wanted.none:
        return []
    beyond, beyond_values = _beginning(wanted.prefix)
    if edge is not None:
        beyond, beyond_values = f"{beyond} AND (created_ms, id) < (?, ?)", (*beyond_values, *edge)
    if not wanted.labels:
        sql = (
            f"SELECT {_COLUMNS} FROM states s WHERE s.kind = ?{beyond} "  # noqa: S608 - fixed texts
            "ORDER BY s.created_ms DESC, s.id DESC LIMIT ?"
        )
        return [_state(row) for row in connection.execute(sql, (kind, *beyond_values, limit))]
    # One walk down the index for each value of the rarest label, newest first, or one along all that begin so; the
    # pages are then merged.
    first, _, tests, test_values = _rarest(connection, kind, wanted)
    of = wanted.labels[first]
    walks: list[tuple[str, tuple[str, ...]]]
    walks = [("value = ?", (one,)) for one in of.equal] or [(of.test.replace("{}", "value"), of.values)]
    found: list[tuple[int, str]] = []
    for test, values in walks:
        sql = (
            f"SELECT created_ms, id FROM labels l WHERE kind = ? AND name = ? AND {test}{beyond}{tests} "  # noqa: S608
            "ORDER BY created_ms DESC, id DESC LIMIT ?"
        )
        found.extend(connection.execute(sql, (kind, first, *values, *beyond_values, *test_values, limit)))
    found.sort(reverse=True)
    states = (_get(connection, kind, id) for _, id in found[:limit])
    return [state for state in states if state is not None]


def _tally(connection: sqlite3.Connection, kind: str, label: str, wanted: Wanted) -> dict[str, int]:
    if wanted.none:
        return {}
    beginning, beginning_values = _beginning(wanted.prefix)
    if not wanted.labels:
        sql = f"SELECT value, count(*) FROM labels WHERE kind = ? AND name = ?{beginning} GROUP BY value"  # noqa: S608
        return dict(connection.execute(sql, (kind, label, *beginning_values)).fetchall())
    first, number, tests, test_values = _rarest(connection, kind, wanted)
    of = wanted.labels[first]
    # The ids are sorted before their labels are looked up, which then lie side by side: most are on a page just read.
    # Of a large part of all states, which lie anywhere, every label is looked through instead.
    many = of.equal and number > _count(connection, kind, label) // _MANY
    how = "NOT INDEXED" if many else "INDEXED BY labels_by_state"
    sql = (
        f"SELECT t.value, count(*) FROM labels t {how} WHERE t.kind = ? AND t.name = ? AND t.id IN "  # noqa: S608
        f"(SELECT l.id FROM labels l WHERE kind = ? AND name = ? AND {of.test.replace('{}', 'l.value')}{beginning}"
        f"{tests}) GROUP BY t.value"
    )
    values = (kind, label, kind, first, *of.values, *beginning_values, *test_values)
    return dict(connection.execute(sql, values).fetchall())


def _beginning(prefix: str) -> tuple[str, tuple[object, ...]]:
    """The test of what ids begin with, and its values."""
    return (" AND substr(id, 1, ?) = ?", (len(prefix), prefix)) if prefix else ("", ())


def _rarest(connection: sqlite3.Connection, kind: str, wanted: Wanted) -> tuple[str, int, str, list[str]]:
    """The label that the fewest states have so, how many these are, and the test of the other ones with its values."""
    found = {name: _matches(connection, kind, name, of) for name, of in wanted.labels.items()}
    first, *others = sorted(found, key=found.__getitem__)
    tests = "".join(
        " AND EXISTS (SELECT 1 FROM labels o WHERE o.kind = l.kind AND o.id = l.id AND o.name = ? "  # noqa: S608
        f"AND {wanted.labels[name].test.replace('{}', '+o.value')})"
        for name in others
    )
    return first, found[first], tests, [text for name in others for text in (name, *wanted.labels[name].values)]


def _matches(connection: sqlite3.Connection, kind: str, name: str, of: _OfLabel) -> int:
    return _count(connection, kind, name, f" AND {of.test.replace('{}', 'value')}", of.values)


def _count(connection: sqlite3.Connection, kind: str, name: str, test: str = "", values: Sequence[str] = ()) -> int:
    sql = f"SELECT count(*) FROM labels WHERE kind = ? AND name = ?{test}"  # noqa: S608 - fixed texts
    return int(connection.execute(sql, (kind, name, *values)).fetchone()[0])


def _state(row: tuple[str, int, bytes, bytes, int]) -> State:
    id, revision, body, labels, created_ms = row
    return State(id=id, revision=str(revision), body=body, labels=_decode_labels(labels), created_ms=created_ms)
