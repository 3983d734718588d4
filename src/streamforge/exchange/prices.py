"""Seeded candles: a pure function of (seed, symbol, interval, open time), computed in time proportional to the page.

The price is a function of the instant. Hence, between all intervals of one symbol:

- exactly consistent: `open` (the price at the open time) and `close` (the price at the end of the bar, at most one
  tick beside the next open). The close of an hour is the close of its last minute, and so on.
- aggregates of the trades, where they are no longer than an hour (`AGGREGATED_MS`).
- no aggregates, where they are longer: `high`, `low`, volumes and the number of trades. They follow from their own hash
  within sensible bounds (high >= open, close >= low > 0; volumes > 0), so the high of a day need not be the highest of
  its hours. Aggregating 43,200 minutes for one row of a month would cost too much.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from operator import add
from typing import NamedTuple

import msgspec

from streamforge.exchange.config import SymbolSpec

MINUTE_MS = 60_000
AGGREGATED_MS = 60 * MINUTE_MS
"""The longest candles that are what the trades add up to: a page of 1,000 of them takes a third of a second."""
_DAY = 1_440 * MINUTE_MS

STEPS_MS: dict[str, int | None] = {
    "1s": 1_000,
    **{f"{n}m": n * MINUTE_MS for n in (1, 3, 5, 15, 30)},
    **{f"{n}h": n * 60 * MINUTE_MS for n in (1, 2, 4, 6, 8, 12)},
    "1d": _DAY,
    "3d": 3 * _DAY,
    "1w": 7 * _DAY,
    "1M": None,
}
"""The intervals as Binance spells them, each with its length; that of a month varies."""
_PHASES_MS = {"3d": _DAY, "1w": 4 * _DAY}
"""Where bars open that do not open at the epoch. Weeks open on Monday, 1970-01-05. Binance's own alignment of 3d is not
documented, so a client must read it from data; ours is not the one that dividing by three days would give."""


class Grid(msgspec.Struct, frozen=True):
    """The bars of one interval as integers: bar i opens at `open_ms(i)`, and bar i+1 opens where it ends."""

    interval: str

    @property
    def step_ms(self) -> int | None:
        """The length of a bar; None for a month."""
        return STEPS_MS[self.interval]

    def index(self, time_ms: int) -> int:
        """The bar that holds `time_ms`."""
        if self.step_ms is not None:
            return (time_ms - self._phase_ms) // self.step_ms
        moment = datetime.fromtimestamp(time_ms // 1000, UTC)
        return moment.year * 12 + moment.month - 1

    def first_from(self, time_ms: int) -> int:
        """The first bar that opens at `time_ms` or later."""
        index = self.index(time_ms)
        return index if self.open_ms(index) >= time_ms else index + 1

    def open_ms(self, index: int) -> int:
        """When bar `index` opens, unix ms."""
        if self.step_ms is not None:
            return index * self.step_ms + self._phase_ms
        start = datetime(index // 12, index % 12 + 1, 1, tzinfo=UTC)
        return int(start.timestamp()) * 1000

    def opens(self, first: int, last: int) -> list[int]:
        """When the bars `first` to `last` open and when the last one ends: last - first + 2 instants, unix ms."""
        if self.step_ms is not None:
            return list(range(self.open_ms(first), self.open_ms(last + 1) + 1, self.step_ms))
        return [self.open_ms(index) for index in range(first, last + 2)]

    @property
    def _phase_ms(self) -> int:
        return _PHASES_MS.get(self.interval, 0)


_MASK = (1 << 64) - 1
_HOUR_S = 3_600
_MONTH_MS = 30 * 86_400_000
_NOISE = 0.0016
"""Width of the noise around the slow movement, as a share of the price."""

AGGREGATES, TRADES = 5, 8
"""In a cycle, the unit of trading (see `trades`): aggregated trades, and single ones."""
_LEAST_CYCLES = 2
_LEAST_PAIR = 3
"""The quantity of an aggregate of three trades, in steps."""


class Minute(msgspec.Struct, frozen=True, gc=False):
    """What the trades of a minute add up to. Prices in ticks.

    cycles: of trading. pairs_volume: the quantity of one half of all pairs of aggregates, in steps; the other aggregate
    of each cycle has one step. taker_pairs: the pairs in which the taker buys. bits: hashed.
    """

    open: int
    high: int
    low: int
    close: int
    cycles: int
    pairs_volume: int
    taker_pairs: int
    bits: int


class Bar(NamedTuple):
    """What trades add up to. Prices in ticks.

    sums: the quantity in steps, the amount in ticks times steps, the number of trades, and what takers bought of the
    former two.
    """

    open: int
    high: int
    low: int
    close: int
    sums: tuple[int, ...]

    def with_next(self, other: Bar) -> Bar:
        """With what comes next."""
        high, low = max(self.high, other.high), min(self.low, other.low)
        return Bar(self.open, high, low, other.close, tuple(map(add, self.sums, other.sums)))


class PricePath:
    """The price of one symbol at every second, in ticks."""

    def __init__(self, seed: int, spec: SymbolSpec) -> None:
        self._key = text_hash(f"{seed}:{spec.symbol}")
        self._price_ticks = spec.price * 10.0**spec.price_decimals
        phases = [text_hash(f"{seed}:{spec.symbol}:{n}") / (1 << 64) * math.tau for n in range(3)]
        periods_h = (24 * 611.0, 24 * 47.3, 24 * 3.7)
        self._waves = [
            (size, math.tau / period, phase)
            for size, period, phase in zip((0.45, 0.12, 0.02), periods_h, phases, strict=True)
        ]
        self._spec = spec
        self._rows = _row_template(spec)
        self._cycles = max(1, 2 * (spec.trades_a_minute // TRADES - _LEAST_CYCLES) + 1)
        self._tick = 10.0**-spec.price_decimals
        self._step = 10.0**-spec.quantity_decimals

    def rows(self, grid: Grid, first: int, last: int, until_ms: int | None = None) -> list[bytes]:
        """The rows of the bars `first` to `last` of `grid`, both included, as the exchange writes them.

        until_ms: the last bar is not over: its close, volumes and extremes are those reached at this instant.
        """
        spec, opens_ms = self._spec, grid.opens(first, last)
        last_ms = spec.delisted_ms if spec.delisted_ms is not None else opens_ms[-1]
        instants = [min(max(t, spec.listed_ms), last_ms) // 1000 for t in opens_ms]
        shares = 1.0
        if until_ms is not None:
            shares = (until_ms - opens_ms[-2] + 1) / (opens_ms[-1] - opens_ms[-2])
            instants[-1] = max(until_ms // 1000, instants[-2])
        step_ms = grid.step_ms or _MONTH_MS
        minutes = step_ms / MINUTE_MS
        lots = max(minutes * shares, 0.02) / 256
        tick, step, template = self._tick, self._step, self._rows
        both = tick * step
        by_trades = step_ms == MINUTE_MS and until_ms is None
        cycles_of_day = _cycles_of_day(self._key, self._cycles)
        texts = []
        for position, (opened, high, low, closed, bits) in enumerate(self._shapes(instants, step_ms, shares)):
            if by_trades:
                # What the trades of the minute add up to, see `trades`.
                cycles = cycles_of_day[opens_ms[position] // MINUTE_MS % 1_440]
                part = bits >> 24 & 0xFFFF
                pairs = 2 * cycles
                pairs_volume = pairs * _LEAST_PAIR + (part * part >> 9)
                taker_pairs = 1 + (bits >> 40 & 0xFFF) % pairs
                more = pairs_volume % pairs
                taker = taker_pairs * (pairs_volume // pairs) + (taker_pairs if taker_pairs < more else more)
                mean = (opened + closed) * both
                quote = pairs_volume * mean + ((cycles + 1) // 2 * high + cycles // 2 * low) * both
                taker_quote = taker * mean
                volume, number, taker = 2 * pairs_volume + cycles, cycles * TRADES, 2 * taker
            else:
                part = bits >> 24 & 0xFFFF
                volume = int(part * part * lots) + 2
                taker = 1 + (volume - 1) * (bits >> 40 & 0x3FF) // 1024
                mean = (opened + closed) * 0.5 * tick * step
                quote, taker_quote = volume * mean, taker * mean
                number = 1 + (volume >> 8) + (bits >> 50 & 0xFF)
            texts.append(
                template
                % (
                    opens_ms[position],
                    opened * tick,
                    high * tick,
                    low * tick,
                    closed * tick,
                    volume * step,
                    opens_ms[position + 1] - 1,
                    quote,
                    number,
                    taker * step,
                    taker_quote,
                )
            )
        return "\n".join(texts).encode().split(b"\n")

    def row(self, opens_ms: int, ends_ms: int, bar: Bar) -> bytes:
        """A row as the exchange writes it, of what the trades of a bar add up to."""
        (volume, quote, number, taker, taker_quote), tick, step = bar.sums, self._tick, self._step
        amounts = (quote * tick * step, number, taker * step, taker_quote * tick * step)
        prices = (price * tick for price in bar[:4])
        return (self._rows % (opens_ms, *prices, volume * step, ends_ms - 1, *amounts)).encode()

    def whole(self, first: int, end: int) -> Bar:
        """What the trades of the minutes `first` to before `end` (since the epoch) add up to; one of them at least."""
        shapes = self._shapes([*range(first * 60, end * 60 + 1, 60)], MINUTE_MS, 1.0)
        minutes = [self._minute(number, *shape) for number, shape in enumerate(shapes, first)]
        volume = quote = number = taker = taker_quote = 0
        for one in minutes:
            cycles, both, (each, more) = one.cycles, one.open + one.close, divmod(one.pairs_volume, 2 * one.cycles)
            bought = one.taker_pairs * each + min(one.taker_pairs, more)
            volume += 2 * one.pairs_volume + cycles
            quote += one.pairs_volume * both + (cycles + 1) // 2 * one.high + cycles // 2 * one.low
            number += cycles * TRADES
            taker += 2 * bought
            taker_quote += bought * both
        high, low = max(one.high for one in minutes), min(one.low for one in minutes)
        return Bar(minutes[0].open, high, low, minutes[-1].close, (volume, quote, number, taker, taker_quote))

    def minute(self, number: int) -> Minute:
        """The trading of a whole minute, numbered since the epoch."""
        return self._minute(number, *next(self._shapes([number * 60, number * 60 + 60], MINUTE_MS, 1.0)))

    def cycles(self, of_day: int) -> int:
        """How many cycles of trading a minute of the day has."""
        return _cycles_of_day(self._key, self._cycles)[of_day]

    def _minute(self, number: int, opened: int, high: int, low: int, closed: int, bits: int) -> Minute:
        cycles, part = self.cycles(number % 1_440), bits >> 24 & 0xFFFF
        pairs_volume, takers = 2 * cycles * _LEAST_PAIR + (part * part >> 9), 1 + (bits >> 40 & 0xFFF) % (2 * cycles)
        return Minute(opened, high, low, closed, cycles, pairs_volume, takers, bits)

    def _shapes(self, instants: list[int], step_ms: int, shares: float) -> Iterator[tuple[int, int, int, int, int]]:
        """Open, high, low and close in ticks between each two instants (unix seconds), and hashed bits."""
        points = self._points(instants)
        spread = min(0.0009 * math.sqrt(step_ms / MINUTE_MS), 0.15) * math.sqrt(shares) / 4096
        salt = self._key ^ (step_ms * 0x9E3779B97F4A7C15 & _MASK)
        opened, mixed = points[0]
        for following, next_mixed in points[1:]:
            closed = following + (next_mixed >> 40 & 1) - (next_mixed >> 41 & 1)
            if closed < 1:
                closed = 1
            bits = (mixed ^ salt) * 0xBF58476D1CE4E5B9 & _MASK
            bits ^= bits >> 31
            top, bottom = (opened, closed) if opened > closed else (closed, opened)
            high = top + int(top * spread * (bits & 0xFFF))
            low = bottom - int(bottom * spread * (bits >> 12 & 0xFFF))
            yield opened, high, low, closed, bits
            opened, mixed = following, next_mixed

    def _points(self, instants: list[int]) -> list[tuple[int, int]]:
        """Price in ticks and 64 hashed bits at each instant (unix seconds).

        Between full hours the slow movement is a straight line; the noise belongs to the second.
        """
        key, scale = self._key, _NOISE / (1 << 32)
        found = []
        hour, base, slope = -1, 0.0, 0.0
        for second in instants:
            if second // _HOUR_S != hour:
                hour = second // _HOUR_S
                base = self._at_hour(hour)
                slope = (self._at_hour(hour + 1) - base) / _HOUR_S
            x = (second * 0x9E3779B97F4A7C15 + key) & _MASK  # as `scrambled`, without a call for each
            x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & _MASK
            x = (x ^ x >> 27) * 0x94D049BB133111EB & _MASK
            level = base + slope * (second - hour * _HOUR_S)
            ticks = int(level + level * scale * ((x >> 32) - 0x80000000))
            found.append((ticks if ticks > 0 else 1, x))
        return found

    def _at_hour(self, hour: int) -> float:
        level = 0.0
        for size, speed, phase in self._waves:
            level += size * math.sin(speed * hour + phase)
        return self._price_ticks * math.exp(level)


def _row_template(spec: SymbolSpec) -> str:
    price = f'"%.{spec.price_decimals}f{"0" * (8 - spec.price_decimals)}"'
    quantity = f'"%.{spec.quantity_decimals}f{"0" * (8 - spec.quantity_decimals)}"'
    digits = min(spec.price_decimals + spec.quantity_decimals, 8)
    amount = f'"%.{digits}f{"0" * (8 - digits)}"'
    return f'[%d,{price},{price},{price},{price},{quantity},%d,{amount},%d,{quantity},{amount},"0"]'


@lru_cache(maxsize=1024)
def _cycles_of_day(key: int, width: int) -> list[int]:
    """The cycles of each minute of a day."""
    return [_LEAST_CYCLES + scrambled(key ^ minute * 0x9E3779B97F4A7C15) % width for minute in range(1_440)]


def scrambled(number: int) -> int:
    """64 bits that look random, always the same for a number."""
    number &= _MASK
    number = (number ^ number >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    return (number ^ number >> 27) * 0x94D049BB133111EB & _MASK


def text_hash(text: str) -> int:
    """64 bits of a text."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
