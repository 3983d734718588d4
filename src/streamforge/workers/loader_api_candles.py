"""Loads candles from the exchange's REST API into the data topic, oldest first."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Annotated

import msgspec

from streamforge_utils.model.candles import CandleRecords
from streamforge_utils.model.intervals import Interval
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.runtime.context import Context
from streamforge_utils.runtime.worker import Definition, Role, Use

WINDOW_CANDLES = 1000
"""The most that the exchange gives in one answer."""


class Parameters(msgspec.Struct, frozen=True, kw_only=True):
    """What can be chosen for a loader of candles."""

    concurrency: Annotated[
        int,
        msgspec.Meta(ge=1, le=32, description="requests under way at once; so many answers are held in memory at most"),
        msgspec.Meta(extra={"unit": "requests"}),
    ] = 4


async def run(ctx: Context[Parameters]) -> None:
    """Fetch windows of up to 1000 candles, several at once, and write them in the order of time."""
    now_ms = await ctx.exchange.server_time()
    ranges = [TimeRange(r.start_ms, min(r.end_ms, now_ms)) for r in ctx.ranges if r.start_ms < now_ms]
    total_ms = sum(r.end_ms - r.start_ms for r in ranges)
    done_ms = 0
    windows = (window for span in ranges for window in cut(ctx.interval, span))
    under_way: deque[tuple[TimeRange, asyncio.Task[CandleRecords]]] = deque()
    try:
        while True:
            while len(under_way) < ctx.parameters.concurrency and (window := next(windows, None)) is not None:
                request = ctx.exchange.records(ctx.symbol, ctx.interval, window, limit=WINDOW_CANDLES)
                under_way.append((window, asyncio.ensure_future(request)))
            if not under_way:
                break
            window, answer = under_way[0]
            records = await answer
            under_way.popleft()
            await ctx.output.write(list(zip(records.keys, records.values, strict=True)))
            if records.open_times:
                ctx.progress.position = records.open_times[-1]
            done_ms += window.end_ms - window.start_ms
            ctx.progress.share = min(1.0, done_ms / total_ms)
    finally:
        for _, answer in under_way:
            answer.cancel()
        await asyncio.gather(*(answer for _, answer in under_way), return_exceptions=True)
    ctx.progress.share = 1.0


def cut(interval: Interval, span: TimeRange) -> Iterator[TimeRange]:
    """Half-open windows that cover every open time in `span`, ascending, each with at most 1000 of them.

    Windows begin on the interval's grid; for `3d`, whose grid only the exchange knows, at the span's start.
    """
    if interval.aligned_by_calendar:
        opens: Sequence[int] = interval.grid(span.start_ms, span.end_ms)
    else:
        opens = range(span.start_ms, span.end_ms, interval.step_ms or 1)
    for first in range(0, len(opens), WINDOW_CANDLES):
        after = first + WINDOW_CANDLES
        yield TimeRange(opens[first], opens[after] if after < len(opens) else span.end_ms)


DEFINITION = Definition(
    target="loader-api-candles",
    summary="loads candles from the exchange's REST API",
    role=Role.LOADER,
    types=("api_candles_",),
    parameters=Parameters,
    uses=frozenset({Use.EXCHANGE, Use.OUTPUT}),
    run=run,
)
