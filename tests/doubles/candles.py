"""Candles and an exchange that knows them all."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from streamforge_utils.model.errors import InvalidInput, PermanentError
from streamforge_utils.model.kinds.candles import KIND, Candle, Interval, candle_key_prefix, encode_candle
from streamforge_utils.model.kinds.paging import ByTime, Page, Question
from streamforge_utils.model.messages import decoder
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.exchange import History, Rank, SymbolInfo

stored_document = KIND.document
decode_candle = decoder(Candle, "a candle")


def candle_key(symbol: str, interval: str, open_time: int) -> str:
    """The key of a candle."""
    return f"{candle_key_prefix(symbol, interval)}{open_time}"


def candle(open_time: int, *, interval: Interval = Interval.M1, symbol: str = "BTCUSDT", version: int = 1) -> Candle:
    """A candle whose price tells its open time."""
    price = f"{open_time // 60_000 % 100_000}.50000000"
    return Candle(
        key=candle_key(symbol, interval.value, open_time),
        version=version,
        symbol=symbol,
        interval=interval.value,
        open_time=open_time,
        open=price,
        high=price,
        low=price,
        close=price,
        volume="1.25000000",
        close_time=interval.close_time(open_time),
        quote_asset_volume="2.5",
        number_of_trades=3,
        taker_buy_base_asset_volume="0.5",
        taker_buy_quote_asset_volume="0.75",
    )


def page_of(candles: Sequence[Candle]) -> Page:
    """`candles` as an exchange gives them."""
    opens = [one.open_time for one in candles]
    return Page(opens, opens, [one.key.encode() for one in candles], [encode_candle(one) for one in candles])


async def candles_of(
    exchange: History,
    symbol: str,
    interval: Interval,
    span: TimeRange,
    *,
    limit: int | None = None,
    newest: bool = False,
) -> list[Candle]:
    """One page of the exchange, decoded."""
    series = Series(symbol, "candles", interval.value)
    page = await exchange.page(series, ByTime(span, limit=limit, newest=newest))
    candles = [decode_candle(value) for value in page.values]
    assert list(page.positions) == list(page.times) == [one.open_time for one in candles]
    assert list(page.keys) == [one.key.encode() for one in candles]
    return candles


class FixedExchange:
    """The rest of an exchange that a test gives its records: a time that stands still, and one symbol."""

    now_ms = 0
    status = "TRADING"

    async def server_time(self) -> int:
        return self.now_ms

    async def symbol_info(self, symbol: str) -> SymbolInfo:
        return SymbolInfo(symbol=symbol, status=self.status)

    async def symbols(self) -> Sequence[SymbolInfo]:
        return [SymbolInfo(symbol="BTCUSDT", status=self.status, base_asset="BTC", quote_asset="USDT")]

    async def snapshot(self, series: Series, limit: int, *, rank: Rank = tuple) -> bytes:
        raise PermanentError(f"there is no snapshot of {series.id}")

    def set_weight_limit(self, weight_per_minute: int) -> None:
        pass

    async def close(self) -> None:
        pass


class CandleHistory(FixedExchange):
    """An exchange that gives candles, by a method of its own."""

    async def candles(
        self, symbol: str, interval: Interval, span: TimeRange, *, limit: int = 1000, newest: bool = False
    ) -> Sequence[Candle]:
        raise NotImplementedError

    async def page(self, series: Series, question: Question) -> Page:
        assert isinstance(question, ByTime)
        interval, limit = Interval(series.interval), 1000 if question.limit is None else question.limit
        found = await self.candles(series.symbol, interval, question.span, limit=limit, newest=question.newest)
        return page_of(found)


class GridExchange(CandleHistory):
    """Every candle of the grid but those in `holes`, closed before `now_ms`.

    requests: the spans asked for, in order. delays: seconds to wait for an answer, by the span's start. failing: what
    every request raises whose span starts at `failing_from_ms` or later. under_way, most_under_way: requests that wait
    for their answer, now and at most.
    """

    def __init__(self, now_ms: int = 1_722_600_000_000, *, holes: Sequence[TimeRange] = (), phase_ms: int = 0) -> None:
        self.now_ms = now_ms
        self.holes = holes
        self.phase_ms = phase_ms
        self.requests: list[TimeRange] = []
        self.delays: dict[int, float] = {}
        self.failing: Exception | None = None
        self.failing_from_ms = 0
        self.gate: asyncio.Event | None = None
        self.under_way = 0
        self.most_under_way = 0
        self.weight_limits: list[int] = []
        self.closed = False

    async def candles(
        self, symbol: str, interval: Interval, span: TimeRange, *, limit: int = 1000, newest: bool = False
    ) -> Sequence[Candle]:
        self.requests.append(span)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            if self.gate is not None:
                await self.gate.wait()
            await asyncio.sleep(self.delays.get(span.start_ms, 0))
        finally:
            self.under_way -= 1
        if self.failing is not None and span.start_ms >= self.failing_from_ms:
            raise self.failing
        if symbol == "NOSUCH":
            raise InvalidInput("symbol", f"klines {symbol}: HTTP 400, code -1121: check its spelling")
        opens = interval.rule.times(span.start_ms, min(span.end_ms, self.now_ms), self.phase_ms)
        found = [
            candle(time, interval=interval, symbol=symbol)
            for time in opens
            if interval.close_time(time) < self.now_ms and not any(time in hole for hole in self.holes)
        ]
        return found[-limit:] if newest else found[:limit]

    def set_weight_limit(self, weight_per_minute: int) -> None:
        self.weight_limits.append(weight_per_minute)

    async def close(self) -> None:
        self.closed = True
