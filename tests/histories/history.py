"""A history: a market, an installation, and what history to them, one operation after another. It is a value.

Times are numbers of bars: bar 0 opens at `ORIGIN_MS`, and the exchange has none behind the last.
"""

from __future__ import annotations

import msgspec

from streamforge_utils.model.coverage import Verdict
from streamforge_utils.model.kinds.candles import Interval
from streamforge_utils.model.timeranges import TimeRange, format_ms

ORIGIN_MS = 1_722_470_400_000  # 2024-08-01
SYMBOLS = ("AAAUSDT", "BBBUSDT")
SHARED = "shared"
"""The collection of loads that name one."""
_STEPS_MS = {interval.value: interval.step_ms or 0 for interval in Interval}


class Market(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the exchange has of a series. delisted: its first bar after the end; None while it is traded.

    holes: bars in which nothing was traded, so that the exchange has no candle of them.
    """

    symbol: str
    interval: str = "1h"
    bars: int = 40
    listed: int = 0
    delisted: int | None = None
    holes: tuple[int, ...] = ()

    @property
    def type(self) -> str:
        return f"api_candles_{self.interval}"

    def opens_ms(self, bar: int) -> int:
        return ORIGIN_MS + bar * _STEPS_MS[self.interval]

    def bar_at(self, time_ms: int) -> int:
        """The bar that opens at `time_ms`."""
        return (time_ms - ORIGIN_MS) // _STEPS_MS[self.interval]

    def ceil(self, time_ms: int) -> int:
        """When the first bar opens that opens at `time_ms` or later."""
        return self.opens_ms(-(-(time_ms - ORIGIN_MS) // _STEPS_MS[self.interval]))

    def span(self, first: int, last: int) -> TimeRange:
        """From the opening of bar `first` to that of bar `last`."""
        return TimeRange(self.opens_ms(first), self.opens_ms(last))

    def bars_in(self, span: TimeRange) -> list[int]:
        """The bars that open in `span`."""
        found = self.opening_in(span)
        return list(range(found.start, min(found.stop, self.bars)))

    def opening_in(self, span: TimeRange) -> range:
        """As `bars_in`, with bars behind the last one of the exchange."""
        step_ms = _STEPS_MS[self.interval]
        first, last = (-(-(time_ms - ORIGIN_MS) // step_ms) for time_ms in (span.start_ms, span.end_ms))
        return range(max(0, first), last)

    def is_in_life(self, bar: int, now_ms: int) -> bool:
        """Whether the bar is over and lies between listing and delisting, where there may be a hole all the same."""
        return self.listed <= bar and (self.delisted is None or bar < self.delisted) and self.is_over(bar, now_ms)

    def trades(self, bar: int) -> bool:
        """Whether the exchange has a candle of the bar, once it is over."""
        return self.lists(bar) and bar not in self.holes

    def lists(self, bar: int) -> bool:
        return self.listed <= bar < (self.bars if self.delisted is None else self.delisted)

    def verdict_of(self, bar: int) -> Verdict:
        """Why a bar that is over is not stored."""
        if not self.lists(bar):
            return Verdict.CLOSED
        return Verdict.OURS if self.trades(bar) else Verdict.EXCHANGE

    def over_until_ms(self, now_ms: int) -> int:
        """Until when it is known that bars are over: the end of the last one.

        Where bars of three days open nobody knows before the first of them is over: what opens within three days,
        counted in whole seconds, may still come.
        """
        if self.interval == "3d" and not self.is_over(self.listed, now_ms):
            return (now_ms - _STEPS_MS["3d"]) // 1000 * 1000
        return self.opens_ms(self.bar_at(now_ms))

    def is_over(self, bar: int, now_ms: int) -> bool:
        return self.opens_ms(bar + 1) - 1 < now_ms


class Setting(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The state before anything happens. now: bars that are over. kept_days: 0 keeps records for ever.

    slow_s: what each answer of the exchange takes; storing a batch takes longer. verify_s: how often the manager counts
    by itself what is stored, 0 is never; repairs: it loads again what it misses. turn: which of the queries come
    first, as each `Quiesce` makes only some of them.
    """

    markets: tuple[Market, ...]
    now: int
    max_running: int = 8
    kept_days: int = 0
    slow_s: float = 0.0
    verify_s: float = 0.0
    repairs: bool = False
    turn: int = 0


class Operation(msgspec.Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """Something that happens. `which` counts the workflows so far, modulo their number, the latest being 0."""


class Load(Operation, frozen=True, kw_only=True):
    """A request for the bars `first` to `last`.

    half: the range begins and ends inside a bar. shared: it is stored in the collection that all such loads share.
    until_now: the range ends at now, whenever that is: `open` begins at its first bar (`2024:`), `ago` is as long
    (`-30d`).
    """

    market: int = 0
    first: int
    last: int
    again: bool = False
    half: bool = False
    shared: bool = False
    until_now: str = ""

    def range_of(self, market: Market, now_ms: int) -> tuple[str, TimeRange | None]:
        """The text of the request, and the range that it means; None: it begins in the future."""
        half_ms = (market.opens_ms(1) - ORIGIN_MS) // 2 // 1000 * 1000 if self.half else 0
        start_ms, end_ms = market.opens_ms(self.first) + half_ms, market.opens_ms(self.last) + half_ms
        text = f"{format_ms(start_ms)}:{format_ms(end_ms)}"
        if self.until_now == "open":
            text = f"{format_ms(start_ms)}:"
        elif self.until_now:
            length_ms = market.opens_ms(self.last - self.first) - ORIGIN_MS
            text, start_ms = f"-{length_ms // 1000}s", now_ms // 1000 * 1000 - length_ms
        end_ms = now_ms // 1000 * 1000 if self.until_now else min(end_ms, now_ms // 1000 * 1000)
        return text, TimeRange(start_ms, end_ms) if start_ms < end_ms else None


class Wait(Operation, frozen=True, kw_only=True):
    seconds: float


class Quiesce(Operation, frozen=True):
    """All workflows end; every answer is compared with the model."""


class AdvanceClock(Operation, frozen=True, kw_only=True):
    """The clock is set forward by `count` bars."""

    count: int


class Stop(Operation, frozen=True, kw_only=True):
    which: int


class Retry(Operation, frozen=True, kw_only=True):
    which: int


class Replay(Operation, frozen=True, kw_only=True):
    """The dead letters of a workflow are replayed."""

    which: int


class Remove(Operation, frozen=True, kw_only=True):
    """A workflow is removed, with its data or without."""

    which: int
    data: bool


class LoseRecords(Operation, frozen=True, kw_only=True):
    """Rows vanish from the store."""

    market: int = 0
    first: int
    last: int


class Read(Operation, frozen=True, kw_only=True):
    market: int = 0
    first: int
    last: int


class Observe(Operation, frozen=True):
    """The answers about all workflows and series are compared while they go on."""


class Verify(Operation, frozen=True, kw_only=True):
    """`coverage --verify`. first, last: None is the whole series."""

    market: int = 0
    first: int | None = None
    last: int | None = None


class Outage(Operation, frozen=True, kw_only=True):
    """The bus or the store (`part`) does not answer. late: it carries out one more change without an answer."""

    part: str
    seconds: float
    late: bool = False


class ScheduledVerification(Operation, frozen=True):
    """The manager's own verification has had its time."""


class RefuseRecord(Operation, frozen=True, kw_only=True):
    """The store refuses the record of a bar from now on."""

    market: int = 0
    bar: int


class AcceptRecords(Operation, frozen=True):
    """The store refuses nothing any more."""


class ExchangeFault(Operation, frozen=True, kw_only=True):
    """One answer of the exchange is wrong.

    kind: short (lacks a candle), empty, refused (HTTP 429), banned (for a minute) or slow (takes 40 s). after: answers
    before it.
    """

    kind: str
    after: int = 0


class KillManager(Operation, frozen=True, kw_only=True):
    """deeds: changes that it makes until then; it is started again `down` seconds later."""

    deeds: int
    after: bool = False
    down: float = 1.0


class KillWorker(Operation, frozen=True, kw_only=True):
    """deeds: 0 kills it now, else at its `deeds`-th change from now."""

    which: int
    deeds: int = 0


class RepeatEvent(Operation, frozen=True, kw_only=True):
    """The event `back` places before the last one comes a second time."""

    back: int


AnyOperation = (
    Load
    | Wait
    | Quiesce
    | AdvanceClock
    | Stop
    | Retry
    | Replay
    | Remove
    | LoseRecords
    | Read
    | Observe
    | Verify
    | ScheduledVerification
    | RefuseRecord
    | AcceptRecords
    | ExchangeFault
    | KillManager
    | KillWorker
    | Outage
    | RepeatEvent
)


class History(msgspec.Struct, frozen=True, kw_only=True):
    """A setting and what history in it."""

    setting: Setting
    operations: tuple[AnyOperation, ...]

    def __str__(self) -> str:
        """The setting and the operations, a line each."""
        lines = [*self.setting.markets, msgspec.structs.replace(self.setting, markets=()), *self.operations]
        return "\n".join(msgspec.json.encode(line).decode() for line in lines)


def encode(history: History) -> str:
    """The history in one line, for a command."""
    return msgspec.json.encode(history).decode()


def decode(text: str) -> History:
    """Read what `encode` wrote."""
    return msgspec.json.decode(text, type=History)
