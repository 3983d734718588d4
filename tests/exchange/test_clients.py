"""Other people's clients, unchanged but for the address, load from the test exchange what its oracle says."""

from __future__ import annotations

import asyncio

import pytest

from streamforge.exchange.config import ExchangeConfig
from streamforge_utils.model.timeranges import TimeRange
from tests.exchange.support import ms, peer

JULY = TimeRange(ms("2024-07-01"), ms("2024-08-01"))
HOLE = TimeRange(ms("2024-07-10T01:00"), ms("2024-07-10T05:00"))
CONFIG = ExchangeConfig(holes={"*": (HOLE,)})


def by_ccxt(url: str, symbol: str, timeframe: str, span: TimeRange) -> list[list[float]]:
    import ccxt  # it takes seconds, which every process that collects tests would spend

    client = ccxt.binance({"enableRateLimit": False, "options": {"fetchMarkets": {"types": ["spot"]}}})
    client.urls["api"]["public"] = f"{url}/api/v3"
    client.load_markets()
    rows: list[list[float]] = []
    since = span.start_ms
    while since < span.end_ms:
        page = client.fetch_ohlcv(symbol, timeframe, since=since, limit=1000)
        if not page:
            break
        rows.extend(row for row in page if row[0] < span.end_ms)
        since = page[-1][0] + 1
    return rows


def by_python_binance(url: str, symbol: str, interval: str, span: TimeRange) -> list[list[int | str]]:
    from binance.client import Client

    class LocalClient(Client):  # type: ignore[misc]
        API_URL = f"{url}/api"

    client = LocalClient()
    try:
        return list(client.get_historical_klines(symbol, interval, span.start_ms, span.end_ms - 1))
    finally:
        client.close_connection()
        client.loop.close()  # made for its WebSocket API and left open


async def test_ccxt_loads_a_month_of_minutes() -> None:
    async with peer(CONFIG) as exchange:
        rows = await asyncio.to_thread(by_ccxt, exchange.exchange.url, "BTC/USDT", "1m", JULY)
        oracle = await exchange.oracle(JULY)
        assert rows == [[row[0], *(float(row[n]) for n in range(1, 6))] for row in oracle]
        assert len(rows) == (31 * 24 - 4) * 60


# python-binance imports the older client of websockets
@pytest.mark.filterwarnings("ignore:websockets.legacy is deprecated:DeprecationWarning")
async def test_python_binance_loads_a_month_of_quarters_of_an_hour() -> None:
    # not of minutes: it sleeps a second after every third page
    async with peer(CONFIG) as exchange:
        rows = await asyncio.to_thread(by_python_binance, exchange.exchange.url, "ETHUSDT", "15m", JULY)
        assert rows == await exchange.oracle(JULY, "ETHUSDT", "15m")
        assert len(rows) == (31 * 24 - 4) * 4
