"""The check of the room that is left: of the disk, or what the licence of an ArangoDB leaves."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from streamforge.cli.checks.findings import careful, fails, nearest, works
from streamforge_utils.model.errors import StreamForgeError
from streamforge_utils.model.usage import Sample, full_at_ms, growth_per_day, with_sample
from streamforge_utils.ports.preflight import Finding

if TYPE_CHECKING:
    from streamforge_utils.ports.store import Store, Usage

_GIB = 1024**3
CAREFUL_SHARE = 0.8
CAREFUL_DAYS = 30
LITTLE_BYTES = _GIB
"""Of a disk that has less left, `doctor` warns."""
_MAKE_ROOM = (
    "a year of 1m candles takes about 0.2 GiB: make room, or let old collections be exported and dropped "
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
    from streamforge import wiring
    from streamforge_utils.runtime.settings import DataSettings

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
    told = f"the data take {_size(stored)}, topics {_size(topics)}; {_size(free)} are free; {_growth(samples)}"
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
    if usage.limit_bytes is None:
        told += f" GiB; {_growth(samples)}; "
        if usage.limit_known:
            return works("room", f"{told}its edition sets no limit")
        unknown = "whether its licence sets a limit is unknown: the server does not say it to this user"
        return careful("room", told + unknown, _RIGHT)
    share = usage.used_bytes / usage.limit_bytes
    told += f" of {usage.limit_bytes / _GIB:,.0f} GiB ({share:.1%}); {_growth(samples)}"
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
    from streamforge.manager.persistence.usage_samples import UsageSamples

    usage = await store.usage()
    return usage, with_sample(await UsageSamples(store).all(), Sample(int(time.time() * 1000), usage.used_bytes))


def _growth(samples: Sequence[Sample]) -> str:
    growth = growth_per_day(samples) if samples else None
    if growth is None:
        return "its growth is known after some hours of a running manager"
    return f"it grows by {growth / _GIB:,.3f} GiB a day" if growth > 0 else "it does not grow"


def _full(samples: Sequence[Sample], limit_bytes: int) -> tuple[str, float]:
    """The day on which the limit is reached (empty: none is in sight), and how many days that is from now."""
    full_ms = full_at_ms(samples, limit_bytes)
    if full_ms is None:
        return "", float("inf")
    return f"{datetime.fromtimestamp(full_ms / 1000, UTC):%Y-%m-%d}", (full_ms / 1000 - time.time()) / 86400


def _size(count: int) -> str:
    return f"{count / _GIB:,.1f} GiB" if count >= _GIB else f"{count / 1024**2:,.1f} MiB"
