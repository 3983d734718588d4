"""The exchange of a simulation: its markets, and answers that now and then are wrong, late or refused."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Sequence

from streamforge_utils.model.errors import BannedError, InvalidInput, RetryableError
from streamforge_utils.model.kinds.candles import Candle, Interval
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.exchange import SymbolInfo
from tests.doubles.candles import CandleHistory, candle
from tests.histories.history import Market

SLOW_S = 40.0
BAN_S = 60.0


class FaultyExchange(CandleHistory):
    """Each candle is left out of one answer at most, in all its life: two who ask twice learn the truth.

    faults: what is wrong with the next answers; None is nothing.
    """

    def __init__(self, markets: Sequence[Market], now_ms: Callable[[], int], slow_s: float) -> None:
        self._slow_s = slow_s
        self._markets = {market.symbol: market for market in markets}
        self._now_ms = now_ms
        self._left_out: dict[str, set[int]] = defaultdict(set)
        self._banned_until_ms = 0
        self.faults: deque[str | None] = deque()

    def fault(self, kind: str, after: int) -> None:
        """Let the answer that comes after `after` more be wrong."""
        while len(self.faults) <= after:
            self.faults.append(None)
        self.faults[after] = kind

    async def server_time(self) -> int:
        self._refuse_banned()
        return self._now_ms()

    async def symbol_info(self, symbol: str) -> SymbolInfo:
        self._refuse_banned()
        market = self._market(symbol)
        over = market.delisted is not None and market.is_over(market.delisted - 1, self._now_ms())
        return SymbolInfo(symbol=symbol, status="BREAK" if over else "TRADING")

    async def symbols(self) -> Sequence[SymbolInfo]:
        return [await self.symbol_info("BTCUSDT")]

    async def candles(
        self, symbol: str, interval: Interval, span: TimeRange, *, limit: int = 1000, newest: bool = False
    ) -> Sequence[Candle]:
        fault = self.faults.popleft() if self.faults else None
        await asyncio.sleep(SLOW_S if fault == "slow" else self._slow_s)
        self._refuse_banned()
        now_ms = self._now_ms()
        if fault == "refused":
            raise RetryableError(f"klines {symbol}: HTTP 429, retry in 1 s", retry_after=1.0)
        if fault == "banned":
            self._banned_until_ms = now_ms + int(BAN_S * 1000)
            self._refuse_banned()
        market = self._market(symbol)
        bars = [bar for bar in market.bars_in(span) if market.trades(bar) and market.is_over(bar, now_ms)]
        bars = bars[-limit:] if newest else bars[:limit]
        left_out = self._left_out[symbol]
        if bars and fault == "short" and not left_out & {bars[len(bars) // 2]}:
            left_out.add(bars.pop(len(bars) // 2))
        elif fault == "empty" and not left_out & set(bars):
            left_out |= set(bars)
            bars = []
        return [candle(market.opens_ms(b), interval=interval, symbol=symbol, version=now_ms) for b in bars]

    def set_weight_limit(self, weight_per_minute: int) -> None:
        pass

    async def close(self) -> None:
        pass

    def _market(self, symbol: str) -> Market:
        if symbol not in self._markets:
            raise InvalidInput("symbol", f"exchangeInfo {symbol}: code -1121: check its spelling")
        return self._markets[symbol]

    def _refuse_banned(self) -> None:
        now_ms = self._now_ms()
        if now_ms < self._banned_until_ms:
            raise BannedError(
                "HTTP 418: banned", until_ms=self._banned_until_ms, retry_after=(self._banned_until_ms - now_ms) / 1000
            )
