"""The log of one topic: a SQLite file whose rows are batches of messages."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path

import msgspec

from streamforge_utils.adapters.embedded import sqlite
from streamforge_utils.adapters.embedded.bus.batch import Batch, StoredBatch
from streamforge_utils.adapters.embedded.bus.notification import notify
from streamforge_utils.model.errors import PermanentError
from streamforge_utils.ports.bus import Retention, TopicSpec

BATCH_OVERHEAD = 64
"""Bytes that a row takes besides its batch, counted against the cap."""

_CHECKPOINT_BYTES = 8 * 1024 * 1024
_WAL_ALARM_BYTES = 64 * 1024 * 1024  # readers that never pause keep the write-ahead log from starting over
_SLACK_BYTES = 8 * 1024 * 1024  # trimmed beyond what is needed, so that not every send at the cap trims

_INSERT = "INSERT INTO log (partition, last, count, timestamp, bytes, batch) VALUES (?, ?, ?, ?, ?, ?)"
_ROWS_AT_ONCE = 16

_FORMAT = sqlite.Format(
    "topic",
    (
        (
            """CREATE TABLE topic (
            name TEXT NOT NULL, partitions INTEGER NOT NULL, retention TEXT NOT NULL, max_bytes INTEGER NOT NULL,
            readers TEXT NOT NULL, deleted INTEGER NOT NULL DEFAULT 0
        )""",
            "CREATE TABLE partitions (partition INTEGER PRIMARY KEY, next INTEGER NOT NULL, bytes INTEGER NOT NULL)",
            """CREATE TABLE log (
            seq INTEGER PRIMARY KEY, partition INTEGER NOT NULL, last INTEGER NOT NULL, count INTEGER NOT NULL,
            timestamp INTEGER NOT NULL, bytes INTEGER NOT NULL, batch BLOB NOT NULL
        )""",
            "CREATE UNIQUE INDEX log_place ON log (partition, last)",
            "CREATE INDEX log_time ON log (partition, timestamp, last)",
        ),
    ),
)


class Log:
    """An open log. Every method blocks; one thread at a time."""

    def __init__(self, path: Path, connection: sqlite3.Connection, spec: TopicSpec) -> None:
        self.path = path
        self.spec = spec
        self._connection = connection
        self._synchronous = _synchronous(spec.retention)
        self._wal = Path(f"{path}-wal")

    @classmethod
    def create(cls, path: Path, spec: TopicSpec) -> None:
        """Make the file of a new topic; nobody else may know `path` yet, and `sqlite.settle` makes it durable."""
        # Bulk rows are hundreds of kilobytes: large pages make their chains short. Small rows want small pages.
        page_size = 16384 if spec.retention is Retention.CONSUMED else 4096
        connection = sqlite.connect(path, _FORMAT, synchronous="OFF", page_size=page_size)
        try:
            with sqlite.transaction(connection, path, "create"):
                connection.execute(
                    "INSERT INTO topic (name, partitions, retention, max_bytes, readers) VALUES (?, ?, ?, ?, ?)",
                    (
                        spec.name,
                        spec.partitions,
                        spec.retention.value,
                        spec.max_bytes,
                        msgspec.json.encode(spec.readers).decode(),
                    ),
                )
                connection.executemany(
                    "INSERT INTO partitions VALUES (?, 0, 0)", [(number,) for number in range(spec.partitions)]
                )
        finally:
            connection.close()

    @classmethod
    def open(cls, path: Path, name: str) -> Log:
        """Open the log of topic `name`. Raises FileNotFoundError, ConfigError or RetryableError."""
        connection = sqlite.connect(path, _FORMAT, create=False)
        try:
            with sqlite.translated(path, "read"):
                row = connection.execute("SELECT name, partitions, retention, max_bytes, readers FROM topic").fetchone()
                retention = Retention(row[2])
                connection.execute(f"PRAGMA synchronous = {_synchronous(retention)}")
                page_size = connection.execute("PRAGMA page_size").fetchone()[0]
                connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_BYTES // page_size}")
            if row[0] != name:
                raise PermanentError(f"{path} holds the topic {row[0]}, not {name}: choose another topic name")
        except BaseException:
            connection.close()
            raise
        spec = TopicSpec(
            name=name,
            partitions=row[1],
            retention=retention,
            max_bytes=row[3],
            readers=msgspec.json.decode(row[4], type=tuple[str, ...]),
        )
        return cls(path, connection, spec)

    def close(self) -> None:
        self._connection.close()

    @property
    def version(self) -> int:
        """Differs from the value before if another connection has written; costs microseconds."""
        return sqlite.data_version(self._connection, self.path)

    @property
    def deleted(self) -> bool:
        with sqlite.translated(self.path, "read"):
            return bool(self._connection.execute("SELECT deleted FROM topic").fetchone()[0])

    def require(self) -> None:
        """Raise PermanentError if the topic was deleted."""
        if self.deleted:
            raise gone(self.spec.name)

    def mark_deleted(self) -> None:
        """Let every process that has the file open know; the mark lies in the file itself on return, if it can."""
        with sqlite.transaction(self._connection, self.path, "delete"):
            self._connection.execute("UPDATE topic SET deleted = 1")
        with sqlite.translated(self.path, "delete"):
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        notify(self.path.parent)

    def begin_after(self, committed: Mapping[int, int]) -> None:
        """Give no offset below `committed` (by partition) to a message that is still to come.

        A power cut may take the end of the log, but not what its readers have committed of it: they would never read
        what came under these offsets again.
        """
        ends = self.ends()
        if all(offset <= ends.get(partition, offset) for partition, offset in committed.items()):
            return
        with sqlite.transaction(self._connection, self.path):
            self._connection.executemany(
                "UPDATE partitions SET next = max(next, ?) WHERE partition = ?",
                [(offset, partition) for partition, offset in committed.items()],
            )

    def append(
        self,
        batches: Sequence[Batch],
        now_ms: int,
        floors: Callable[[], Mapping[int, int]],
        *,
        fleeting: bool = False,
    ) -> int:
        """Append as many of `batches` as the cap allows, in one transaction; returns how many.

        fleeting: a loss of power may take them; what is appended after them without it is as safe as ever.
        floors: of a `consumed` topic, the offset of each partition below which every reader has committed.
        Raises PermanentError if the topic was deleted.
        """
        connection = self._connection
        self._synchronize("NORMAL" if fleeting else _synchronous(self.spec.retention))
        with sqlite.transaction(connection, self.path):
            self.require()
            state = {row[0]: [row[1], row[2]] for row in connection.execute("SELECT * FROM partitions")}
            kept = sum(size for _, size in state.values())
            needed = sum(batch.size + BATCH_OVERHEAD for batch in batches)
            if kept + needed > self.spec.max_bytes:
                kept -= self._trim(kept + needed - self.spec.max_bytes, state, floors)
            rows: list[tuple[object, ...]] = []
            for batch in batches:
                size = batch.size + BATCH_OVERHEAD
                if kept + size > self.spec.max_bytes and kept > 0 and not self._rolling:
                    break
                partition = state[batch.partition]
                partition[0] += batch.count
                partition[1] += size
                kept += size
                rows.append((batch.partition, partition[0] - 1, batch.count, now_ms, size, batch.body))
            self._insert(rows)
            if kept > self.spec.max_bytes and self._rolling:  # one send larger than the whole topic
                self._trim(kept - self.spec.max_bytes, state, floors)
            connection.executemany(
                "UPDATE partitions SET next = ?, bytes = ? WHERE partition = ?",
                [(following, size, number) for number, (following, size) in state.items()],
            )
        self._restrain()
        if rows:
            notify(self.path.parent)
        return len(rows)

    def trim(self, floors: Mapping[int, int]) -> None:
        """Remove the batches of which every offset lies below the floor of its partition."""
        with sqlite.transaction(self._connection, self.path):
            self.require()
            for partition, floor in floors.items():
                (freed,) = self._connection.execute(
                    "SELECT coalesce(sum(bytes), 0) FROM log WHERE partition = ? AND last < ?", (partition, floor)
                ).fetchone()
                if freed:
                    self._connection.execute("DELETE FROM log WHERE partition = ? AND last < ?", (partition, floor))
                    self._connection.execute(
                        "UPDATE partitions SET bytes = bytes - ? WHERE partition = ?", (freed, partition)
                    )
        self._restrain()

    def _synchronize(self, how: str) -> None:
        if how != self._synchronous:
            with sqlite.translated(self.path, "write to"):
                self._connection.execute(f"PRAGMA synchronous = {how}")
            self._synchronous = how

    def _insert(self, rows: Sequence[tuple[object, ...]]) -> None:
        # Many rows in one statement: after each the thread waits for the interpreter, which others use.
        for first in range(0, len(rows), _ROWS_AT_ONCE):
            part = rows[first : first + _ROWS_AT_ONCE]
            self._connection.execute(
                f"{_INSERT}{', (?, ?, ?, ?, ?, ?)' * (len(part) - 1)}", [*chain.from_iterable(part)]
            )

    def read(self, partition: int, offset: int, max_messages: int, max_bytes: int) -> list[StoredBatch]:
        """Batches from the one that holds `offset` on, until they hold `max_messages` or `max_bytes`; at least one."""
        batches: list[StoredBatch] = []
        with sqlite.translated(self.path, "read"):
            cursor = self._connection.execute(
                "SELECT last, count, timestamp, batch FROM log WHERE partition = ? AND last >= ? ORDER BY last",
                (partition, offset),
            )
            try:
                for last, count, timestamp, body in cursor:
                    batches.append(StoredBatch(last, count, timestamp, body))
                    max_messages -= last - max(offset, last - count + 1) + 1
                    max_bytes -= len(body)
                    if max_messages <= 0 or max_bytes <= 0:
                        break
            finally:
                cursor.close()
        return batches

    def ends(self) -> dict[int, int]:
        """The offset of the next message of each partition."""
        with sqlite.translated(self.path, "read"):
            return dict(self._connection.execute("SELECT partition, next FROM partitions").fetchall())

    def oldest(self, partition: int, offset: int = 0) -> int | None:
        """The offset of the oldest message at or after `offset`, or None."""
        with sqlite.translated(self.path, "read"):
            row = self._connection.execute(
                "SELECT last - count + 1 FROM log WHERE partition = ? AND last >= ? ORDER BY last LIMIT 1",
                (partition, offset),
            ).fetchone()
        return None if row is None else max(int(row[0]), offset)

    def at_time(self, partition: int, time_ms: int) -> int | None:
        """The offset of the first message sent at or after `time_ms`, or None."""
        with sqlite.translated(self.path, "read"):
            row = self._connection.execute(
                """SELECT last - count + 1 FROM log WHERE partition = ?1 AND last =
                   (SELECT min(last) FROM log INDEXED BY log_time WHERE partition = ?1 AND timestamp >= ?2)""",
                (partition, time_ms),
            ).fetchone()
        return None if row is None else int(row[0])

    @property
    def _rolling(self) -> bool:
        return self.spec.retention is Retention.ROLLING or not self.spec.readers

    def _trim(self, excess: int, state: dict[int, list[int]], floors: Callable[[], Mapping[int, int]]) -> int:
        """Remove the oldest batches that may go, `excess` bytes and some more; returns how many bytes went."""
        wanted = excess + min(self.spec.max_bytes // 8, _SLACK_BYTES)
        queries: list[tuple[str, tuple[int, ...]]]
        if self._rolling:
            queries = [("SELECT seq, partition, bytes FROM log ORDER BY seq", ())]
        else:
            queries = [
                ("SELECT seq, partition, bytes FROM log WHERE partition = ? AND last < ? ORDER BY last", floor)
                for floor in floors().items()
            ]
        freed = 0
        gone_rows: list[tuple[int]] = []
        for query, parameters in queries:
            cursor = self._connection.execute(query, parameters)
            for seq, partition, size in cursor:
                if freed >= wanted:
                    break
                gone_rows.append((seq,))
                state[partition][1] -= size
                freed += size
            cursor.close()
        self._connection.executemany("DELETE FROM log WHERE seq = ?", gone_rows)
        return freed

    def _restrain(self) -> None:
        try:
            size = self._wal.stat().st_size
        except FileNotFoundError:
            return
        if size > _WAL_ALARM_BYTES:
            with sqlite.translated(self.path, "checkpoint"):
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def gone(name: str) -> PermanentError:
    """The error of a call on a topic that was deleted meanwhile."""
    return PermanentError(f"topic {name} was deleted; create it again before using it")


def _synchronous(retention: Retention) -> str:
    # Bulk data is read from the exchange again if power is lost; commands and events are not.
    return "NORMAL" if retention is Retention.CONSUMED else "FULL"
