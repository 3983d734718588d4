"""Others' clients, unmodified, read from the streams what REST has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
import pytest

from streamforge.exchange.config import ExchangeConfig
from streamforge.exchange.exchange_server import RunningExchange, serve
from streamforge.exchange.state import ExchangeClock
from tests.exchange.conftest import MINUTE, NOW
from tests.limits import LIMIT_S

TRADES, BARS = 60, 3


@asynccontextmanager
async def busy() -> AsyncIterator[RunningExchange]:
    """An exchange whose minutes are seconds; clients send pings of their own."""
    async with await serve(ExchangeConfig(), ExchangeClock(NOW, speed=60)) as running:
        yield running


async def oracle(running: RunningExchange, endpoint: str, start_ms: int, **more: str) -> list[Any]:
    bounds = {"symbol": "BTCUSDT", "startTime": str(start_ms), "endTime": str(running.state.clock.now_ms()), **more}
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{running.url}/oracle/{endpoint}", params=bounds) as answer,
    ):
        return msgspec.json.decode(await answer.read(), type=list[Any])


async def within(waited: Any) -> Any:
    return await asyncio.wait_for(waited, LIMIT_S)


async def test_ccxt_watches_trades_and_candles() -> None:
    import ccxt.pro  # it takes seconds, which every process that collects tests would spend

    async with busy() as running:
        client = ccxt.pro.binance({"enableRateLimit": False, "options": {"fetchMarkets": {"types": ["spot"]}}})
        client.urls["api"]["public"] = f"{running.url}/api/v3"
        client.urls["api"]["ws"]["spot"] = f"ws://127.0.0.1:{running.port}/ws"
        try:
            await client.load_markets()
            trades: list[Any] = []
            while len(trades) < TRADES:
                trades += await within(client.watch_trades("BTC/USDT"))
            closed: dict[int, list[float]] = {}
            while len(closed) <= BARS:
                closed |= {bar[0]: bar for bar in await within(client.watch_ohlcv("BTC/USDT", "1m"))}
        finally:
            await client.close()
        rows = await oracle(running, "historicalTrades", trades[0]["timestamp"])
        first = int(trades[0]["id"])
        expected = [row for row in rows if first <= row["id"] < first + len(trades)]
        assert [(int(one["id"]), one["timestamp"], one["price"], one["amount"]) for one in trades] == [
            (row["id"], row["time"], float(row["price"]), float(row["qty"])) for row in expected
        ]
        bars = await oracle(running, "klines", min(closed), interval="1m")
        ended = sorted(closed)[1:-1]  # the first one began before, the last one is open
        assert [closed[opened] for opened in ended] == [
            [row[0], *map(float, row[1:6])] for row in bars if row[0] in ended
        ]
        assert len(ended) >= BARS - 1


# python-binance imports the older client of websockets
@pytest.mark.filterwarnings("ignore:websockets.legacy is deprecated:DeprecationWarning")
async def test_python_binance_reads_trades_and_candles_from_its_sockets() -> None:
    from binance import AsyncClient, BinanceSocketManager

    async with busy() as running:

        class LocalClient(AsyncClient):  # type: ignore[misc]
            API_URL = f"{running.url}/api"

        client = LocalClient()
        manager = BinanceSocketManager(client)
        manager.STREAM_URL = f"ws://127.0.0.1:{running.port}/"
        try:
            async with manager.multiplex_socket(["btcusdt@trade", "btcusdt@kline_1m"]) as stream:
                messages: list[Any] = []
                while sum(one["data"]["e"] == "trade" for one in messages) < TRADES:
                    messages.append(await within(stream.recv()))
        finally:
            await client.close_connection()
        trades = [one["data"] for one in messages if one["stream"] == "btcusdt@trade"]
        rows = await oracle(running, "historicalTrades", trades[0]["T"])
        known = {row["id"]: (row["price"], row["qty"], row["time"]) for row in rows}
        assert [one["t"] for one in trades] == list(range(trades[0]["t"], trades[0]["t"] + TRADES))
        assert all(known[one["t"]] == (one["p"], one["q"], one["T"]) for one in trades)
        closed = [one["data"]["k"] for one in messages if one["data"]["e"] == "kline" and one["data"]["k"]["x"]]
        bars = {row[0]: row for row in await oracle(running, "klines", NOW - MINUTE, interval="1m")}
        assert closed
        for bar in closed:
            assert [bar[name] for name in "tohlcvT"] == bars[bar["t"]][:7]
