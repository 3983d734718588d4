"""Others' clients, unmodified, keep the oracle's book."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from streamforge.exchange.config import ExchangeConfig
from streamforge.exchange.exchange_server import RunningExchange, serve
from streamforge.exchange.state import ExchangeClock
from tests.delivery.streams.test_book_clients import ours
from tests.exchange.conftest import NOW
from tests.exchange.sockets import Json
from tests.limits import LIMIT_S

# Others' clients, whose clocks nobody moves.
pytestmark = pytest.mark.e2e

BOOKS = 60

Top = list[list[float]]


class Oracle:
    """The best levels of ETHUSDT, as clients write them."""

    def __init__(self, running: RunningExchange, session: aiohttp.ClientSession) -> None:
        self._url, self._session = f"{running.url}/oracle/depth", session

    async def top(self, **query: int) -> tuple[Top, Top]:
        asked = {"symbol": "ETHUSDT", "limit": "20", **{name: str(value) for name, value in query.items()}}
        async with self._session.get(self._url, params=asked) as answer:
            book = msgspec.json.decode(await answer.read(), type=Json)
        return floats(book["bids"]), floats(book["asks"])


def floats(levels: Sequence[Sequence[Any]]) -> Top:
    return [[float(level[0]), float(level[1])] for level in levels[:20]]


@asynccontextmanager
async def busy(*faults: str) -> AsyncIterator[tuple[RunningExchange, Oracle]]:
    """An exchange whose seconds pass five times as fast."""
    async with (
        await serve(ExchangeConfig(faults=faults), ExchangeClock(NOW, speed=5)) as running,
        aiohttp.ClientSession() as session,
    ):
        yield running, Oracle(running, session)


async def within(waited: Any) -> Any:
    return await asyncio.wait_for(waited, LIMIT_S)


@asynccontextmanager
async def ccxt_of(running: RunningExchange) -> AsyncIterator[Any]:
    import ccxt.pro  # it takes seconds, which every process that collects tests would spend

    client = ccxt.pro.binance({"enableRateLimit": False, "options": {"fetchMarkets": {"types": ["spot"]}}})
    client.urls["api"]["public"] = f"{running.url}/api/v3"
    client.urls["api"]["ws"]["spot"] = f"ws://127.0.0.1:{running.port}/ws"
    try:
        yield client
    finally:
        await client.close()


async def test_ccxt_keeps_the_book() -> None:
    ids: list[int] = []
    async with busy() as (running, oracle), ccxt_of(running) as client:
        while len(ids) < BOOKS:
            book = await within(client.watch_order_book("ETH/USDT"))
            ids.append(book["nonce"])
            kept = floats(book["bids"]), floats(book["asks"])  # before the client changes it
            assert kept == await oracle.top(u=ids[-1])
    assert ids == sorted(set(ids))


async def watched(client: Any) -> list[tuple[float, float]]:
    """The best prices of the books that the client hands over."""
    found = []
    for _ in range(BOOKS):
        book = await within(client.watch_order_book("ETH/USDT"))
        found.append((book["bids"][0][0], book["asks"][0][0]))
    return found


async def test_ccxt_gives_a_book_up_over_an_overlap_in_which_nothing_is_lost() -> None:
    from ccxt import ChecksumError

    async with busy("depth-overlap:after=20,count=1") as (running, _), ccxt_of(running) as client:
        with pytest.raises(ChecksumError):
            await watched(client)


async def test_ccxt_hands_a_crossed_book_over() -> None:
    async with busy("depth-crossed:after=20,count=1") as (running, _), ccxt_of(running) as client:
        assert any(bid >= ask for bid, ask in await watched(client))


@asynccontextmanager
async def python_binance_of(running: RunningExchange) -> AsyncIterator[Any]:
    from binance import AsyncClient, BinanceSocketManager
    from binance.ws.depthcache import DepthCacheManager

    class LocalClient(AsyncClient):  # type: ignore[misc]
        API_URL = f"{running.url}/api"

    client = LocalClient()
    manager = BinanceSocketManager(client, max_queue_size=10_000)
    manager.STREAM_URL = f"ws://127.0.0.1:{running.port}/"
    try:
        async with DepthCacheManager(client, "ETHUSDT", bm=manager, limit=5_000, ws_interval=100) as cache:
            yield cache
    finally:
        await client.close_connection()


# python-binance imports the older client of websockets
@pytest.mark.filterwarnings("ignore:websockets.legacy is deprecated:DeprecationWarning")
async def test_python_binance_keeps_the_book_once_it_has_passed_its_second_snapshot() -> None:
    times: list[int] = []
    async with busy() as (running, oracle), python_binance_of(running) as cache:
        # where the first diff begins before the snapshot, it takes another one and lays the older diff over it
        wrong_until_ms = 0
        while len(times) < BOOKS:
            book = await within(cache.recv())
            wrong_until_ms = wrong_until_ms or running.state.clock.now_ms()
            if book.update_time > wrong_until_ms:
                times.append(book.update_time)
                kept = floats(book.get_bids()), floats(book.get_asks())
                assert kept == await oracle.top(time=times[-1])
    assert times == sorted(set(times))


@pytest.mark.filterwarnings("ignore:websockets.legacy is deprecated:DeprecationWarning")
async def test_python_binance_hands_books_over_that_never_were_once_a_diff_was_lost() -> None:
    """It lays diffs from before its new snapshot over it."""
    config = ExchangeConfig(faults=("stream-missing:stream=*@depth*,after=50,count=1",))
    clock = ExchangeClock(NOW, frozen=True)
    async with (
        await serve(config, clock) as running,
        aiohttp.ClientSession() as session,
        python_binance_of(running) as cache,
    ):
        truth = Oracle(running, session)

        async def is_true(book: Any) -> bool:
            kept = floats(book.get_bids()), floats(book.get_asks())
            return bool(kept == await truth.top(time=book.update_time))

        right = []
        for _ in range(40):
            coming = asyncio.create_task(within(cache.recv()))
            while not coming.done():
                clock.advance(100)
                await asyncio.sleep(0.02)
            right.append(await is_true(coming.result()))
        assert all(right[20:])  # it has passed its second snapshot
        while not running.state.faults.active[0].struck:
            clock.advance(100)
            await asyncio.sleep(0.02)
        clock.advance(2_000)  # a snapshot is newer now than what comes
        right.clear()
        while (book := await within(cache.recv())).update_time < clock.now_ms() - 500:
            right.append(await is_true(book))
        assert not all(right)
        clock.run(5.0)  # the client ends with the next message


@pytest.mark.parametrize("fault", ["depth-overlap:", "depth-crossed:", "stream-missing:stream=*@depth*,"])
async def test_where_others_are_wrong_ours_says_so_and_has_a_verified_book(fault: str, tmp_path: Path) -> None:
    """Each book that is called verified is the exchange's, see tests/workers/test_orderbook.py."""
    before, after, causes = await ours(f"{fault}after=60,count=1", tmp_path)
    assert after.trust == "verified"
    assert (after.suspect > before.suspect) is ("overlap" not in fault)
    assert causes == {"", *(["sequence gap"] if "missing" in fault else [])}
