"""The check of the store, files or ArangoDB, and of the room that is left."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

from streamforge import wiring
from streamforge.cli import terminal
from streamforge.cli.checks.place_checks import Subject, nearest
from streamforge.manager.health.findings import fails, works
from streamforge.manager.health.room import room_in_database, room_on_disk, room_unknown
from streamforge.manager.health.store_usage import UsageSamples
from streamforge_utils.model.errors import StreamForgeError
from streamforge_utils.model.usage import Sample, with_sample
from streamforge_utils.ports.provisioning import Finding
from streamforge_utils.ports.store import Document, Outcome, Store, Usage
from streamforge_utils.runtime.life.environment import load
from streamforge_utils.runtime.life.server_settings import ArangoSettings
from streamforge_utils.runtime.life.settings import DataSettings

_PREFIX = "streamforge-doctor-"
_LEFT_S = 600
_TOLD = 3
"""The reason is shown for at most this many broken collections."""
READ_WITHIN_S = 5.0
"""How long collections are read for damage: gigabytes a second where they are in memory, a tenth from a slow disk."""


async def check_store(subject: Subject) -> AsyncIterator[Finding]:
    """Whether documents are stored and read, and which room is left."""
    arango = load(ArangoSettings, os.environ)
    store = wiring.make_store(DataSettings(data_dir=subject.probe, arango=arango))
    try:
        await store.connect()
        if arango.url:
            # First: a server that is full refuses what comes next, and this says why.
            yield await _room_in_database(store)
        told = await _round_trip(store)
        if arango.url:
            user = f", user {arango.user}" if arango.user else ""
            where = f"ArangoDB at {arango.url} (database {arango.database}{user})"
            yield works("store", f"{where}: {told}; {terminal.many(len(await store.names()), 'collection')}")
        else:
            yield await _room_on_disk(subject.folder)
            there = (subject.folder / wiring.STORE).is_dir()
            yield await _collections(subject.folder, told) if there else works("store", told)
    finally:
        await store.close()


async def _collections(folder: Path, told: str) -> Finding:
    """Whether the collections of the embedded store can be read. told: that a document was stored."""
    names, broken, partly = await wiring.check_collections(DataSettings(data_dir=folder), within_s=READ_WITHIN_S)
    collections = terminal.many(len(names), "collection")
    if broken:
        return fails("store", f"{len(broken)} of {collections} cannot be read: {'; '.join(broken[:_TOLD])}")
    if partly:
        told = f"{told}; {collections}, {partly} of them read in part only"
        return works("store", told, "`streamforge backup` reads all of them")
    return works("store", f"{told}; {collections}{', read whole' if names else ''}")


async def _round_trip(store: Store) -> str:
    """Store a document in a collection of its own, which is dropped again; says how long that took."""
    # In a shared database it must not belong to anyone.
    name = f"{_PREFIX}{int(time.time()):x}-{secrets.token_hex(4)}"
    for left in await store.names():
        if _is_left(left):
            with suppress(StreamForgeError):
                await store.drop(left)
    began = time.perf_counter()
    try:
        (answer,) = await store.upsert(name, [Document("key", 1, b'{"value":1}')])
        if answer.outcome is Outcome.REFUSED:
            raise StreamForgeError(answer.reason)
        found = await store.read(name)
        took = time.perf_counter() - began
    finally:
        # What keeps it from being stored mostly keeps it from being dropped, too: the former is what matters.
        with suppress(StreamForgeError):
            await store.drop(name)
    if [document.key for document in found] != ["key"]:
        raise StreamForgeError("a document that was stored was not found")
    return f"a document was stored and read in {took * 1000:.0f} ms"


def _is_left(collection: str) -> bool:
    """Whether it is of a doctor that was ended before it could drop it."""
    since, _, _ = collection.removeprefix(_PREFIX).partition("-")
    try:
        return collection.startswith(_PREFIX) and time.time() - int(since, 16) > _LEFT_S
    except ValueError:
        return False


async def _room_on_disk(folder: Path) -> Finding:
    """What the data directory takes, and what its disk has left."""
    settings = DataSettings(data_dir=folder)
    usage, samples = Usage(used_bytes=0), tuple[Sample, ...]()
    if (folder / wiring.STORE).is_dir():
        store = wiring.make_store(settings)
        try:
            usage, samples = await _usage(store)
        finally:
            await store.close()
    topics = sum(wiring.topic_sizes(settings).values()) if (folder / wiring.BUS).is_dir() else 0
    return room_on_disk(usage, samples, shutil.disk_usage(nearest(folder)).free, topics_bytes=topics)


async def _room_in_database(store: Store) -> Finding:
    try:
        usage, samples = await _usage(store)
    except StreamForgeError as error:
        return room_unknown(str(error))
    return room_in_database(usage, samples)


async def _usage(store: Store) -> tuple[Usage, tuple[Sample, ...]]:
    """What the data take now, and what they took before."""
    usage = await store.usage()
    return usage, with_sample(await UsageSamples(store).all(), Sample(int(time.time() * 1000), usage.used_bytes))
