"""Files that a manifest names: whether they are there as it says."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterable
from typing import Protocol

from streamforge_utils.ports.object_store import DamagedObject, NoObject, ObjectInfo


class PublishedFile(Protocol):
    """name: of the object. sha256: of its content, hexadecimal."""

    @property
    def name(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def sha256(self) -> str: ...


class _Named(Protocol):
    async def head(self, name: str, /) -> ObjectInfo | None: ...


class _Readable(Protocol):
    def get(self, name: str, /) -> AsyncIterator[bytes]: ...


async def are_there(objects: _Named, files: Iterable[PublishedFile]) -> bool:
    """Whether the store of objects names each with its size and checksum; what they hold is not read."""
    for file in files:
        found = await objects.head(file.name)
        # What a store does not know of others' objects, their checksum, cannot differ.
        if found is None or (found.size, found.sha256 or file.sha256) != (file.size, file.sha256):
            return False
    return True


async def are_intact(objects: _Readable, files: Iterable[PublishedFile]) -> bool:
    """Whether each is there and holds what it should: all of them are read."""
    for file in files:
        content = hashlib.sha256()
        try:
            async for block in objects.get(file.name):
                content.update(block)
        except (NoObject, DamagedObject):
            return False
        if content.hexdigest() != file.sha256:
            return False
    return True
