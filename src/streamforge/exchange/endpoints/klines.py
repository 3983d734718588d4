"""GET /api/v3/klines and uiKlines: candles, recorded or seeded.

A seeded candle is a pure function of (seed, symbol, interval, open time), computed in time proportional to the page.
The price is a function of the instant. Hence, between all intervals of one symbol:

- exactly consistent: `open` (the price at the open time) and `close` (the price at the end of the bar, at most one
  tick beside the next open). The close of an hour is the close of its last minute, and so on.
- not aggregates: `high`, `low`, volumes and the number of trades. They follow from their own hash within sensible
  bounds (high >= open, close >= low > 0; volumes > 0), so a 1h high need not be the highest 1m high, and 1m volumes
  do not add up to the 1h volume. Aggregating 43,200 minutes for one row of a month would cost too much.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Hashable, Sequence
from datetime import UTC, datetime

import msgspec

from streamforge.exchange.config import SymbolSpec
from streamforge.exchange.endpoint import RowsEndpoint
from streamforge.exchange.exchange_requests import ApiError, Sent
from streamforge.exchange.windows import Numbers, SeededRows
from streamforge_utils.model.timeranges import TimeRange

_MINUTE = 60_000
_DAY = 1_440 * _MINUTE

STEPS_MS: dict[str, int | None] = {
    "1s": 1_000,
    **{f"{n}m": n * _MINUTE for n in (1, 3, 5, 15, 30)},
    **{f"{n}h": n * 60 * _MINUTE for n in (1, 2, 4, 6, 8, 12)},
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


_NUMBER = r"[0-9]{1,20}(?:\.[0-9]{1,20})?"
_LINE = re.compile(
    r"(\d{13}|\d{16}),"
    + rf"({_NUMBER})," * 5
    + rf"(\d{{13}}|\d{{16}}),({_NUMBER}),(\d{{1,18}}),({_NUMBER}),({_NUMBER}),({_NUMBER})",
    re.ASCII,
)
_ROW = '[%d,"%s","%s","%s","%s","%s",%d,"%s",%s,"%s","%s","%s"]'


class Klines(RowsEndpoint):
    """Candles of one interval. A variant is a grid."""

    paths = ("klines", "uiKlines")
    weight = 2
    parameters = ("symbol", "interval", "startTime", "endTime", "limit")

    def variant(self, sent: Sent) -> Grid:
        if not sent.get("interval"):
            raise ApiError(-1102, "interval")
        if sent["interval"] not in STEPS_MS:
            raise ApiError(-1120)
        return Grid(sent["interval"])

    def seeded(self, spec: SymbolSpec, variant: Hashable) -> SeededCandles:
        assert isinstance(variant, Grid)  # noqa: S101 - it comes from `variant`
        return SeededCandles(spec, self.holes(spec.symbol), variant, PricePath(self.config.seed, spec))

    def recorded_variant(self, name: str) -> Grid:
        interval = "1M" if name == "1mo" else name  # as the archive writes a month
        if interval not in STEPS_MS:
            raise ValueError(f"{name} is no interval of spot klines")
        return Grid(interval)

    def recorded_row(self, cells: Sequence[str]) -> tuple[int, int, int, bytes]:
        match = _LINE.fullmatch(",".join(cells))
        if match is None:
            raise ValueError("is no candle")
        opens, o, h, low, c, v, closes, q, n, tb, tq, last = match.groups()
        open_ms, close_ms = (int(t) if len(t) == 13 else int(t) // 1000 for t in (opens, closes))
        if close_ms <= open_ms:
            raise ValueError(f"is no candle: that of {open_ms} closes at {close_ms}")
        row = _ROW % (open_ms, o, h, low, c, v, close_ms, q, n, tb, tq, last)
        return open_ms, open_ms, close_ms, row.encode()


class SeededCandles(SeededRows):
    """Candles that follow from the seed (see `PricePath`); a row's number is that of its bar in the grid."""

    def __init__(self, spec: SymbolSpec, holes: Sequence[TimeRange], grid: Grid, path: PricePath) -> None:
        super().__init__(spec, holes)
        self._grid, self._path = grid, path

    def at(self, time_ms: int) -> int:
        return self._grid.first_from(time_ms)

    def within(self, span: TimeRange) -> Numbers:
        return self._grid.first_from(span.start_ms), self._grid.index(span.end_ms) - 1

    def existing(self, now_ms: int, *, final: bool) -> Numbers:
        grid, spec = self._grid, self.spec
        last = grid.index(now_ms)
        if spec.delisted_ms is not None and spec.delisted_ms <= now_ms:
            last = grid.index(spec.delisted_ms - 1)
        if final and grid.open_ms(last + 1) > now_ms:
            last -= 1
        return grid.index(spec.listed_ms), last

    def rows(self, first: int, last: int, now_ms: int) -> list[bytes]:
        if self._grid.open_ms(last + 1) <= now_ms:
            return self._path.rows(self._grid, first, last)
        over = self._path.rows(self._grid, first, last - 1) if first < last else []
        return [*over, *self._path.rows(self._grid, last, last, now_ms)]


_MASK = (1 << 64) - 1
_HOUR_S = 3_600
_MONTH_MS = 30 * 86_400_000
_NOISE = 0.0016
"""Width of the noise around the slow movement, as a share of the price."""


class PricePath:
    """The price of one symbol at every second, in ticks."""

    def __init__(self, seed: int, spec: SymbolSpec) -> None:
        self._key = _hash(f"{seed}:{spec.symbol}")
        self._price_ticks = spec.price * 10.0**spec.price_decimals
        phases = [_hash(f"{seed}:{spec.symbol}:{n}") / (1 << 64) * math.tau for n in range(3)]
        periods_h = (24 * 611.0, 24 * 47.3, 24 * 3.7)
        self._waves = [
            (size, math.tau / period, phase)
            for size, period, phase in zip((0.45, 0.12, 0.02), periods_h, phases, strict=True)
        ]
        self._spec = spec
        self._rows = _row_template(spec)
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
        points = self._points(instants)
        step_ms = grid.step_ms or _MONTH_MS
        minutes = step_ms / 60_000
        spread = min(0.0009 * math.sqrt(minutes), 0.15) * math.sqrt(shares) / 4096
        lots = max(minutes * shares, 0.02) / 256
        salt = self._key ^ (step_ms * 0x9E3779B97F4A7C15 & _MASK)
        tick, step, template = self._tick, self._step, self._rows
        texts = []
        opened, mixed = points[0]
        for position in range(len(opens_ms) - 1):
            following, next_mixed = points[position + 1]
            closed = following + (next_mixed >> 40 & 1) - (next_mixed >> 41 & 1)
            if closed < 1:
                closed = 1
            bits = (mixed ^ salt) * 0xBF58476D1CE4E5B9 & _MASK
            bits ^= bits >> 31
            top, bottom = (opened, closed) if opened > closed else (closed, opened)
            high = top + int(top * spread * (bits & 0xFFF))
            low = bottom - int(bottom * spread * (bits >> 12 & 0xFFF))
            part = bits >> 24 & 0xFFFF
            volume = int(part * part * lots) + 2
            taker = 1 + (volume - 1) * (bits >> 40 & 0x3FF) // 1024
            mean = (opened + closed) * 0.5 * tick * step
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
                    volume * mean,
                    1 + (volume >> 8) + (bits >> 50 & 0xFF),
                    taker * step,
                    taker * mean,
                )
            )
            opened, mixed = following, next_mixed
        return "\n".join(texts).encode().split(b"\n")

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
            x = (second * 0x9E3779B97F4A7C15 + key) & _MASK
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


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
