"""Aggregated trades: what one order took at one price in one moment; the ids of a symbol follow each other."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Ordered
from itertools import islice
from operator import le, ne
from typing import Any

import msgspec

from streamforge_utils.model.kinds import trades
from streamforge_utils.model.kinds.archive_files import ArchiveFiles
from streamforge_utils.model.kinds.archive_rows import (
    POSITIVE,
    TRUTH,
    WHOLE,
    RowForm,
    filled,
    integers,
    milliseconds,
    padded,
    require_ascending,
)
from streamforge_utils.model.kinds.kind import DecimalText, Number, Record
from streamforge_utils.model.kinds.paging import (
    ById,
    MalformedPage,
    Page,
    Paging,
    Question,
    SentRequest,
    page_of,
    rows_of,
    time_window,
)
from streamforge_utils.model.kinds.stream_messages import heard_of
from streamforge_utils.model.kinds.streaming import Heard
from streamforge_utils.model.series import Series


class AggTrade(Record, frozen=True, gc=False, kw_only=True):
    """An aggregated trade as it travels: price and quantity are the exchange's own text. timestamp: unix milliseconds.

    trade_id: of the aggregate. first_trade_id, last_trade_id: the single trades in it, both included.
    """

    symbol: str
    trade_id: int
    price: str
    quantity: str
    first_trade_id: int
    last_trade_id: int
    timestamp: int
    is_buyer_maker: bool


class StoredAggTrade(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """An aggregated trade as it is stored and exported: price and quantity are numbers."""

    symbol: str
    trade_id: int
    price: Number
    quantity: Number
    first_trade_id: int
    last_trade_id: int
    timestamp: int
    is_buyer_maker: bool


class _Row(msgspec.Struct, frozen=True, gc=False):
    """An aggregated trade as the exchange writes it."""

    id: int = msgspec.field(name="a")
    price: DecimalText = msgspec.field(name="p")
    quantity: DecimalText = msgspec.field(name="q")
    first_id: int = msgspec.field(name="f")
    last_id: int = msgspec.field(name="l")
    time: int = msgspec.field(name="T")
    is_buyer_maker: bool = msgspec.field(name="m")


class _Ids(msgspec.Struct, frozen=True, gc=False):
    """The ids of an aggregated trade as it travels or is stored."""

    trade_id: int
    first_trade_id: int
    last_trade_id: int


_decode_rows = msgspec.json.Decoder(list[_Row]).decode
_decode_ids = msgspec.json.Decoder(_Ids).decode
_encode = msgspec.json.Encoder().encode


class AggTradesPaging(Paging):
    """Binance Spot REST, GET /api/v3/aggTrades. By time it gives the first ones of the window, or the last ones."""

    path = "/api/v3/aggTrades"
    most = 1000

    def weight(self, parameters: Mapping[str, str]) -> int:
        return 4

    def parameters(self, series: Series, question: Question, limit: int) -> dict[str, str]:
        asked = {"symbol": series.symbol, "limit": str(limit)}
        if isinstance(question, ById):
            return {**asked, "fromId": str(question.first_id)}
        return {**asked, **time_window(question)}

    def read(self, body: bytes, asked: SentRequest) -> Page:
        rows = rows_of(_decode_rows, body)
        prefix, symbol, version = KIND.prefix(asked.series), asked.series.symbol, asked.observed_ms
        page = page_of(
            (
                (
                    row.id,
                    row.time,
                    AggTrade(
                        key=f"{prefix}{row.id:012}",
                        version=version,
                        symbol=symbol,
                        trade_id=row.id,
                        price=row.price,
                        quantity=row.quantity,
                        first_trade_id=row.first_id,
                        last_trade_id=row.last_id,
                        timestamp=row.time,
                        is_buyer_maker=row.is_buyer_maker,
                    ),
                )
                for row in rows
            ),
            asked,
        )
        ordered = sorted(rows, key=lambda row: row.id)
        check_chain([row.id for row in ordered], [row.first_id for row in ordered], [row.last_id for row in ordered])
        return page


def check_chain(ids: Ordered[int], firsts: Ordered[int], lasts: Ordered[int]) -> None:
    """Aggregates with consecutive ids hold consecutive trades. Raises MalformedPage naming the first that do not.

    ids: they do not descend. firsts, lasts: the ids of the trades in each.
    """
    expected = [last + 1 for last in lasts]
    if not any(map(ne, islice(firsts, 1, None), expected)):
        return
    for number, one in enumerate(ids[:-1]):
        if ids[number + 1] == one + 1 and firsts[number + 1] != expected[number]:
            raise MalformedPage(
                f"aggregate {one} ends with trade {lasts[number]}, and {one + 1} begins with {firsts[number + 1]}"
            )


class AggTradeFiles(ArchiveFiles):
    """Files of aggregated trades, of days and of months."""

    folder = "aggTrades"
    row_bytes = 20
    rows = RowForm(
        ("id", WHOLE),
        ("price", POSITIVE),
        ("quantity", POSITIVE),
        ("first trade's id", WHOLE),
        ("last trade's id", WHOLE),
        ("time", WHOLE),
        ("isBuyerMaker", TRUTH),
        ("isBestMatch", TRUTH),
        optional=1,
    )

    def read(self, rows: bytes, series: Series, version: int) -> Page:
        ids, prices, quantities, firsts, lasts, times, makers = self.rows.read(rows)
        positions, times = integers(ids), milliseconds(times)
        first_ids, last_ids = integers(firsts), integers(lasts)
        require_ascending(positions, "aggregate")
        if not all(map(le, first_ids, last_ids)):
            number = next(number for number, first in enumerate(first_ids) if first > last_ids[number])
            raise MalformedPage(
                f"aggregate {positions[number]} holds the trades {first_ids[number]} to {last_ids[number]}"
            )
        check_chain(positions, first_ids, last_ids)
        keys = padded(KIND.prefix(series).encode(), ids, KIND.digits)
        parts = (
            b'{"_key":"',
            b'","_version":%d,"symbol":%b,"trade_id":' % (version, _encode(series.symbol)),
            b',"price":"',
            b'","quantity":"',
            b'","first_trade_id":',
            b',"last_trade_id":',
            b',"timestamp":',
            b',"is_buyer_maker":',
            b"}",
        )
        columns = (keys, ids, prices, quantities, firsts, lasts, times, makers)
        return Page(positions, integers(times), keys, filled(parts, columns))


class _Message(_Row, frozen=True, gc=False, kw_only=True):
    """An aggregated trade as the exchange sends it."""

    e: str
    symbol: str = msgspec.field(name="s")
    price: str = msgspec.field(name="p")
    quantity: str = msgspec.field(name="q")


class AggTradeStream(trades.TradeStream):
    """Binance Spot, `<symbol>@aggTrade`."""

    word = event = "aggTrade"
    message = _Message

    def all_right(self, messages: Ordered[Any], series: Series) -> bool:
        return super().all_right(messages, series) and all(
            map(le, [m.first_id for m in messages], [m.last_id for m in messages])
        )

    def refusal(self, message: Any, series: Series) -> str:
        m = message
        if m.last_id < m.first_id:
            return f"{m.id}: its last trade {m.last_id} is before its first one {m.first_id}"
        return super().refusal(message, series)

    def heard(self, messages: Ordered[Any], series: Series, observed_ms: int) -> Heard:
        prefix, symbol = KIND.prefix(series), series.symbol
        records = [
            AggTrade(
                key=f"{prefix}{m.id:012}",
                version=observed_ms,
                symbol=symbol,
                trade_id=m.id,
                price=m.price,
                quantity=m.quantity,
                first_trade_id=m.first_id,
                last_trade_id=m.last_id,
                timestamp=m.time,
                is_buyer_maker=m.is_buyer_maker,
            )
            for m in messages
        ]
        return heard_of(messages, records)


_NOTES: Mapping[str, Mapping[str, Any]] = {
    **trades.NOTES,
    "trade_id": {"description": "of the aggregate; consecutive within a symbol", "minimum": 0},
    "first_trade_id": {"description": "the first single trade in it", "minimum": 0},
    "last_trade_id": {"description": "the last single trade in it", "minimum": 0},
}


def _break_of(records: Ordered[bytes]) -> str:
    """Why records, as they travel or are stored, do not follow each other; empty: they do."""
    ids = [*map(_decode_ids, records)]
    try:
        check_chain(
            [one.trade_id for one in ids], [one.first_trade_id for one in ids], [one.last_trade_id for one in ids]
        )
    except MalformedPage as error:
        return str(error)
    return ""


class AggTrades(trades.TradeKind):
    """Aggregated trades of Binance Spot."""

    name = "agg_trades"
    record = AggTrade
    stored = StoredAggTrade
    paging = AggTradesPaging()
    archive = AggTradeFiles()
    streaming = AggTradeStream()
    chained = True
    noun = "aggregated trade"
    schema = "agg_trade"
    notes = _NOTES
    example = AggTrade(
        key="BTCUSDT_000974186121",
        version=1634943600000,
        symbol="BTCUSDT",
        trade_id=974186121,
        price="60656.01000000",
        quantity="0.00412000",
        first_trade_id=1117374871,
        last_trade_id=1117374872,
        timestamp=1634944096633,
        is_buyer_maker=False,
    )

    def refusal(self, record: Any) -> str | None:
        if record.last_trade_id < record.first_trade_id:
            return f"last_trade_id {record.last_trade_id} is before first_trade_id {record.first_trade_id}"
        return super().refusal(record)

    def keys_of(self, records: Ordered[Any]) -> list[str] | None:
        whole = all(map(le, [r.first_trade_id for r in records], [r.last_trade_id for r in records]))
        return super().keys_of(records) if whole else None

    def break_between(self, before: bytes, after: bytes) -> str:
        return _break_of((before, after))

    def break_in(self, records: Ordered[bytes]) -> tuple[int, str] | None:
        return super().break_in(records) if _break_of(records) else None


KIND = AggTrades()
