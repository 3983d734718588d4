"""The test exchange as its clients see it: others' load what its oracle says, and ours knows it by its name."""

from __future__ import annotations

import asyncio
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import pytest

from benchmarks.peers import python_binance
from streamforge import wiring
from streamforge.exchange.config import ExchangeConfig
from streamforge.exchange.exchange_server import serve
from streamforge_utils.model.errors import OtherExchange
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.exchange import Identity
from streamforge_utils.runtime.life.settings import ExchangeSettings
from tests.exchange.conftest import NOW, Peer, ms, peer

JULY = TimeRange(ms("2024-07-01"), ms("2024-08-01"))
HOLE = TimeRange(ms("2024-07-10T01:00"), ms("2024-07-10T05:00"))
CONFIG = ExchangeConfig(holes={"*": (HOLE,)})


def ccxt_client(url: str) -> Any:
    import ccxt  # it takes seconds, which every process that collects tests would spend

    client = ccxt.binance({"enableRateLimit": False, "options": {"fetchMarkets": {"types": ["spot"]}}})
    client.urls["api"]["public"] = f"{url}/api/v3"
    client.load_markets()
    return client


def by_ccxt(url: str, symbol: str, timeframe: str, span: TimeRange) -> list[list[float]]:
    client = ccxt_client(url)
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
    with python_binance(url) as client:
        return list(client.get_historical_klines(symbol, interval, span.start_ms, span.end_ms - 1))


def trades_by_ccxt(url: str, first: int, count: int) -> list[tuple[object, ...]]:
    """Aggregated trades from an id on."""
    client = ccxt_client(url)
    rows: list[tuple[object, ...]] = []
    while len(rows) < count:
        page = client.fetch_trades("BTC/USDT", limit=1000, params={"fromId": first + len(rows)})
        rows += [(int(one["id"]), one["timestamp"], one["price"], one["amount"], one["side"]) for one in page]
    return rows[:count]


def trades_by_python_binance(url: str, first: int, count: int) -> tuple[list[object], list[object]]:
    """Single trades from an id on, and as many aggregated ones from the time of the last one on."""
    with python_binance(url) as client:
        singles: list[Any] = []
        while len(singles) < count:
            singles += client.get_historical_trades(symbol="BTCUSDT", fromId=first + len(singles), limit=1000)
        start = singles[count - 1]["time"]
        aggregates = client.aggregate_trade_iter("BTCUSDT", start_str=start)
        return singles[:count], list(islice(aggregates, count))


@pytest.mark.e2e
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


DAY = TimeRange(ms("2024-07-31"), ms("2024-08-01"))


async def oracle(exchange: Peer, endpoint: str) -> list[Any]:
    """The trades of a day."""
    bounds = {"startTime": DAY.start_ms, "endTime": DAY.end_ms}
    answer = await exchange.get(f"/oracle/{endpoint}", symbol="BTCUSDT", **bounds)
    return msgspec.json.decode(answer.body, type=list[Any])


@pytest.mark.e2e
async def test_ccxt_loads_a_day_of_aggregated_trades_by_id() -> None:
    async with peer() as exchange:
        expected = await oracle(exchange, "aggTrades")
        rows = await asyncio.to_thread(trades_by_ccxt, exchange.exchange.url, expected[0]["a"], len(expected))
        assert rows == [
            (row["a"], row["T"], float(row["p"]), float(row["q"]), "sell" if row["m"] else "buy") for row in expected
        ]
        assert len(rows) > 20_000


@pytest.mark.filterwarnings("ignore:websockets.legacy is deprecated:DeprecationWarning")
async def test_python_binance_loads_trades_by_id_and_aggregated_ones_by_its_iterator() -> None:
    async with peer() as exchange:
        expected, count = await oracle(exchange, "historicalTrades"), 2_500
        singles, aggregates = await asyncio.to_thread(
            trades_by_python_binance, exchange.exchange.url, expected[0]["id"], count
        )
        assert singles == expected[:count]
        since = expected[count - 1]["time"]
        assert aggregates == [row for row in await oracle(exchange, "aggTrades") if row["T"] >= since][:count]


async def met_at(config: ExchangeConfig, expected: str = "") -> str | None:
    """The name that a client reads from the exchange. expected: by the client's settings."""
    identity = None if expected else Identity()
    async with await serve(config) as running:
        asking = wiring.make_exchange(ExchangeSettings(urls=(running.url,), identity=expected), identity=identity)
        try:
            await asking.server_time()
        finally:
            await asking.close()
    return None if identity is None else identity.met


async def test_its_name_follows_from_what_it_serves_and_from_nothing_else(tmp_path: Path) -> None:
    recordings = tmp_path / "spot ü"
    recordings.mkdir()
    (recordings / "BTCUSDT-1m-2024-08-01.csv").write_text(f"{NOW - NOW % 60_000},1,1,1,1,1,{NOW},1,1,1,1,0\n")
    for config, name in (
        (ExchangeConfig(now_ms=NOW), "test exchange, seed 1"),
        (ExchangeConfig(seed=7, faults=("slow:ms=1",)), "test exchange, seed 7"),
        (ExchangeConfig(trades_a_minute=100), "test exchange, seed 1, 100 trades a minute"),
        (ExchangeConfig(replay=recordings), "test exchange, recordings of spot %C3%BC"),
    ):
        assert await met_at(config) == name
        await met_at(config, name)


async def test_another_one_than_was_expected_is_refused_with_the_next_step() -> None:
    with pytest.raises(OtherExchange) as refused:
        await met_at(ExchangeConfig(seed=7), "test exchange, seed 1")
    assert str(refused.value).endswith(
        " is the exchange `test exchange, seed 7`, and the data here are of `test exchange, seed 1`: start that one "
        "again, or name its address with --exchange or STREAMFORGE_EXCHANGE_URL"
    )
