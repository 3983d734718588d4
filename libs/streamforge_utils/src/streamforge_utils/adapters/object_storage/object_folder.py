"""Objects as the files of a folder, with their checksums beside them.

    ROOT/exports/BTCUSDT/2024.parquet             the content, for any program that reads files
    ROOT/.checksums/exports/BTCUSDT/2024.parquet  what is known of it
    ROOT/.drafts/                                 what is being written; ROOT/.lock: one process at a time puts in place

A content is written to a draft, synchronised with the disk and renamed; what is known of it is written before the
rename, next to what is known of the content that it replaces, so that one of the two fits at any moment.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import secrets
import stat
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from streamforge_utils.adapters.object_storage.file_errors import no_file, translated
from streamforge_utils.model.errors import InvalidInput, PermanentError, RetryableError
from streamforge_utils.model.messages import DECODE_ERRORS
from streamforge_utils.ports.object_store import (
    BLOCK_BYTES,
    DamagedObject,
    NoObject,
    ObjectInfo,
    check_content,
    check_expected,
    check_object_name,
    check_object_prefix,
)

CHECKSUMS: Final = ".checksums"
DRAFTS: Final = ".drafts"
LOCK: Final = ".lock"
_LISTED_AT_ONCE = 500
_TRIES = 10
"""A folder is made again where a delete took it away, empty, before the object came."""


class _Known(msgspec.Struct, frozen=True, array_like=True):
    """What is known of a content: its checksum, and the file that it was written to."""

    sha256: str
    size: int
    mtime_ns: int

    def is_of(self, found: os.stat_result) -> bool:
        return (self.size, self.mtime_ns) == (found.st_size, found.st_mtime_ns)


_decode = msgspec.json.Decoder(tuple[_Known, ...]).decode


class ObjectFolder:
    """The objects in `root`, which is made by the first put."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._tidied = False

    async def put(self, name: str, content: bytes | Path, *, expected: str | None = None) -> ObjectInfo:
        check_object_name(name)
        check_content(content)
        return await asyncio.to_thread(self._put, name, content, expected)

    async def get(self, name: str, *, start: int = 0) -> AsyncIterator[bytes]:
        check_object_name(name)
        file, digests = await asyncio.to_thread(self._open, name)
        try:
            size = os.fstat(file.fileno()).st_size
            if not 0 <= start <= size:
                raise InvalidInput("start", f"object {name} has {size} bytes: it cannot be read from byte {start} on")
            found = hashlib.sha256()

            def block() -> bytes:
                with translated(f"object {name} in {self._root}"):
                    read = file.read(BLOCK_BYTES)
                if not start:
                    found.update(read)
                return read

            file.seek(start)
            while read := await asyncio.to_thread(block):
                yield read
            if digests and not start and found.hexdigest() not in digests:
                raise DamagedObject(
                    f"object {name} in {self._root} is damaged: its content is not what was put; put it again"
                )
        finally:
            file.close()

    async def head(self, name: str) -> ObjectInfo | None:
        check_object_name(name)
        return await asyncio.to_thread(self._head, name)

    async def list(self, prefix: str = "", *, after: str = "") -> AsyncIterator[ObjectInfo]:
        check_object_prefix(prefix)
        check_object_prefix(after)
        found = self._walk("", prefix, after)
        while listed := await asyncio.to_thread(lambda: [*islice(found, _LISTED_AT_ONCE)]):
            for one in listed:
                yield one

    async def delete(self, names: Sequence[str]) -> None:
        for name in names:
            check_object_name(name)
        for name in names:
            await asyncio.to_thread(self._delete, name)

    async def close(self) -> None:
        return

    def _put(self, name: str, content: bytes | Path, expected: str | None) -> ObjectInfo:
        with translated(f"object {name} in {self._root}"):
            self._make(self._root / DRAFTS)
            draft = self._root / DRAFTS / secrets.token_hex(8)
            try:
                with self._draft(draft) as file:
                    digest = _copy(content, file)
                    file.flush()
                    os.fsync(file.fileno())
                    found = os.fstat(file.fileno())
                    known = _Known(digest, found.st_size, found.st_mtime_ns)
                    self._place(name, draft, known, expected)
            finally:
                draft.unlink(missing_ok=True)
        return _info(name, found, digest)

    def _place(self, name: str, draft: Path, known: _Known, expected: str | None) -> None:
        target = self._root / name
        for _ in range(_TRIES):
            try:
                self._make(target.parent)
                with self._locked():
                    if target.is_dir():
                        break
                    if expected is not None:
                        check_expected(f"object {name} in {self._root}", expected, self._head(name))
                    self._note(name, known)
                    draft.replace(target)
                    _sync(target.parent)
                    return
            except FileNotFoundError:
                continue
            except (FileExistsError, NotADirectoryError):
                break
        raise PermanentError(
            f"object {name} in {self._root} cannot be put: an object has the name of one of its folders, or it has the "
            "name of a folder of objects; choose another name"
        )

    def _note(self, name: str, known: _Known) -> None:
        """Write what is known of the content that comes, and of the one that is there."""
        path = self._root / CHECKSUMS / name
        there: tuple[_Known, ...] = ()
        with suppress(FileNotFoundError, PermanentError):  # what is damaged is written anew
            found = (self._root / name).stat()
            there = tuple(one for one in self._known(name) if one.is_of(found))
        self._make(path.parent)
        draft = path.with_name(f".{secrets.token_hex(8)}")
        try:
            with draft.open("xb") as file:
                file.write(msgspec.json.encode((known, *there)))
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
            _sync(path.parent)
        finally:
            draft.unlink(missing_ok=True)

    def _known(self, name: str) -> tuple[_Known, ...]:
        try:
            return _decode((self._root / CHECKSUMS / name).read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return ()
        except DECODE_ERRORS as error:
            raise PermanentError(
                f"{self._root / CHECKSUMS / name} is damaged: remove it if the object itself is right, or put it again"
            ) from error

    def _digests(self, name: str, found: os.stat_result) -> Sequence[str]:
        """The checksums that the content may have; empty: it was put by another program."""
        known = self._known(name)
        return [one.sha256 for one in known if one.is_of(found)] or [one.sha256 for one in known[:1]]

    def _open(self, name: str) -> tuple[BinaryIO, Sequence[str]]:
        with translated(f"object {name} in {self._root}"):
            while True:
                try:
                    file = (self._root / name).open("rb")
                except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
                    raise _no_object(name, self._root) from error
                try:
                    digests = self._digests(name, os.fstat(file.fileno()))
                    # One that was replaced in between is read again, with what is known of the new content.
                    if not no_file(self._root / name) and os.path.samestat(
                        os.fstat(file.fileno()), (self._root / name).stat()
                    ):
                        return file, digests
                except BaseException:
                    file.close()
                    raise
                file.close()

    def _head(self, name: str) -> ObjectInfo | None:
        with translated(f"object {name} in {self._root}"):
            try:
                found = (self._root / name).stat()
            except (FileNotFoundError, NotADirectoryError):
                return None
            if not stat.S_ISREG(found.st_mode):
                return None
            digests = self._digests(name, found)
            return _info(name, found, digests[0] if digests else None)

    def _walk(self, folder: str, prefix: str, after: str) -> Iterator[ObjectInfo]:
        """The objects below a folder (empty, or with `/` at the end) whose names begin with `prefix`, sorted."""
        with translated(f"folder {self._root / folder}"):
            try:
                with os.scandir(self._root / folder) as entries:
                    # As names are sorted: `a-b` before `a/b`.
                    found = sorted(
                        f"{folder}{one.name}{'/' if one.is_dir(follow_symlinks=False) else ''}"
                        for one in entries
                        if not one.name.startswith(".")
                    )
            except FileNotFoundError:
                return
        for name in found:
            if name.endswith("/"):
                if name.startswith(prefix) or prefix.startswith(name):
                    yield from self._walk(name, prefix, after)
            elif name.startswith(prefix) and name > after:
                try:
                    with translated(f"object {name} in {self._root}", missing=True):
                        status = (self._root / name).lstat()
                except FileNotFoundError:
                    continue  # it was deleted meanwhile
                if stat.S_ISREG(status.st_mode):
                    yield _info(name, status, None)

    def _delete(self, name: str) -> None:
        with translated(f"object {name} in {self._root}"):
            if no_file(self._root / name) or (self._root / name).is_dir():
                return
            with self._locked():
                (self._root / name).unlink(missing_ok=True)
                (self._root / CHECKSUMS / name).unlink(missing_ok=True)
            for root in (self._root, self._root / CHECKSUMS):
                for folder in list((root / name).parents)[: name.count("/")]:
                    try:
                        folder.rmdir()
                    except OSError:
                        break  # something else is in it

    def _make(self, folder: Path) -> None:
        """Make a folder and those above it, on the disk."""
        if folder.is_dir():
            return
        if not folder.parent.is_dir():
            self._make(folder.parent)
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
            _sync(folder.parent)
        if not folder.is_dir():
            raise NotADirectoryError

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self._root / LOCK).open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _draft(self, path: Path) -> Iterator[BinaryIO]:
        """A new file, locked for as long as it is written; those of processes that were killed are removed before."""
        with self._locked():
            for left in () if self._tidied else (self._root / DRAFTS).iterdir():
                with suppress(BlockingIOError), left.open("ab") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    left.unlink(missing_ok=True)
            self._tidied = True
            number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(number, fcntl.LOCK_EX)
        with open(number, "wb") as file:
            yield file


def _copy(content: bytes | Path, file: BinaryIO) -> str:
    """Write a content to a file; its checksum. Raises RetryableError where the source changes meanwhile."""
    digest = hashlib.sha256()
    if isinstance(content, bytes):
        file.write(content)
        digest.update(content)
        return digest.hexdigest()
    with content.open("rb") as source:
        before = os.fstat(source.fileno())
        while block := source.read(BLOCK_BYTES):
            digest.update(block)
            file.write(block)
        after = os.fstat(source.fileno())
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise RetryableError(f"{content} changed while it was stored: store it again once it is whole")
    return digest.hexdigest()


def _no_object(name: str, root: Path) -> NoObject:
    return NoObject(f"there is no object {name} in {root}")


def _info(name: str, found: os.stat_result, sha256: str | None) -> ObjectInfo:
    return ObjectInfo(name=name, size=found.st_size, modified_ms=found.st_mtime_ns // 1_000_000, sha256=sha256)


def _sync(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
