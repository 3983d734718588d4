"""The life of a sink without a store: it reads to the markers, and commits as if all were stored."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from streamforge.workers.playing.pace import Pace
from streamforge_utils.runtime.context import Context

P = TypeVar("P", bound=msgspec.Struct)


async def play_sink(ctx: Context[P], *, rate: float) -> None:
    """Read, at `rate` records a second (0: as fast as they come), until every producer has closed the stream."""
    pace = Pace(ctx.clock, rate)
    async for batch in ctx.input:
        for first in range(0, len(batch), pace.step):
            part = batch[first : first + pace.step]
            await pace.let(len(part))
            ctx.progress.records += len(part)
            await ctx.input.done(part)
