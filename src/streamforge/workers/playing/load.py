"""A load without end or of so many events: `loading`, again and again."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from streamforge.workers.playing.pace import Pace
from streamforge_utils.runtime.context import Context

P = TypeVar("P", bound=msgspec.Struct)

MAX_RECORD_BYTES = 500_000
"""Of one message; a bus takes 1 MB, with what is around it."""

DEFAULT_RATE = 1.0


async def simulate_loading(ctx: Context[P], *, rate: float, record_size: int, events: int) -> None:
    """Say `loading` `events` times (0: without end), `rate` times a second; each stands for one record.

    record_size: bytes of padding in each event.
    """
    pace = Pace(ctx.clock, rate or DEFAULT_RATE)
    before = ctx.progress.records
    padding: dict[str, Any] = {"padding": "x" * record_size} if record_size else {}
    number = 0
    ctx.progress.share = 0.0 if events else None
    while not events or number < events:
        await pace.let(1)
        number += 1
        ctx.progress.records = before + number
        if events:
            ctx.progress.share = number / events
        await ctx.tell({"simulated": True, "number": number, **padding})
