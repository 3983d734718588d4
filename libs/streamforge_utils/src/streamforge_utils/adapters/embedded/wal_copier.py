"""What lies in a write-ahead log is copied into its file beside the writer, by another thread: SQLite's checkpoint.

A commit that finds the log long copies it itself, and waits for the disk twice: tens of milliseconds in which nothing
is written. Here a commit waits only for the last pages, once in a while, so that the log can start over.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Final

from streamforge_utils.adapters.embedded import sqlite
from streamforge_utils.ports.instrumentation import NullObserver, Observer

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


LOG_EVERY_S: Final = 60.0
"""Of copies that fail, one in so many seconds is logged."""


class FailedCopies:
    """Counts `wal_copy_failures` (by SQLite's error), and logs one a minute. For all threads that it is shared with.

    now: monotonic seconds.
    """

    def __init__(self, observer: Observer | None = None, now: Callable[[], float] = time.monotonic) -> None:
        self._observer = observer or NullObserver()
        self._now = now
        self._lock = threading.Lock()
        self._told_at = float("-inf")
        self._untold = 0

    def note(self, path: Path, error: sqlite3.Error) -> None:
        """A copy has failed."""
        name = getattr(error, "sqlite_errorname", "")
        self._observer.count("wal_copy_failures", error=name)
        with self._lock:
            self._untold += 1
            if self._now() - self._told_at < LOG_EVERY_S:
                return
            self._told_at, untold, self._untold = self._now(), self._untold, 0
        import structlog  # seldom needed, and costs the start of a process

        if structlog.is_configured():
            structlog.get_logger().warning(
                "a write-ahead log could not be copied; its writer copies it once it is long",
                file=str(path),
                error=str(error),
                code=name,
                failures=untold,
            )


class WalCopier:
    """Copies the logs of one thread's connections with `synchronous = NORMAL`, one at a time. Methods: that thread's.

    Where it fails, the log grows until its writer copies it (`WRITER_BYTES`): commits tell of a disk that is full.
    """

    def __init__(self, page_size: int, failed: FailedCopies | None = None) -> None:
        """page_size: bytes, of the files. failed: hears of copies that fail."""
        self._page_size = page_size
        self._failed = failed or FailedCopies()
        self._written: dict[Path, int] = {}
        self._copying: dict[Path, Future[None]] = {}
        self._thread: ThreadPoolExecutor | None = None

    def written(self, path: Path, size: int) -> None:
        """A transaction with so many bytes was committed to the file."""
        written = self._written.get(path, 0) + size + _PAGES * self._page_size
        copying = self._copying.get(path)
        if written >= COPY_BYTES and (copying is None or copying.done()):
            if self._thread is None:
                # No `Lane`: that belongs to an event loop, and the thread that writes has none.
                self._thread = ThreadPoolExecutor(1, thread_name_prefix="wal-copier")
            self._copying[path] = self._thread.submit(_copy, path, self._failed)
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


def _copy(path: Path, failed: FailedCopies) -> None:
    # Opened anew each time: a connection that stays would keep the file's last writer from putting the log away.
    try:
        with closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=_PATIENCE_S, isolation_level=None)
        ) as connection:
            _, pages, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            (page_size,) = connection.execute("PRAGMA page_size").fetchone()
            if pages * page_size >= START_OVER_BYTES:
                connection.execute("PRAGMA wal_checkpoint(FULL)").fetchall()
    except sqlite3.Error as error:
        # One that is busy is left alone until the next time, and of one that was dropped nothing is to be copied.
        if sqlite.primary_code(error) != sqlite3.SQLITE_BUSY and path.exists():
            failed.note(path, error)
