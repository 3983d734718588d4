"""Candles on the streams: open ones by the cadence, closed ones with the row of REST."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from streamforge.exchange.config import ExchangeConfig
from streamforge_utils.model.timeranges import TimeRange
from tests.exchange.conftest import DAY, HOUR, MINUTE, NOW, Peer, ms, peer
from tests.exchange.sockets import Json, socket
from tests.places import market_data

OPEN = NOW - NOW % MINUTE


def row(event: Json) -> list[Any]:
    """The bar of an event as a row of REST."""
    return [event["k"][name] for name in ("t", "o", "h", "l", "c", "v", "T", "q", "n", "V", "Q", "B")]


async def klines(exchange: Peer, interval: str, milliseconds: int, symbol: str = "BTCUSDT") -> list[Json]:
    async with socket(exchange, f"/ws/{symbol.lower()}@kline_{interval}") as client:
        return await client.sent(milliseconds)


async def test_a_closed_bar_is_the_row_of_rest(exchange: Peer) -> None:
    sent = await klines(exchange, "1m", 10 * MINUTE)
    closed = [one for one in sent if one["k"]["x"]]
    assert [row(one) for one in closed] == await exchange.oracle(TimeRange(OPEN, OPEN + 10 * MINUTE))
    assert [one["E"] for one in closed] == [OPEN + n * MINUTE for n in range(1, 11)]
    assert all(list(one) == ["e", "E", "s", "k"] for one in sent)
    assert {(one["e"], one["s"], one["k"]["s"], one["k"]["i"]) for one in sent} == {
        ("kline", "BTCUSDT", "BTCUSDT", "1m")
    }


async def test_an_open_bar_comes_every_two_seconds_and_its_times_are_its_own(exchange: Peer) -> None:
    sent = await klines(exchange, "1m", 2 * MINUTE)
    assert [one["E"] for one in sent] == list(range(NOW + 1_000, NOW + 2 * MINUTE + 1, 2_000))
    for one in sent:
        bar = one["k"]
        assert bar["x"] == (one["E"] % MINUTE == 0)
        assert bar["t"] == (one["E"] - 1) // MINUTE * MINUTE
        assert bar["T"] == bar["t"] + MINUTE - 1 < one["E"] + MINUTE
        assert float(bar["l"]) <= min(float(bar["o"]), float(bar["c"])) <= float(bar["h"])
    assert {one["k"]["o"] for one in sent if one["k"]["t"] == OPEN} == {row(sent[0])[1]}


async def test_an_open_bar_is_the_newest_row_of_rest_a_millisecond_earlier(exchange: Peer) -> None:
    sent = await klines(exchange, "5m", 21_000)
    assert [one["E"] for one in sent] == list(range(NOW + 1_000, NOW + 21_001, 2_000))
    exchange.clock.set(sent[-1]["E"] - 1)
    assert row(sent[-1]) == (await exchange.klines(interval="5m", limit=1)).rows[0]


async def test_the_trades_of_a_bar_are_named(exchange: Peer) -> None:
    async with socket(exchange, "/ws/btcusdt@kline_1m/btcusdt@trade") as client:
        sent = await client.sent(3 * MINUTE)
    for bar in (one["k"] for one in sent if one["e"] == "kline" and one["k"]["x"] and one["k"]["t"] > OPEN):
        ids = [one["t"] for one in sent if one["e"] == "trade" and bar["t"] <= one["T"] <= bar["T"]]
        assert (bar["f"], bar["L"], bar["n"]) == (ids[0], ids[-1], len(ids))


@pytest.mark.parametrize(
    ("interval", "step", "bars"), [("1s", 1_000, 20), ("15m", 15 * MINUTE, 3), ("1h", HOUR, 2), ("1d", DAY, 1)]
)
async def test_each_interval_closes_at_its_own_bounds(interval: str, step: int, bars: int, exchange: Peer) -> None:
    first = NOW - NOW % step
    exchange.clock.set(first + step - 5_000)
    closed = [one for one in await klines(exchange, interval, (bars - 1) * step + 5_000) if one["k"]["x"]]
    if interval == "1s":
        first, bars = first - 4_000, 24
    assert [row(one) for one in closed] == await exchange.oracle(
        TimeRange(first, first + bars * step), interval=interval
    )
    assert len(closed) == bars


async def test_a_bar_of_a_hole_is_never_sent() -> None:
    hole = TimeRange(OPEN + 2 * MINUTE, OPEN + 4 * MINUTE)
    async with peer(ExchangeConfig(holes={"*": (hole,)})) as exchange:
        sent = await klines(exchange, "1m", 6 * MINUTE)
    assert {(one["k"]["t"] - OPEN) // MINUTE for one in sent} == {0, 1, 4, 5, 6}


@pytest.mark.parametrize("name", ["btcusdt@kline", "btcusdt@kline_7m", "btcusdt@kline_1m@+08:00", "btcusdt@trade_1m"])
async def test_a_name_that_is_no_stream_is_silent(name: str, exchange: Peer) -> None:
    async with socket(exchange, f"/ws/{name}") as client:
        assert (await client.ask("LIST_SUBSCRIPTIONS"))["result"] == [name]
        assert await client.sent(5 * MINUTE) == []


async def test_recorded_bars_come_once_they_are_over(tmp_path: Path) -> None:
    name = "BTCUSDT-1m-2020-01-02"
    shutil.copy(market_data("klines-vision-csv", f"spot_{name}.zip"), tmp_path / f"{name}.zip")
    start_ms = ms("2020-01-02T10:00:30")
    async with peer(ExchangeConfig(replay=tmp_path), start_ms) as exchange:
        sent = await klines(exchange, "1m", HOUR)
        expected = await exchange.oracle(TimeRange(ms("2020-01-02T10:00"), ms("2020-01-02T11:00")))
    assert len(expected) == 60
    assert [row(one) for one in sent] == [[*one[:11], "0"] for one in expected]
    assert {one["k"]["x"] for one in sent} == {True}
