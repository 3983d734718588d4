"""How the room that data take has grown, and when it will be full. Pure; times are unix milliseconds, UTC."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, pairwise

import msgspec

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
WINDOW_MS = 7 * DAY_MS
LEAST_MS = 6 * HOUR_MS
"""Growth over less than this is no measure of a day."""
KEPT_MS = 30 * DAY_MS
REMOVED_SHARE = 0.1
"""A fall by more is a removal that does not come again, and is no part of the growth. Smaller ones belong to it:
where a collection goes each day as another comes, the data do not grow."""


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """How much room the data took at a time."""

    at_ms: int
    used_bytes: int


def with_sample(samples: Sequence[Sample], latest: Sample) -> tuple[Sample, ...]:
    """`samples` and the latest one: of each hour the last, of the last thirty days."""
    kept = [sample for sample in samples if latest.at_ms - KEPT_MS <= sample.at_ms < latest.at_ms]
    if kept and kept[-1].at_ms // HOUR_MS == latest.at_ms // HOUR_MS:
        kept.pop()
    return (*kept, latest)


def growth_per_day(samples: Sequence[Sample]) -> float | None:
    """Bytes a day over the last week (fewer days where there are no more), but for the hours in which much was removed.

    None: it is not known yet.
    """
    week = [sample for sample in samples if sample.at_ms >= samples[-1].at_ms - WINDOW_MS]
    grown, took_ms = 0, 0
    # What is removed may be freed in several steps.
    for falling, steps in groupby(pairwise(week), lambda step: step[1].used_bytes < step[0].used_bytes):
        (before, after), *more = steps
        after = more[-1][1] if more else after
        change = after.used_bytes - before.used_bytes
        if not falling or -change <= REMOVED_SHARE * before.used_bytes:
            grown += change
            took_ms += after.at_ms - before.at_ms
    return None if took_ms < LEAST_MS else grown * DAY_MS / took_ms


def full_at_ms(samples: Sequence[Sample], limit_bytes: int | None) -> int | None:
    """When `limit_bytes` are reached if it goes on so; None: never, or it is not known."""
    growth = growth_per_day(samples)
    if limit_bytes is None or not samples:
        return None
    latest = samples[-1]
    if latest.used_bytes >= limit_bytes:
        return latest.at_ms
    if growth is None or growth <= 0:
        return None
    return latest.at_ms + int((limit_bytes - latest.used_bytes) / growth * DAY_MS)


def shown_size(count: float) -> str:
    """A number of bytes for a person, in decimal units."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:,.1f} TB"
