"""Others' clients, unmodified, read from the streams what REST has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from streamforge.exchange.config import ExchangeConfig
from streamforge.exchange.exchange_server import RunningExchange, serve
from streamforge.exchange.state import ExchangeClock
from streamforge.workers import loader_ws_candles, loader_ws_trades
from tests.exchange.conftest import MINUTE, NOW, Peer, peer
from tests.exchange.test_depth_clients import ccxt_of
from tests.limits import LIMIT_S
from tests.workers.live import LiveRig

# Others' clients, whose clocks nobody moves.
pytestmark = pytest.mark.e2e

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


OURS = {
    "trade": ("ws_trades", loader_ws_trades.DEFINITION),
    "kline_1s": ("ws_candles_1s", loader_ws_candles.DEFINITION),
}


@asynccontextmanager
async def ids_of(
    name: str, word: str, running: RunningExchange, folder: Path
) -> AsyncIterator[Callable[[], Awaitable[list[int]]]]:
    """The ids of trades, or the beginnings of candles, that a client has told of a stream, in their order."""
    found = list[int]()

    async def told() -> list[int]:
        return found

    async def ccxt_tells() -> None:
        async with ccxt_of(running) as client:
            from ccxt import NetworkError

            await client.load_markets()
            while True:
                try:
                    if word == "trade":
                        found.extend(int(one["id"]) for one in await client.watch_trades("BTC/USDT"))
                    else:
                        bars = [one[0] for one in await client.watch_ohlcv("BTC/USDT", "1s")]
                        found.extend(one for one in bars if one not in found)
                except NetworkError:
                    await asyncio.sleep(0.05)

    async def binance_tells() -> None:
        from binance import AsyncClient, BinanceSocketManager

        manager = BinanceSocketManager(client := AsyncClient(), max_queue_size=10_000)
        manager.STREAM_URL = f"ws://127.0.0.1:{running.port}/"
        try:
            async with manager.trade_socket("BTCUSDT") as stream:
                while True:
                    if "t" in (message := await stream.recv()):
                        found.append(message["t"])
        finally:
            await client.close_connection()

    if name == "ours":
        type_name, definition = OURS[word]
        rig = LiveRig(folder, running, type_name)
        await rig.prepare()
        async with rig.working(definition):
            yield rig.positions
        await rig.close()
        return
    telling = asyncio.create_task((ccxt_tells if name == "ccxt" else binance_tells)())
    yield told
    telling.cancel()
    await asyncio.gather(telling, return_exceptions=True)


async def flaws_of(name: str, word: str, fault: str, folder: Path) -> set[str]:
    """What is wrong with what a client tells around a fault. Who is cut is refused until ten seconds have passed."""
    faults = f"{fault},after=5,count=1,stream=*@{word}".replace(":,", ":"), "stream-refused:after=1"

    async def happened(exchange: Peer) -> list[int]:
        if word != "trade":
            return [*range(NOW - NOW % 1000, exchange.clock.now_ms() - 1000, 1000)]
        return [row["id"] for row in await oracle(exchange.exchange, "historicalTrades", NOW - MINUTE)]

    async with (
        asyncio.timeout(LIMIT_S),
        peer(ExchangeConfig(faults=faults, trades_a_minute=600)) as exchange,
        ids_of(name, word, exchange.exchange, folder) as told,
    ):
        active = exchange.state.faults.active
        while not await told() or not active[0].struck:
            exchange.clock.advance(500)
            await asyncio.sleep(0.02)
        exchange.clock.advance(10_000)
        active.pop()
        goal = (await happened(exchange))[-1]
        while max(found := await told()) <= goal:
            exchange.clock.advance(500)
            await asyncio.sleep(0.02)
        true = {one for one in await happened(exchange) if found[0] <= one <= goal}
        given = [one for one in found if one <= goal]
        return {*(["lost"] if true - set(given) else []), *(["twice"] if len(given) > len(set(given)) else [])}


# python-binance imports the older client of websockets
@pytest.mark.filterwarnings("ignore:websockets.legacy is deprecated:DeprecationWarning")
@pytest.mark.parametrize(("name", "word"), [("ccxt", "trade"), ("ccxt", "kline_1s"), ("binance", "trade")])
@pytest.mark.parametrize(
    ("fault", "flaw"),
    [
        ("stream-reset:", "lost"),
        pytest.param("stream-silence:seconds=5", "lost", marks=pytest.mark.long),
        pytest.param("stream-duplicate:", "twice", marks=pytest.mark.long),
    ],
)
async def test_others_pass_on_what_goes_wrong_and_ours_has_each_once(
    name: str, word: str, fault: str, flaw: str, tmp_path: Path
) -> None:
    may = set() if (word, flaw) == ("kline_1s", "twice") else {flaw}  # a candle is told again in any case
    assert await flaws_of(name, word, fault, tmp_path) == may
    assert await flaws_of("ours", word, fault, tmp_path) == set()
