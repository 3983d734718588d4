"""What doctor says of the store: files, or ArangoDB with the room that its licence leaves."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from streamforge.cli.checking import Check
from streamforge_utils.model.errors import StreamForgeError

if TYPE_CHECKING:
    from streamforge_utils.ports.store import Store

_GIB = 1024**3
_PREFIX = "streamforge-doctor-"
_LEFT_S = 600
_TOLD = 3
"""Of so many broken collections the reason is told."""
READ_WITHIN_S = 5.0
"""How long collections are read for damage: gigabytes a second where they are in memory, a tenth from a slow disk."""
CAREFUL_SHARE = 0.8
CAREFUL_DAYS = 30
LITTLE_BYTES = _GIB
"""Of a disk that has less left, `doctor` warns."""


async def check_store(folder: Path, probe: Path, more: list[Check]) -> Check:
    """Whether documents are stored and read. Raises what it fails with.

    folder: of the data; probe: one to try things in. more: receives the check of the room that is left, if any.
    """
    from streamforge import wiring
    from streamforge_utils.runtime.arango import ArangoSettings
    from streamforge_utils.runtime.environment import load
    from streamforge_utils.runtime.settings import DataSettings

    arango = load(ArangoSettings, os.environ)
    store = wiring.make_store(DataSettings(data_dir=probe, arango=arango))
    try:
        await store.connect()
        if arango.url:
            # First: a server that is full refuses what comes next, and this says why.
            more.append(await _room(store))
        told = await _round_trip(store)
        if not arango.url:
            more.append(await _room_on_disk(folder))
            if (folder / wiring.STORE).is_dir():
                names, broken, partly = await wiring.check_collections(
                    DataSettings(data_dir=folder), within_s=READ_WITHIN_S
                )
                if broken:
                    reasons = "; ".join(broken[:_TOLD])
                    told = f"{len(broken)} of {_many(len(names), 'collection')} cannot be read: {reasons}"
                    return Check(part="store", verdict="fails", detail=told)
                told += f"; {_many(len(names), 'collection')}"
                if names:
                    told += ", read whole" if not partly else f", {partly} of them read in part only"
                if partly:
                    return Check(
                        part="store", verdict="works", detail=told, next_step="`streamforge backup` reads all of them"
                    )
            return Check(part="store", verdict="works", detail=told)
        user = f", user {arango.user}" if arango.user else ""
        where = f"ArangoDB at {arango.url} (database {arango.database}{user})"
        told = f"{where}: {told}; {_many(len(await store.names()), 'collection')}"
        return Check(part="store", verdict="works", detail=told)
    finally:
        await store.close()


async def _round_trip(store: Store) -> str:
    """Store a document in a collection of its own, which is dropped again; says how long that took."""
    from streamforge_utils.ports.store import Document, Outcome

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


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


async def _room_on_disk(folder: Path) -> Check:
    """What the data directory takes, what its disk has left, and the day on which that is used up."""
    from streamforge import wiring
    from streamforge.manager.persistence.usage_samples import UsageSamples
    from streamforge_utils.model.usage import Sample, full_at_ms, growth_per_day, with_sample
    from streamforge_utils.runtime.settings import DataSettings

    settings = DataSettings(data_dir=folder)
    stored, samples = 0, tuple[Sample, ...]()
    if (folder / wiring.STORE).is_dir():
        store = wiring.make_store(settings)
        try:
            stored = (await store.usage()).used_bytes
            samples = with_sample(await UsageSamples(store).all(), Sample(int(time.time() * 1000), stored))
        finally:
            await store.close()
    topics = sum(wiring.topic_sizes(settings).values()) if (folder / wiring.BUS).is_dir() else 0
    free = shutil.disk_usage(nearest(folder)).free
    told = (
        f"the data take {_size(stored)}, topics {_size(topics)}; {_size(free)} are free; "
        f"{_growth_in_words(growth_per_day(samples) if samples else None)}"
    )
    full_ms = full_at_ms(samples, stored + free)
    days = None if full_ms is None else (full_ms / 1000 - time.time()) / 86400
    if full_ms is not None:
        told += f"; the disk is full on {datetime.fromtimestamp(full_ms / 1000, UTC):%Y-%m-%d}"
    if free < LITTLE_BYTES or (days is not None and days < CAREFUL_DAYS):
        return Check(
            part="room",
            verdict="careful",
            detail=told,
            next_step="a year of 1m candles takes about 0.2 GiB: make room, or let old collections be exported and "
            "dropped (STREAMFORGE_RETENTION)",
        )
    return Check(part="room", verdict="works", detail=told)


def _size(count: int) -> str:
    return f"{count / _GIB:,.1f} GiB" if count >= _GIB else f"{count / 1024**2:,.1f} MiB"


def nearest(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next(path for path in (folder, *folder.parents) if path.exists())


def _growth_in_words(growth: float | None) -> str:
    """growth: bytes a day; None: not known yet."""
    if growth is None:
        return "its growth is known after some hours of a running manager"
    return f"it grows by {growth / _GIB:,.3f} GiB a day" if growth > 0 else "it does not grow"


async def _room(store: Store) -> Check:
    """Size, growth, and the day on which the licence's limit is reached."""
    from streamforge.manager.persistence.usage_samples import UsageSamples
    from streamforge_utils.model.usage import Sample, full_at_ms, growth_per_day, with_sample

    try:
        usage = await store.usage()
        samples = with_sample(await UsageSamples(store).all(), Sample(int(time.time() * 1000), usage.used_bytes))
    except StreamForgeError as error:
        return Check(part="room", verdict="careful", detail=f"how much room the data take cannot be told: {error}")
    grows = _growth_in_words(growth_per_day(samples))
    if usage.limit_bytes is None:
        told = f"the data take {usage.used_bytes / _GIB:,.3f} GiB; {grows}; "
        if not usage.limit_known:
            told += "whether its licence sets a limit is unknown: the server does not say it to this user"
            return Check(part="room", verdict="careful", detail=told, next_step=_RIGHT)
        told += "its edition sets no limit"
        return Check(part="room", verdict="works", detail=told)
    share = usage.used_bytes / usage.limit_bytes
    told = f"the data take {usage.used_bytes / _GIB:,.3f} of {usage.limit_bytes / _GIB:,.0f} GiB ({share:.1%}); {grows}"
    full_ms = full_at_ms(samples, usage.limit_bytes)
    days = None if full_ms is None else (full_ms / 1000 - time.time()) / 86400
    if usage.read_only or share >= 1:
        ends = "" if usage.ends_in_s is None else f", and ends in {usage.ends_in_s / 86400:.1f} days"
        state = "it takes no more writes" if usage.read_only else "the limit is reached: soon it takes no more writes"
        return Check(part="room", verdict="fails", detail=f"{told}; {state}{ends}", next_step=_WAYS_OUT)
    if full_ms is not None:
        told += f"; the limit is reached on {datetime.fromtimestamp(full_ms / 1000, UTC):%Y-%m-%d}"
    else:
        told += "; the limit is not in sight"
    if not usage.whole:
        told += "; that is this database alone, and the limit counts all databases of the server"
        return Check(part="room", verdict="careful", detail=told, next_step=_WHOLE)
    if share >= CAREFUL_SHARE or (days is not None and days < CAREFUL_DAYS):
        return Check(part="room", verdict="careful", detail=told, next_step=_WAYS_OUT)
    return Check(part="room", verdict="works", detail=told)


_RIGHT = (
    "ask as a user who may administrate the database _system (GET /_admin/license): without a licence key an ArangoDB "
    "from 3.12.5 on holds 100 GiB, with one it says nothing of a limit"
)
_WHOLE = "ask as a user who may administrate the database _system: the server tells what all of them take, then"
_WAYS_OUT = (
    "let old collections be exported and dropped (STREAMFORGE_RETENTION), or get a licence: the Community Edition "
    "warns for two days, reads only for two, then ends"
)
