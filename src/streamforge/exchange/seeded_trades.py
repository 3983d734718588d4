"""Seeded trades: they follow from the candles of a minute, which are what comes of them.

A minute has some *cycles*; each is five aggregated trades, of 1, 2, 1, 3 and 1 trades. The first trade of a minute is
at the open of its candle, the last one at its close, one at its high, one at its low; volumes, takers' volumes and the
number of trades add up to those of the candle of one minute exactly. How many cycles a minute has depends on the
minute of the day alone, so that the number of a trade is found from its time, and its time from its number, without
counting.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache, reduce
from operator import itemgetter

from streamforge.exchange.config import SymbolSpec
from streamforge.exchange.endpoint import RowsEndpoint
from streamforge.exchange.prices import AGGREGATES, MINUTE_MS, TRADES, Bar, Minute, PricePath
from streamforge.exchange.windows import Numbers, RowSeries
from streamforge_utils.model.timeranges import TimeRange

_DAY = 1_440
TRADES_OF = (1, 2, 1, 3, 1)
"""Of the aggregates of a cycle."""
_FIRST_OF = (0, 1, 3, 4, 7)
_OFFSETS = (0, 2, 2, 5, 7)
"""When the aggregates of a cycle happen, in tenths of it; the second and the third share a millisecond."""

Fill = tuple[int, int, int, bool]
"""An aggregated trade: its time (unix ms), price in ticks, quantity in steps, and whether the buyer is the maker."""


class Tape:
    """The trades of one symbol in the order of their ids. holes: downtime; whole minutes of it have no trades.

    The first trade after the listing has the id 0; downtime leaves no gap in the ids.
    """

    def __init__(self, spec: SymbolSpec, holes: Sequence[TimeRange], path: PricePath) -> None:
        self.spec, self.path = spec, path
        self._first = spec.listed_ms // MINUTE_MS
        # a stream asks for the seconds of a minute one after another
        self._latest: tuple[int, list[Fill]] | None = None
        self._holes = [
            (first, end)
            for first, end in ((-(-hole.start_ms // MINUTE_MS), hole.end_ms // MINUTE_MS) for hole in _merged(holes))
            if first < end
        ]

    def cycles_before(self, minute: int) -> int:
        """The cycles from the listing to before `minute` (since the epoch)."""
        minute = max(minute, self._first)
        before = self._all_before(minute) - self._all_before(self._first)
        for first, end in self._holes:
            first, end = max(first, self._first), min(end, minute)
            if first < end:
                before -= self._all_before(end) - self._all_before(first)
        return before

    def minute_of(self, cycle: int) -> int:
        """The minute (since the epoch) that has the `cycle`-th cycle since the listing."""
        low, high = self._first, self._first + 1
        while self.cycles_before(high) <= cycle:
            low, high = high, high + (high - self._first) * 2
        return bisect_right(range(low, high), cycle, key=self.cycles_before) + low - 1

    def cycle_at(self, time_ms: int, *, aggregate: bool) -> tuple[int, int]:
        """The first cycle with a trade at `time_ms` or later, and how many of its aggregates (or trades) are before."""
        minute = max(time_ms // MINUTE_MS, self._first)
        before = self.cycles_before(minute)
        cycles = self.cycles_before(minute + 1) - before
        offset_ms = max(0, time_ms - minute * MINUTE_MS)
        place = bisect_left(_offsets_of(cycles), offset_ms) if offset_ms else 0
        cycle, of_cycle = before + place // AGGREGATES, place % AGGREGATES
        return cycle, of_cycle if aggregate else _FIRST_OF[of_cycle]

    def fills(self, first: int, last: int) -> Iterator[tuple[int, Fill]]:
        """The aggregated trades of the cycles `first` to `last`, both included, each with its number."""
        for begin, fills in self.minutes(first, last):
            start, end = max(begin, first), min(begin + len(fills) // AGGREGATES, last + 1)
            for number in range(start * AGGREGATES, end * AGGREGATES):
                yield number, fills[number - begin * AGGREGATES]

    def minutes(self, first: int, last: int) -> Iterator[tuple[int, list[Fill]]]:
        """The minutes that have the cycles `first` to `last`: the number of its first cycle, and all its fills."""
        minute = self.minute_of(first)
        begin = self.cycles_before(minute)
        while begin <= last:
            cycles = self.cycles_before(minute + 1) - begin
            if cycles:
                yield begin, self._fills_of(minute)
                begin, minute = begin + cycles, minute + 1
            else:
                minute = self.minute_of(begin)

    def _up(self, first: int, end: int) -> list[tuple[int, int]]:
        """The minutes from `first` to before `end` that have trades, as ranges."""
        found, first = list[tuple[int, int]](), max(first, self._first)
        for down, again in self._holes:
            if first < min(down, end):
                found.append((first, min(down, end)))
            first = max(first, again)
        return [*found, (first, end)] if first < end else found

    def bar(self, start_ms: int, end_ms: int) -> Bar:
        """What the trades from `start_ms` to before `end_ms` add up to; without any, the price before them."""
        first, end = -(-start_ms // MINUTE_MS), end_ms // MINUTE_MS
        parts = [*self._part(first - 1, start_ms, end_ms), *(self.path.whole(*one) for one in self._up(first, end))]
        if first <= end:
            parts += self._part(end, start_ms, end_ms)
        if parts:
            return reduce(Bar.with_next, parts)
        before = [one.close for one in self._part(first - 1, (first - 1) * MINUTE_MS, start_ms)]
        price = before[-1] if before else self.path.minute(start_ms // MINUTE_MS).open
        return Bar(price, price, price, price, (0, 0, 0, 0, 0))

    def _part(self, minute: int, start_ms: int, end_ms: int) -> Iterator[Bar]:
        """The trades of a minute that is within a span in part alone."""
        within = start_ms < (minute + 1) * MINUTE_MS and end_ms > minute * MINUTE_MS
        fills = self._fills_of(minute) if within and self._up(minute, minute + 1) else []
        for place in range(*(bisect_left(fills, bound, key=itemgetter(0)) for bound in (start_ms, end_ms))):
            _, price, quantity, maker = fills[place]
            bought = 0 if maker else quantity
            sums = quantity, quantity * price, TRADES_OF[place % AGGREGATES], bought, bought * price
            yield Bar(price, price, price, price, sums)

    def _fills_of(self, minute: int) -> list[Fill]:
        latest = self._latest
        if latest is None or latest[0] != minute:
            latest = self._latest = minute, _fills(minute * MINUTE_MS, self.path.minute(minute))
        return latest[1]

    def _all_before(self, minute: int) -> int:
        day, of_day = divmod(minute, _DAY)
        return day * self._sums[-1] + self._sums[of_day]

    @cached_property
    def _sums(self) -> list[int]:
        sums = [0]
        for minute in range(_DAY):
            sums.append(sums[-1] + self.path.cycles(minute))
        return sums


def tape_of(endpoint: RowsEndpoint, spec: SymbolSpec) -> Tape:
    """The trades of a symbol; one for all who ask."""
    return _made_tape(endpoint.config.seed, spec, tuple(endpoint.holes(spec.symbol)))


@lru_cache(maxsize=64)
def _made_tape(seed: int, spec: SymbolSpec, holes: tuple[TimeRange, ...]) -> Tape:
    return Tape(spec, holes, PricePath(seed, spec))


class _TapeRows(RowSeries):
    """Rows of a tape. a_cycle: how many of them a cycle has."""

    a_cycle: int

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        spec = tape.spec
        self._price = f'"%.{spec.price_decimals}f{"0" * (8 - spec.price_decimals)}"'
        self._quantity = f'"%.{spec.quantity_decimals}f{"0" * (8 - spec.quantity_decimals)}"'
        self._tick, self._step = 10.0**-spec.price_decimals, 10.0**-spec.quantity_decimals

    def at(self, time_ms: int) -> int:
        cycle, before = self.tape.cycle_at(time_ms, aggregate=self.a_cycle == AGGREGATES)
        return cycle * self.a_cycle + before

    def existing(self, now_ms: int, *, final: bool) -> Numbers:
        spec = self.tape.spec
        end_ms = now_ms + 1 if spec.delisted_ms is None else min(now_ms + 1, spec.delisted_ms)
        return self.at(max(spec.listed_ms, spec.trades_from_ms)), self.at(end_ms) - 1


class SeededAggTrades(_TapeRows):
    """Aggregated trades that follow from the seed."""

    a_cycle = AGGREGATES

    def rows(self, first: int, last: int, now_ms: int) -> list[bytes]:
        row = f'{{"a":%d,"p":{self._price},"q":{self._quantity},"f":%d,"l":%d,"T":%d,"m":%s,"M":true}}'
        tick, step, texts = self._tick, self._step, []
        for number, (time_ms, price, quantity, maker) in self.tape.fills(first // AGGREGATES, last // AGGREGATES):
            if first <= number <= last:
                cycle, of_cycle = divmod(number, AGGREGATES)
                first_id = cycle * TRADES + _FIRST_OF[of_cycle]
                last_id = first_id + TRADES_OF[of_cycle] - 1
                word = "true" if maker else "false"
                texts.append(row % (number, price * tick, quantity * step, first_id, last_id, time_ms, word))
        return "\n".join(texts).encode().split(b"\n") if texts else []


class SeededTrades(_TapeRows):
    """Single trades that follow from the seed."""

    a_cycle = TRADES

    def rows(self, first: int, last: int, now_ms: int) -> list[bytes]:
        digits = min(self.tape.spec.price_decimals + self.tape.spec.quantity_decimals, 8)
        amount = f'"%.{digits}f{"0" * (8 - digits)}"'
        row = (
            f'{{"id":%d,"price":{self._price},"qty":{self._quantity},"quoteQty":{amount},"time":%d,'
            '"isBuyerMaker":%s,"isBestMatch":true}'
        )
        tick, step, both, texts = self._tick, self._step, self._tick * self._step, []
        for number, (time_ms, price, quantity, maker) in self.tape.fills(first // TRADES, last // TRADES):
            cycle, of_cycle = divmod(number, AGGREGATES)
            first_id, count = cycle * TRADES + _FIRST_OF[of_cycle], TRADES_OF[of_cycle]
            word = "true" if maker else "false"
            for trade_id in range(first_id, first_id + count):
                part = quantity // count
                if trade_id == first_id:
                    part = quantity - part * (count - 1)
                if first <= trade_id <= last:
                    texts.append(row % (trade_id, price * tick, part * step, price * part * both, time_ms, word))
        return "\n".join(texts).encode().split(b"\n") if texts else []


def _fills(begin_ms: int, minute: Minute) -> list[Fill]:
    """The aggregated trades of a minute.

    Two of a cycle make a pair of one quantity, whose prices add up to open and close; so do two more. The fifth is one
    step of quantity at the high or at the low.
    """
    low = max(minute.low, minute.open + minute.close - minute.high)
    width = min(minute.high, minute.open + minute.close - minute.low) - low + 1
    both, cycles = minute.open + minute.close, minute.cycles
    quantity, more = divmod(minute.pairs_volume, 2 * cycles)
    fills: list[Fill] = []
    bits = minute.bits
    for cycle in range(cycles):
        bits = (bits * 6364136223846793005 + 1442695040888963407) & 0xFFFFFFFFFFFFFFFF
        outer = minute.open if cycle in (0, cycles - 1) else low + (bits >> 33) % width
        inner = low + (bits >> 13 & 0xFFFFF) % width
        of_outer, of_inner = (quantity + (pair < more) for pair in (2 * cycle, 2 * cycle + 1))
        makers = (2 * cycle >= minute.taker_pairs, 2 * cycle + 1 >= minute.taker_pairs)
        edge = minute.low if cycle % 2 else minute.high
        at = [begin_ms + offset for offset in _offsets(cycle, cycles)]
        fills += (
            (at[0], outer, of_outer, makers[0]),
            (at[1], inner, of_inner, makers[1]),
            (at[2], edge, 1, True),
            (at[3], both - inner, of_inner, makers[1]),
            (at[4], both - outer, of_outer, makers[0]),
        )
    return fills


def _offsets(cycle: int, cycles: int) -> list[int]:
    """When the aggregates of a cycle happen, in milliseconds since the minute began."""
    begin, width = cycle * MINUTE_MS // cycles, MINUTE_MS // cycles
    return [begin + width * tenths // 10 for tenths in _OFFSETS]


@lru_cache(maxsize=64)
def _offsets_of(cycles: int) -> list[int]:
    """When the aggregates of a minute happen, in milliseconds since it began."""
    return [offset for cycle in range(cycles) for offset in _offsets(cycle, cycles)]


def _merged(ranges: Sequence[TimeRange]) -> list[TimeRange]:
    found: list[TimeRange] = []
    for one in sorted(ranges, key=lambda one: one.start_ms):
        if found and one.start_ms <= found[-1].end_ms:
            found[-1] = TimeRange(found[-1].start_ms, max(found[-1].end_ms, one.end_ms))
        else:
            found.append(one)
    return found
