"""A candle as it travels (decimal text) and as it is stored (doubles). Times are unix milliseconds, UTC.

The text of prices and quantities is the exchange's own; the store holds the double nearest to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from operator import lt
from typing import Annotated

import msgspec

from streamforge_utils.model.decoding import DECODE_ERRORS, decoder
from streamforge_utils.model.kinds.candles.intervals import Interval
from streamforge_utils.model.kinds.kind import Columns, Number, Record, key_symbol


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


class _Incoming(StoredCandle, frozen=False, gc=False, kw_only=True, omit_defaults=True):  # type: ignore[misc]
    """A record as a sink reads it; without key and version it is encoded as a `StoredCandle` is."""

    key: str = msgspec.field(name="_key", default="")
    version: int = msgspec.field(name="_version", default=0)


FIRST_TIME_MS = 1_000_000_000_000
"""Keys sort by time from here on (2001-09-09), where times have 13 digits; no exchange has earlier candles."""

_INTERVALS = frozenset(interval.value for interval in Interval)
_encode = msgspec.json.Encoder().encode
decode_candle = decoder(Candle, "a candle")
"""Reads a record. Raises PermanentError naming the field."""
_decode_numbers = msgspec.json.Decoder(_Incoming, strict=False).decode


def candle_key(symbol: str, interval: str, open_time: int) -> str:
    """The key of a candle; symbols that hold other than plain characters are percent-encoded."""
    return f"{candle_key_prefix(symbol, interval)}{open_time}"


@lru_cache(maxsize=1000)
def candle_key_prefix(symbol: str, interval: str) -> str:
    """What the keys of a series have in common: everything before the open time."""
    return f"{key_symbol(symbol)}_{interval}_"


def encode_candle(candle: Candle) -> bytes:
    """The record's JSON."""
    return _encode(candle)


def refusal(candle: StoredCandle) -> str | None:
    """Why the candle can never be stored; None if it can."""
    if not FIRST_TIME_MS <= candle.open_time < 10 * FIRST_TIME_MS:
        return f"open_time {candle.open_time} is not in milliseconds (13 digits)"
    if candle.interval not in _INTERVALS:
        return f"interval {candle.interval!r} is not known"
    if candle.close_time <= candle.open_time:
        return f"close_time {candle.close_time} is not after open_time"
    return None


def stored_documents(keys: Sequence[bytes | None], values: Sequence[bytes]) -> Columns | None:
    """What `RecordKind.document` gives for each of many candles of one series, in columns: much faster.

    None if a record may have to be refused, or is of another series: then ask for each alone.
    """
    try:
        candles = [_decode_numbers(value) for value in values]
        given = b"\n".join(keys)  # type: ignore[arg-type]  # without a key it is a TypeError
    except (*DECODE_ERRORS, TypeError):
        return None
    if not candles:
        return None
    opens, count = [c.open_time for c in candles], len(candles)
    symbol, interval = candles[0].symbol, candles[0].interval
    expected = _keys(symbol, interval, opens)
    if (
        min(opens) < FIRST_TIME_MS
        or max(opens) >= 10 * FIRST_TIME_MS
        or interval not in _INTERVALS
        or [c.symbol for c in candles].count(symbol) != count
        or [c.interval for c in candles].count(interval) != count
        or given != expected
        or [c.key for c in candles] != (texts := expected.decode().split("\n"))
        or not all(map(lt, opens, [c.close_time for c in candles]))
    ):
        return None
    versions = [c.version for c in candles]
    for candle in candles:
        candle.key, candle.version = "", 0  # left out: these are their defaults
    return texts, versions, [*map(_encode, candles)]


def _keys(symbol: str, interval: str, open_times: list[int]) -> bytes:
    """The keys of a series, one in a line."""
    prefix = candle_key_prefix(symbol, interval).encode()
    return prefix + _encode(open_times)[1:-1].replace(b",", b"\n" + prefix)
