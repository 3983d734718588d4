"""SQLite as the embedded adapters use it: WAL mode, a versioned format, and errors that say what to do.

Connections are in autocommit mode and belong to one thread at a time; `transaction` makes a writing transaction.
`translated` turns SQLite's errors into ours; `connect` and `transaction` do so by themselves.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

from streamforge_utils.model.errors import ConfigError, DamagedFile, PermanentError, RetryableError

BUSY_LIMIT_S = 30.0
"""How long a call waits for another process's transaction before it gives up with RetryableError."""

WAL_LIMIT_BYTES = 16 * 1024 * 1024
"""What a write-ahead log is cut back to after it was copied into its file."""

LEAST_VERSION = (3, 35, 0)
"""The first SQLite whose statements can return what they have changed."""

_OPEN_PAUSE_S = 0.005
_STEPS = 10_000
"""Of SQLite's own machine, between two looks at the time."""

Synchronous = Literal["OFF", "NORMAL", "FULL"]


class Format(NamedTuple):
    """What a file holds, as messages name it, and the statements that lead from each version of its format to the next.

    The first statements lead from an empty file. Several processes may migrate a file at once.
    """

    holds: str
    migrations: Sequence[Sequence[str]]


def require_version() -> None:
    """Raises ConfigError if the SQLite that this Python brings is older than the embedded files need."""
    if sqlite3.sqlite_version_info < LEAST_VERSION:
        least = ".".join(map(str, LEAST_VERSION[:2]))
        raise ConfigError(
            f"the SQLite of this Python ({sys.executable}) is {sqlite3.sqlite_version}, and the embedded bus and store "
            f"need {least} or newer: use a Python with a newer SQLite, or name Kafka and ArangoDB in the settings"
        )


def connect(
    path: Path,
    format: Format | None = None,
    *,
    synchronous: Synchronous = "FULL",
    create: bool = True,
    page_size: int = 4096,
) -> sqlite3.Connection:
    """Open `path` in WAL mode, migrated to the newest version of `format`; None: as it is.

    synchronous: `FULL` survives power loss at each commit; `NORMAL` survives SIGKILL of any process, but power loss
    may take the last moments; `OFF` survives neither, for a new file that is not used before `settle` has made it
    durable. page_size: bytes, of a new file. create: make the file if there is none.
    Raises FileNotFoundError (none there, and `create` is false), ConfigError (also for a newer format) or
    RetryableError.
    """
    connection = _connected(path, synchronous, create, page_size)
    try:
        if format is not None:
            _migrate(connection, path, format)
    except BaseException:
        connection.close()
        raise
    return connection


class LazyConnection:
    """A database that is opened on first use, and made with its directory. For one thread."""

    def __init__(self, path: Path, format: Format, *, synchronous: Synchronous = "FULL") -> None:
        self.path = path
        self._format = format
        self._synchronous = synchronous
        self._connection: sqlite3.Connection | None = None

    def get(self) -> sqlite3.Connection:
        """The connection. Raises as `connect`."""
        if self._connection is None:
            _make_directory(self.path.parent)
            self._connection = connect(self.path, self._format, synchronous=self._synchronous)
        return self._connection

    def close(self) -> None:
        """Close the connection, if there is one; the next `get` opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _make_directory(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        raise ConfigError(
            f"cannot make the directory {directory}: {error.strerror}; name another data directory"
        ) from error
    except OSError as error:
        raise RetryableError(f"cannot make the directory {directory}: {error.strerror}") from error


def _connected(path: Path, synchronous: Synchronous, create: bool, page_size: int) -> sqlite3.Connection:
    require_version()
    if not create and not path.exists():
        raise FileNotFoundError(path)
    give_up = time.monotonic() + BUSY_LIMIT_S
    while True:
        try:
            return _open(path, synchronous, create, page_size)
        except sqlite3.Error as error:
            # SQLite's own waiting does not cover the switch to WAL mode and the recovery after a kill.
            if primary_code(error) == sqlite3.SQLITE_BUSY and time.monotonic() < give_up:
                time.sleep(_OPEN_PAUSE_S)
                continue
            if not create and not path.exists():
                raise FileNotFoundError(path) from error
            raise translate(error, path, "open") from error


@contextmanager
def translated(path: Path, what: str) -> Iterator[None]:
    """Raise our errors instead of SQLite's. what: the verb of the message, e.g. `read the offsets in`."""
    try:
        yield
    except sqlite3.Error as error:
        raise translate(error, path, what) from error


@contextmanager
def transaction(connection: sqlite3.Connection, path: Path, what: str = "write to") -> Iterator[None]:
    """One writing transaction: committed at the end of the block, undone if the block raises."""
    with translated(path, what):
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


@contextmanager
def snapshot(connection: sqlite3.Connection, path: Path) -> Iterator[None]:
    """What is read in the block is of one moment."""
    with translated(path, "read"):
        connection.execute("BEGIN")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")


