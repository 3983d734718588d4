"""Files of the archive in a folder that the workers of a machine share: each is downloaded by one of them at a time.

Beside `NAME.zip` lies `NAME.json`, which says what it is; without it the file does not count. What is under way is
`NAME.part`. A lock on `NAME.lock` belongs to who downloads it, and goes with its process.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import IO

import msgspec

from streamforge_utils.model.errors import ConfigError, RetryableError
from streamforge_utils.ports.archive import ArchiveFile, FileRefused
from streamforge_utils.ports.clock import Clock
from streamforge_utils.ports.instrumentation import Observer

LOCK_LIMIT_S = 3600.0
"""How long another process may download a file that this one wants too."""

LOCK_PAUSE_S = 0.2
QUARANTINE = "quarantine"
_ROOM_LOCK = "room.lock"
_NAME_CHARACTERS = 80


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """What lies in the cache.

    published: the version, as the listing names it. sha256: of the whole, once it is known. disputed: see
    `VerifiedFile`. entity_tag: of the answer that a part is of.
    """

    path: str
    size: int
    published: str
    sha256: str = ""
    disputed: str = ""
    entity_tag: str = ""


_decode_note = msgspec.json.Decoder(Note).decode


class Entry(msgspec.Struct, frozen=True):
    """Where the cache keeps one file."""

    folder: Path
    name: str

    @property
    def zip(self) -> Path:
        return self.folder / f"{self.name}.zip"

    @property
    def note(self) -> Path:
        return self.folder / f"{self.name}.json"

    @property
    def part(self) -> Path:
        return self.folder / f"{self.name}.part"

    @property
    def part_note(self) -> Path:
        return self.folder / f"{self.name}.part.json"

    @property
    def lock(self) -> Path:
        return self.folder / f"{self.name}.lock"

    def remove(self) -> None:
        """All but the lock."""
        for path in (self.note, self.zip, self.part_note, self.part):
            path.unlink(missing_ok=True)


class ArchiveCache:
    """The files in `folder`, at most `limit` bytes of them beside those that are under way.

    free: bytes that the folder's disk has left. observer: notified of waits for other processes.
    """

    def __init__(
        self,
        folder: Path,
        limit: int,
        *,
        clock: Clock,
        observer: Observer,
        free: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free,
    ) -> None:
        self.folder = folder
        self._limit = limit
        self._clock = clock
        self._observer = observer
        self._free = free

    def entry(self, archive: str, path: str) -> Entry:
        """The place of a file. archive: its URL; files of different archives do not meet."""
        digest = hashlib.sha256(f"{archive} {path}".encode()).hexdigest()[:24]
        name = re.sub(r"[^A-Za-z0-9._-]", "_", path.rpartition("/")[2].removesuffix(".zip"))
        return Entry(self.folder, f"{digest}-{name[-_NAME_CHARACTERS:]}")

    @asynccontextmanager
    async def locked(self, entry: Entry) -> AsyncIterator[None]:
        """No other process of the machine uses the file in the block. Raises RetryableError or ConfigError."""
        give_up = self._clock.monotonic() + LOCK_LIMIT_S
        waited = False
        while (descriptor := self._try_lock(entry)) is None:
            if self._clock.monotonic() >= give_up:
                raise RetryableError(f"another process has been busy with {entry.zip} for too long; try again")
            waited = True
            self._observer.waiting(f"another process downloads {entry.name}")
            await self._clock.sleep(LOCK_PAUSE_S)
        if waited:
            self._observer.waiting(None)
        try:
            yield
        finally:
            os.close(descriptor)

    def known(self, entry: Entry) -> Note | None:
        """What is known of the file, if it is there; from then on it is the last to be removed."""
        note = _read_note(entry.note)
        with suppress(OSError):
            if note is not None and entry.zip.stat().st_size == note.size:
                os.utime(entry.note)
                return note
        return None

    def make_room(self, entry: Entry, file: ArchiveFile) -> None:
        """Remove files that were not used for the longest time until there is room for `file`.

        Raises FileRefused where it is larger than all that the cache may hold, RetryableError where the disk is full.
        """
        if file.size > self._limit:
            raise FileRefused(
                f"it has {file.size} bytes, and the cache may hold {self._limit}: raise STREAMFORGE_ARCHIVE_CACHE_BYTES"
            )
        with self.errors(), self._room_lock():
            held = self._held(entry)
            used = sum(size for _, size, _ in held)
            needed = file.size - _size(entry.part)
            for _, size, remove in sorted(held, key=lambda one: one[0]):
                if used + file.size <= self._limit and self._free(self.folder) >= needed:
                    break
                if remove():
                    used -= size
            if self._free(self.folder) < needed:
                raise self._full(f"{file.path} needs {needed} bytes")

    def keep(self, entry: Entry, note: Note) -> None:
        """The part is the whole file, and checked. Raises RetryableError."""
        with self.errors():
            entry.note.unlink(missing_ok=True)
            entry.part.replace(entry.zip)
            entry.part_note.unlink(missing_ok=True)
            write_whole(entry.note, msgspec.json.encode(note))

    def note(self, entry: Entry, note: Note) -> None:
        """Write down what is known of a file that is kept. Raises RetryableError."""
        with self.errors():
            write_whole(entry.note, msgspec.json.encode(note))

    def quarantine(self, entry: Entry, reason: str) -> None:
        """Put the part, or else the file, away, with the reason; it is never read again."""
        with self.errors():
            folder = self.folder / QUARANTINE
            folder.mkdir(exist_ok=True)
            kept = entry.part if entry.part.exists() else entry.zip
            with suppress(FileNotFoundError):
                kept.replace(folder / entry.zip.name)
                (folder / f"{entry.name}.txt").write_text(reason + "\n")
            entry.remove()

    def opened(self, entry: Entry) -> IO[bytes] | None:
        """The file, opened; None where it is not there any more. Raises RetryableError or ConfigError."""
        with self.errors():
            try:
                return entry.zip.open("rb")
            except FileNotFoundError:
                return None

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Errors of the disk become RetryableError or ConfigError, with what to do."""
        try:
            yield
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise self._full(str(error.strerror)) from error
            what = (
                f"the archive's cache cannot be used ({error}): name another folder with STREAMFORGE_ARCHIVE_CACHE_DIR"
            )
            denied = error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR)
            raise ConfigError(what) if denied else RetryableError(what) from error

    def _full(self, what: str) -> RetryableError:
        return RetryableError(
            f"the disk of {self.folder} is full ({what}): free some room there, lower STREAMFORGE_ARCHIVE_CACHE_BYTES, "
            "or name another folder with STREAMFORGE_ARCHIVE_CACHE_DIR"
        )

    def _try_lock(self, entry: Entry) -> int | None:
        """A descriptor that holds the lock; None where another process has it."""
        with self.errors():
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(entry.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # It may have been removed, and another made, between the opening and the lock.
                if os.fstat(descriptor).st_ino == entry.lock.stat().st_ino:
                    return descriptor
            except (BlockingIOError, FileNotFoundError):
                pass
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)
            return None

    @contextmanager
    def _room_lock(self) -> Iterator[None]:
        descriptor = os.open(self.folder / _ROOM_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # held for as long as it takes to remove files
            yield
        finally:
            os.close(descriptor)

    def _held(self, own: Entry) -> list[tuple[float, int, Callable[[], bool]]]:
        """What lies in the cache beside `own`: when it was last used, its bytes, and what removes it."""
        held: list[tuple[float, int, Callable[[], bool]]] = []
        for path in (*self.folder.glob("*.zip"), *self.folder.glob("*.part")):
            entry = Entry(self.folder, path.stem)
            if entry.name == own.name:
                continue
            note = entry.note if path == entry.zip else entry.part_note
            known = _read_note(note)
            size = max(_size(path), known.size if known is not None else 0)  # a part will have all of its bytes
            with suppress(FileNotFoundError):
                used = (note if known is not None else path).stat().st_mtime
                held.append((used, size, lambda entry=entry: self._evict(entry)))  # type: ignore[misc]
        for path in (self.folder / QUARANTINE).glob("*.zip"):
            with suppress(FileNotFoundError):
                held.append((path.stat().st_mtime, _size(path), lambda path=path: _removed(path)))  # type: ignore[misc]
        return held

    def _evict(self, entry: Entry) -> bool:
        """Remove a file, unless somebody is busy with it. Who has it open goes on reading it."""
        descriptor = self._try_lock(entry)
        if descriptor is None:
            return False
        try:
            entry.remove()
            entry.lock.unlink(missing_ok=True)
        finally:
            os.close(descriptor)
        return True


class Part:
    """A download under way. size: bytes so far. entity_tag: of the answer that they are of; empty: of none.

    `write` hashes what it writes. Blocking: it runs in a thread. Raises OSError.
    """

    def __init__(self, entry: Entry, file: ArchiveFile) -> None:
        self._entry = entry
        self._listed = file
        self._hash = hashlib.sha256()
        self.size = 0
        self.entity_tag = ""
        self._file = -1

    def open(self) -> None:
        """Begin, with what lies there of the same version."""
        self._file = os.open(self._entry.part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        note = _read_note(self._entry.part_note)
        if note is not None and note.published == self._listed.published and note.entity_tag:
            self.entity_tag = note.entity_tag
            while chunk := os.read(self._file, 1024 * 1024):
                self._hash.update(chunk)
                self.size += len(chunk)
        else:
            os.ftruncate(self._file, 0)

    def restart(self, entity_tag: str, size: int) -> None:
        """Begin again, with an answer that has this tag and so many bytes."""
        os.ftruncate(self._file, 0)
        os.lseek(self._file, 0, os.SEEK_SET)
        self._hash, self.size, self.entity_tag = hashlib.sha256(), 0, entity_tag
        note = Note(path=self._listed.path, size=size, published=self._listed.published, entity_tag=entity_tag)
        self._entry.part_note.write_bytes(msgspec.json.encode(note))

    def write(self, chunk: bytes) -> None:
        """Append `chunk`."""
        view = memoryview(chunk)
        while view:
            view = view[os.write(self._file, view) :]
        self._hash.update(chunk)
        self.size += len(chunk)

    def finish(self) -> str:
        """The SHA-256 of the whole, which is on the disk from now on."""
        os.fsync(self._file)
        return self._hash.hexdigest()

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; it is there after a power cut too."""
    new = path.with_name(path.name + ".new")
    with new.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _read_note(path: Path) -> Note | None:
    try:
        return _decode_note(path.read_bytes())
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _removed(path: Path) -> bool:
    path.unlink(missing_ok=True)
    path.with_suffix(".txt").unlink(missing_ok=True)
    return True
