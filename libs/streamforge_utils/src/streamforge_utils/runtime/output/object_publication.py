"""Publishes objects whose content never changes: all who make one come to the same bytes."""

from __future__ import annotations

import hashlib

from streamforge_utils.model.errors import ConflictError, PermanentError, RetryableError
from streamforge_utils.ports.object_store import ABSENT, DamagedObject, NoObject, ObjectStore

_DIGITS = 12
_TRIES = 10


async def publish(objects: ObjectStore, name: str, content: bytes, next_step: str) -> None:
    """Create an object; equal bytes that are there already are as good, and damaged ones are replaced.

    Raises PermanentError, which names `next_step`, where it has other bytes: those stay. Raises RetryableError where it
    is deleted again and again meanwhile.
    """
    for _ in range(_TRIES):
        try:
            await objects.put(name, content, expected=ABSENT)
            return
        except ConflictError:
            try:
                there = b"".join([block async for block in objects.get(name)])
            except NoObject:
                continue  # it was deleted meanwhile
            except DamagedObject:
                await objects.put(name, content)
                return
        if there != content:
            raise PermanentError(
                f"object {name} is published already with {_shown(there)}, and this one has {_shown(content)}: what is "
                f"there stays; {next_step}"
            )
        return
    raise RetryableError(
        f"object {name} could not be published: {_TRIES} times it was there, and gone when it was read; see that no "
        "other one removes it, then try again"
    )


def _shown(content: bytes) -> str:
    return f"{len(content)} bytes of SHA-256 {hashlib.sha256(content).hexdigest()[:_DIGITS]}…"