def data_version(connection: sqlite3.Connection, path: Path) -> int:
    """A number that differs from the one before if another connection has written; costs microseconds."""
    with translated(path, "read"):
        return int(connection.execute("PRAGMA data_version").fetchone()[0])


def _migrate(connection: sqlite3.Connection, path: Path, format: Format) -> None:
    newest = len(format.migrations)
    with translated(path, "read"):
        found = _format_version(connection)
    if found < newest:
        with transaction(connection, path, "prepare"):
            found = _format_version(connection)
            for statements in format.migrations[found:]:
                for statement in statements:
                    connection.execute(statement)
            if found < newest:
                connection.execute(f"PRAGMA user_version = {newest}")
    if found > newest:
        raise ConfigError(
            f"{path}: this {format.holds} has format {found}, written by a newer StreamForge; this one knows formats "
            f"up to {newest}: use the newer version, or another data directory"
        )


def primary_code(error: sqlite3.Error) -> int:
    """SQLite's result code without its details, e.g. `SQLITE_BUSY`; -1 if the error did not come from SQLite."""
    code = getattr(error, "sqlite_errorcode", None)
    return code & 0xFF if isinstance(code, int) else -1


def translate(error: sqlite3.Error, path: Path, what: str) -> Exception:
    """Our error for SQLite's; a mistake of the caller (bad SQL, closed connection) is returned as it is."""
    code = primary_code(error)
    if code == sqlite3.SQLITE_FULL:
        return RetryableError(f"cannot {what} {path}: the disk is full; free some space, then try again")
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return RetryableError(f"cannot {what} {path}: another process holds it for too long ({error}); try again")
    # A file that was prepared has its tables: one that lacks some was changed by another program.
    damaged = code == sqlite3.SQLITE_ERROR and str(error).startswith("no such table")
    if damaged or code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return _damaged(path, what, str(error))
    if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH):
        return ConfigError(
            f"cannot {what} {path}: {error}; check that its directory exists and may be written by this user"
        )
    if code == sqlite3.SQLITE_TOOBIG:
        return PermanentError(f"cannot {what} {path}: a value is larger than SQLite can hold ({error})")
    if code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_INTERRUPT):
        return RetryableError(f"cannot {what} {path}: {error}; check the disk and its free space, then try again")
    return error


def _damaged(path: Path, what: str, why: str) -> DamagedFile:
    return DamagedFile(
        f"cannot {what} {path}: the file is broken or was not written by StreamForge ({why}); restore it from a "
        "backup, or stop everything that uses it and move it and its -wal and -shm away: its content is lost then"
    )


def check(connection: sqlite3.Connection, path: Path, within_s: float) -> bool:
    """Read every page of the file; False: that takes longer than `within_s`. Raises DamagedFile."""
    give_up = time.monotonic() + within_s
    connection.set_progress_handler(lambda: time.monotonic() > give_up, _STEPS)
    try:
        found = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.OperationalError as error:
        if primary_code(error) == sqlite3.SQLITE_INTERRUPT:
            return False
        raise
    finally:
        connection.set_progress_handler(None, 0)
    if found != "ok":
        raise _damaged(path, "read", " ".join(found.split()))
    return True


def settle(path: Path) -> None:
    """On return a database that was written with `OFF`, and is closed by all, survives power loss.

    Raises RetryableError, also if the disk had no room to copy its log into it.
    """
    if Path(f"{path}-wal").exists():
        raise RetryableError(f"cannot create {path}: the disk may be full; free some space, then try again")
    _sync(path)


def flush(path: Path) -> None:
    """On return every commit to `path` so far, of any process, survives power loss. Raises RetryableError.

    What `NORMAL` has not synced yet lies in the log alone: SQLite syncs both files whenever it copies one into the
    other. The database itself is not opened here: closing it again would drop this process's locks on it.
    """
    _sync(Path(f"{path}-wal"), missing_ok=True)  # who closed the file last has copied and removed the log
    _sync(path.parent)


def _sync(path: Path, *, missing_ok: bool = False) -> None:
    try:
        number = os.open(path, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
    except OSError as error:
        if missing_ok and isinstance(error, FileNotFoundError):
            return
        raise RetryableError(f"cannot flush {path}: {error.strerror}; check the disk, then try again") from error


def _open(path: Path, synchronous: str, create: bool, page_size: int) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={'rwc' if create else 'rw'}",
        uri=True,
        timeout=BUSY_LIMIT_S,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        if synchronous == "OFF":
            connection.execute("PRAGMA synchronous = OFF")  # the switch to WAL mode alone would sync five times
        connection.execute(f"PRAGMA page_size = {page_size}")
        connection.execute("PRAGMA journal_mode = WAL").fetchone()
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT_BYTES}")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("PRAGMA secure_delete = OFF").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def _format_version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def remove(path: Path) -> None:
    """Unlink a database with its `-wal` and `-shm`; what is not there is no error."""
    for name in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        try:
            os.unlink(name)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise RetryableError(f"cannot remove {name}: {error.strerror}") from error
