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


async def test_it_has_the_fields_and_filters_of_the_recorded_one(exchange: Peer) -> None:
    recorded = msgspec.json.decode(
        market_data("exchange-info", "spot_exchangeInfo_25symbols_2025-08-07.json").read_bytes()
    )
    theirs = next(symbol for symbol in recorded["symbols"] if symbol["symbol"] == "BTCUSDT")
    ours = await info(exchange, symbol="BTCUSDT")
    assert ours.keys() == recorded.keys()
    assert ours["rateLimits"] == recorded["rateLimits"]
    symbol = ours["symbols"][0]
    assert symbol.keys() == theirs.keys()
    assert [(f["filterType"], f.keys()) for f in symbol["filters"]] == [
        (f["filterType"], f.keys()) for f in theirs["filters"]
    ]
    kept = [key for key in theirs if key not in ("filters", "permissionSets")]
    assert {key: symbol[key] for key in kept} == {key: theirs[key] for key in kept}
    assert symbol["filters"][0] == theirs["filters"][0]
    assert symbol["filters"][1] == {**theirs["filters"][1], "maxQty": symbol["filters"][1]["maxQty"]}
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
