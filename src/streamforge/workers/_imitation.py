"""What dummy-service plays: a load of so many events, a loader without an exchange, a sink without a store."""

from __future__ import annotations

from itertools import islice
from typing import Any, TypeVar

import msgspec

from streamforge_utils.model.completeness.grid import Grid
from streamforge_utils.model.errors import InvalidInput
from streamforge_utils.model.kinds.kind import RecordKind
from streamforge_utils.model.series import Series
from streamforge_utils.ports.bus import Message
from streamforge_utils.ports.clock import Clock
from streamforge_utils.runtime.context import Context

P = TypeVar("P", bound=msgspec.Struct)

MAX_RECORD_BYTES = 500_000
"""Of one message; a bus takes 1 MB, with what is around it."""

_STEP_S = 0.1
_LARGEST_STEP = 1000


class Pace:
    """Lets `rate` things a second pass, counted from its first call; 0: all of them.

    What was late is caught up with, so that the rate holds on the whole.
    """

    def __init__(self, clock: Clock, rate: float) -> None:
        self._clock = clock
        self._rate = rate
        self._begun: float | None = None
        self._passed = 0

    @property
    def step(self) -> int:
        """How many things to let pass at once."""
        return _LARGEST_STEP if not self._rate else max(1, min(_LARGEST_STEP, int(self._rate * _STEP_S)))

    async def let(self, count: int) -> None:
        """Return when `count` more may pass; the first ones at once."""
        if not self._rate:
            return
        now = self._clock.monotonic()
        if self._begun is None:
            self._begun = now
        pause = self._begun + self._passed / self._rate - now
        self._passed += count
        if pause > 0:
            await self._clock.sleep(pause)


async def simulate_loading(ctx: Context[P], *, rate: float, record_size: int, events: int) -> None:
    """Publish `loading` `events` times (0: without end), `rate` times a second; each stands for one record.

    record_size: bytes of padding in each event.
    """
    pace = Pace(ctx.clock, rate or 1.0)
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
        await ctx.report({"simulated": True, "number": number, **padding})


async def play_loader(ctx: Context[P], *, rate: float, record_size: int, records: int) -> None:
    """Write made-up records, oldest first; the runtime closes the stream afterwards.

    records: at most so many; 0: as many as the range has. record_size: bytes to which each is padded.
    """
    rule = ctx.kind.rule(ctx.series)
    if not isinstance(rule, Grid):
        raise InvalidInput("type", f"{ctx.kind.name} are on no time grid: a loader of them cannot be imitated")
    grids = [rule.times(span.start_ms, span.end_ms) for span in ctx.ranges]
    total = sum(len(grid) for grid in grids)
    total = min(total, records) if records else total
    pace = Pace(ctx.clock, rate)
    wanted = islice((time for grid in grids for time in grid), total)
    written = 0
    while batch := list(islice(wanted, pace.step)):
        await pace.let(len(batch))
        await ctx.output.write([_message(ctx.kind, ctx.series, time, record_size) for time in batch])
        written += len(batch)
        ctx.progress.position = batch[-1]
        ctx.progress.share = written / total
    ctx.progress.share = 1.0


def _message(kind: RecordKind, series: Series, position: int, size: int) -> Message:
    record = kind.imitation(series, position)
    return Message(record.key.encode(), padded(msgspec.json.encode(record), size))


def padded(record: bytes, size: int) -> bytes:
    """The JSON object `record` with a field `padding`, `size` bytes long; itself if it is that long already."""
    frame = b',"padding":""}'
    room = size - len(record) + 1 - len(frame)
    return record if room < 0 else record[:-1] + frame[:-2] + b"x" * room + frame[-2:]


async def play_sink(ctx: Context[P], *, rate: float) -> None:
    """Read, at `rate` records a second (0: as fast as they come), until every producer has closed the stream."""
    pace = Pace(ctx.clock, rate)
    async for batch in ctx.input:
        for first in range(0, len(batch), pace.step):
            part = batch[first : first + pace.step]
            await pace.let(len(part))
            ctx.progress.records += len(part)
            await ctx.input.done(part)
