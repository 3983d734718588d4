"""The check of the store, files or ArangoDB, and of the room that is left."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from streamforge import wiring
from streamforge.cli import terminal
from streamforge.cli.checks.place_checks import Subject, careful, fails, nearest, works
from streamforge.manager.persistence.store_usage import UsageSamples
from streamforge_utils.model.errors import StreamForgeError
from streamforge_utils.model.usage import Sample, full_at_ms, growth_per_day, shown_size, with_sample
from streamforge_utils.ports.provisioning import Finding
from streamforge_utils.ports.store import Document, Outcome, Store, Usage
from streamforge_utils.runtime.environment import load
from streamforge_utils.runtime.server_settings import ArangoSettings
from streamforge_utils.runtime.settings import DataSettings

_PREFIX = "streamforge-doctor-"
_LEFT_S = 600
_TOLD = 3
"""Of so many broken collections the reason is told."""
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
            yield await room_in_database(store)
        told = await _round_trip(store)
        if arango.url:
            user = f", user {arango.user}" if arango.user else ""
            where = f"ArangoDB at {arango.url} (database {arango.database}{user})"
            yield works("store", f"{where}: {told}; {terminal.many(len(await store.names()), 'collection')}")
        else:
            yield await room_on_disk(subject.folder)
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
    # In a database that others use too it must be nobody's.
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


_GIB = 1024**3
CAREFUL_SHARE = 0.8
CAREFUL_DAYS = 30
LITTLE_BYTES = _GIB
"""Of a disk that has less left, `doctor` warns."""
_MAKE_ROOM = (
    "a year of 1m candles takes about 0.2 GB: make room, or let old collections be exported and dropped "
    "(STREAMFORGE_RETENTION)"
)
_RIGHT = (
    "ask as a user who may administrate the database _system (GET /_admin/license): without a licence key an ArangoDB "
    "from 3.12.5 on holds 100 GiB, with one it says nothing of a limit"
)
_WHOLE = "ask as a user who may administrate the database _system: the server tells what all of them take, then"
_WAYS_OUT = (
    "let old collections be exported and dropped (STREAMFORGE_RETENTION), or get a licence: the Community Edition "
    "warns for two days, reads only for two, then ends"
)


async def room_on_disk(folder: Path) -> Finding:
    """What the data directory takes, what its disk has left, and the day on which that is used up."""
    settings = DataSettings(data_dir=folder)
    stored, samples = 0, tuple[Sample, ...]()
    if (folder / wiring.STORE).is_dir():
        store = wiring.make_store(settings)
        try:
            usage, samples = await _usage(store)
            stored = usage.used_bytes
        finally:
            await store.close()
    topics = sum(wiring.topic_sizes(settings).values()) if (folder / wiring.BUS).is_dir() else 0
    free = shutil.disk_usage(nearest(folder)).free
    told = f"the data take {shown_size(stored)}, topics {shown_size(topics)}; {shown_size(free)} are free; "
    told += _growth(samples, shown_size)
    day, days = _full(samples, stored + free)
    if day:
        told += f"; the disk is full on {day}"
    if free < LITTLE_BYTES or days < CAREFUL_DAYS:
        return careful("room", told, _MAKE_ROOM)
    return works("room", told)


async def room_in_database(store: Store) -> Finding:
    """Size, growth, and the day on which the licence's limit is reached."""
    try:
        usage, samples = await _usage(store)
    except StreamForgeError as error:
        return careful("room", f"how much room the data take cannot be told: {error}")
    told = f"the data take {usage.used_bytes / _GIB:,.3f}"
    grows = _growth(samples, lambda count: f"{count / _GIB:,.3f} GiB")  # as the licence counts
    if usage.limit_bytes is None:
        told += f" GiB; {grows}; "
        if usage.limit_known:
            return works("room", f"{told}its edition sets no limit")
        unknown = "whether its licence sets a limit is unknown: the server does not say it to this user"
        return careful("room", told + unknown, _RIGHT)
    share = usage.used_bytes / usage.limit_bytes
    told += f" of {usage.limit_bytes / _GIB:,.0f} GiB ({share:.1%}); {grows}"
    if usage.read_only or share >= 1:
        ends = "" if usage.ends_in_s is None else f", and ends in {usage.ends_in_s / 86400:.1f} days"
        state = "it takes no more writes" if usage.read_only else "the limit is reached: soon it takes no more writes"
        return fails("room", f"{told}; {state}{ends}", _WAYS_OUT)
    day, days = _full(samples, usage.limit_bytes)
    told += f"; the limit is reached on {day}" if day else "; the limit is not in sight"
    if not usage.whole:
        told += "; that is this database alone, and the limit counts all databases of the server"
        return careful("room", told, _WHOLE)
    if share >= CAREFUL_SHARE or days < CAREFUL_DAYS:
        return careful("room", told, _WAYS_OUT)
    return works("room", told)


async def _usage(store: Store) -> tuple[Usage, tuple[Sample, ...]]:
    """What the data take now, and what they took before."""
    usage = await store.usage()
    return usage, with_sample(await UsageSamples(store).all(), Sample(int(time.time() * 1000), usage.used_bytes))


def _growth(samples: Sequence[Sample], shown: Callable[[float], str]) -> str:
    growth = growth_per_day(samples) if samples else None
    if growth is None:
        return "its growth is known after some hours of a running manager"
    return f"it grows by {shown(growth)} a day" if growth > 0 else "it does not grow"


def _full(samples: Sequence[Sample], limit_bytes: int) -> tuple[str, float]:
    """The day on which the limit is reached (empty: none is in sight), and how many days that is from now."""
    full_ms = full_at_ms(samples, limit_bytes)
    if full_ms is None:
        return "", float("inf")
    return f"{datetime.fromtimestamp(full_ms / 1000, UTC):%Y-%m-%d}", (full_ms / 1000 - time.time()) / 86400
