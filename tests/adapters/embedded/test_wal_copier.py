"""What lies in a write-ahead log is copied into its file beside the writer, and the log starts over."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from streamforge_utils.adapters.embedded import sqlite
from streamforge_utils.adapters.embedded.store.embedded_store import EmbeddedStore
from streamforge_utils.adapters.embedded.wal_copier import COPY_BYTES, START_OVER_BYTES, WRITER_BYTES, WalCopier
from streamforge_utils.ports.store import Document, Outcome

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


def test_a_file_that_is_gone_or_no_database_disturbs_nobody(tmp_path: Path) -> None:
    copier, gone, broken = WalCopier(PAGE), tmp_path / "gone.db", tmp_path / "broken.db"
    broken.write_bytes(b"no database" * PAGE)
    for path in (gone, broken):
        copier.written(path, COPY_BYTES)
        copier.close()
    assert not gone.exists()


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
