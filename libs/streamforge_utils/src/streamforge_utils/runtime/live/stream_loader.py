"""Loads the streams of a kind whose records have consecutive ids: in their order, each once, without a gap."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NoReturn, TypeVar

from streamforge_utils.model.kinds.paging import ById, ByTime, Page
from streamforge_utils.model.kinds.streaming import Heard
from streamforge_utils.model.messages import Live
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.bus import Received
from streamforge_utils.ports.columns import MessageColumns
from streamforge_utils.runtime.life.context import Context
from streamforge_utils.runtime.live.id_order import IdOrder
from streamforge_utils.runtime.live.live_worker import LiveParameters, LiveWorker
from streamforge_utils.runtime.live.spill import Spill
from streamforge_utils.runtime.live.stream_chain import StreamChain
from streamforge_utils.runtime.live.stream_session import SETTLE_S

BATCH_RECORDS = 5000
WINDOW_S = 0.5
"""What comes out of order is waited for so long before it is asked for."""
ANSWERS = 3
"""So many answers say that an id does not exist before that is believed."""
READY_RECORDS = 2 * BATCH_RECORDS
"""While so many are ready to be written, nothing more is asked for."""
_AGAIN_S = 1.0

P = TypeVar("P", bound=LiveParameters)


async def load_ids(ctx: Context[P]) -> None:
    """Load until cancelled; what follows what was written is written before it ends, if the bus takes it in time.

    Raises what the streams, the exchange and the output raise.
    """
    await IdLoader(ctx).run()


class IdLoader(LiveWorker[P]):
    """One series from its streams; what they lack is asked for by id before what lies behind it is written.

    While that takes time, or the bus takes nothing, what comes is held in memory, then on disk; what is too much even
    for that is dropped, and asked for later.
    """

    def __init__(self, ctx: Context[P]) -> None:
        super().__init__(ctx)
        self._order = IdOrder()
        self._chain = StreamChain(ctx.kind, self._backfill, ctx.clock)
        self._spill = Spill(ctx.scratch, ctx.parameters.spill_bytes)
        self._newest: int | None = None  # id that was heard
        self._catching_up = False
        self._wanted = asyncio.Event()
        self._room = asyncio.Event()
        self._forgotten = False  # something was dropped that was not asked for yet
        self._dropped = 0
        self._duplicates = 0
        self._backfilled = 0
        self._skipped = 0
        self._last_id: int | None = None
        self._asked_at = -SETTLE_S  # in shadow, whether there is more
        self._nothing_since: int | None = None  # there was nothing behind this id

    def close(self) -> None:
        self._spill.close()

    # What is heard

    def hear(self, heard: Heard) -> None:
        if self.refuse(heard):
            self.interrupted()  # the exchange may have it right
        if not heard.positions:
            return
        self._newest = max(self._newest or 0, max(heard.positions))
        if not self._spill.bytes and self._order.bytes <= self._ctx.parameters.buffer_bytes:
            self._take(heard)
        elif not self._spill.put(heard):
            self._dropped += len(heard)
            self._forgotten = True
        self._refill()

    def interrupted(self) -> None:
        self._catching_up = True
        self._wanted.set()

    async def newer(self) -> bool:
        known = max(self._order.next_id or 0, -1 if self._newest is None else self._newest + 1)
        if known:
            page = await self._backfill.once(ById(known, limit=1))
        else:
            page = await self._backfill.once(ByTime(self._since(self._began_ms), limit=1))
        if page:
            self.interrupted()
        return bool(page)

    def _take(self, records: Heard | Page) -> int:
        taken = self._order.take(records)
        if isinstance(records, Heard):
            self._duplicates += len(records) - taken
        if self._order.ready:
            self._ready.set()
        if self._order.holds:
            self._wanted.set()
        return taken

    def _refill(self) -> None:
        """Bring back from the disk what there is room for."""
        while self._spill.bytes and self._order.bytes <= self._ctx.parameters.buffer_bytes // 2:
            page = self._spill.get()
            if page is not None:
                self._duplicates += len(page) - self._take(page)
        if self._forgotten and not self._spill.bytes:
            self._forgotten = False
            self.interrupted()

    # What lacks

    async def repair(self) -> NoReturn:
        await self._begun.wait()
        tries = 0
        while True:
            if not self._catching_up and not self._order.holds:
                self._wanted.clear()
                await self._wanted.wait()
            while self._order.ready >= READY_RECORDS:
                self._room.clear()
                await self._room.wait()
            first = self._order.next_id
            if first is None:
                self._catching_up = False  # nothing was heard yet that something could follow
                continue
            if not self._catching_up:
                await self._ctx.clock.sleep(WINDOW_S)
                if self._order.next_id != first:
                    continue  # it has come, or a part of it
            tries = 0 if await self._ask(first, tries) else tries + 1
            if tries:
                await self._ctx.clock.sleep(_AGAIN_S * tries)

    async def follows(self, messages: Sequence[Received]) -> bool:
        last = self._last_of(messages)
        if last is None:
            return True
        spilled = -1
        while spilled != self._spill.bytes:
            spilled = self._spill.bytes
            self._order.let_go(last)
            self._refill()
        self._order.let_go(last)
        if (least := self._order.least) is not None:
            return least == last + 1
        if self._newest is not None:
            return True  # all that came is written
        now = self._ctx.clock.monotonic()
        if now - self._asked_at >= SETTLE_S:  # nothing happens: the exchange tells whether that is so
            self._asked_at = now
            self._nothing_since = None if await self._backfill.once(ById(last + 1, limit=1)) else last
        return self._nothing_since == last

    def _last_of(self, messages: Sequence[Received]) -> int | None:
        return max((p for p in map(self._position_of, messages) if p is not None), default=None)

    async def begin(self) -> None:
        """Find the first id: behind the last record on the topic, or of the ranges; else that of the stream."""
        messages = await self._ctx.tail.read()
        last = self._last_of(messages)
        if last is not None:
            self._last_id = last
            self._chain.begin(last, next(one for one in reversed(messages) if self._position_of(one) == last))
            self._order.begin(last + 1)
        else:
            await self._connected.wait()
            ranges = self._ctx.given_ranges
            self._order.begin(await self._first_since(ranges[0].start_ms) if ranges else None)
        self._take(Page([], [], [], []))
        self.interrupted()

    async def _first_since(self, start_ms: int) -> int | None:
        """The id of the first record since a time, once there is one; None: only the stream has one."""
        await self._time.measured.wait()
        tries = 0
        while True:
            self._wanted.clear()
            if page := await self._backfill.page(ByTime(self._since(start_ms), limit=1)):
                return page.positions[0]
            if not self._order.holds:
                await self._wanted.wait()
                continue
            tries += 1
            if tries == ANSWERS:
                return None
            await self._ctx.clock.sleep(_AGAIN_S * tries)

    def _since(self, start_ms: int) -> TimeRange:
        return TimeRange(start_ms, max(start_ms, self._time.now_ms()) + 1)

    async def _ask(self, first: int, tries: int) -> bool:
        """Ask for the records from `first` on; whether that has led on."""
        gap = self._order.gap
        most = min(self._backfill.paging.most, self._ctx.parameters.limit)
        limit = most if gap is None or self._catching_up else min(most, len(gap))
        page = await self._backfill.page(ById(first, limit=limit))
        self._backfilled += self._take(page)
        if self._catching_up and len(page) < limit:
            self._catching_up = False
        if self._order.next_id != first or (not page and self._order.gap is None):
            return True
        if tries + 1 < ANSWERS:
            return False
        gap = self._order.gap
        to_id = page.positions[0] if page else first if gap is None else gap.stop
        self._skipped += to_id - first
        self._ctx.log.warning("the exchange has no such ids", first=first, last=to_id - 1)
        self._order.skip(to_id)
        self._take(Page([], [], [], []))
        return True

    # What is written

    async def write(self) -> bool:
        given = self._order.give(BATCH_RECORDS)
        if not given:
            return False
        page, contradictions = await self._chain.mended(given)
        for reason in contradictions:
            self.refuse(Heard(refused=[(b"", f"{reason}, also as requests give them")]))
        if page:
            await self._ctx.output.write(MessageColumns(page.keys, page.values))
            self._ctx.progress.position = page.times[-1]
        self._last_id = given.positions[-1]
        self._room.set()
        self._refill()
        return True

    def told(self) -> Live:
        return Live(
            last_id=self._last_id,
            held_bytes=self._order.bytes + self._spill.bytes,
            duplicates=self._duplicates,
            backfilled=self._backfilled,
            dropped=self._dropped,
            skipped=self._skipped,
            **self.told_by_all(),
        )
