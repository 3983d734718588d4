"""A candle as it travels (decimal text) and as it is stored (doubles). Times are unix milliseconds, UTC.

The text of prices and quantities is the exchange's own; the store holds the double nearest to it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import lru_cache
from operator import lt
from typing import Annotated

import msgspec

from streamforge_utils.model.decoding import DECODE_ERRORS
from streamforge_utils.model.errors import PermanentError
from streamforge_utils.model.kinds.candles.intervals import Interval
from streamforge_utils.model.kinds.kind import key_symbol


class Candle(msgspec.Struct, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=False):
    """One candle as a record on a data topic.

    key: identity of the candle, `SYMBOL_INTERVAL_OPENTIME`; also the message's key.
    version: when the exchange was observed, unix milliseconds; a later observation of the same candle wins.
    """

    key: str = msgspec.field(name="_key")
    version: int = msgspec.field(name="_version", default=0)
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
    """One candle as the store holds it and as the export writes it: the numbers of `Candle` as doubles."""

    symbol: str
    interval: str
    open_time: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    close_time: int
    quote_asset_volume: float
    number_of_trades: int
    taker_buy_base_asset_volume: float
    taker_buy_quote_asset_volume: float


class _Exactly(StoredCandle, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True):
    """A candle and nothing else."""


_Number = Annotated[float, msgspec.Meta(ge=0, le=sys.float_info.max)]
"""Not negative, and finite."""


class _Incoming(msgspec.Struct, gc=False, kw_only=True, omit_defaults=True):
    """A record as a sink reads it; without key and version it is encoded as a `StoredCandle` is."""

    key: str = msgspec.field(name="_key", default="")
    version: int = msgspec.field(name="_version", default=0)
    symbol: str
    interval: str
    open_time: int
    open: _Number
    high: _Number
    low: _Number
    close: _Number
    volume: _Number
    close_time: int
    quote_asset_volume: _Number
    number_of_trades: Annotated[int, msgspec.Meta(ge=0)]
    taker_buy_base_asset_volume: _Number
    taker_buy_quote_asset_volume: _Number


FIRST_TIME_MS = 1_000_000_000_000
"""Keys sort by time from here on (2001-09-09), where times have 13 digits; no exchange has earlier candles."""

CANDLE_FIELDS: tuple[str, ...] = StoredCandle.__struct_fields__
"""The exported columns of a candle, in order."""
CANDLE_TIMES = ("open_time", "close_time")
"""Those of them that are instants."""

_INTERVALS = frozenset(interval.value for interval in Interval)
_encode = msgspec.json.Encoder().encode
_decode_record = msgspec.json.Decoder(Candle).decode
_decode_exactly = msgspec.json.Decoder(_Exactly).decode
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


def decode_candle(value: bytes) -> Candle:
    """Read a record. Raises PermanentError naming the field."""
    try:
        return _decode_record(value)
    except DECODE_ERRORS as error:
        raise PermanentError(f"not a candle: {error}") from error


def stored_document(key: bytes | None, value: bytes) -> tuple[str, int, bytes]:
    """Turn a record into what the store keeps: key, version, and the JSON of a `StoredCandle`.

    key: the message's key, compared with the record's own where present.
    Raises PermanentError with the reason: unreadable, a field missing, a number that is none, not finite or negative,
    a key that does not follow from symbol, interval and open time.
    """
    try:
        candle = _decode_numbers(value)
    except DECODE_ERRORS as error:
        raise PermanentError(f"not a candle: {error}") from error
    if not candle.key:
        raise PermanentError("not a candle: Object missing required field `_key`")
    if not FIRST_TIME_MS <= candle.open_time < 10 * FIRST_TIME_MS:
        raise PermanentError(f"candle {candle.key}: open_time {candle.open_time} is not in milliseconds (13 digits)")
    if candle.interval not in _INTERVALS:
        raise PermanentError(f"candle {candle.key}: interval {candle.interval!r} is not known")
    expected = candle_key(candle.symbol, candle.interval, candle.open_time)
    if candle.key != expected:
        raise PermanentError(f"candle {candle.key}: its identity says {expected}")
    if key is not None and key != expected.encode():
        raise PermanentError(f"candle {expected}: the message's key is {key[:80]!r}")
    if candle.close_time <= candle.open_time:
        raise PermanentError(f"candle {expected}: close_time {candle.close_time} is not after open_time")
    version = candle.version
    return expected, version, _body(candle)


def stored_documents(
    keys: Sequence[bytes | None], values: Sequence[bytes]
) -> tuple[list[str], list[int], list[bytes]] | None:
    """What `stored_document` gives for each of many records of one series, in columns: much faster.

    None if a record may have to be refused, or is of another series: then ask for each alone.
    """
    try:
        candles = [_decode_numbers(value) for value in values]
        told = b"\n".join(keys)  # type: ignore[arg-type]  # without a key it is a TypeError
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
        or told != expected
        or [c.key for c in candles] != (texts := expected.decode().split("\n"))
        or not all(map(lt, opens, [c.close_time for c in candles]))
    ):
        return None
    versions = [c.version for c in candles]
    for candle in candles:
        candle.key, candle.version = "", 0  # as `_body` does, without a call for each
    return texts, versions, [*map(_encode, candles)]


def _keys(symbol: str, interval: str, open_times: list[int]) -> bytes:
    """The keys of a series, one in a line."""
    prefix = candle_key_prefix(symbol, interval).encode()
    return prefix + _encode(open_times)[1:-1].replace(b",", b"\n" + prefix)


def as_exported(body: bytes) -> bytes:
    """What a store holds, as the export writes it: of a candle the fields in their order and every double as such.

    A store of documents may give 42000.0 back as 42000, and the fields in another order. What is no candle stays.
    """
    try:
        return _encode(_decode_exactly(body))
    except DECODE_ERRORS:
        return body


def _body(candle: _Incoming) -> bytes:
    """The JSON of the `StoredCandle`; `candle` loses its key and its version."""
    candle.key, candle.version = "", 0
    return _encode(candle)
