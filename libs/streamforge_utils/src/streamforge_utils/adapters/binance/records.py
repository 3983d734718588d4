"""Rows of `klines` answers turned into records straight from their text.

A page in the exchange's own spelling, of which nothing has to be left out, is taken apart by one expression and put
together again: no value is decoded that travels as text anyway. Any other page goes through `rows`.
"""

from __future__ import annotations

import re
from itertools import islice
from operator import lt

import msgspec

from streamforge_utils.adapters.binance.rows import DIGITS, MS_TIMES, Asked, read_page
from streamforge_utils.model.candles import CandleRecords, candle_key_prefix, encode_candles

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


class RecordPage(msgspec.Struct, frozen=True, kw_only=True):
    """The records of an answer, and how many rows were left out or moved, by reason."""

    records: CandleRecords
    dropped: dict[str, int]


def read_records(body: bytes, asked: Asked) -> RecordPage:
    """The candles that `read_page` gives, as they travel. Raises MalformedPage."""
    records = _plain_records(body, asked)
    if records is not None:
        return RecordPage(records=records, dropped={})
    page = read_page(body, asked)
    return RecordPage(records=encode_candles(page.candles), dropped=page.dropped)


def _plain_records(body: bytes, asked: Asked) -> CandleRecords | None:
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
    prefix = candle_key_prefix(asked.symbol, asked.interval.value).encode()
    head = b'{"_key":"%b' % prefix
    rest = b'","_version":%d,"symbol":%b,"interval":%b,"open_time":' % (
        asked.observed_ms,
        _encode(asked.symbol),
        _encode(asked.interval.value),
    )
    form = b"%b%%b%b%%b%b" % (_literal(head), _literal(rest), _NUMBERS)
    values = [form % (row[0], *row) for row in rows]
    # The expression may have passed over something: then the answer is longer than what was taken from it.
    beside = len(head) + len(rest) + len(_NUMBERS.replace(b"%b", b"")) + len(rows[0][0])
    taken = sum(map(len, values)) - len(rows) * beside
    whole = len(b"[]") - len(b",") + len(rows) * _BESIDE_GROUPS + taken
    if len(body) != whole or body.count(b"],[") != len(rows) - 1 or body[:2] != b"[[" or body[-2:] != b"]]":
        return None
    return CandleRecords(open_times=opens, keys=[prefix + row[0] for row in rows], values=values)


def _integers(texts: list[bytes]) -> list[int]:
    return _decode_integers(b"[%b]" % b",".join(texts))


def _all_wanted(opens: list[int], closes: list[int], asked: Asked) -> bool:
    """Whether every row is in order, inside the span and closed, by both clocks; `rows` says why it must be both."""
    return (
        opens[0] in MS_TIMES
        and opens[-1] in MS_TIMES
        and max(closes) in MS_TIMES
        and all(map(lt, opens, islice(opens, 1, None)))
        and all(map(lt, opens, closes))
        and opens[0] >= asked.span.start_ms
        and opens[-1] < asked.span.end_ms
        and max(closes) < min(asked.observed_ms, asked.local_ms)
        and asked.interval.close_time(opens[-1]) < asked.observed_ms
    )


def _literal(text: bytes) -> bytes:
    return text.replace(b"%", b"%%")
