"""Aggregated trades: what one order took at one price in one moment; the ids of a symbol follow each other."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import msgspec

from streamforge_utils.model.completeness import Rule, Sequence
from streamforge_utils.model.kinds import trades
from streamforge_utils.model.kinds.bars import Amounts
from streamforge_utils.model.kinds.kind import DecimalText, Number, Record, RecordKind
from streamforge_utils.model.kinds.paging import (
    Asked,
    ById,
    MalformedPage,
    Page,
    Paging,
    Question,
    page_of,
    rows_of,
    time_window,
)
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


_decode_rows = msgspec.json.Decoder(list[_Row]).decode


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

    def read(self, body: bytes, asked: Asked) -> Page:
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
        check_chain(rows)
        return page


def check_chain(rows: list[_Row]) -> None:
    """Aggregates with consecutive ids hold consecutive trades. Raises MalformedPage naming the first that do not."""
    ordered = sorted(rows, key=lambda row: row.id)
    for row, following in pairwise(ordered):
        if following.id == row.id + 1 and following.first_id != row.last_id + 1:
            raise MalformedPage(
                f"aggregate {row.id} ends with trade {row.last_id}, and {following.id} begins with {following.first_id}"
            )


_NOTES: Mapping[str, Mapping[str, Any]] = {
    **trades.NOTES,
    "trade_id": {"description": "of the aggregate; consecutive within a symbol", "minimum": 0},
    "first_trade_id": {"description": "the first single trade in it", "minimum": 0},
    "last_trade_id": {"description": "the last single trade in it", "minimum": 0},
}


class AggTrades(RecordKind):
    """Aggregated trades of Binance Spot."""

    name = "agg_trades"
    record = AggTrade
    stored = StoredAggTrade
    position = "trade_id"
    time = "timestamp"
    times = ("timestamp",)
    indexes = (("timestamp",),)
    paging = AggTradesPaging()
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
        return trades.refusal(record)

    def amounts(self, lines: bytes) -> list[Amounts] | None:
        return trades.amounts_of(lines)

    def rule(self, series: Series) -> Rule:
        return Sequence()


KIND = AggTrades()
