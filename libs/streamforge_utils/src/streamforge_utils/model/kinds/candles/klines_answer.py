"""Reads an answer of the endpoint `klines` as candles: in order, each once.

A page in the exchange's usual spelling, all rows of which are wanted, is split by one regular expression and put
together again: values that travel as text anyway are not decoded. Any other page is checked row by row, and an error
names the row that is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice, pairwise
from operator import attrgetter, lt

import msgspec

from streamforge_utils.model.kinds.candles.candle import Candle, Interval, candle_key_prefix, encode_candle
from streamforge_utils.model.kinds.paging import ByTime, MalformedPage, Page, Question, SentRequest


class _Row(msgspec.Struct, array_like=True, gc=False):
    """A candle as the exchange writes it: an array of twelve values. more: set if there was a thirteenth."""

    open_time: int
    open: str
    high: str
    low: str
    close: str
    volume: str
    close_time: int
    quote_volume: str
    trades: int
    taker_base: str
    taker_quote: str
    ignored: msgspec.Raw
    more: object = msgspec.UNSET


_decode = msgspec.json.Decoder(list[_Row]).decode
_TEXTS = (1, 2, 3, 4, 5, 7, 9, 10)
DIGITS = rb"(?:[1-9][0-9]{0,39}+|0)"
"""An expression for a whole number as the exchange writes it."""

_is_decimal = re.compile(rf"{DIGITS.decode()}(?:\.[0-9]{{1,40}}+)?").fullmatch
MS_TIMES = range(10**12, 10**13)
_US = range(10**15, 10**16)
_open_time = attrgetter("open_time")


class Rows(msgspec.Struct, frozen=True, kw_only=True):
    """The candles of an answer, and how many rows were left out or moved, by reason."""

    candles: list[Candle]
    dropped: dict[str, int]


def read_rows(body: bytes, asked: SentRequest) -> Rows:
    """The closed candles of an answer that open in `span`, ascending, each once.

    A candle is closed if it ends before `observed_ms`, which becomes its version; where by the local clock it
    does not, one of the clocks is wrong, and only a later row of the same answer proves that it is closed.
    Raises MalformedPage.
    """
    try:
        rows = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise MalformedPage(f"{error}") from error
    if not rows:
        return Rows(candles=[], dropped={})
    rows = _checked(rows)
    dropped: dict[str, int] = {}
    rows = _in_order(rows, dropped)
    newest_open_ms = rows[-1].open_time
    rows = _inside(rows, asked, dropped)
    rows = _closed(rows, asked, newest_open_ms, dropped)
    rows = rows[-asked.limit :] if by_time(asked.question).newest else rows[: asked.limit]
    return Rows(candles=_candles(rows, asked), dropped=dropped)


def by_time(question: Question) -> ByTime:
    """`question`, if it is by time. Raises ValueError for one by id: candles have none."""
    if not isinstance(question, ByTime):
        raise ValueError(f"candles are asked for by time, not {question}")
    return question


def _checked(rows: list[_Row]) -> list[_Row]:
    """The rows, times in milliseconds."""
    if all(row.open_time in _US for row in rows):
        rows = [
            msgspec.structs.replace(row, open_time=row.open_time // 1000, close_time=row.close_time // 1000)
            for row in rows
        ]
    for number, row in enumerate(rows):
        _check_row(number, row)
    return rows


def _check_row(number: int, row: _Row) -> None:
    if row.more is not msgspec.UNSET:
        raise MalformedPage(f"row {number} (open time {row.open_time}): it has more than 12 columns")
    values = msgspec.structs.astuple(row)
    for position in _TEXTS:
        text = str(values[position])
        if _is_decimal(text) is None:
            raise MalformedPage(
                f"row {number} (open time {row.open_time}), column {position}: {text[:40]!r} is no decimal number"
            )
    if row.open_time not in MS_TIMES:
        raise MalformedPage(f"row {number}: open time {row.open_time} is not in milliseconds, or units are mixed")
    if row.close_time not in MS_TIMES or row.close_time <= row.open_time:
        raise MalformedPage(
            f"row {number} (open time {row.open_time}): close time {row.close_time} is not after it in milliseconds"
        )
    if row.trades < 0:
        raise MalformedPage(f"row {number} (open time {row.open_time}): {row.trades} trades")


def _in_order(rows: list[_Row], dropped: dict[str, int]) -> list[_Row]:
    disorder = sum(left.open_time > right.open_time for left, right in pairwise(rows))
    if disorder:
        dropped["disorder"] = disorder
    rows = sorted(rows, key=_open_time)
    kept = rows[:1]
    for row in rows[1:]:
        if row.open_time != kept[-1].open_time:
            kept.append(row)
        elif msgspec.structs.astuple(row)[:11] != msgspec.structs.astuple(kept[-1])[:11]:
            raise MalformedPage(f"two different rows open at {row.open_time}")
    if len(kept) < len(rows):
        dropped["duplicate"] = len(rows) - len(kept)
    return kept


def _inside(rows: list[_Row], asked: SentRequest, dropped: dict[str, int]) -> list[_Row]:
    span, sent_span = by_time(asked.question).span, by_time(asked.sent).span
    unasked = sum(row.open_time not in sent_span for row in rows)
    if unasked:
        dropped["outside"] = unasked
    return [row for row in rows if row.open_time in span]


def _closed(rows: list[_Row], asked: SentRequest, newest_open_ms: int, dropped: dict[str, int]) -> list[_Row]:
    observed_ms, interval = asked.observed_ms, Interval(asked.series.interval)
    closed = [row for row in rows if row.close_time < observed_ms]
    while closed:
        open_ms, close_ms = closed[-1].open_time, closed[-1].close_time
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


def _candles(rows: Sequence[_Row], asked: SentRequest) -> list[Candle]:
    symbol, spelled, version = asked.series.symbol, asked.series.interval, asked.observed_ms
    prefix = candle_key_prefix(symbol, spelled)
    return [
        Candle(
            key=f"{prefix}{row.open_time}",
            version=version,
            symbol=symbol,
            interval=spelled,
            open_time=row.open_time,
            open=row.open,
            high=row.high,
            low=row.low,
            close=row.close,
            volume=row.volume,
            close_time=row.close_time,
            quote_asset_volume=row.quote_volume,
            number_of_trades=row.trades,
            taker_buy_base_asset_volume=row.taker_base,
            taker_buy_quote_asset_volume=row.taker_quote,
        )
        for row in rows
    ]


_INTEGER = rb"(%b)" % DIGITS
_TEXT = rb'("%b\.[0-9]{1,40}+")' % DIGITS
_find_rows = re.compile(
    rb"\[%b\]" % b",".join([_INTEGER, *[_TEXT] * 5, _INTEGER, _TEXT, _INTEGER, _TEXT, _TEXT, rb'"0"'])
).findall
_BESIDE_GROUPS = len(b"[") + 11 * len(b",") + len(b'"0"') + len(b"]") + len(b",")
"""Characters of a row, and of the comma before the next one, that are in none of the expression's groups."""

