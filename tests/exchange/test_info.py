"""exchangeInfo: the form of 2025, narrowed by its parameters."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from streamforge.exchange.config import ExchangeConfig
from tests.exchange.support import Peer, ms, peer
from tests.places import market_data


async def info(exchange: Peer, **params: str) -> dict[str, Any]:
    answer = await exchange.get("/api/v3/exchangeInfo", **params)
    assert answer.status == 200, answer.body
    return dict(answer.json)


async def names(exchange: Peer, **params: str) -> list[str]:
    return [symbol["symbol"] for symbol in (await info(exchange, **params))["symbols"]]


async def test_it_has_the_fields_and_filters_of_the_recorded_one() -> None:
    recorded = msgspec.json.decode(
        market_data("exchange-info", "spot_exchangeInfo_25symbols_2025-08-07.json").read_bytes()
    )
    theirs = next(symbol for symbol in recorded["symbols"] if symbol["symbol"] == "BTCUSDT")
    async with peer() as exchange:
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
        assert symbol["filters"][:2] == [
            {**theirs["filters"][0]},
            {**theirs["filters"][1], "maxQty": symbol["filters"][1]["maxQty"]},
        ]


async def test_it_lists_what_is_asked_for() -> None:
    async with peer() as exchange:
        assert await names(exchange) == [
            *("BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT", "NEWUSDT", "OLDUSDT", "这是测试币456"),
        ]
        assert await names(exchange, symbols='["ETHUSDT","这是测试币456"]') == ["ETHUSDT", "这是测试币456"]
        assert await names(exchange, symbolStatus="BREAK") == ["OLDUSDT"]
        assert await names(exchange, permissions="LEVERAGED") == []
        assert "permissionSets" not in (await info(exchange, showPermissionSets="false"))["symbols"][0]


async def test_a_symbol_appears_when_listed_and_breaks_when_delisted() -> None:
    async with peer(now_ms=ms("2022-06-29T23:59")) as exchange:
        assert "NEWUSDT" not in await names(exchange)
        assert await names(exchange, symbolStatus="BREAK") == []
        exchange.clock.advance(60_000)
        assert await names(exchange, symbolStatus="BREAK") == ["OLDUSDT"]


async def test_the_weight_limit_is_the_one_in_force() -> None:
    async with peer(ExchangeConfig(weight_limit=900)) as exchange:
        assert (await info(exchange))["rateLimits"][0]["limit"] == 900


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"symbol": "BTCUSDT", "symbols": '["BTCUSDT"]'}, -1128),
        ({"symbol": "BTCUSDT", "symbolStatus": "BREAK"}, -1128),
        ({"symbolStatus": "GONE"}, -1122),
        ({"symbols": '["BTCUSDT","BTCUSDT"]'}, -1151),
        ({"symbols": '["NO"]'}, -1121),
        ({"symbol": "NO"}, -1121),
        ({"symbols": "BTCUSDT"}, -1100),
    ],
)
async def test_bad_parameters_are_refused(params: dict[str, str], code: int) -> None:
    async with peer() as exchange:
        answer = await exchange.get("/api/v3/exchangeInfo", **params)
        assert (answer.status, answer.json["code"]) == (400, code)
