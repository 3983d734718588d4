"""Trades on the streams are the rows of REST, each sent when it happens."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streamforge.exchange.config import DEFAULT_SYMBOLS, ExchangeConfig, SymbolSpec
from tests.exchange.conftest import DAY, MINUTE, NOW, Peer, ms, peer
from tests.exchange.sockets import socket
from tests.places import market_data


async def rows(exchange: Peer, endpoint: str, symbol: str, start_ms: int, end_ms: int) -> list[Any]:
    answer = await exchange.get(f"/oracle/{endpoint}", symbol=symbol, startTime=start_ms, endTime=end_ms)
    return msgspec.json.decode(answer.body, type=list[Any])


async def test_trades_are_those_of_rest(exchange: Peer) -> None:
    async with socket(exchange, "/ws/btcusdt@trade") as client:
        sent = await client.sent(10 * MINUTE)
    expected = await rows(exchange, "historicalTrades", "BTCUSDT", NOW + 1, NOW + 10 * MINUTE + 1)
    assert len(expected) > 200
    assert [(one["t"], one["p"], one["q"], one["T"], one["m"], one["M"]) for one in sent] == [
        (row["id"], row["price"], row["qty"], row["time"], row["isBuyerMaker"], row["isBestMatch"]) for row in expected
    ]
    assert all(list(one) == ["e", "E", "s", "t", "p", "q", "T", "m", "M"] for one in sent)
    assert {(one["e"], one["s"], one["E"] >= one["T"]) for one in sent} == {("trade", "BTCUSDT", True)}


async def test_aggregated_trades_are_those_of_rest(exchange: Peer) -> None:
    async with socket(exchange, "/ws/ethusdt@aggTrade") as client:
        sent = await client.sent(10 * MINUTE)
    expected = await rows(exchange, "aggTrades", "ETHUSDT", NOW + 1, NOW + 10 * MINUTE + 1)
    assert len(expected) > 100
    assert [{name: one[name] for name in "apqflTmM"} for one in sent] == expected
    assert {(one["e"], one["s"], one["E"] >= one["T"]) for one in sent} == {("aggTrade", "ETHUSDT", True)}


async def test_a_symbol_that_is_not_ascii(exchange: Peer) -> None:
    async with socket(exchange, "/ws/%E8%BF%99%E6%98%AF%E6%B5%8B%E8%AF%95%E5%B8%81456@trade") as client:
        assert {one["s"] for one in await client.sent(MINUTE)} == {"这是测试币456"}


async def test_events_of_several_streams_come_in_the_order_of_time_and_none_twice(exchange: Peer) -> None:
    names = ["btcusdt@trade", "ethusdt@trade", "bnbusdt@trade", "btcusdt@aggTrade"]
    async with socket(exchange, f"/stream?streams={'/'.join(names)}") as client:
        sent = [one for step in (1, 999, 30_000, 17, MINUTE) for one in await client.sent(step)]
    times = [one["data"]["T"] for one in sent]
    assert times == sorted(times)
    for name in names:
        found = [one["data"] for one in sent if one["stream"] == name]
        ids = [one["a"] if "a" in one else one["t"] for one in found]
        assert len(ids) > 30
        assert ids == list(range(ids[0], ids[0] + len(ids)))
    assert {one["stream"] for one in sent} == set(names)


@pytest.mark.long
async def test_two_connections_get_the_same_each_from_when_it_has_subscribed(exchange: Peer) -> None:
    async with socket(exchange, "/ws/btcusdt@trade") as first:
        before = await first.sent(MINUTE)
        async with socket(exchange, "/ws/btcusdt@trade") as second:
            exchange.clock.advance(MINUTE)
            both = [await one.next() for one in (first, second) for _ in range(10)]
    assert both[:10] == both[10:]
    assert both[0]["t"] == before[-1]["t"] + 1


async def test_a_minute_of_many_trades_is_whole() -> None:
    async with peer(ExchangeConfig(trades_a_minute=5_000)) as exchange:
        async with socket(exchange, "/ws/btcusdt@trade") as client:
            sent = await client.sent(3 * MINUTE)
        expected = await rows(exchange, "historicalTrades", "BTCUSDT", NOW + 1, NOW + 3 * MINUTE + 1)
        assert len(expected) > 10_000
        assert [one["t"] for one in sent] == [row["id"] for row in expected]


def spec(**changes: Any) -> SymbolSpec:
    return msgspec.structs.replace(DEFAULT_SYMBOLS[0], symbol="AAAUSDT", base="AAA", **changes)


@pytest.mark.parametrize(
    ("one", "spoken"),
    [
        (spec(), ["trade", "kline"]),
        (spec(status="HALT"), ["trade", "kline"]),
        (spec(status="CANCEL_ONLY"), ["trade"]),
        (spec(status="BREAK"), []),
        (spec(status="BREAK", delisted_ms=NOW - DAY), []),
        (spec(listed_ms=NOW + DAY), []),
        (spec(unlisted=True), []),
    ],
)
async def test_what_a_symbol_says_follows_from_its_status(one: SymbolSpec, spoken: list[str]) -> None:
    names = ["aaausdt@trade", "aaausdt@kline_1m"]
    async with peer(ExchangeConfig(symbols=(one,))) as exchange, socket(exchange, f"/ws/{'/'.join(names)}") as client:
        assert (await client.ask("LIST_SUBSCRIPTIONS"))["result"] == names
        assert {event["e"] for event in await client.sent(2 * MINUTE)} == set(spoken)


async def test_a_symbol_is_silent_from_its_delisting_on() -> None:
    end_ms = NOW + 2 * MINUTE
    config = ExchangeConfig(symbols=(spec(status="BREAK", delisted_ms=end_ms),))
    async with peer(config) as exchange, socket(exchange, "/ws/aaausdt@trade") as client:
        sent = await client.sent(10 * MINUTE)
    assert NOW < sent[0]["T"] < end_ms - MINUTE
    assert end_ms - MINUTE < sent[-1]["T"] < end_ms


async def test_a_symbol_may_stop_while_it_is_watched(exchange: Peer) -> None:
    async def status(symbol: str, status: str) -> int:
        return (await exchange.send("POST", "/control/symbols", {"symbol": symbol, "status": status})).status

    end_ms = NOW - NOW % MINUTE + 2 * MINUTE
    before = await exchange.get("/api/v3/exchangeInfo", symbol="BTCUSDT")
    assert b'"status":"TRADING"' in before.body
    async with socket(exchange, "/ws/btcusdt@trade/btcusdt@kline_1m/ethusdt@trade") as client:
        first = await client.sent(MINUTE)
        assert [await status("BTCUSDT", one) for one in ("CANCEL_ONLY", "BREAK", "NOTHING")] == [200, 200, 400]
        assert await status("NOSUCH", "BREAK") == 400
        sent = first + await client.sent(3 * MINUTE)
        trades = [one for one in sent if one["e"] == "trade"]
        found = [one["t"] for one in trades if one["s"] == "BTCUSDT"]
        expected = await rows(exchange, "historicalTrades", "BTCUSDT", NOW + 1, NOW + DAY)
        assert found == [row["id"] for row in expected]
        assert end_ms - 10_000 < expected[-1]["time"] < end_ms
        assert [one["k"]["t"] for one in sent if one["e"] == "kline" and one["k"]["x"]] == [
            end_ms - 2 * MINUTE,
            end_ms - MINUTE,
        ]
        others = [one["t"] for one in trades if one["s"] == "ETHUSDT"]
        assert others == list(range(others[0], others[0] + len(others))), "it is not disturbed"
        assert len(others) > 60
    info = await exchange.get("/api/v3/exchangeInfo", symbol="BTCUSDT")
    assert b'"status":"BREAK"' in info.body


async def test_recorded_trades_come_when_the_clock_passes_their_times(tmp_path: Path) -> None:
    recording = market_data("trades-and-aggtrades", "spot_trades-rest_ETHBTC_2023-03-20T0245_1000rows.json")
    shutil.copy(recording, tmp_path / "ETHBTC-trades-2023-03-20.json")
    async with peer(ExchangeConfig(replay=tmp_path), ms("2023-03-20T02:46")) as exchange:
        async with socket(exchange, "/ws/ethbtc@trade") as client:
            first = await client.sent(1_000)
            rest = await client.sent(DAY // 2)
        expected = await rows(exchange, "historicalTrades", "ETHBTC", ms("2023-03-20T02:46") + 1, ms("2023-03-21"))
    assert [one["t"] for one in first] == [row["id"] for row in expected if row["time"] <= ms("2023-03-20T02:46:01")]
    assert [(one["t"], one["p"], one["q"], one["T"]) for one in first + rest] == [
        (row["id"], row["price"], row["qty"], row["time"]) for row in expected
    ]
    assert (len(first), len(expected)) == (2, 773)
