"""Objects: exported data sets, segments, backups and models, under names with `/`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from streamforge_utils.model.errors import PermanentError


class ObjectInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A stored object. size: bytes. sha256: of the content, hexadecimal; None: it was put by another program.

    modified_ms: unix milliseconds, UTC.
    """

    name: str
    size: int
    modified_ms: int
    sha256: str | None = None


class NoObject(PermanentError):
    """There is no object of that name."""


class ObjectStore(Protocol):
    """A folder or a bucket. An object is there whole or not at all, and a put replaces what had its name.

    Names are parts joined by `/`, none of them empty, `.` or `..`; others raise InvalidInput.
    Raises RetryableError (not reachable, no room), PermanentError (access refused); the message names the object and
    what to do, never a secret.
    """

    async def put(self, name: str, content: bytes | Path) -> ObjectInfo:
        """Store bytes, or the content of a file, with its checksum."""

    def get(self, name: str, *, start: int = 0) -> AsyncIterator[bytes]:
        """The content from byte `start` on, in blocks. Raises NoObject; RetryableError where the checksum differs."""

    async def head(self, name: str) -> ObjectInfo | None:
        """The object; None: there is none."""

    def list(self, prefix: str = "") -> AsyncIterator[ObjectInfo]:
        """The objects whose names begin with `prefix`, sorted by name."""

    async def delete(self, names: Sequence[str]) -> None:
        """Delete objects; one that is not there counts as deleted."""

    async def close(self) -> None:
        """Close the connections."""
