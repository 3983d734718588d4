"""The folder of one job: what is remembered of it, and the lock that is held as long as it runs.

`spec.json` what was asked for (never the environment) · `lock` held by every process of the job, released by the system
when the last of them is gone · `started` the shim's process id, which is the job's session · `pid` the worker's ·
`exit` the worker's exit status, or `lost` · `suspended` why it was killed · `log` what it wrote, `log.1` the part
before. Blocking.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from streamforge_utils.model.errors import ConfigError, RetryableError
from streamforge_utils.ports.job_log import LOG_BYTES, last_words, log_end
from streamforge_utils.ports.launcher import JobSpec

FORMAT: Final = 2
"""1: without baskets."""
LOG_LIMIT: Final = 1024 * 1024
"""Bytes; a log that has grown past this becomes `log.1`, the one before is forgotten."""

_TAIL_BYTES = 8192
_LOST = "lost"


class Remembered(msgspec.Struct, frozen=True, kw_only=True):
    """What `spec.json` holds. started_ms: unix milliseconds. basket: that of its process, if that does several."""

    format: int = 1
    name: str
    target: str
    queue_id: str
    attempt: int
    started_ms: int
    basket: str = ""


class Folder:
    """A job's folder; nothing is read before it is asked for."""

    def __init__(self, directory: Path, name: str) -> None:
        self.path: Final = directory / name
        self.name: Final = name
        self.lock_path: Final = self.path / "lock"
        self.log_path: Final = self.path / "log"

    def make(self) -> None:
        """Make the folder, readable by this user only."""
        self.path.mkdir(mode=0o700, exist_ok=True)

    def remember(self, spec: JobSpec, started_ms: int, *, basket: str = "") -> None:
        """Write what was asked for."""
        remembered = Remembered(
            format=2 if basket else 1,
            name=spec.name,
            target=spec.target,
            queue_id=spec.queue_id,
            attempt=spec.attempt,
            started_ms=started_ms,
            basket=basket,
        )
        temporary = self.path / "spec.json.tmp"
        temporary.write_bytes(msgspec.json.encode(remembered))
        temporary.replace(self.path / "spec.json")

    def remembered(self) -> Remembered | None:
        """What was asked for; None where that cannot be read. Raises ConfigError for a newer format."""
        try:
            found = msgspec.json.decode((self.path / "spec.json").read_bytes(), type=Remembered)
        except (OSError, msgspec.MsgspecError):
            return None
        if found.format > FORMAT:
            raise ConfigError(
                f"{self.path}: this job has format {found.format}, written by a newer StreamForge; this one knows "
                f"formats up to {FORMAT}: use the newer version, or another data directory"
            )
        return found

    def was_started(self) -> bool:
        """Whether the worker was ever started, or just about to be."""
        return (self.path / "started").exists()

    def session(self) -> int | None:
        """The session of the job's processes; None before it was started."""
        return self._number("started")

    def worker(self) -> int | None:
        """The worker's process id; None before it was started."""
        return self._number("pid")

    def status(self) -> int | None:
        """The exit status as a shell has it (128 + n for signal n), of a job that ended; None if it is unknown."""
        return self._number("exit")

    def ended_ms(self) -> int | None:
        """When the exit status was written, unix milliseconds."""
        try:
            return (self.path / "exit").stat().st_mtime_ns // 1_000_000
        except OSError:
            return None

    def note_suspended(self, limit_s: float) -> None:
        """Remember why its worker is being killed."""
        with contextlib.suppress(OSError):  # a full disk: it is killed all the same
            (self.path / "suspended").write_text(
                f", because it was suspended (SIGSTOP) for {limit_s:.0f} s while all others waited for its lock"
            )

    def suspended(self) -> str:
        """What `note_suspended` wrote, to follow what a worker ended by; empty if nothing."""
        with contextlib.suppress(OSError):
            return (self.path / "suspended").read_text()
        return ""

    @contextlib.contextmanager
    def locked(self, *, shared: bool = False) -> Iterator[int | None]:
        """Hold the lock for the block, without waiting: a descriptor, or None where another process has it.

        A child that inherits the descriptor goes on holding it. Raises FileNotFoundError if there is no folder.
        """
        flags = os.O_RDWR | os.O_CLOEXEC | (0 if shared else os.O_CREAT)
        descriptor = os.open(self.lock_path, flags, 0o600)
        try:
            try:
                fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            except BlockingIOError:
                yield None
                return
            # The folder may have been forgotten, and another made, between the opening and the lock.
            yield descriptor if _same(descriptor, self.lock_path) else None
        finally:
            os.close(descriptor)

    def is_held(self) -> bool:
        """Whether some process of the job (or its launcher, in the middle of a start) runs."""
        try:
            with self.locked(shared=True) as descriptor:
                return descriptor is None
        except FileNotFoundError:
            return False

    def note_lost(self) -> bool:
        """Remember, from now on, that the exit status was not observed; whether it is so."""
        with self.locked() as descriptor:
            if descriptor is None:
                return False
            if self.status() is None and not self._is_lost():
                with contextlib.suppress(OSError):  # a full disk: noted by a later look
                    (self.path / "exit").write_text(f"{_LOST}\n")
            return True

    def open_log(self) -> int:
        """A descriptor that appends to the log: after it was cut, writers go on at its end."""
        return os.open(self.log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def bound_log(self) -> None:
        """Keep the newest of a log that has grown too long; what is written meanwhile may be lost."""
        with contextlib.suppress(OSError):
            size = self.log_path.stat().st_size
            if size > LOG_LIMIT:
                (self.path / "log.1").write_bytes(_tail(self.log_path, LOG_LIMIT))
                os.truncate(self.log_path, 0)

    def last_words(self, limit: int) -> str:
        """The end of the log, at most `limit` characters, beginning with a whole line where it was cut."""
        parts = []
        for path in (self.path / "log.1", self.log_path):
            with contextlib.suppress(OSError):
                parts.append(_tail(path, _TAIL_BYTES))
        return last_words(b"".join(parts).decode(errors="replace"), limit)

    def log_end(self) -> str:
        """See `ports.job_log`. Raises OSError."""
        parts = []
        for path in (self.path / "log.1", self.log_path):
            with contextlib.suppress(FileNotFoundError):
                parts.append(_tail(path, LOG_BYTES + 1))
        return log_end(b"".join(parts))

    def remove(self) -> None:
        """Remove the folder; its name is free at once. Call it with the lock held."""
        trash = self.path.with_name(f".removed-{uuid.uuid4().hex}")
        try:
            self.path.rename(trash)
            shutil.rmtree(trash)
        except FileNotFoundError:
            return
        except OSError as error:
            raise RetryableError(f"cannot remove the job folder {self.path}: {error.strerror}") from error

    def _number(self, name: str) -> int | None:
        """The number in a file; None where there is none, or where its writer did not get to the end of the line."""
        try:
            text = (self.path / name).read_text()
        except OSError:
            return None
        return int(text) if text.endswith("\n") and text.strip().isdecimal() else None

    def _is_lost(self) -> bool:
        try:
            return (self.path / "exit").read_text().strip() == _LOST
        except OSError:
            return False


def folders_in(directory: Path) -> list[tuple[str, os.stat_result]]:
    """The folders of a directory; none where there is no directory. Raises RetryableError.

    One that is removed while they are listed is left out, and takes no other with it: a job that is not listed counts
    as gone, and is run again.
    """
    found: list[tuple[str, os.stat_result]] = []
    try:
        entries = os.scandir(directory)
    except FileNotFoundError:
        return found
    except OSError as error:
        raise RetryableError(f"cannot list the jobs in {directory}: {error.strerror}") from error
    with entries as listed:
        for entry in listed:
            with contextlib.suppress(FileNotFoundError):
                if entry.is_dir():
                    found.append((entry.name, entry.stat()))
    return found


def sweep(directory: Path, older_than_s: float = 60) -> None:
    """Remove what a launcher that was killed in the middle of a removal left behind."""
    for path in directory.glob(".removed-*"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > older_than_s:
                shutil.rmtree(path, ignore_errors=True)


def _same(descriptor: int, path: Path) -> bool:
    try:
        there = path.stat()
    except OSError:
        return False
    held = os.fstat(descriptor)
    return (held.st_dev, held.st_ino) == (there.st_dev, there.st_ino)


def _tail(path: Path, limit: int) -> bytes:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - limit, 0))
        return file.read(limit)
