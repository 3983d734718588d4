"""What lies in a write-ahead log is copied into its file beside the writer, and the log starts over."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
import structlog
from structlog.testing import capture_logs

from streamforge_utils.adapters.embedded import sqlite
from streamforge_utils.adapters.embedded.store.embedded_store import EmbeddedStore
from streamforge_utils.adapters.embedded.wal_copier import (
    COPY_BYTES,
    LOG_EVERY_S,
    START_OVER_BYTES,
    WRITER_BYTES,
    FailedCopies,
    WalCopier,
)
from streamforge_utils.ports.store import Document, Outcome
from tests.doubles.observer import RecordingObserver

PAGE = 4096
MEGABYTE = 1024 * 1024


class File:
    """A file whose writer never copies its log by itself, and its copier."""

    def __init__(self, path: Path) -> None:
        self.path, self._wal = path, Path(f"{path}-wal")
        self.copier = WalCopier(PAGE)
        self.connection = sqlite.connect(path, synchronous="NORMAL", page_size=PAGE)
        self.connection.execute("PRAGMA wal_autocheckpoint = 0")
        self.connection.execute("CREATE TABLE rows (body BLOB)")

    def write(self, size: int = MEGABYTE) -> None:
        with sqlite.transaction(self.connection, self.path):
            self.connection.execute("INSERT INTO rows VALUES (zeroblob(?))", (size,))
        self.copier.written(self.path, size)

    @property
    def log_bytes(self) -> int:
        return self._wal.stat().st_size

    @property
    def copied_bytes(self) -> int:
        return self.path.stat().st_size

    def close(self) -> None:
        self.copier.close()
        self.connection.close()


@pytest.fixture
def file(tmp_path: Path) -> Iterator[File]:
    found = File(tmp_path / "rows.db")
    yield found
    found.close()


def test_a_short_log_is_left_alone(file: File) -> None:
    while file.log_bytes < COPY_BYTES - 2 * MEGABYTE:
        file.write()
    file.copier.close()
    assert file.copied_bytes == PAGE


def test_a_long_one_is_copied_and_starts_over(file: File) -> None:
    for _ in range(16):
        file.write()
        file.copier.close()  # returns once what was begun is done
        assert file.log_bytes < COPY_BYTES + 2 * MEGABYTE
    assert file.copied_bytes > 11 * MEGABYTE


def test_it_starts_over_although_something_is_always_written_meanwhile(
    file: File, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While each copy is made a transaction goes on, as of a writer that never pauses."""

    class Connection(sqlite3.Connection):
        def execute(self, statement: str, *values: object) -> sqlite3.Cursor:
            if "PASSIVE" not in statement:
                return super().execute(statement, *values)  # type: ignore[arg-type]
            with sqlite.transaction(file.connection, file.path):
                file.connection.execute("INSERT INTO rows VALUES (1)")
                return super().execute(statement)

    connect = partial(sqlite3.connect, factory=Connection)
    monkeypatch.setattr(sqlite3, "connect", connect)
    longest = 0
    for _ in range(32):
        file.write()
        file.copier.close()
        longest = max(longest, file.log_bytes)
    assert START_OVER_BYTES < longest < START_OVER_BYTES + COPY_BYTES + 2 * MEGABYTE
    assert file.copied_bytes > 27 * MEGABYTE


def test_many_small_commits_count_by_the_pages_that_they_write(file: File) -> None:
    for _ in range(COPY_BYTES // (3 * PAGE)):
        file.write(size=1)
    file.copier.close()
    assert file.copied_bytes == PAGE
    file.write(size=1)
    file.copier.close()
    assert file.copied_bytes > PAGE


def test_a_reader_that_stays_keeps_neither_the_writer_nor_what_it_reads(file: File) -> None:
    file.write()
    with closing(sqlite.connect(file.path)) as reader, sqlite.snapshot(reader, file.path):
        assert reader.execute("SELECT count(*) FROM rows").fetchone() == (1,)
        for _ in range(2 * START_OVER_BYTES // MEGABYTE):
            file.write()
            file.copier.close()
        assert file.log_bytes > 2 * START_OVER_BYTES
        assert reader.execute("SELECT count(*) FROM rows").fetchone() == (1,)
    for _ in range(2 * COPY_BYTES // MEGABYTE):
        file.write()
        file.copier.close()
    before = file.log_bytes
    file.write()
    assert file.log_bytes <= before


def test_a_copy_that_fails_is_counted_and_logged_once_a_minute_and_a_file_that_is_gone_is_no_failure(
    tmp_path: Path,
) -> None:
    now, observer = 0.0, RecordingObserver()
    copier = WalCopier(PAGE, FailedCopies(observer, lambda: now))
    gone, broken = tmp_path / "gone.db", tmp_path / "broken.db"
    broken.write_bytes(b"no database" * PAGE)
    structlog.configure()  # it logs where somebody has said where to
    try:
        with capture_logs() as logs:
            for path, at in ((gone, 0.0), (broken, 1.0), (broken, 2.0), (gone, 3.0), (broken, LOG_EVERY_S + 1)):
                now = at
                copier.written(path, COPY_BYTES)
                copier.close()
    finally:
        structlog.reset_defaults()
    assert not gone.exists()
    assert observer.counts == {"wal_copy_failures{error=SQLITE_NOTADB}": 3}
    assert [(line["log_level"], line["file"], line["failures"]) for line in logs] == [
        ("warning", str(broken), 1),
        ("warning", str(broken), 2),
    ]


def test_one_that_is_locked_is_left_alone_without_a_failure(file: File) -> None:
    observer = RecordingObserver()
    file.copier = WalCopier(PAGE, FailedCopies(observer))
    file.connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    file.write(size=1)
    with closing(sqlite3.connect(file.path, timeout=0)) as other, pytest.raises(sqlite3.OperationalError):
        other.execute("SELECT * FROM rows")  # as if it were recovered by another process
    file.copier.written(file.path, COPY_BYTES)
    file.copier.close()
    assert observer.counts == {}


def test_what_is_forgotten_counts_anew(file: File) -> None:
    file.copier.written(file.path, COPY_BYTES - 4 * PAGE)
    file.copier.forget(file.path)
    file.write(size=2 * PAGE)
    file.copier.close()
    assert file.copied_bytes == PAGE


async def test_documents_are_copied_before_their_writer_would(tmp_path: Path) -> None:
    """Each has a megabyte. While the store closes, a reader stays, so that closing copies nothing."""
    store, body = EmbeddedStore(tmp_path), b'{"text":"%b"}' % (b"x" * MEGABYTE)
    try:
        for number in range(WRITER_BYTES // MEGABYTE // 2):
            (answer,) = await store.upsert("large", [Document(f"{number:03d}", 1, body)])
            assert answer.outcome is Outcome.STORED
        (path,) = (tmp_path / "documents").glob("large.*.db")
        with closing(sqlite.connect(path)) as reader, sqlite.snapshot(reader, path):
            reader.execute("SELECT count(*) FROM documents").fetchone()
            await store.close()
            assert path.stat().st_size > COPY_BYTES
    finally:
        await store.close()
