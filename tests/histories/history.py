"""A history: a market, an installation, and what happens to them, one operation after another. It is a value.

Times are numbers of bars: bar 0 opens at `ORIGIN_MS`, and the exchange has none behind the last.
"""

from __future__ import annotations

import msgspec

from streamforge_utils.model.kinds.candles import Interval
from streamforge_utils.model.timeranges import TimeRange, format_ms

ORIGIN_MS = 1_722_470_400_000  # 2024-08-01
SYMBOLS = ("AAAUSDT", "BBBUSDT")
SHARED = "shared"
"""The collection of loads that name one."""
_STEPS_MS = {interval.value: interval.step_ms or 0 for interval in Interval}


class Market(msgspec.Struct, frozen=True, kw_only=True):
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


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """The world before anything happens. now: bars that are over. kept_days: 0 keeps records for ever.

    slow_s: what each answer of the exchange takes; storing a batch takes longer. verify_s: how often the manager counts
    by itself what is stored, 0 is never; repairs: it loads again what it misses. turn: which of the statements are
    compared first, as each rest compares only some of them.
    """

    markets: tuple[Market, ...]
    now: int
    max_running: int = 8
    kept_days: int = 0
    slow_s: float = 0.0
    verify_s: float = 0.0
    repairs: bool = False
    turn: int = 0


