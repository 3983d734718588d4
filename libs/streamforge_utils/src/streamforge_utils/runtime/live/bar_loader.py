"""Loads bars as they close: the streams only hint at it, and each bar is written as the exchange's history has it."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Sequence
from itertools import takewhile
from typing import NoReturn, TypeVar

import msgspec

from streamforge_utils.model.completeness.grid import Grid
from streamforge_utils.model.errors import PermanentError
from streamforge_utils.model.kinds.paging import ByTime, Page
from streamforge_utils.model.kinds.streaming import Heard
from streamforge_utils.model.messages import Live
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.bus import Received
from streamforge_utils.ports.columns import MessageColumns
from streamforge_utils.ports.retry import backoff_s
from streamforge_utils.runtime.life.context import Context
from streamforge_utils.runtime.live.live_worker import LiveParameters, LiveWorker

LATE_MS = 3_000
"""A bar is asked for so long after its end, where no message has said that it is closed."""
EARLY_MS = 10_000
"""So long before the end of a bar, by the exchange's clock as it is known here, a hint may come; one before it is
not believed.
"""
LOOKS_S = (60.0, 600.0)
"""So long after it was written, or looked at, a bar is asked for once more: it may have been corrected. No exchange
tells how late that can be; what is corrected later is found by loading the range again.
"""
TOGETHER_S = 60.0
"""The bars whose last look falls into the same so many seconds are looked at by one request."""
RECENT_MS = 600_000
"""A bar that ended longer ago when it is written is history, and looked at no more."""
ANSWERS = 3
"""So many answers without a bar that have a later one say that it does not exist."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 5.0
_NO_BAR_S = 30.0

P = TypeVar("P", bound=LiveParameters)


async def load_bars(ctx: Context[P]) -> None:
    """Load until cancelled. Raises what the streams, the exchange and the output raise."""
    await BarLoader(ctx).run()


class _Traded(msgspec.Struct, frozen=True):
    number_of_trades: int = 1


_decode_traded = msgspec.json.Decoder(_Traded).decode


class _Written(msgspec.Struct, frozen=True):
    """A bar that is looked at once more at `due` (monotonic seconds). body: as it is stored."""

    due: float
    position: int
    body: bytes