_NUMBERS = (
    b',"open":%b,"high":%b,"low":%b,"close":%b,"volume":%b,"close_time":%b,"quote_asset_volume":%b,'
    b'"number_of_trades":%b,"taker_buy_base_asset_volume":%b,"taker_buy_quote_asset_volume":%b}'
)
_encode = msgspec.json.encode
_decode_integers = msgspec.json.Decoder(list[int]).decode


def read_page(body: bytes, asked: SentRequest) -> Page:
    """The candles that `read_rows` gives, as they travel. Raises MalformedPage."""
    page = _plain_page(body, asked)
    if page is not None:
        return page
    rows = read_rows(body, asked)
    opens = [candle.open_time for candle in rows.candles]
    keys = [candle.key.encode() for candle in rows.candles]
    return Page(opens, opens, keys, [*map(encode_candle, rows.candles)], rows.dropped)


def _plain_page(body: bytes, asked: SentRequest) -> Page | None:
    """The page by the regular expression alone; None if a row may have to be checked or left out."""
    rows = _find_rows(body)
    if not rows or len(rows) > asked.limit:
        return None
    try:
        opens, closes = _integers([row[0] for row in rows]), _integers([row[6] for row in rows])
    except msgspec.MsgspecError:  # more digits than a time has
        return None
    if not _all_wanted(opens, closes, asked):
        return None
    series = asked.series
    prefix = candle_key_prefix(series.symbol, series.interval).encode()
    head = b'{"_key":"%b' % prefix
    rest = b'","_version":%d,"symbol":%b,"interval":%b,"open_time":' % (
        asked.observed_ms,
        _encode(series.symbol),
        _encode(series.interval),
    )
    form = b"%b%%b%b%%b%b" % (_literal(head), _literal(rest), _NUMBERS)
    values = [form % (row[0], *row) for row in rows]
    # The expression may have passed over something: then the answer is longer than what was taken from it.
    beside = len(head) + len(rest) + len(_NUMBERS.replace(b"%b", b"")) + len(rows[0][0])
    taken = sum(map(len, values)) - len(rows) * beside
    whole = len(b"[]") - len(b",") + len(rows) * _BESIDE_GROUPS + taken
    if len(body) != whole or body.count(b"],[") != len(rows) - 1 or body[:2] != b"[[" or body[-2:] != b"]]":
        return None
    return Page(opens, opens, [prefix + row[0] for row in rows], values)


def _integers(texts: list[bytes]) -> list[int]:
    return _decode_integers(b"[%b]" % b",".join(texts))


def _all_wanted(opens: list[int], closes: list[int], asked: SentRequest) -> bool:
    """Whether every row is in order, inside the span and closed, by both clocks; as `read_rows` requires."""
    span, interval = by_time(asked.question).span, Interval(asked.series.interval)
    return (
        opens[0] in MS_TIMES
        and opens[-1] in MS_TIMES
        and max(closes) in MS_TIMES
        and all(map(lt, opens, islice(opens, 1, None)))
        and all(map(lt, opens, closes))
        and opens[0] >= span.start_ms
        and opens[-1] < span.end_ms
        and max(closes) < min(asked.observed_ms, asked.local_ms)
        and interval.close_time(opens[-1]) < asked.observed_ms
    )


def _literal(text: bytes) -> bytes:
    return text.replace(b"%", b"%%")
