"""Rows of `klines` answers turned into records straight from their text.

A page in the exchange's own spelling, of which nothing has to be left out, is taken apart by one expression and put
together again: no value is decoded that travels as text anyway. Any other page goes through `rows`.
"""

from __future__ import annotations

import re
from itertools import islice
from operator import lt

import msgspec

from streamforge_utils.model.kinds.candles.candle import candle_key_prefix, encode_candle
from streamforge_utils.model.kinds.candles.intervals import Interval
from streamforge_utils.model.kinds.candles.rows import DIGITS, MS_TIMES, by_time, read_rows
from streamforge_utils.model.kinds.paging import Asked, Page

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


def read_page(body: bytes, asked: Asked) -> Page:
    """The candles that `read_rows` gives, as they travel. Raises MalformedPage."""
    page = _plain_page(body, asked)
    if page is not None:
        return page
    rows = read_rows(body, asked)
    opens = [candle.open_time for candle in rows.candles]
    keys = [candle.key.encode() for candle in rows.candles]
    return Page(opens, opens, keys, [*map(encode_candle, rows.candles)], rows.dropped)


def _plain_page(body: bytes, asked: Asked) -> Page | None:
    """None: it is not known that every row is to be taken as it stands."""
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


def _all_wanted(opens: list[int], closes: list[int], asked: Asked) -> bool:
    """Whether every row is in order, inside the span and closed, by both clocks; as `rows` requires."""
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
