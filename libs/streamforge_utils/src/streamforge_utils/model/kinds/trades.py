"""Trades: each single one, with an id; the ids of a symbol follow each other without a gap."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Sequence as Ordered
from decimal import Decimal, localcontext
from typing import Any, ClassVar

import msgspec

from streamforge_utils.model.completeness import Rule, Sequence
from streamforge_utils.model.errors import PermanentError
from streamforge_utils.model.kinds.archive_files import ArchiveFiles
from streamforge_utils.model.kinds.archive_rows import (
    DECIMAL,
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
from streamforge_utils.model.kinds.bars import DIGITS
from streamforge_utils.model.kinds.kind import (
    Amounts,
    DecimalText,
    Number,
    Record,
    RecordKind,
    key_symbol,
    keys_of_series,
)
from streamforge_utils.model.kinds.paging import (
    ById,
    ByTime,
    IdAtTime,
    Page,
    Paging,
    Question,
    SentRequest,
    page_of,
    rows_of,
    time_window,
)
from streamforge_utils.model.kinds.stream_messages import (
    END_MS,
    FIRST_MS,
    MessageStreaming,
    amounts_right,
    heard_of,
    ids_right,
    refusal_of,
    times_right,
)
from streamforge_utils.model.kinds.streaming import Heard
from streamforge_utils.model.messages import DECODE_ERRORS
from streamforge_utils.model.series import Series


class Trade(Record, frozen=True, gc=False, kw_only=True):
    """A trade as it travels: price and quantity are the exchange's own text. timestamp: unix milliseconds.

    is_buyer_maker: the buyer's order was in the book before, so the taker sold.
    """

    symbol: str
    trade_id: int
    price: str
    quantity: str
    timestamp: int
    is_buyer_maker: bool


class StoredTrade(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A trade as it is stored and exported: price and quantity are numbers."""

    symbol: str
    trade_id: int
    price: Number
    quantity: Number
    timestamp: int
    is_buyer_maker: bool


class _Row(msgspec.Struct, frozen=True, gc=False):
    """A trade as the exchange writes it."""

    id: int
    price: DecimalText
    quantity: DecimalText = msgspec.field(name="qty")
    time: int
    is_buyer_maker: bool = msgspec.field(name="isBuyerMaker")


class _AggregateIds(msgspec.Struct, frozen=True, gc=False):
    """The trades of an aggregated trade, which all happened at the same time."""

    time: int = msgspec.field(name="T")
    first_id: int = msgspec.field(name="f")
    last_id: int = msgspec.field(name="l")


_decode_rows = msgspec.json.Decoder(list[_Row]).decode
_encode = msgspec.json.Encoder().encode
_decode_ids = msgspec.json.Decoder(list[_AggregateIds]).decode


class _ByAggregates(IdAtTime):
    """Binance Spot REST, GET /api/v3/aggTrades: it alone can be asked by time."""

    path = "/api/v3/aggTrades"
    weight = 4

    def parameters(self, series: Series, question: ByTime) -> dict[str, str]:
        return {"symbol": series.symbol, "limit": "1", **time_window(question)}

    def read(self, body: bytes, question: ByTime) -> tuple[int, int] | None:
        found = rows_of(_decode_ids, body)
        if not found:
            return None
        chosen = found[-1 if question.newest else 0]
        return chosen.last_id if question.newest else chosen.first_id, chosen.time


class HistoricalTrades(Paging):
    """Binance Spot REST, GET /api/v3/historicalTrades: by id alone."""

    path = "/api/v3/historicalTrades"
    most = 1000
    id_at_time = _ByAggregates()

    def weight(self, parameters: Mapping[str, str]) -> int:
        return 25

    def parameters(self, series: Series, question: Question, limit: int) -> dict[str, str]:
        if not isinstance(question, ById):
            raise ValueError("trades are asked for by id")
        return {"symbol": series.symbol, "limit": str(limit), "fromId": str(question.first_id)}

    def read(self, body: bytes, asked: SentRequest) -> Page:
        rows = rows_of(_decode_rows, body)
        prefix, symbol, version = KIND.prefix(asked.series), asked.series.symbol, asked.observed_ms
        return page_of(
            (
                (
                    row.id,
                    row.time,
                    Trade(
                        key=f"{prefix}{row.id:012}",
                        version=version,
                        symbol=symbol,
                        trade_id=row.id,
                        price=row.price,
                        quantity=row.quantity,
                        timestamp=row.time,
                        is_buyer_maker=row.is_buyer_maker,
                    ),
                )
                for row in rows
            ),
            asked,
        )


class TradeFiles(ArchiveFiles):
    """Files of single trades, of days and of months."""

    folder = "trades"
    row_bytes = 16
    rows = RowForm(
        ("id", WHOLE),
        ("price", POSITIVE),
        ("quantity", POSITIVE),
        ("quoteQty", DECIMAL),
        ("time", WHOLE),
        ("isBuyerMaker", TRUTH),
        ("isBestMatch", TRUTH),
        optional=1,
    )

    def read(self, rows: bytes, series: Series, version: int) -> Page:
        ids, prices, quantities, _, times, makers = self.rows.read(rows)
        positions, times = integers(ids), milliseconds(times)
        require_ascending(positions, "trade")
        keys = padded(KIND.prefix(series).encode(), ids, KIND.digits)
        parts = (
            b'{"_key":"',
            b'","_version":%d,"symbol":%b,"trade_id":' % (version, _encode(series.symbol)),
            b',"price":"',
            b'","quantity":"',
            b'","timestamp":',
            b',"is_buyer_maker":',
            b"}",
        )
        return Page(positions, integers(times), keys, filled(parts, (keys, ids, prices, quantities, times, makers)))


