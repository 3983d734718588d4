"""GET /api/v3/aggTrades, historicalTrades and trades."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import partial
from typing import Any, ClassVar

import msgspec

from streamforge.exchange.config import SymbolSpec
from streamforge.exchange.endpoint import RowsEndpoint
from streamforge.exchange.recorded_rows import Part, RecordedRows, Versions, part_of
from streamforge.exchange.seeded_trades import SeededAggTrades, SeededTrades, tape_of
from streamforge.exchange.trade_lines import TradeLines
from streamforge.exchange.windows import Numbers, RowSeries
from streamforge_utils.model.decimal_texts import text_of

_ID, _NUMBER = r"([0-9]{1,18})", r"([0-9]{1,20}(?:\.[0-9]{1,20})?)"
_TIME, _WORD = r"([0-9]{13}|[0-9]{16})", "([Tt]rue|[Ff]alse)"
_AGG_ROW = '{"a":%s,"p":"%s","q":"%s","f":%s,"l":%s,"T":%d,"m":%s,"M":%s}'
_AGG_TRADE = re.compile(f"{_ID},{_NUMBER},{_NUMBER},{_ID},{_ID},{_TIME},{_WORD},{_WORD}", re.ASCII)
_TRADE = re.compile(f"{_ID},{_NUMBER},{_NUMBER},{_NUMBER},{_TIME},{_WORD},{_WORD}", re.ASCII)


class AggTrades(RowsEndpoint):
    """Aggregated trades, by time or by id."""

    paths = ("aggTrades",)
    weight = 4
    members = ("a", "p", "q", "f", "l", "T", "m", "M")
    archive = "aggTrades"
    stream = "aggTrade"
    stored = "agg_trades"
    header = "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker,is_best_match"
    bytes_a_row = 32
    times: ClassVar[Mapping[int, str]] = {5: "000"}

    def seeded(self, spec: SymbolSpec, variant: Hashable) -> RowSeries:
        return SeededAggTrades(tape_of(self, spec))

    def lines(self, series: RowSeries, numbers: Numbers, now_ms: int, *, micro: bool) -> Iterator[bytes]:
        if isinstance(series, SeededAggTrades):
            return TradeLines(series.tape, "000" if micro else "").aggregates(*numbers)
        return super().lines(series, numbers, now_ms, micro=micro)

    def derive_recordings(self, others: Sequence[RowsEndpoint]) -> None:
        recordings = self.recordings if self.recordings is not None else {}
        for endpoint in others:
            if isinstance(endpoint, HistoricalTrades):
                for (symbol, variant), rows in (endpoint.recordings or {}).items():
                    if isinstance(rows, RecordedRows):
                        recordings.setdefault((symbol, variant), RecordedRows(_aggregated(rows), rows.held))

    def recorded_variant(self, name: str) -> None:
        if name != "aggTrades":
            raise ValueError(f"{name} is not aggTrades")

    def recorded_row(self, cells: Sequence[str]) -> tuple[int, int, int, bytes]:
        match = _AGG_TRADE.fullmatch(",".join(cells))
        if match is None:
            raise ValueError("is no aggregated trade")
        number, price, quantity, first, last, time, maker, best = match.groups()
        time_ms = _ms(time)
        text = _AGG_ROW % (number, price, quantity, first, last, time_ms, maker.lower(), best.lower())
        return int(number), time_ms, time_ms, text.encode()

    def row_of_event(self, event: Mapping[str, Any]) -> tuple[int, int, int, bytes] | None:
        row = {name: event[name] for name in self.members}
        return event["a"], event["T"], event["T"], msgspec.json.encode(row)

    def row_of_stored(self, record: Mapping[str, Any]) -> tuple[int, int, int, bytes]:
        ids = (record["first_trade_id"], record["last_trade_id"])
        amounts = (text_of(record["price"]), text_of(record["quantity"]))
        cells = (record["trade_id"], *amounts, *ids, record["timestamp"], record["is_buyer_maker"], True)
        return self.recorded_row([*map(str, cells)])


class HistoricalTrades(RowsEndpoint):
    """Single trades: by id, or the newest."""

    paths = ("historicalTrades", "trades")
    weight = 25
    parameters = ("symbol", "fromId", "limit")
    members = ("id", "price", "qty", "quoteQty", "time", "isBuyerMaker", "isBestMatch")
    archive = "trades"
    stream = "trade"
    stored = "trades"
    header = "id,price,qty,quote_qty,time,is_buyer_maker,is_best_match"
    bytes_a_row = 30
    times: ClassVar[Mapping[int, str]] = {4: "000"}

    def seeded(self, spec: SymbolSpec, variant: Hashable) -> RowSeries:
        return SeededTrades(tape_of(self, spec))

    def lines(self, series: RowSeries, numbers: Numbers, now_ms: int, *, micro: bool) -> Iterator[bytes]:
        if isinstance(series, SeededTrades):
            return TradeLines(series.tape, "000" if micro else "").trades(*numbers)
        return super().lines(series, numbers, now_ms, micro=micro)

    def recorded_variant(self, name: str) -> None:
        if name != "trades":
            raise ValueError(f"{name} is not trades")

    def recorded_row(self, cells: Sequence[str]) -> tuple[int, int, int, bytes]:
        match = _TRADE.fullmatch(",".join(cells))
        if match is None:
            raise ValueError("is no trade")
        number, price, quantity, amount, time, maker, best = match.groups()
        time_ms = _ms(time)
        row = '{"id":%s,"price":"%s","qty":"%s","quoteQty":"%s","time":%d,"isBuyerMaker":%s,"isBestMatch":%s}'
        text = row % (number, price, quantity, amount, time_ms, maker.lower(), best.lower())
        return int(number), time_ms, time_ms, text.encode()

    def row_of_event(self, event: Mapping[str, Any]) -> tuple[int, int, int, bytes] | None:
        amount = f"{Decimal(event['p']) * Decimal(event['q']):.8f}"
        values = (event["t"], event["p"], event["q"], amount, event["T"], event["m"], event["M"])
        return event["t"], event["T"], event["T"], msgspec.json.encode(dict(zip(self.members, values, strict=True)))

    def row_of_stored(self, record: Mapping[str, Any]) -> tuple[int, int, int, bytes]:
        price, quantity = text_of(record["price"]), text_of(record["quantity"])
        amount = f"{Decimal(price) * Decimal(quantity):.8f}"
        cells = (record["trade_id"], price, quantity, amount, record["timestamp"], record["is_buyer_maker"], True)
        return self.recorded_row([*map(str, cells)])


class _Trade(msgspec.Struct, frozen=True):
    id: int
    price: str
    quantity: Decimal = msgspec.field(name="qty")
    time: int
    maker: bool = msgspec.field(name="isBuyerMaker")


def _aggregated(trades: RecordedRows) -> Iterator[Part]:
    """The aggregated trades of recorded ones: consecutive ids of one price, side and moment."""
    number = 0
    for first, last in trades.spans:
        read = partial(_begun, trades, first, last, number)
        if (part := part_of(read(), read)) is not None:
            yield part
            number += part.count


def _begun(trades: RecordedRows, first: int, last: int, number: int) -> Versions:
    """Those that begin with the trades from place `first` to `last`, numbered from `number` on."""
    groups: list[list[_Trade]] = []
    before = max(0, first - 1)
    for trade in _trades(trades, before, last):
        if groups and _follows(groups[-1][-1], trade):
            groups[-1].append(trade)
        else:
            groups.append([trade])
    if first:  # the one to which the trade before belongs
        del groups[0]
    while groups and (more := [*_trades(trades, last + 1, last + 1)]) and _follows(groups[-1][-1], more[0]):
        groups[-1] += more
        last += 1
    for place, group in enumerate(groups, number):
        begin, end = group[0], group[-1]
        quantity = sum((trade.quantity for trade in group), Decimal())
        maker = "true" if begin.maker else "false"
        row = _AGG_ROW % (place, begin.price, quantity, begin.id, end.id, begin.time, maker, "true")
        yield 0, (place, begin.time, begin.time, row.encode())


def _trades(trades: RecordedRows, first: int, last: int) -> Iterator[_Trade]:
    return (msgspec.json.decode(text, type=_Trade, strict=False) for text in trades.rows(first, last, 0))


def _follows(last: _Trade, trade: _Trade) -> bool:
    return (last.id + 1, last.price, last.time, last.maker) == (trade.id, trade.price, trade.time, trade.maker)


def _ms(time: str) -> int:
    return int(time) if len(time) == 13 else int(time) // 1000
