"""What lies in a write-ahead log is copied into its file beside the writer, by another thread: SQLite's checkpoint.

A commit that finds the log long copies it itself, and waits for the disk twice: tens of milliseconds in which nothing
is written. Here a commit waits only for the last pages, once in a while, so that the log can start over.
"""

from __future__ import annotations

import sqlite3
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

COPY_BYTES: Final = 4 * 1024 * 1024
"""After about so many written bytes a log is copied."""

START_OVER_BYTES: Final = 8 * 1024 * 1024
"""A log of so many is copied whole, so that it starts over."""

WRITER_BYTES: Final = 32 * 1024 * 1024
"""At so many the writer copies it itself: nobody else has, or could."""

_PAGES = 3
"""A commit writes about so many pages, however few rows it has: the last ones of a table and of its index."""

_PATIENCE_S = 0.01
"""A writer that is busy for longer is left alone until the next time."""


class WalCopier:
    """Copies the logs of one thread's connections with `synchronous = NORMAL`, one at a time. Methods: that thread's.

    Where it fails, the log grows until its writer copies it (`WRITER_BYTES`): commits tell of a disk that is full.
    """

    def __init__(self, page_size: int) -> None:
        """page_size: bytes, of the files."""
        self._page_size = page_size
        self._written: dict[Path, int] = {}
        self._copying: dict[Path, Future[None]] = {}
        self._thread: ThreadPoolExecutor | None = None

    def written(self, path: Path, size: int) -> None:
        """A transaction with so many bytes was committed to the file."""
        written = self._written.get(path, 0) + size + _PAGES * self._page_size
        copying = self._copying.get(path)
        if written >= COPY_BYTES and (copying is None or copying.done()):
            if self._thread is None:
                self._thread = ThreadPoolExecutor(1, thread_name_prefix="wal-copier")
            self._copying[path] = self._thread.submit(_copy, path)
            written = 0
        self._written[path] = written

    def forget(self, path: Path) -> None:
        """The file is closed, or about to be. What is being copied goes on."""
        self._written.pop(path, None)
        self._copying.pop(path, None)

    def close(self) -> None:
        """Return once nothing is being copied."""
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)
            self._thread = None


def _copy(path: Path) -> None:
    # Opened anew each time: a connection that stays would keep the file's last writer from putting the log away.
    with (
        suppress(sqlite3.Error),
        closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=_PATIENCE_S, isolation_level=None)
        ) as connection,
    ):
        _, pages, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        (page_size,) = connection.execute("PRAGMA page_size").fetchone()
        if pages * page_size >= START_OVER_BYTES:
            connection.execute("PRAGMA wal_checkpoint(FULL)").fetchall()
