"""The REST interface: refusals, ping, time and exchangeInfo as recorded from Binance."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import pytest

from streamforge.exchange.config import ExchangeConfig
from tests.exchange.conftest import Answer, Peer, ms, peer
from tests.places import market_data


def cassette(name: str) -> tuple[int, dict[str, str], bytes]:
    answer = json.loads(market_data("http-cassettes", name).read_text())[0]["response"]
    return answer["status_code"], answer["headers"], answer["body"].encode()


async def refused(answer: Answer, code: int) -> str:
    assert answer.status == 400
    assert answer.headers["Content-Type"] == "application/json;charset=UTF-8"
    assert answer.json["code"] == code
    return str(answer.json["msg"])


async def test_an_invalid_interval_is_refused_as_recorded(exchange: Peer) -> None:
    status, headers, body = cassette("spot_klines_400_code-1120-invalid-interval_2021-04-07.json")
    answer = await exchange.klines(interval="1")
    assert (answer.status, answer.body) == (status, body)
    same = ("Content-Type", "Content-Length", "Server", "X-Frame-Options", "Cache-Control", "Pragma", "Expires")
    assert {name: answer.headers[name] for name in same} == {name: headers[name] for name in same}


async def test_an_invalid_symbol_is_refused_as_recorded(exchange: Peer) -> None:
    text = market_data("http-cassettes", "spot_klines_400_code-1121-invalid-symbol.yml").read_text()
    recorded = re.search(r"body: '(\{.*\})'", text)
    assert recorded is not None
    answer = await exchange.klines(symbol="BOGUS", limit=2, interval="1h")
    assert (answer.status, answer.body.decode()) == (400, recorded[1])


async def test_ping_and_time_answer_as_recorded() -> None:
    status, headers, body = cassette("spot_ping_200_2021-03-24.json")
    _, _, time_body = cassette("spot_time_200_2021-03-24.json")
    async with peer(now_ms=json.loads(time_body)["serverTime"]) as exchange:
        ping = await exchange.get("/api/v3/ping")
        assert (ping.status, ping.body) == (status, body)
        assert ping.headers["x-mbx-used-weight-1m"] == headers["x-mbx-used-weight-1m"]
        time = await exchange.get("/api/v3/time")
        assert time.body == time_body
        assert time.headers["Date"] == "Wed, 24 Mar 2021 13:24:28 GMT"
        assert time.headers["X-MBX-USED-WEIGHT"] == time.headers["X-MBX-USED-WEIGHT-1M"] == "2"


@pytest.mark.parametrize(
    ("params", "code", "text"),
    [
        ({"symbol": ""}, -1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed."),
        ({"interval": ""}, -1102, "Mandatory parameter 'interval' was not sent, was empty/null, or malformed."),
        ({"symbol": "btcusdt"}, -1100, "Illegal characters found in parameter 'symbol'; legal range is '"),
        ({"symbol": "BTC/USDT"}, -1100, "Illegal characters found in parameter 'symbol'"),
        ({"interval": "1mo"}, -1120, "Invalid interval."),
        (
            {"startTime": "None"},
            -1100,
            "Illegal characters found in parameter 'startTime'; legal range is '^[0-9]{1,20}$'.",
        ),
        ({"endTime": "-1"}, -1100, "Illegal characters found in parameter 'endTime'; legal range is '^[0-9]{1,20}$'."),
        ({"limit": "1.5"}, -1100, "Illegal characters found in parameter 'limit'; legal range is '^[0-9]{1,20}$'."),
        ({"limit": "0"}, -1130, "Data sent for parameter 'limit' is not valid."),
        ({"startTime": ""}, -1105, "Parameter 'startTime' was empty."),
        ({"depth": "5"}, -1104, "Not all sent parameters were read; read '2' parameter(s) but was sent '3'."),
    ],
)
async def test_bad_parameters_are_refused(params: dict[str, str], code: int, text: str, exchange: Peer) -> None:
    assert (await refused(await exchange.klines(**params), code)).startswith(text)


async def test_a_missing_symbol_and_a_repeated_one_are_refused(exchange: Peer) -> None:
    await refused(await exchange.get("/api/v3/klines", interval="1m"), -1102)
    await refused(await exchange.get("/api/v3/klines?symbol=BTCUSDT&symbol=ETHUSDT&interval=1m"), -1101)
    await refused(await exchange.get("/api/v3/ping", symbol="BTCUSDT"), -1104)
    await refused(await exchange.get("/api/v3/exchangeInfo", symbol="NO"), -1121)


async def test_a_symbol_is_unknown_until_it_is_listed(exchange: Peer) -> None:
    exchange.clock.set(1_500_000_000_000)
    await refused(await exchange.klines(), -1121)


async def test_an_unknown_path_is_not_found(exchange: Peer) -> None:
    for path in ("/api/v3/klinez", "/api/v1/klines", "/"):
        answer = await exchange.get(path)
        assert (answer.status, answer.body) == (404, b"")


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
