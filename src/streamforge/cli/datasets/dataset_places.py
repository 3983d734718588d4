"""Where a data set lies: a folder, whose files are there whole or not at all."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from streamforge.cli.command_errors import CliError, UsageProblem
from streamforge_utils.ports.object_store import ABSENT, conflict

_DRAFT = ".part"


class Place(Protocol):
    """Holds the files of a data set under names with `/`. Every method raises StreamForgeError."""

    async def read(self, name: str) -> bytes | None:
        """The content of a small file; None: there is none."""

    async def size(self, name: str) -> int | None:
        """The bytes of a file; None: there is none."""

    def draft(self, name: str) -> Path:
        """A local path for what is to become the file `name`."""

    async def store(self, draft: Path, name: str, *, expected: str | None = None) -> None:
        """Put a finished draft in its place: the file is there whole, or what it was before.

        expected: the SHA-256 of what it replaces, or ABSENT; raises ConflictError where that is not there.
        """

    def discard(self, draft: Path) -> None:
        """Remove a draft, whether it was stored or not."""

    async def remove(self, name: str) -> None:
        """Remove a file; one that is not there counts as removed."""

    async def close(self) -> None:
        """Let go of what is held for it."""


class Folder(Place):
    """A folder of this machine."""

    def __init__(self, root: Path) -> None:
        """Raises UsageProblem where `root` cannot be the folder of a data set."""
        self._root = root
        if root.exists() and not root.is_dir():
            raise UsageProblem(f"output {root} is no folder, and a data set is one: name another")

    def __str__(self) -> str:
        return str(self._root)

    async def read(self, name: str) -> bytes | None:
        try:
            return self._path(name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._cannot("read", name, error) from error

    async def size(self, name: str) -> int | None:
        try:
            return self._path(name).stat().st_size
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._cannot("read", name, error) from error

    def draft(self, name: str) -> Path:
        path = self._path(name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._cannot("written", name, error) from error
        return path.with_name(f".{path.name}.{os.getpid()}{_DRAFT}")

    async def store(self, draft: Path, name: str, *, expected: str | None = None) -> None:
        path = self._path(name)
        try:
            with draft.open("rb") as file:
                os.fsync(file.fileno())
            self._place(draft, path, new=expected == ABSENT)  # what is replaced is held
        except FileExistsError:
            raise conflict(str(path)) from None
        except OSError as error:
            raise self._cannot("written", name, error) from error

    def _place(self, draft: Path, path: Path, *, new: bool) -> None:
        try:
            if new:
                os.link(draft, path)
        except OSError:  # there is such a file, or the file system has no links
            if path.exists():
                raise FileExistsError from None
            new = False
        if not new:
            draft.replace(path)
        self._confirm(path.parent)

    def discard(self, draft: Path) -> None:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
            if self._root not in (draft.parent, draft.parent.parent):  # a symbol's folder is held
                draft.parent.rmdir()  # unless it holds something

    async def remove(self, name: str) -> None:
        try:
            self._path(name).unlink(missing_ok=True)
        except OSError as error:
            raise self._cannot("removed", name, error) from error

    async def close(self) -> None:
        """Nothing is held."""

    @contextmanager
    def held(self, name: str) -> Iterator[None]:
        """Hold a folder of the data set, so that one export at a time writes it; drafts of a dead one are removed.

        Raises CliError where another one holds it.
        """
        folder = self._path(name)
        made = [one for one in (folder, *folder.parents) if not one.exists()]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(folder, os.O_RDONLY)
        except OSError as error:
            raise self._cannot("written", name, error) from error
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise CliError(f"another export writes {folder}: wait for its end, then begin again") from error
            except OSError as error:
                raise self._cannot("locked", name, error) from error
            for left in folder.rglob(f".*{_DRAFT}"):
                left.unlink(missing_ok=True)
            yield
        finally:
            os.close(descriptor)
            with suppress(OSError):  # what holds something stays
                for one in made:
                    one.rmdir()

    def _path(self, name: str) -> Path:
        return self._root.joinpath(*name.split("/"))

    def _confirm(self, folder: Path) -> None:
        """That a name stays after a power cut: its folder, and those that were made for it, are written."""
        while True:
            number = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(number)
            finally:
                os.close(number)
            if folder == self._root or folder == folder.parent:
                return
            folder = folder.parent

    def _cannot(self, done: str, name: str, error: OSError) -> CliError:
        return cannot(done, self._path(name), error)


def cannot(done: str, path: Path, error: OSError) -> CliError:
    """The error of a file of a data set that cannot be `done`: read, written, …"""
    return CliError(
        f"output {path} cannot be {done} ({error.strerror or error}): choose another folder or make room; what is "
        "whole stays, and the same command continues from there"
    )
