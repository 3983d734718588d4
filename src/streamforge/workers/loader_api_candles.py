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
from streamforge_utils.ports.columns import MessageColumns
from streamforge_utils.runtime.context import Context
from streamforge_utils.runtime.worker_definition import Definition, Role, Use

WINDOW_CANDLES = 1000
"""The most that the exchange gives in one answer."""
BATCH_PAGES = 5
"""Answers written at once, where so many have come."""
WAITING_PAGES = 10
"""Answers that may wait for their turn, beside those that are being written: a bus pauses now and then."""


class Parameters(msgspec.Struct, frozen=True, kw_only=True):
    """What can be chosen for a loader of candles."""

    concurrency: Annotated[
        int,
        msgspec.Meta(ge=1, le=32, description="requests under way at once"),
        msgspec.Meta(extra={"unit": "requests"}),
    ] = 4


async def run(ctx: Context[Parameters]) -> None:
    """Fetch windows of up to 1000 candles, several at once, and write them in the order of time."""
    now_ms = await ctx.exchange.server_time()
    ranges = [TimeRange(r.start_ms, min(r.end_ms, now_ms)) for r in ctx.ranges if r.start_ms < now_ms]
    total_ms = sum(r.end_ms - r.start_ms for r in ranges)
    done_ms = 0
    windows: Iterator[TimeRange] = (window for span in ranges for window in cut(ctx.interval, span))
    pages: deque[tuple[TimeRange, asyncio.Task[CandleRecords]]] = deque()

    def ask(_: object = None) -> None:
        if any(answer.done() and (answer.cancelled() or answer.exception()) for _, answer in pages):
            return
        asked = sum(not answer.done() for _, answer in pages)
        while asked < ctx.parameters.concurrency and len(pages) < ctx.parameters.concurrency + WAITING_PAGES:
            if (window := next(windows, None)) is None:
                return
            answer = asyncio.ensure_future(ctx.exchange.records(ctx.symbol, ctx.interval, window, limit=WINDOW_CANDLES))
            answer.add_done_callback(ask)
            pages.append((window, answer))
            asked += 1

    try:
        ask()
        while pages:
            await pages[0][1]
            # What came while the last batch was written goes together: a slow bus gets larger batches.
            answered: list[tuple[TimeRange, CandleRecords]] = []
            while pages and len(answered) < BATCH_PAGES and pages[0][1].done() and not pages[0][1].exception():
                window, answer = pages.popleft()
                answered.append((window, answer.result()))
            records = MessageColumns(
                [key for _, page in answered for key in page.keys],
                [value for _, page in answered for value in page.values],
            )
            writing = asyncio.ensure_future(ctx.output.write(records))
            ask()  # behind it: these records are on their way before the next are made
            await writing
            for window, page in answered:
                if page.open_times:
                    ctx.progress.position = page.open_times[-1]
                done_ms += window.end_ms - window.start_ms
            ctx.progress.share = min(1.0, done_ms / total_ms)
    finally:
        windows = iter(())  # after a cancelled request nothing more is asked for
        for _, answer in pages:
            answer.cancel()
        await asyncio.gather(*(answer for _, answer in pages), return_exceptions=True)
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