class BarLoader(LiveWorker[P]):
    """One series of bars, oldest first, each once; one that was corrected is written again."""

    def __init__(self, ctx: Context[P]) -> None:
        super().__init__(ctx)
        rule = ctx.kind.rule(ctx.series)
        if not isinstance(rule, Grid):
            raise PermanentError(f"{ctx.type}: {ctx.kind.name} are on no time grid")
        self._grid = rule
        self._phase_ms: int | None = None
        self._next_ms = 0  # the bar that is written next
        self._hinted_ms = -1
        self._heard_ms = self._began_ms
        self._not_before = 0.0
        self._denied = 0  # answers that had a later bar than the next one
        self._wake = asyncio.Event()
        self._looks = tuple(deque[_Written]() for _ in LOOKS_S)  # each in the order of time
        self._corrected = 0
        self._skipped = 0
        reach_s = (ctx.parameters.limit - 1) * rule.length_ms / 1000 if rule.length_ms else math.inf
        self._reaches_back = reach_s > sum(LOOKS_S) + 2 * TOGETHER_S
        self._late = 0

    # What is heard

    def hear(self, heard: Heard) -> None:
        self.refuse(heard)
        self._heard_ms = self._time.now_ms()
        end_ms = self._heard_ms + EARLY_MS
        if hints := [one for one in heard.hints if self._grid.next(one) <= end_ms]:
            self._hinted_ms = max(self._hinted_ms, *hints)
            self._wake.set()

    def interrupted(self) -> None:
        self._wake.set()

    async def newer(self) -> bool:
        """Whether a bar with trades is over that began after the last message."""
        now_ms = self._time.now_ms()
        if not self._grid.is_fixed(self._phase_ms):
            return False
        start_ms, end_ms = self._grid.ceil(self._heard_ms, self._phase_ms), self._grid.floor(now_ms, self._phase_ms)
        if start_ms >= end_ms:
            return False
        page = await self._backfill.once(ByTime(TimeRange(start_ms, end_ms), newest=True))
        return any(_decode_traded(value).number_of_trades for value in page.values)

    # What is written

    async def repair(self) -> NoReturn:
        await self._begun.wait()
        tries = 0
        while True:
            rest_s = self._rest_s()
            if rest_s > 0:
                await self._woken(rest_s)
                continue
            asked = self._ctx.clock.monotonic()
            page = await self._backfill.page(self._question(asked))
            written = await self._take(page, asked)
            tries = 0 if written else tries + 1
            pause_s = 0.0 if written else backoff_s(tries, first_s=_FIRST_PAUSE_S, longest_s=_LONGEST_PAUSE_S)
            self._not_before = self._ctx.clock.monotonic() + pause_s

    async def follows(self, messages: Sequence[Received]) -> bool:
        return self._time.measured.is_set()  # bars are asked for by time

    async def begin(self) -> None:
        """Find the first bar: behind the last one on the topic, or of the time range; else the one that is open."""
        await self._time.measured.wait()
        if not self._grid.is_fixed(None):
            self._phase_ms = await self._phase()
        records = {self._position_of(one): one for one in await self._ctx.tail.read()}
        now_ms = self._time.now_ms()
        if last := max((position for position in records if position is not None), default=0):
            self._next_ms = self._grid.next(last)
            for position, one in records.items():
                if position is not None:
                    self._check_later(position, one.value)
        elif self._ctx.given_ranges:
            self._next_ms = self._grid.ceil(self._ctx.given_ranges[0].start_ms, self._phase_ms)
        else:
            self._next_ms = self._grid.floor(now_ms, self._phase_ms)

    async def _phase(self) -> int:
        """When a bar opens, where only the exchange's data tell."""
        while True:
            now_ms = self._time.now_ms()
            span = TimeRange(now_ms - 4 * (self._grid.length_ms or 0), now_ms)
            if page := await self._backfill.page(ByTime(span, limit=1, newest=True)):
                return page.positions[0]
            await self._ctx.clock.sleep(_NO_BAR_S)

    def _over_ms(self) -> int:
        """The end of the last bar that is over: somebody said so, or it should be by now."""
        should_ms = self._grid.floor(self._time.now_ms() - LATE_MS, self._phase_ms)
        return max(should_ms, self._grid.next(self._hinted_ms) if self._hinted_ms >= self._next_ms else 0)

    def _rest_s(self) -> float:
        """How long nothing is to be asked for; seconds."""
        now = self._ctx.clock.monotonic()
        if self._over_ms() > self._next_ms:
            return self._not_before - now
        due_ms = self._grid.next(self._next_ms) + LATE_MS - self._time.now_ms()
        return min([max(due_ms / 1000, 0.001), *(look[0].due - now for look in self._looks if look)])

    async def _woken(self, rest_s: float) -> None:
        """Return after so long, or once there is a hint."""
        tasks = {asyncio.ensure_future(self._wake.wait()), asyncio.ensure_future(self._ctx.clock.sleep(rest_s))}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._wake.clear()
            for task in tasks:
                task.cancel()

    def _question(self, now: float) -> ByTime:
        """For the bars that are over and not written, and those that are to be looked at once more by `now`."""
        due = (one.position for look in self._looks for one in takewhile(lambda one: one.due <= now, look))
        start_ms = min([self._next_ms, *due])
        end_ms = max(self._over_ms(), self._grid.next(start_ms))
        return ByTime(TimeRange(start_ms, end_ms), limit=self._ctx.parameters.limit)

    async def _take(self, page: Page, asked: float) -> bool:
        """Write the new bars and the corrected ones; whether it has led on.

        asked: when the page was asked for, monotonic seconds.
        """
        over_ms, said = self._over_ms(), self._hinted_ms
        changed = self._checked(page, asked)
        new = list[int]()
        next_ms = self._next_ms
        for number, position in enumerate(page.positions):
            if position < next_ms:
                continue
            if position > next_ms:
                self._denied += 1
                if self._denied < ANSWERS:
                    break
                lacking = len(self._grid.times(next_ms, position, self._phase_ms))
                self._skipped += lacking
                self._ctx.log.warning("the exchange has no such bars", first=next_ms, bars=lacking)
            new.append(number)
            next_ms, self._denied = self._grid.next(position), 0
        numbers = [*changed, *new]
        if numbers:
            keys, values = [page.keys[n] for n in numbers], [page.values[n] for n in numbers]
            await self._ctx.output.write(MessageColumns(keys, values))
        self._corrected += len(changed)
        for number in new:
            self._check_later(page.positions[number], page.values[number])
        if new:
            self._next_ms = next_ms
            self._ctx.progress.position = page.positions[new[-1]]
            self._late += sum(page.positions[number] > said for number in new)
        return bool(new) or over_ms <= next_ms

    def _checked(self, page: Page, asked: float) -> list[int]:
        """The numbers of bars of the page that are other than what was written, of those that were due when asked."""
        places = {position: n for n, position in enumerate(page.positions)}
        changed = list[int]()
        for number, look in reversed([*enumerate(self._looks)]):
            while look and look[0].due <= asked:
                one = look.popleft()
                body, place = one.body, places.get(one.position)
                if place is not None and (body := self._body(page.values[place])) != one.body:
                    changed.append(place)
                self._look_later(one.position, body, number + 1)
        return sorted(changed)

    def _check_later(self, position: int, value: bytes) -> None:
        """Let a bar be asked for once more, if it ended a short while ago."""
        if self._grid.next(position) >= self._time.now_ms() - RECENT_MS:
            self._look_later(position, self._body(value), 0)

    def _look_later(self, position: int, body: bytes, number: int) -> None:
        """Let a bar be looked at for the `number`-th time, from 0 on; not where a page cannot reach back so far."""
        if number == len(self._looks) or (number and not self._reaches_back):
            return
        due = self._ctx.clock.monotonic() + LOOKS_S[number]
        due = math.ceil(due / TOGETHER_S) * TOGETHER_S if number else due
        self._looks[number].append(_Written(due=due, position=position, body=body))

    def _body(self, value: bytes) -> bytes:
        return self._ctx.kind.document(None, value)[2]

    def told(self) -> Live:
        return Live(
            corrected=self._corrected,
            skipped=self._skipped,
            late=self._late,
            **self.told_by_all(),
        )
