"""The folder of a backup: it appears when it is whole and on the disk, with a manifest of what it holds. Blocking."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from streamforge_utils.model.errors import ConfigError, InvalidInput, RetryableError

T = TypeVar("T")

MANIFEST: Final = "backup.json"


@contextmanager
def draft_of(target: Path) -> Iterator[Path]:
    """A folder beside `target`, which takes its place at the end of the block, or is removed if that fails.

    Raises RetryableError where the disk refuses.
    """
    draft = target.with_name(f".{target.name}.{os.getpid()}.draft")
    try:
        draft.mkdir(parents=True, mode=0o700)
        yield draft
        for path in [*draft.rglob("*"), draft]:
            _sync(path)
        if target.exists():
            target.rmdir()
        draft.rename(target)
        _sync(target.parent)
    except OSError as error:
        raise RetryableError(
            f"cannot write {target}: {error.strerror or error}; check the disk and its free space, then try again"
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def check_new(target: Path) -> None:
    """Raises InvalidInput for a target that exists."""
    if target.exists():
        raise InvalidInput("target", f"{target} exists: a backup goes into a new folder")


def write_manifest(folder: Path, manifest: msgspec.Struct) -> None:
    """Write what the folder holds."""
    (folder / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")


def read_manifest(folder: Path, kind: type[T], newest: int) -> T:
    """What the folder holds. newest: the last format that is known. Raises InvalidInput (no backup) or ConfigError."""
    file = folder / MANIFEST
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise InvalidInput("backup", f"{folder} is no backup: {file} cannot be read ({error.strerror})") from error
    try:
        version = json.loads(raw)["format"]
        if not isinstance(version, int) or version > newest:
            raise ConfigError(
                f"{folder} has format {version}; this version of StreamForge knows up to {newest}: upgrade StreamForge"
            )
        return msgspec.json.decode(raw, type=kind)
    except (ValueError, KeyError, TypeError, msgspec.MsgspecError) as error:
        raise ConfigError(f"{file} is damaged ({error}): use another backup") from error


def check_there(path: Path) -> None:
    """Raises ConfigError for a file of a backup that is missing."""
    if not path.is_file():
        raise ConfigError(f"{path} is missing: the backup is not whole, use another")


def check_digest(path: Path, digest: str, copy: Path | None = None) -> None:
    """Raises ConfigError where the file (or the copy that was made of it) has another SHA-256."""
    if sha256(copy or path) != digest:
        raise ConfigError(f"{path} is damaged: it is not what was backed up; use another backup")


def sha256(path: Path) -> str:
    """The checksum of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
