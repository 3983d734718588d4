"""Other projects' clients of Binance's streams, in an environment of their own (`make stream-clients`).

`python stream_clients.py CLIENT_WHAT SYMBOL` prints what the client gives, a JSON text on each line: of trades the id,
price, quantity and time; of a book the id of its last update and its best levels, or that there is none.
The clients are as published and ask Binance's own addresses. They are led elsewhere as any user's are, by a proxy and a
CA of the environment; where a client does not look there, by its option for a proxy.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

LEVELS = 20
LOOK_S = 0.02


def tell(said: object) -> None:
    print(json.dumps(said), flush=True)


def tell_trade(trade: Mapping[str, Any]) -> None:
    tell([trade["t"], float(trade["p"]), float(trade["q"]), trade["T"]])


def unicorn_trades(symbol: str) -> None:
    """unicorn-binance-websocket-api."""
    from unicorn_binance_websocket_api import BinanceWebSocketApiManager

    manager = BinanceWebSocketApiManager(exchange="binance.com", output_default="dict", warn_on_update=False)
    manager.create_stream(channels=["trade"], markets=[symbol.lower()])
    while True:
        event = manager.pop_stream_data_from_stream_buffer()
        if event and event.get("data", {}).get("e") == "trade":
            tell_trade(event["data"])
        elif not event:
            time.sleep(LOOK_S)


def unicorn_book(symbol: str) -> None:
    """unicorn-binance-local-depth-cache; the times between its snapshots are shorter than by default."""
    from unicorn_binance_local_depth_cache import BinanceLocalDepthCacheManager, DepthCacheOutOfSync

    cache = BinanceLocalDepthCacheManager(
        exchange="binance.com",
        depth_cache_update_interval=100,
        init_interval=0.5,
        init_time_window=1,
        warn_on_update=False,
    )
    cache.create_depthcache(markets=symbol)
    told, seen, times = None, None, 0
    while True:
        last = cache.depth_caches[symbol.lower()]["last_update_id"]
        try:
            found = {side: getattr(cache, f"get_{side}")(symbol, limit_count=LEVELS) for side in ("bids", "asks")}
            now = {"u": last, **found}
        except DepthCacheOutOfSync:
            now = {"u": None}
        times = times + 1 if now == seen else 0
        seen = now
        if times >= 2 and now != told:  # a diff is not being applied
            told = now
            tell(now)
        time.sleep(LOOK_S)


def cryptofeed_trades(symbol: str) -> None:
    """cryptofeed, which takes aggregated trades."""
    from cryptofeed.defines import TRADES

    async def heard(trade: Any, _: float) -> None:
        tell([int(trade.id), float(trade.price), float(trade.amount), round(trade.timestamp * 1000)])

    _cryptofeed(symbol, TRADES, heard)


def cryptofeed_book(symbol: str) -> None:
    """cryptofeed's book after each update."""
    from cryptofeed.defines import L2_BOOK

    def levels(side: Any) -> list[list[float]]:
        prices = [side.index(at)[0] for at in range(min(LEVELS, len(side)))]
        return [[float(price), float(side[price])] for price in prices]

    async def heard(book: Any, _: float) -> None:
        tell({"u": book.sequence_number, "bids": levels(book.book.bids), "asks": levels(book.book.asks)})

    _cryptofeed(symbol, L2_BOOK, heard)


def _cryptofeed(symbol: str, channel: str, heard: Any) -> None:
    from cryptofeed import FeedHandler
    from cryptofeed.exchanges import Binance

    handler = FeedHandler(config={"uvloop": False, "log": {"disabled": True}})
    name = f"{symbol.removesuffix('USDT')}-USDT"
    handler.add_feed(
        Binance(symbols=[name], channels=[channel], callbacks={channel: heard}, http_proxy=os.environ["HTTPS_PROXY"])
    )
    handler.run()


def sdk_trades(symbol: str) -> None:
    """binance-sdk-spot."""
    from binance_common.configuration import ConfigurationWebSocketStreams
    from binance_sdk_spot.spot import Spot

    proxy = urlsplit(os.environ["HTTPS_PROXY"])
    way = {"protocol": proxy.scheme, "host": proxy.hostname, "port": proxy.port}

    async def run() -> None:
        spot = Spot(config_ws_streams=ConfigurationWebSocketStreams(proxy=way))
        connection = await spot.websocket_streams.create_connection()
        stream = await connection.trade(symbol=symbol.lower())
        stream.on("message", lambda trade: tell_trade(trade.model_dump(by_alias=True)))
        await asyncio.Event().wait()

    asyncio.run(run())


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
