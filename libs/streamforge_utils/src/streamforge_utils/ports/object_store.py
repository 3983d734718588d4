"""Objects: exported data sets, segments, backups and models, under names with `/`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final, Protocol

import msgspec

from streamforge_utils.model.errors import ConflictError, InvalidInput, PermanentError, RetryableError

NAME_BYTES: Final = 700
PART_BYTES: Final = 200
"""Of UTF-8: a bucket takes names of 1,024 bytes, its prefix included, a folder parts of 255."""
BLOCK_BYTES: Final = 4 * 1024 * 1024
"""How much of an object is read at once."""
ABSENT: Final = ""
"""What a put expects that only creates."""
_SHOWN = 80


class ObjectInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A stored object. size: bytes. modified_ms: unix milliseconds, UTC.

    sha256: of the content, hexadecimal; None: it was put by another program, or comes from a list, which does not tell.
    """

    name: str
    size: int
    modified_ms: int
    sha256: str | None = None


class NoObject(PermanentError):
    """There is no object of that name."""


class DamagedObject(RetryableError):
    """The content differs from what was put; another copy, or a further try, may be right."""


class ObjectStore(Protocol):
    """A folder or a bucket. An object is there whole or not at all, and a put replaces what had its name.

    Names are as `check_object_name` has them; others raise InvalidInput. A name may not be the folder of another.
    Every call spends its own retries. Raises RetryableError (not reachable, no room) or PermanentError (access refused,
    no such bucket); the message names the object and what to do, never a secret.
    """

    async def put(self, name: str, content: bytes | Path, *, expected: str | None = None) -> ObjectInfo:
        """Store bytes, or the content of a file, with its checksum. On return it is on the disk.

        expected: the SHA-256 of what has the name, or ABSENT. Of several that expect the same one puts; for the others
        ConflictError is raised, and so it may be where the own put came through and its answer was lost. What is put so
        goes up in one request: 5 GB at most.
        """

    def get(self, name: str, *, start: int = 0) -> AsyncIterator[bytes]:
        """The content from byte `start` on, in blocks. Raises NoObject.

        Without `start` it raises DamagedObject at the end where the checksum differs: what was given before is not to
        be trusted then.
        """

    async def head(self, name: str) -> ObjectInfo | None:
        """The object; None: there is none."""

    def list(self, prefix: str = "", *, after: str = "") -> AsyncIterator[ObjectInfo]:
        """The objects whose names begin with `prefix`, sorted by name; only those behind the name `after`."""

    async def delete(self, names: Sequence[str]) -> None:
        """Delete objects; one that is not there counts as deleted."""

    async def close(self) -> None:
        """Close the connections."""


def check_object_name(name: str) -> str:
    """`name` itself: printable parts joined by `/`, none of them empty or with a dot in front. Raises InvalidInput."""
    reason = ""
    parts = name.split("/")
    if not all(parts):
        reason = "it has an empty part"
    elif any(part.startswith(".") for part in parts):
        reason = "a part of it begins with a dot"
    elif not name.isprintable() or "\\" in name:
        reason = "it holds a control character or a backslash"
    elif len(name.encode()) > NAME_BYTES or max(len(part.encode()) for part in parts) > PART_BYTES:
        reason = f"it is longer than {NAME_BYTES} bytes, or a part of it longer than {PART_BYTES}"
    if reason:
        raise InvalidInput("name", f"object name {name[:_SHOWN]!r} is not possible: {reason}; write PART/PART/…")
    return name


def check_object_prefix(prefix: str) -> str:
    """`prefix` itself: the beginning of a name, or empty. Raises InvalidInput."""
    if prefix:
        check_object_name(f"{prefix}x")
    return prefix


def check_expected(what: str, expected: str | None, found: ObjectInfo | None) -> None:
    """Raises ConflictError where what is there is not what a put expects. what: the object, and where."""
    if expected is not None and expected != (ABSENT if found is None else found.sha256):
        raise conflict(what)


def conflict(what: str) -> ConflictError:
    """The error of a put whose object is another than it expects."""
    return ConflictError(f"{what} was put or deleted by another one meanwhile: read it again, then decide again")


def check_content(content: bytes | Path) -> None:
    """Raises InvalidInput for a path that is no file."""
    if isinstance(content, Path) and not content.is_file():
        raise InvalidInput("content", f"{content} is no file: there is nothing to store")