class Operation(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Something that happens. `which` counts the workflows so far, modulo their number, the latest being 0."""

    def words(self) -> str:
        return type(self).__name__


class Load(Operation, frozen=True, kw_only=True):
    market: int = 0
    first: int
    last: int
    again: bool = False
    half: bool = False
    """The range begins and ends inside a bar."""
    shared: bool = False
    """It is stored in the collection that all such loads share."""
    until_now: str = ""
    """The range ends at now, whenever that is: `open` begins at its first bar (`2024:`), `ago` is as long (`-30d`)."""

    def words(self) -> str:
        half = " and a half" if self.half else ""
        shared = f" into {SHARED}" if self.shared else ""
        again = " again" if self.again else ""
        span = f"bars {self.first} to {self.last}{half}"
        if self.until_now:
            span = f"bars {self.first}{half} to now" if self.until_now == "open" else f"the last {self._bars} bars"
        return f"load{again} {SYMBOLS[self.market]} {span}{shared}"

    @property
    def _bars(self) -> int:
        return self.last - self.first

    def range_of(self, market: Market, now_ms: int) -> tuple[str, TimeRange | None]:
        """What is written in the request, and which range that is; None: it begins in the future."""
        half_ms = (market.opens_ms(1) - ORIGIN_MS) // 2 // 1000 * 1000 if self.half else 0
        start_ms, end_ms = market.opens_ms(self.first) + half_ms, market.opens_ms(self.last) + half_ms
        text = f"{format_ms(start_ms)}:{format_ms(end_ms)}"
        if self.until_now == "open":
            text = f"{format_ms(start_ms)}:"
        elif self.until_now:
            length_ms = market.opens_ms(self._bars) - ORIGIN_MS
            text, start_ms = f"-{length_ms // 1000}s", now_ms // 1000 * 1000 - length_ms
        end_ms = now_ms // 1000 * 1000 if self.until_now else min(end_ms, now_ms // 1000 * 1000)
        return text, TimeRange(start_ms, end_ms) if start_ms < end_ms else None


class Wait(Operation, frozen=True, kw_only=True):
    seconds: float

    def words(self) -> str:
        return f"{self.seconds:g} s pass"


class Rest(Operation, frozen=True):
    def words(self) -> str:
        return "all workflows end; everything that is said is compared"


class Bars(Operation, frozen=True, kw_only=True):
    count: int

    def words(self) -> str:
        return f"the clock is {self.count} bars further"


class Stop(Operation, frozen=True, kw_only=True):
    which: int

    def words(self) -> str:
        return f"stop workflow -{self.which}"


class Retry(Operation, frozen=True, kw_only=True):
    which: int

    def words(self) -> str:
        return f"retry workflow -{self.which}"


class Replay(Operation, frozen=True, kw_only=True):
    which: int

    def words(self) -> str:
        return f"replay the dead letters of workflow -{self.which}"


class Remove(Operation, frozen=True, kw_only=True):
    which: int
    data: bool

    def words(self) -> str:
        return f"remove workflow -{self.which} {'with its data' if self.data else 'and keep its data'}"


class Lose(Operation, frozen=True, kw_only=True):
    market: int = 0
    first: int
    last: int

    def words(self) -> str:
        return f"rows of {SYMBOLS[self.market]} bars {self.first} to {self.last} vanish from the store"


class Read(Operation, frozen=True, kw_only=True):
    market: int = 0
    first: int
    last: int

    def words(self) -> str:
        return f"read {SYMBOLS[self.market]} bars {self.first} to {self.last}"


class Look(Operation, frozen=True):
    def words(self) -> str:
        return "what is said of all workflows and series is compared while they go on"


class Verify(Operation, frozen=True, kw_only=True):
    """first, last: None is the whole series."""

    market: int = 0
    first: int | None = None
    last: int | None = None

    def words(self) -> str:
        bars = "" if self.first is None else f" bars {self.first} to {self.last}"
        return f"coverage {SYMBOLS[self.market]}{bars} --verify"


class Outage(Operation, frozen=True, kw_only=True):
    """part: `bus` or `store`. late: it still does the next change that it is asked for, and does not say so."""

    part: str
    seconds: float
    late: bool = False

    def words(self) -> str:
        late = ", and does unheard what it is asked next" if self.late else ""
        return f"the {self.part} does not answer for {self.seconds:g} s{late}"


class Overdue(Operation, frozen=True):
    def words(self) -> str:
        return "the manager's own verification has had its time"


class Refuse(Operation, frozen=True, kw_only=True):
    market: int = 0
    bar: int

    def words(self) -> str:
        return f"the store refuses bar {self.bar} of {SYMBOLS[self.market]}"


class Accept(Operation, frozen=True):
    def words(self) -> str:
        return "the store refuses nothing any more"


class Trouble(Operation, frozen=True, kw_only=True):
    """kind: short, empty, refused, banned or slow. after: answers before it."""

    kind: str
    after: int = 0

    def words(self) -> str:
        said = {
            "short": "lacks a candle",
            "empty": "is empty",
            "refused": "is HTTP 429",
            "banned": "is a ban of a minute",
            "slow": "takes 40 s",
        }
        return f"the exchange's answer after {self.after} more {said[self.kind]}"


class KillManager(Operation, frozen=True, kw_only=True):
    """deeds: what it does to the world until then; it is started again `down` seconds later."""

    deeds: int
    after: bool = False
    down: float = 1.0

    def words(self) -> str:
        when = "after" if self.after else "before"
        return f"the manager is killed {when} its deed {self.deeds} from now, and is back {self.down:g} s later"


class KillWorker(Operation, frozen=True, kw_only=True):
    """deeds: 0 kills it now, else at that deed of it."""

    which: int
    deeds: int = 0

    def words(self) -> str:
        when = f" at its deed {self.deeds} from now" if self.deeds else ""
        return f"running worker {self.which} is killed{when}"


class Repeat(Operation, frozen=True, kw_only=True):
    back: int

    def words(self) -> str:
        return f"the event {self.back} before the last comes a second time"


AnyOperation = (
    Load
    | Wait
    | Rest
    | Bars
    | Stop
    | Retry
    | Replay
    | Remove
    | Lose
    | Read
    | Look
    | Verify
    | Overdue
    | Refuse
    | Accept
    | Trouble
    | KillManager
    | KillWorker
    | Outage
    | Repeat
)


class History(msgspec.Struct, frozen=True, kw_only=True):
    """A setting and what happens in it."""

    setting: Setting
    operations: tuple[AnyOperation, ...]

    def words(self) -> str:
        """The history for a person, a line each."""
        lines = []
        for market in self.setting.markets:
            end = "traded to this day" if market.delisted is None else f"delisted before bar {market.delisted}"
            holes = f", without bars {', '.join(map(str, market.holes))}" if market.holes else ""
            lines.append(f"{market.symbol} {market.interval}: listed at bar {market.listed}, {end}{holes}")
        kept = f"; records are kept for {self.setting.kept_days} days" if self.setting.kept_days else ""
        repairs = " and loads again what is lost" if self.setting.repairs else ""
        counts = f"; it counts every {self.setting.verify_s:g} s{repairs}" if self.setting.verify_s else ""
        lines.append(
            f"{self.setting.now} bars are over; at most {self.setting.max_running} workflows run{kept}{counts}; "
            f"an answer takes {self.setting.slow_s:g} s"
        )
        lines += [f"{number}. {one.words()}" for number, one in enumerate(self.operations, start=1)]
        return "\n".join(lines)


def encode(history: History) -> str:
    """The history in one line, for a command."""
    return msgspec.json.encode(history).decode()


def decode(text: str) -> History:
    """Read what `encode` wrote."""
    return msgspec.json.decode(text, type=History)
