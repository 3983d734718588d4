"""exchangeInfo, in the form of 2025."""

from __future__ import annotations

from typing import Any

import msgspec

from streamforge.exchange.config import ExchangeConfig
from tests.exchange.support import Peer, ms, peer
from tests.places import market_data


async def info(exchange: Peer, **params: str) -> dict[str, Any]:
    answer = await exchange.get("/api/v3/exchangeInfo", **params)
    assert answer.status == 200, answer.body
    return dict(answer.json)


async def statuses(exchange: Peer) -> dict[str, str]:
    return {symbol["symbol"]: symbol["status"] for symbol in (await info(exchange))["symbols"]}


async def test_what_it_has_is_as_in_the_recorded_one(exchange: Peer) -> None:
    recorded = msgspec.json.decode(
        market_data("exchange-info", "spot_exchangeInfo_25symbols_2025-08-07.json").read_bytes()
    )
    theirs = next(symbol for symbol in recorded["symbols"] if symbol["symbol"] == "BTCUSDT")
    ours = await info(exchange, symbol="BTCUSDT")
    assert ours.keys() == recorded.keys()
    assert ours["rateLimits"] == recorded["rateLimits"]
    symbol = ours["symbols"][0]
    others = ("filters", "permissionSets", "orderTypes")
    assert symbol.keys() <= theirs.keys()
    assert {key: symbol[key] for key in symbol if key not in others} == {
        key: theirs[key] for key in symbol if key not in others
    }
    filters = {one["filterType"]: one for one in theirs["filters"]}
    assert symbol["filters"][0] == filters["PRICE_FILTER"]
    assert all(one.keys() <= filters[one["filterType"]].keys() for one in symbol["filters"])
    assert "permissionSets" not in (await info(exchange, showPermissionSets="false"))["symbols"][0]


async def test_a_symbol_appears_when_listed_and_breaks_when_delisted(exchange: Peer) -> None:
    names = ("BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT", "NEWUSDT", "OLDUSDT", "这是测试币456")
    trading = dict.fromkeys(names, "TRADING")
    assert await statuses(exchange) == trading | {"OLDUSDT": "BREAK"}
    exchange.clock.set(ms("2022-06-29T23:59"))
    for name in ("NEWUSDT", "这是测试币456"):
        del trading[name]
    assert await statuses(exchange) == trading
    exchange.clock.advance(60_000)
    assert await statuses(exchange) == trading | {"OLDUSDT": "BREAK"}


async def test_the_weight_limit_is_the_one_in_force() -> None:
    async with peer(ExchangeConfig(weight_limit=900)) as exchange:
        assert (await info(exchange))["rateLimits"][0]["limit"] == 900
