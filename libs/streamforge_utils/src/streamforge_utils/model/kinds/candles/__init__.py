"""Candles: all that is known of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from streamforge_utils.model.completeness.rule import Rule
from streamforge_utils.model.kinds.candles.candle import (
    FIRST_TIME_MS,
    Candle,
    Interval,
    StoredCandle,
    amounts_of,
    candle_key_prefix,
    encode_candle,
    keys_of,
    refusal,
)
from streamforge_utils.model.kinds.candles.kline_files import KlineFiles
from streamforge_utils.model.kinds.candles.kline_stream import KlineStream
from streamforge_utils.model.kinds.candles.klines_answer import by_time, read_page
from streamforge_utils.model.kinds.kind import Amounts, RecordKind
from streamforge_utils.model.kinds.paging import ByTime, Page, Paging, Question, SentRequest
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange

__all__ = [
    "FIRST_TIME_MS",
    "KIND",
    "Candle",
    "Candles",
    "Interval",
    "StoredCandle",
    "candle_key_prefix",
    "encode_candle",
]

_MS = "unix milliseconds, UTC"
_NOTES: Mapping[str, Mapping[str, Any]] = {
    "_key": {"description": "identity: SYMBOL_INTERVAL_OPENTIME; also the message's key"},
    "_version": {"description": f"when the exchange was observed, {_MS}; a later observation wins"},
    "symbol": {"description": "as the exchange spells it"},
    "interval": {"description": "as the exchange spells it; 1m is a minute, 1M a month"},
    "open_time": {"description": f"{_MS}; names the candle"},
    "close_time": {"description": f"last millisecond of the candle, {_MS}"},
    "open": {"description": "first price"},
    "high": {"description": "highest price"},
    "low": {"description": "lowest price"},
    "close": {"description": "last price"},
    "volume": {"description": "traded, in the base asset"},
    "quote_asset_volume": {"description": "traded, in the quote asset"},
    "number_of_trades": {"description": "how many trades", "minimum": 0},
    "taker_buy_base_asset_volume": {"description": "bought by takers, in the base asset"},
    "taker_buy_quote_asset_volume": {"description": "bought by takers, in the quote asset"},
}
_EXAMPLE = Candle(
    key="BTCUSDT_1m_1722470400000",
    version=1722556800000,
    symbol="BTCUSDT",
    interval="1m",
    open_time=1722470400000,
    open="64628.01000000",
    high="64628.01000000",
    low="64592.00000000",
    close="64592.00000000",
    volume="10.13279000",
    close_time=1722470459999,
    quote_asset_volume="654690.62154600",
    number_of_trades=816,
    taker_buy_base_asset_volume="3.28471000",
    taker_buy_quote_asset_volume="212232.36051530",
)

_SHOWN = 80
_ENDING = re.compile(r"(?<![0-9])(?P<count>[0-9]{1,4})[ _-]?(?P<unit>[A-Za-z]{1,7})$", re.ASCII)
_UNITS = {"mo": "M", "min": "m", "minute": "m", "minutes": "m", "hour": "h", "day": "d", "week": "w", "month": "M"}
_TYPE = re.compile(r"(?P<source>api|ws)_candles_(?P<interval>[0-9]{1,2}[a-zA-Z]{1,2})", re.ASCII)


class Klines(Paging):
    """Binance Spot REST, GET /api/v3/klines."""

    path = "/api/v3/klines"
    most = 1000

    def weight(self, parameters: Mapping[str, str]) -> int:
        return 2

    def parameters(self, series: Series, question: Question, limit: int) -> dict[str, str]:
        asked = by_time(question)
        parameters = {
            "symbol": series.symbol,
            "interval": series.interval,
            "endTime": str(asked.span.end_ms - 1),
            "limit": str(limit),
        }
        if not asked.newest:  # with a start the exchange answers with the oldest
            parameters["startTime"] = str(asked.span.start_ms)
        return parameters

    def read(self, body: bytes, asked: SentRequest) -> Page:
        return read_page(body, asked)

    def widened(self, series: Series, question: Question, limit: int, *, local_ms: int) -> tuple[Question, int]:
        asked, grid = by_time(question), Interval(series.interval).rule
        start_ms = 0 if asked.newest else asked.span.start_ms
        end_ms = asked.span.end_ms
        # Where the clocks may disagree about the end of the span, a later candle is wanted as a witness. Whether they
        # do right now is not looked at: which of two nearly equal clocks is ahead changes between two requests.
        in_doubt = local_ms < grid.next(end_ms)
        if in_doubt:
            end_ms = grid.next(grid.next(end_ms))
        more = 1 if asked.newest or in_doubt else 0
        sent = ByTime(TimeRange(start_ms, end_ms), newest=asked.newest)
        return sent, min(limit + more, self.most)


class Candles(RecordKind):
    """Candles of Binance Spot: one for each step of their interval's grid."""

    name = "candles"
    record = Candle
    stored = StoredCandle
    position = "open_time"
    time = "open_time"
    times = ("open_time", "close_time")
    digits = 13
    indexes = (("open_time",),)
    paging = Klines()
    archive = KlineFiles()
    streaming = KlineStream()
    bar_fields = ("open", "high", "low", "close", "volume")
    quote_volume = "quote_asset_volume"
    noun = schema = "candle"
    notes = _NOTES
    example = _EXAMPLE

    @property
    def types(self) -> Sequence[str]:
        return [f"{source}_candles_{interval}" for source in ("api", "ws") for interval in Interval]

    def interval_of(self, type_name: str) -> str | None:
        match = _TYPE.fullmatch(type_name)
        return None if match is None else self.normal_interval(match["interval"])

    def normal_interval(self, text: str) -> str | None:
        try:
            return Interval.parse(text).value
        except ValueError:
            return None

    def type_of(self, interval: str = "") -> str:
        return f"api_candles_{interval}"

    def normal_type(self, type_name: str) -> str:
        return f"{type_name.partition('_')[0]}_candles_{self.interval_of(type_name)}"

    def meant(self, type_name: str) -> str | None:
        """The interval that the text ends in counts: `1m`, `klines_1m`, `api_candles_60m` (an hour)."""
        match = _ENDING.search(type_name[-_SHOWN:].strip())
        if match is None:
            return None
        count, unit = int(match["count"]), match["unit"]
        unit = unit if unit in ("m", "M") else _UNITS.get(unit.lower(), unit.lower())
        length = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}.get(unit, 0) * count * 1000
        found = (i for i in Interval if i.value == f"{count}{unit}" or (length and i.step_ms == length))
        source = "ws" if type_name.startswith("ws_") else "api"
        return next((f"{source}_candles_{interval}" for interval in found), None)

    def prefix(self, series: Series) -> str:
        return candle_key_prefix(series.symbol, series.interval)

    def series_of(self, record: Any) -> Series:
        return Series(record.symbol, self.name, record.interval)

    @property
    def first_position(self) -> int:
        return FIRST_TIME_MS

    def refusal(self, record: Any) -> str | None:
        return refusal(record)

    def keys_of(self, records: Sequence[Any]) -> list[str] | None:
        return keys_of(records)

    def amounts(self, lines: bytes) -> list[Amounts] | None:
        return amounts_of(lines)

    def imitation(self, series: Series, position: int) -> Candle:
        found: Candle = super().imitation(series, position)
        close_time = Interval(series.interval).close_time(position)
        return msgspec.structs.replace(found, interval=series.interval, close_time=close_time)

    def rule(self, series: Series) -> Rule:
        return Interval(series.interval).rule


KIND = Candles()
