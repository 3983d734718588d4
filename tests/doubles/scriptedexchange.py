"""An exchange that has exactly the candles that a test gives it, and lies when told to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import msgspec

from streamforge_utils.model.errors import InvalidInput
from streamforge_utils.model.kinds.candles import Candle, Interval
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.exchange import SymbolInfo
from tests.doubles.candles import CandleHistory, candle


class Question(msgspec.Struct, frozen=True):
    """One request for candles."""

    span: TimeRange
    limit: int
    newest: bool


Lie = Callable[[int, Question, Sequence[Candle]], Sequence[Candle]]
"""Given the number of the request (from 0), the request and the true answer: what is answered."""


class ScriptedExchange(CandleHistory):
    """opens: the open times of the candles there are. failing: what every call raises. asked: the requests so far.

    listed: its symbols.
    """

    def __init__(
        self, interval: Interval, opens: Iterable[int], *, now_ms: int, status: str = "TRADING", lie: Lie | None = None
    ) -> None:
        self.interval = interval
        self.opens = sorted(opens)
        self.now_ms = now_ms
        self.status = status
        self.lie = lie
        self.failing: Exception | None = None
        self.asked: list[Question] = []
        self.listed = [SymbolInfo(symbol="BTCUSDT", status=status, base_asset="BTC", quote_asset="USDT")]

    async def server_time(self) -> int:
        self._check()
        return self.now_ms

    async def symbol_info(self, symbol: str) -> SymbolInfo:
        self._check()
        if symbol == "NOSUCH":
            raise InvalidInput("symbol", "exchangeInfo NOSUCH: code -1121: check its spelling")
        return SymbolInfo(symbol=symbol, status=self.status)

    async def symbols(self) -> Sequence[SymbolInfo]:
        self._check()
        return self.listed

    async def candles(
        self, symbol: str, interval: Interval, span: TimeRange, *, limit: int = 1000, newest: bool = False
    ) -> Sequence[Candle]:
        self._check()
        assert interval is self.interval
        assert 1 <= limit <= 1000
        question = Question(span, limit, newest)
        times = [t for t in self.opens if t in span and interval.close_time(t) < self.now_ms]
        times = times[-limit:] if newest else times[:limit]
        page: Sequence[Candle] = [candle(time, interval=interval, symbol=symbol) for time in times]
        if self.lie is not None:
            page = self.lie(len(self.asked), question, page)
        self.asked.append(question)
        return page

    def _check(self) -> None:
        if self.failing is not None:
            raise self.failing
