"""The log of one topic: a SQLite file whose rows are batches of messages.

A topic has one partition, number 0: the file's format has room for more, which is not used.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from itertools import chain
from pathlib import Path

import msgspec

from streamforge_utils.adapters.embedded import sqlite
from streamforge_utils.adapters.embedded.bus.batch_format import Batch, StoredBatch
from streamforge_utils.adapters.embedded.bus.notification import notify
from streamforge_utils.adapters.embedded.wal_copier import WRITER_BYTES, FailedCopies, WalCopier
from streamforge_utils.model.errors import PermanentError
from streamforge_utils.ports.bus import Retention, TopicSpec

BATCH_OVERHEAD = 64
"""Bytes that a row takes besides its batch, counted against the cap."""

_CHECKPOINT_BYTES = 8 * 1024 * 1024
_WAL_ALARM_BYTES = 64 * 1024 * 1024  # readers that never pause keep the write-ahead log from starting over
_SLACK_BYTES = 8 * 1024 * 1024  # trimmed beyond what is needed, so that not every send at the cap trims

_INSERT = "INSERT INTO log (partition, last, count, timestamp, bytes, batch) VALUES (0, ?, ?, ?, ?, ?)"
_ROWS_AT_ONCE = 16
_ANY = 2**63 - 1  # above every offset

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

    def __init__(
        self, path: Path, connection: sqlite3.Connection, spec: TopicSpec, failed: FailedCopies | None = None
    ) -> None:
        self.path = path
        self.spec = spec
        self._connection = connection
        self._synchronous = _synchronous(spec.retention)
        self._wal = Path(f"{path}-wal")
        self._copier = WalCopier(_page_size(spec.retention), failed)

    @classmethod
    def create(cls, path: Path, spec: TopicSpec) -> None:
        """Make the file of a new topic; no other process may know `path` yet, and `sqlite.settle` makes it durable."""
        page_size = _page_size(spec.retention)
        with closing(sqlite.connect(path, _FORMAT, synchronous="OFF", page_size=page_size)) as connection:
            readers = msgspec.json.encode(spec.readers).decode()
            with sqlite.transaction(connection, path, "create"):
                connection.execute(
                    "INSERT INTO topic (name, partitions, retention, max_bytes, readers) VALUES (?, 1, ?, ?, ?)",
                    (spec.name, spec.retention.value, spec.max_bytes, readers),
                )
                connection.execute("INSERT INTO partitions VALUES (0, 0, 0)")

    @classmethod
    def open(cls, path: Path, name: str, failed: FailedCopies | None = None) -> Log:
        """Open the log of topic `name`. failed: as `WalCopier` takes it.

        Raises FileNotFoundError, ConfigError or RetryableError.
        """
        connection = sqlite.connect(path, _FORMAT, create=False)
        try:
            with sqlite.translated(path, "read"):
                row = connection.execute("SELECT name, retention, max_bytes, readers FROM topic").fetchone()
                retention = Retention(row[1])
                connection.execute(f"PRAGMA synchronous = {_synchronous(retention)}")
                page_size = connection.execute("PRAGMA page_size").fetchone()[0]
                connection.execute(f"PRAGMA wal_autocheckpoint = {_wal_bytes(retention) // page_size}")
            if row[0] != name:
                raise PermanentError(f"{path} holds the topic {row[0]}, not {name}: choose another topic name")
        except BaseException:
            connection.close()
            raise
        readers = msgspec.json.decode(row[3], type=tuple[str, ...])
        spec = TopicSpec(name=name, retention=retention, max_bytes=row[2], readers=readers)
        return cls(path, connection, spec, failed)

    def close(self) -> None:
        self._copier.close()
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

    def begin_after(self, committed: int) -> None:
        """Give no offset below `committed` to a message that is still to come.

        A power cut may take the end of the log, but not what its readers have committed of it: they would never read
        what came under these offsets again.
        """
        if committed > self.end():
            with sqlite.transaction(self._connection, self.path):
                self._connection.execute("UPDATE partitions SET next = max(next, ?)", (committed,))

    def append(self, batches: Sequence[Batch], now_ms: int, floor: Callable[[], int], *, fleeting: bool = False) -> int:
        """Append as many of `batches` as the cap allows, in one transaction; returns how many.

        fleeting: a loss of power may take them; what is appended after them without it is as safe as ever.
        floor: of a `consumed` topic, the offset below which every reader has committed.
        Raises PermanentError if the topic was deleted.
        """
        connection = self._connection
        self._synchronize("NORMAL" if fleeting else _synchronous(self.spec.retention))
        with sqlite.transaction(connection, self.path):
            self.require()
            end, kept = connection.execute("SELECT next, bytes FROM partitions").fetchone()
            needed = sum(batch.size + BATCH_OVERHEAD for batch in batches)
            if kept + needed > self.spec.max_bytes:
                kept -= self._make_room(kept + needed - self.spec.max_bytes, floor)
            rows: list[tuple[object, ...]] = []
            for batch in batches:
                size = batch.size + BATCH_OVERHEAD
                if kept + size > self.spec.max_bytes and kept > 0 and not self._rolling:
                    break
                end += batch.count
                kept += size
                rows.append((end - 1, batch.count, now_ms, size, batch.body))
            self._insert(rows)
            if kept > self.spec.max_bytes and self._rolling:  # one send larger than the whole topic
                kept -= self._make_room(kept - self.spec.max_bytes, floor)
            connection.execute("UPDATE partitions SET next = ?, bytes = ?", (end, kept))
        if rows:
            notify(self.path.parent)
        if self.spec.retention is Retention.CONSUMED:
            self._copier.written(self.path, needed)
        self._restrain()
        return len(rows)

    def trim(self, floor: int) -> None:
        """Remove the batches of which every offset lies below `floor`."""
        with sqlite.transaction(self._connection, self.path):
            self.require()
            below = "FROM log WHERE partition = 0 AND last < ?"
            (freed,) = self._connection.execute(f"SELECT coalesce(sum(bytes), 0) {below}", (floor,)).fetchone()
            if freed:
                self._connection.execute(f"DELETE {below}", (floor,))
                self._connection.execute("UPDATE partitions SET bytes = bytes - ?", (freed,))
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
                f"{_INSERT}{', (0, ?, ?, ?, ?, ?)' * (len(part) - 1)}", [*chain.from_iterable(part)]
            )

    def read(self, offset: int, max_messages: int, max_bytes: int) -> list[StoredBatch]:
        """Batches from the one that holds `offset` on, until they hold `max_messages` or `max_bytes`; at least one."""
        batches: list[StoredBatch] = []
        with sqlite.translated(self.path, "read"):
            cursor = self._connection.execute(
                "SELECT last, count, timestamp, batch FROM log WHERE partition = 0 AND last >= ? ORDER BY last",
                (offset,),
            )
            with closing(cursor):
                for last, count, timestamp, body in cursor:
                    batches.append(StoredBatch(last, count, timestamp, body))
                    max_messages -= last - max(offset, last - count + 1) + 1
                    max_bytes -= len(body)
                    if max_messages <= 0 or max_bytes <= 0:
                        break
        return batches

    def end(self) -> int:
        """The offset of the next message."""
        with sqlite.translated(self.path, "read"):
            return int(self._connection.execute("SELECT next FROM partitions").fetchone()[0])

    def size(self) -> int:
        """The bytes that count against the cap."""
        with sqlite.translated(self.path, "read"):
            return int(self._connection.execute("SELECT bytes FROM partitions").fetchone()[0])

    def oldest(self, offset: int = 0) -> int | None:
        """The offset of the oldest message at or after `offset`, or None."""
        found = self._first("last >= ? ORDER BY last LIMIT 1", offset)
        return None if found is None else max(found, offset)

    def at_time(self, time_ms: int) -> int | None:
        """The offset of the first message sent at or after `time_ms`, or None."""
        earliest = "SELECT min(last) FROM log INDEXED BY log_time WHERE partition = 0 AND timestamp >= ?"
        return self._first(f"last = ({earliest})", time_ms)

    def _first(self, where: str, value: int) -> int | None:
        """The first offset of the batch that is found so."""
        sql = f"SELECT last - count + 1 FROM log WHERE partition = 0 AND {where}"  # noqa: S608 - fixed texts
        with sqlite.translated(self.path, "read"):
            row = self._connection.execute(sql, (value,)).fetchone()
        return None if row is None else int(row[0])

    @property
    def _rolling(self) -> bool:
        return self.spec.retention is Retention.ROLLING or not self.spec.readers

    def _make_room(self, excess: int, floor: Callable[[], int]) -> int:
        """Remove the oldest batches that may go, `excess` bytes and some more; returns how many bytes went."""
        wanted = excess + min(self.spec.max_bytes // 8, _SLACK_BYTES)
        end = _ANY if self._rolling else floor()
        freed = 0
        gone_rows: list[tuple[int]] = []
        with closing(
            self._connection.execute(
                "SELECT seq, bytes FROM log WHERE partition = 0 AND last < ? ORDER BY last", (end,)
            )
        ) as cursor:
            for seq, size in cursor:
                if freed >= wanted:
                    break
                gone_rows.append((seq,))
                freed += size
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


def _page_size(retention: Retention) -> int:
    # Bulk rows are hundreds of kilobytes: large pages make their chains short. Small rows want small pages.
    return 16384 if retention is Retention.CONSUMED else 4096


def _wal_bytes(retention: Retention) -> int:
    """At so many bytes the writer copies the write-ahead log."""
    return WRITER_BYTES if retention is Retention.CONSUMED else _CHECKPOINT_BYTES


def _synchronous(retention: Retention) -> str:
    # Bulk data is read from the exchange again if power is lost; commands and events are not.
    return "NORMAL" if retention is Retention.CONSUMED else "FULL"
