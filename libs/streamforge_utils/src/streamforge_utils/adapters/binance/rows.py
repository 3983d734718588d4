"""Rows of `klines` answers turned into candles: checked, in order, each once.

A page is decoded into columns and checked as a whole, which costs a fraction of checking each value; only a page that
fails is looked at row by row, to name the culprit.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain, islice, pairwise
from operator import itemgetter, lt

import msgspec

from streamforge_utils.model.candles import Candle, key_symbol
from streamforge_utils.model.intervals import Interval
from streamforge_utils.model.timeranges import TimeRange

Row = tuple[int, str, str, str, str, str, int, str, int, str, str, msgspec.Raw]
"""Open time, open, high, low, close, volume, close time, quote volume, trades, taker base, taker quote, ignored."""

_decode = msgspec.json.Decoder(list[Row]).decode
_TEXTS = (1, 2, 3, 4, 5, 7, 9, 10)
_DECIMAL = r"(?:0|[1-9][0-9]{0,39}+)(?:\.[0-9]{1,40}+)?"
_is_decimal = re.compile(_DECIMAL).fullmatch
_are_decimals = re.compile(rf"(?:{_DECIMAL},)*+").fullmatch
_MS = range(10**12, 10**13)
_US = range(10**15, 10**16)
_open_time = itemgetter(0)


class MalformedPage(Exception):
    """The answer is no page of candles; the message names the row and what is wrong with it."""


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """The candles of an answer, and how many rows were left out or moved, by reason."""

    candles: list[Candle]
    dropped: dict[str, int]


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request for a page, and when it was sent.

    span: what is wanted. sent_span: what the exchange was asked for, which may be wider. limit: candles at most; of
    too many the oldest are kept, or the `newest`. observed_ms: a moment at the exchange not after its data were read.
    local_ms: the same moment by the local clock.
    """

    symbol: str
    interval: Interval
    span: TimeRange
    sent_span: TimeRange
    limit: int
    newest: bool
    observed_ms: int
    local_ms: int


def read_page(body: bytes, asked: Asked) -> Page:
    """The closed candles of an answer that open in `span`, ascending, each once.

    A candle is closed if it ends before `observed_ms`, which becomes its version; where the local clock says that it
    does not, one of the clocks is wrong, and only a later row of the same answer proves that it is closed.
    Raises MalformedPage.
    """
    try:
        rows = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise MalformedPage(f"{error}") from error
    if not rows:
        return Page(candles=[], dropped={})
    rows = _checked(rows)
    dropped: dict[str, int] = {}
    rows = _in_order(rows, dropped)
    newest_open_ms = rows[-1][0]
    rows = _inside(rows, asked, dropped)
    rows = _closed(rows, asked, newest_open_ms, dropped)
    rows = rows[-asked.limit :] if asked.newest else rows[: asked.limit]
    return Page(candles=_candles(rows, asked), dropped=dropped)


def _checked(rows: list[Row]) -> list[Row]:
    columns = tuple(zip(*rows, strict=True))
    opens, closes = columns[0], columns[6]
    if min(opens) in _US and max(opens) in _US:
        rows = [_in_milliseconds(row) for row in rows]
        return _checked(rows)
    texts = ",".join(chain.from_iterable(columns[i] for i in _TEXTS))
    fine = (
        _are_decimals(texts + ",") is not None
        and texts.count(",") == len(rows) * len(_TEXTS) - 1
        and min(opens) in _MS
        and max(opens) in _MS
        and all(map(lt, opens, closes))
        and max(closes) in _MS
        and min(columns[8]) >= 0
    )
    if not fine:
        for number, row in enumerate(rows):
            _check_row(number, row)
        raise MalformedPage("times are not in one unit")
    return rows


def _check_row(number: int, row: Row) -> None:
    for position in _TEXTS:
        text = str(row[position])
        if _is_decimal(text) is None:
            raise MalformedPage(
                f"row {number} (open time {row[0]}), column {position}: {text[:40]!r} is no decimal number"
            )
    if row[0] not in _MS:
        raise MalformedPage(f"row {number}: open time {row[0]} is not in milliseconds, or units are mixed")
    if row[6] not in _MS or row[6] <= row[0]:
        raise MalformedPage(f"row {number} (open time {row[0]}): close time {row[6]} is not after it in milliseconds")
    if row[8] < 0:
        raise MalformedPage(f"row {number} (open time {row[0]}): {row[8]} trades")


def _in_milliseconds(row: Row) -> Row:
    return (row[0] // 1000, *row[1:6], row[6] // 1000, *row[7:])


def _in_order(rows: list[Row], dropped: dict[str, int]) -> list[Row]:
    opens = [row[0] for row in rows]
    if all(map(lt, opens, islice(opens, 1, None))):
        return rows
    disorder = sum(1 for left, right in pairwise(opens) if left > right)
    if disorder:
        dropped["disorder"] = disorder
    rows = sorted(rows, key=_open_time)
    kept = rows[:1]
    for row in rows[1:]:
        if row[0] != kept[-1][0]:
            kept.append(row)
        elif row[:11] != kept[-1][:11]:
            raise MalformedPage(f"two different rows open at {row[0]}")
    if len(kept) < len(rows):
        dropped["duplicate"] = len(rows) - len(kept)
    return kept


def _inside(rows: list[Row], asked: Asked, dropped: dict[str, int]) -> list[Row]:
    span, sent_span = asked.span, asked.sent_span
    if rows[0][0] >= span.start_ms and rows[-1][0] < span.end_ms:
        return rows
    unasked = sum(1 for row in rows if row[0] not in sent_span)
    if unasked:
        dropped["outside"] = unasked
    return [row for row in rows if row[0] in span]


def _closed(rows: list[Row], asked: Asked, newest_open_ms: int, dropped: dict[str, int]) -> list[Row]:
    observed_ms, interval = asked.observed_ms, asked.interval
    closed = [row for row in rows if row[6] < observed_ms] if any(row[6] >= observed_ms for row in rows) else rows[:]
    while closed:
        open_ms, close_ms = closed[-1][0], closed[-1][6]
        # A bar that an outage cut short names an early end while it may still be changed: its whole length counts.
        still_open = interval.close_time(open_ms) >= observed_ms
        doubtful = close_ms >= asked.local_ms and newest_open_ms <= close_ms
        if not still_open and not doubtful:
            break
        if doubtful and not still_open:
            dropped["doubtful"] = dropped.get("doubtful", 0) + 1
        closed.pop()
    if len(closed) < len(rows):
        dropped["open"] = len(rows) - len(closed)
    return closed


def _candles(rows: Sequence[Row], asked: Asked) -> list[Candle]:
    symbol, spelled, version = asked.symbol, asked.interval.value, asked.observed_ms
    prefix = f"{key_symbol(symbol)}_{spelled}_"
    return [
        Candle(
            key=f"{prefix}{open_time}",
            version=version,
            symbol=symbol,
            interval=spelled,
            open_time=open_time,
            open=open_,
            high=high,
            low=low,
            close=close,
            volume=volume,
            close_time=close_time,
            quote_asset_volume=quote_volume,
            number_of_trades=trades,
            taker_buy_base_asset_volume=taker_base,
            taker_buy_quote_asset_volume=taker_quote,
        )
        for (
            open_time,
            open_,
            high,
            low,
            close,
            volume,
            close_time,
            quote_volume,
            trades,
            taker_base,
            taker_quote,
            _,
        ) in rows
    ]
