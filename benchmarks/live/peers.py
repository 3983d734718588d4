"""Other projects' clients of trades on a stream, each called in a new process; nothing is published, nothing is stored.

This module imports nothing that the environment of `make bench-others` lacks.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any

import msgspec

_MARKET = "BTC-USDT"
_LOOK_S = 0.5


class Received(msgspec.Struct, frozen=True):
    """What a client received. cpu_s: processor time of its process, from the subscription to the last trade."""

    trades: int
    last: int
    cpu_s: float


def ccxt_pro(url: str, rest: str, count: int, last: int) -> Received:
    """ccxt.pro's `watch_trades` on the server at `url`; markets are those of the exchange at `rest`.

    It is as published, but for the room in aiohttp's queue of messages: ccxt tells it less than it has taken (4.5 with
    aiohttp 3.14), so that after some thousand trades in a row nothing more is received.
    """
    return asyncio.run(_ccxt_pro(url, rest, count, last))


async def _ccxt_pro(url: str, rest: str, count: int, last: int) -> Received:
    import aiohttp.client
    import ccxt.pro  # which takes seconds and 100 MB

    aiohttp_client: Any = aiohttp.client
    queue = aiohttp_client.WebSocketDataQueue
    aiohttp_client.WebSocketDataQueue = lambda protocol, _, **named: queue(protocol, 2**30, **named)
    client = ccxt.pro.binance({"enableRateLimit": False, "options": {"fetchMarkets": {"types": ["spot"]}}})
    client.urls["api"]["public"] = f"{rest}/api/v3"
    client.urls["api"]["ws"]["spot"] = f"{url}/ws"
    try:
        await client.load_markets()
        began, newest = time.process_time(), 0
        while newest < last:
            with suppress(TimeoutError):  # it tells of nothing that came while nobody waited
                await asyncio.wait_for(client.watch_trades("BTC/USDT"), _LOOK_S)
            newest = int(client.trades["BTC/USDT"][-1]["id"])
        return Received(count, newest, time.process_time() - began)
    finally:
        await client.close()


def cryptofeed(url: str, count: int) -> Received:
    """cryptofeed's feed with a callback, on the server at `url`.

    It is as published, but for two things: its list of markets is given, and the address, which it wants to be `wss`,
    is that of a server without TLS.
    """
    return asyncio.run(_cryptofeed(url, count))


async def _cryptofeed(url: str, count: int) -> Received:
    from cryptofeed.defines import BINANCE, TRADES
    from cryptofeed.exchanges import Binance
    from cryptofeed.symbols import Symbols

    trades, newest, done = 0, 0, asyncio.Event()

    async def hear(trade: object, received: float) -> None:
        nonlocal trades, newest
        trades += 1
        if trades == count:
            newest = int(trade.id)  # type: ignore[attr-defined]
            done.set()

    Symbols.set(BINANCE, {_MARKET: "BTCUSDT"}, {"instrument_type": {_MARKET: "spot"}, "tick_size": {_MARKET: "0.01"}})
    feed = Binance(symbols=[_MARKET], channels=[TRADES], callbacks={TRADES: hear})
    ((connection, subscribe, handle, _),) = feed.connect()
    connection.address = url + connection.address[connection.address.index("/stream") :]
    began = time.process_time()
    async with connection.connect():
        await subscribe(connection)
        async for message in connection.read():
            await handle(message, connection, connection.last_message)
            if done.is_set():
                break
        return Received(trades, newest, time.process_time() - began)
