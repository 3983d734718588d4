"""What the data take, which room is left, and the day on which it is used up; also for the command `doctor`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from streamforge.manager.health.findings import FindingCode, careful, fails, works
from streamforge_utils.model.usage import Sample, full_at_ms, growth_per_day, shown_size
from streamforge_utils.ports.provisioning import Finding
from streamforge_utils.ports.store import Usage

_GIB = 1024**3
CAREFUL_SHARE = 0.8
CAREFUL_DAYS = 30
LITTLE_BYTES = _GIB
"""A disk that has less left needs care."""
PART = "room"
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


def room_on_disk(
    usage: Usage, samples: Sequence[Sample], free_bytes: int, *, topics_bytes: int | None = None
) -> Finding:
    """Of a store in files. samples: oldest first, the last one of now; empty: nothing is stored yet.

    topics_bytes: what the bus takes on the same disk, where it is known.
    """
    topics = "" if topics_bytes is None else f", topics {shown_size(topics_bytes)}"
    told = f"the data take {shown_size(usage.used_bytes)}{topics}; {shown_size(free_bytes)} are free; "
    told += _growth(samples, shown_size)
    day, days = _full(samples, usage.used_bytes + free_bytes)
    if day:
        told += f"; the disk is full on {day}"
    if free_bytes < LITTLE_BYTES or days < CAREFUL_DAYS:
        return careful(PART, told, _MAKE_ROOM, code=FindingCode.DISK_FILLING.value)
    return works(PART, told)


def room_in_database(usage: Usage, samples: Sequence[Sample]) -> Finding:
    """Of a database: size, growth, and the day on which the licence's limit is reached."""
    told = f"the data take {usage.used_bytes / _GIB:,.3f}"
    grows = _growth(samples, lambda count: f"{count / _GIB:,.3f} GiB")  # as the licence counts
    if usage.limit_bytes is None:
        told += f" GiB; {grows}; "
        if usage.limit_known:
            return works(PART, f"{told}its edition sets no limit")
        unknown = "whether its licence sets a limit is unknown: the server does not say it to this user"
        return careful(PART, told + unknown, _RIGHT, code=FindingCode.ROOM_UNKNOWN.value)
    share = usage.used_bytes / usage.limit_bytes
    told += f" of {usage.limit_bytes / _GIB:,.0f} GiB ({share:.1%}); {grows}"
    if usage.read_only or share >= 1:
        ends = "" if usage.ends_in_s is None else f", and ends in {usage.ends_in_s / 86400:.1f} days"
        state = "it takes no more writes" if usage.read_only else "the limit is reached: soon it takes no more writes"
        return fails(PART, f"{told}; {state}{ends}", _WAYS_OUT, code=FindingCode.STORE_FULL.value)
    day, days = _full(samples, usage.limit_bytes)
    told += f"; the limit is reached on {day}" if day else "; the limit is not in sight"
    if not usage.whole:
        told += "; that is this database alone, and the limit counts all databases of the server"
        return careful(PART, told, _WHOLE, code=FindingCode.ROOM_UNKNOWN.value)
    if share >= CAREFUL_SHARE or days < CAREFUL_DAYS:
        return careful(PART, told, _WAYS_OUT, code=FindingCode.STORE_FILLING.value)
    return works(PART, told)


def room_unknown(why: str) -> Finding:
    """Where it cannot be asked."""
    told = f"how much room the data take cannot be told: {why}"
    return careful(PART, told, "see what is said of the store", code=FindingCode.ROOM_UNKNOWN.value)


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
    return f"{datetime.fromtimestamp(full_ms / 1000, UTC):%Y-%m-%d}", (full_ms - samples[-1].at_ms) / 86_400_000
