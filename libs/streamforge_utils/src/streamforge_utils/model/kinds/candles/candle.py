"""A candle and its intervals, as records, stored documents and keys.

Source of the intervals: Binance Spot REST, "Kline/Candlestick chart intervals". Times are unix milliseconds, UTC.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from operator import lt
from typing import Annotated, Any

import msgspec

from streamforge_utils.model.completeness.grid import Grid
from streamforge_utils.model.errors import PermanentError
from streamforge_utils.model.kinds.kind import Amounts, Number, Record, key_symbol, keys_of_series
from streamforge_utils.model.messages import DECODE_ERRORS

_DAY = 86_400_000
_MONDAY = 4 * _DAY  # the epoch was a Thursday; weeks open on Monday, 1970-01-05
_UNITS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": _DAY}


class Interval(StrEnum):
    """A candle interval as the exchange spells it; case matters (`1m` is a minute, `1M` a month)."""

    S1 = "1s"
    M1 = "1m"
    M3 = "3m"
    M5 = "5m"
    M15 = "15m"
    M30 = "30m"
    H1 = "1h"
    H2 = "2h"
    H4 = "4h"
    H6 = "6h"
    H8 = "8h"
    H12 = "12h"
    D1 = "1d"
    D3 = "3d"
    W1 = "1w"
    MO1 = "1M"

    @property
    def rule(self) -> Grid:
        """The grid of its open times."""
        return _GRIDS[self]

    @property
    def step_ms(self) -> int | None:
        """Length in milliseconds; None for the month, whose length varies."""
        return _GRIDS[self].length_ms

    @property
    def lower(self) -> str:  # type: ignore[override]
        """The spelling for lower-cased names and for the archive: `1M` is written `1mo`."""
        return "1mo" if self is Interval.MO1 else str(self.value)

    @classmethod
    def parse(cls, text: str) -> Interval:
        """Read `text` in the exchange's spelling or the archive's (`1mo`). Raises ValueError naming the choices."""
        try:
            return cls("1M" if text == "1mo" else text)
        except ValueError:
            raise ValueError(f"interval {text!r} is not one of {', '.join(cls)}") from None

    def close_time(self, open_time_ms: int) -> int:
        """The last millisecond of the bar."""
        return _GRIDS[self].next(open_time_ms) - 1


_GRIDS = {
    Interval.D3: Grid(3 * _DAY, None),  # only the exchange's data tell where its bars open
    Interval.W1: Grid(7 * _DAY, _MONDAY),
    Interval.MO1: Grid(None),
}
_GRIDS |= {one: Grid(int(one[:-1]) * _UNITS[one[-1]]) for one in Interval if one not in _GRIDS}


class Candle(Record, frozen=True, gc=False, kw_only=True):
    """One candle as a record on a data topic; its key is `SYMBOL_INTERVAL_OPENTIME`."""

    symbol: str
    interval: str
    open_time: int
    open: str
    high: str
    low: str
    close: str
    volume: str
    close_time: int
    quote_asset_volume: str
    number_of_trades: int
    taker_buy_base_asset_volume: str
    taker_buy_quote_asset_volume: str


class StoredCandle(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One candle as the store holds it and as the export writes it: prices and quantities as doubles."""

    symbol: str
    interval: str
    open_time: int
    open: Number
    high: Number
    low: Number
    close: Number
    volume: Number
    close_time: int
    quote_asset_volume: Number
    number_of_trades: Annotated[int, msgspec.Meta(ge=0)]
    taker_buy_base_asset_volume: Number
    taker_buy_quote_asset_volume: Number


FIRST_TIME_MS = 1_000_000_000_000
"""Keys sort by time from here on (2001-09-09), where times have 13 digits; no exchange has earlier candles."""

_INTERVALS = frozenset(interval.value for interval in Interval)
encode_candle = msgspec.json.Encoder().encode
"""The record's JSON."""


@lru_cache(maxsize=1000)
def candle_key_prefix(symbol: str, interval: str) -> str:
    """The beginning that all keys of a series share: everything before the open time."""
    return f"{key_symbol(symbol)}_{interval}_"


def refusal(candle: StoredCandle) -> str | None:
    """Why the candle can never be stored; None if it can."""
    if not FIRST_TIME_MS <= candle.open_time < 10 * FIRST_TIME_MS:
        return f"open_time {candle.open_time} is not in milliseconds (13 digits)"
    if candle.interval not in _INTERVALS:
        return f"interval {candle.interval!r} is not known"
    if candle.close_time <= candle.open_time:
        return f"close_time {candle.close_time} is not after open_time"
    return None


def keys_of(candles: Sequence[Any]) -> list[str] | None:
    """The keys of stored candles; None if one may have to be refused, or is of another series than the first."""
    opens, count = [c.open_time for c in candles], len(candles)
    symbol, interval = candles[0].symbol, candles[0].interval
    if (
        min(opens) < FIRST_TIME_MS
        or max(opens) >= 10 * FIRST_TIME_MS
        or interval not in _INTERVALS
        or [c.symbol for c in candles].count(symbol) != count
        or [c.interval for c in candles].count(interval) != count
        or not all(map(lt, opens, [c.close_time for c in candles]))
    ):
        return None
    return keys_of_series(candle_key_prefix(symbol, interval), opens, 13)


class _Figures(msgspec.Struct, frozen=True, gc=False):
    """What of an exported candle counts for a longer one."""

    open_time: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    quote_asset_volume: Decimal
    number_of_trades: int
    taker_buy_base_asset_volume: Decimal
    taker_buy_quote_asset_volume: Decimal


_read_figures = msgspec.json.Decoder(_Figures).decode_lines


def amounts_of(lines: bytes) -> list[Amounts]:
    """What exported candles add to longer ones. Raises PermanentError."""
    try:
        return [Amounts(*msgspec.structs.astuple(one)) for one in _read_figures(lines)]
    except DECODE_ERRORS as error:
        raise PermanentError(f"not an exported candle: {error}") from error
