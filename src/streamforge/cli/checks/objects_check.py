"""The check of the store of objects: a small one is put, read and deleted."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import suppress

from streamforge import wiring
from streamforge.cli.checks.place_checks import Subject
from streamforge.manager.health.findings import works
from streamforge_utils.model.errors import ConflictError, StreamForgeError
from streamforge_utils.ports.object_store import ABSENT, ObjectStore
from streamforge_utils.ports.provisioning import Finding
from streamforge_utils.runtime.life.environment import load
from streamforge_utils.runtime.life.object_settings import ObjectSettings
from streamforge_utils.runtime.life.settings import DataSettings

_FOLDER = "streamforge-doctor/"
_CONTENT = b"written by `streamforge doctor`, and to be deleted\n"
_LEFT_S = 600


async def check_objects(subject: Subject) -> AsyncIterator[Finding]:
    """Whether objects are put, read and deleted where the settings say; in the default folder, on its disk."""
    settings = load(ObjectSettings, os.environ)
    store = wiring.make_object_store(settings, DataSettings(data_dir=subject.probe))
    where = f"{settings.url} at {settings.server}" if settings.in_bucket else settings.url or "the data directory"
    try:
        began = time.perf_counter()
        await _round_trip(store)
        took = time.perf_counter() - began
    finally:
        await store.close()
    yield works("objects", f"{where}: an object was put, read and deleted in {took * 1000:.0f} ms")


async def _round_trip(store: ObjectStore) -> None:
    """Raises what the store raises, or StreamForgeError where it gives something else back."""
    async for left in store.list(_FOLDER):
        if time.time() - left.modified_ms / 1000 > _LEFT_S:  # of a doctor that was ended before it could delete it
            await store.delete([left.name])
    name = f"{_FOLDER}{secrets.token_hex(8)}"
    try:
        await store.put(name, _CONTENT)
        found = b"".join([block async for block in store.get(name)])
        try:
            await store.put(name, _CONTENT, expected=ABSENT)
        except ConflictError:
            keeps = True
        else:
            keeps = False
    except BaseException:
        with suppress(StreamForgeError):  # why it failed matters more
            await store.delete([name])
        raise
    await store.delete([name])
    if not keeps:
        raise StreamForgeError(
            "a put that must replace nothing replaced an object: the server does not know `If-None-Match`, and of two "
            "that publish at once one would undo the other; take a server that knows it, or a newer version"
        )
    if found != _CONTENT or await store.head(name) is not None:
        raise StreamForgeError("an object came back changed, or was there after it had been deleted")