class _Message(msgspec.Struct, frozen=True, gc=False):
    """A trade as the exchange sends it."""

    e: str
    symbol: str = msgspec.field(name="s")
    id: int = msgspec.field(name="t")
    price: str = msgspec.field(name="p")
    quantity: str = msgspec.field(name="q")
    time: int = msgspec.field(name="T")
    is_buyer_maker: bool = msgspec.field(name="m")


class TradeStream(MessageStreaming):
    """Binance Spot, `<symbol>@trade`."""

    word = event = "trade"
    message: ClassVar[type[msgspec.Struct]] = _Message

    def all_right(self, messages: Ordered[Any], series: Series) -> bool:
        return (
            [m.symbol for m in messages].count(series.symbol) == len(messages)
            and ids_right([m.id for m in messages])
            and times_right([m.time for m in messages])
            and amounts_right([m.price for m in messages])
            and amounts_right([m.quantity for m in messages])
        )

    def refusal(self, message: Any, series: Series) -> str:
        m = message
        return refusal_of(m.symbol, series, m.id, m.time, m.price, m.quantity)

    def heard(self, messages: Ordered[Any], series: Series, observed_ms: int) -> Heard:
        prefix, symbol = KIND.prefix(series), series.symbol
        records = [
            Trade(
                key=f"{prefix}{m.id:012}",
                version=observed_ms,
                symbol=symbol,
                trade_id=m.id,
                price=m.price,
                quantity=m.quantity,
                timestamp=m.time,
                is_buyer_maker=m.is_buyer_maker,
            )
            for m in messages
        ]
        return heard_of(messages, records)


class Fill(msgspec.Struct, frozen=True, gc=False):
    """What of an exported trade, or of an aggregated one, counts for a candle; a single one is one trade."""

    price: Decimal
    quantity: Decimal
    timestamp: int
    is_buyer_maker: bool
    first_trade_id: int = 0
    last_trade_id: int = 0


_read_fills = msgspec.json.Decoder(Fill).decode_lines


NOTES: Mapping[str, Mapping[str, Any]] = {
    "_key": {"description": "identity: SYMBOL_ID, the id with 12 digits; also the message's key"},
    "_version": {"description": "when the exchange was observed, unix milliseconds, UTC; a later observation wins"},
    "symbol": {"description": "as the exchange spells it"},
    "trade_id": {"description": "consecutive within a symbol", "minimum": 0},
    "price": {"description": "in the quote asset"},
    "quantity": {"description": "in the base asset"},
    "timestamp": {"description": "when it happened, unix milliseconds, UTC; several trades may share it"},
    "is_buyer_maker": {"description": "the buyer's order was in the book before: the taker sold"},
}


class TradeKind(RecordKind):
    """What single trades and aggregated ones share."""

    position = "trade_id"
    time = "timestamp"
    times = ("timestamp",)
    indexes = (("timestamp",),)
    bar_fields = ("price", "price", "price", "price", "quantity")

    def refusal(self, record: Any) -> str | None:
        if not FIRST_MS <= record.timestamp < END_MS:
            return f"timestamp {record.timestamp} is not in milliseconds (13 digits)"
        if not record.price or not record.quantity:
            return "its price or its quantity is 0"
        return None

    def keys_of(self, records: Ordered[Any]) -> list[str] | None:
        """As `RecordKind.keys_of`; None also if one is of another symbol."""
        symbol, times = records[0].symbol, [r.timestamp for r in records]
        if (
            min(times) < FIRST_MS
            or max(times) >= END_MS
            or 0 in [r.price for r in records]
            or 0 in [r.quantity for r in records]
            or [r.symbol for r in records].count(symbol) != len(records)
        ):
            return None
        return keys_of_series(f"{key_symbol(symbol)}_", [r.trade_id for r in records], 12)

    def amounts(self, lines: bytes) -> list[Amounts] | None:
        try:
            fills: Iterable[Fill] = _read_fills(lines)
        except DECODE_ERRORS as error:
            raise PermanentError(f"not an exported trade: {error}") from error
        found, nothing = list[Amounts](), Decimal(0)
        with localcontext(prec=DIGITS):
            for one in fills:
                price, volume = one.price, one.quantity
                amount = price * volume
                base, quote = (nothing, nothing) if one.is_buyer_maker else (volume, amount)
                trades = one.last_trade_id - one.first_trade_id + 1
                found.append(Amounts(one.timestamp, price, price, price, price, volume, amount, trades, base, quote))
        return found

    def rule(self, series: Series) -> Rule:
        return Sequence()


class Trades(TradeKind):
    """Trades of Binance Spot."""

    name = "trades"
    record = Trade
    stored = StoredTrade
    paging = HistoricalTrades()
    archive = TradeFiles()
    streaming = TradeStream()
    noun = schema = "trade"
    notes = NOTES
    example = Trade(
        key="BTCUSDT_003735683259",
        version=1723161600000,
        symbol="BTCUSDT",
        trade_id=3735683259,
        price="61858.01000000",
        quantity="0.00138000",
        timestamp=1723161255343,
        is_buyer_maker=True,
    )


KIND = Trades()
