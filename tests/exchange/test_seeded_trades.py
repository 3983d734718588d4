"""Trades of the test exchange: consistent with its candles, by time and by id, with downtime and a floor."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamforge.exchange.config import DEFAULT_SYMBOLS, ExchangeConfig, SymbolSpec
from streamforge.exchange.prices import AGGREGATED_MS, STEPS_MS, PricePath
from streamforge.exchange.seeded_trades import SeededTrades, Tape
from streamforge_utils.model.timeranges import TimeRange
from tests.exchange.conftest import DAY, HOUR, MINUTE, NOW, Peer, peer

START = NOW - NOW % HOUR - 6 * HOUR
BTC = DEFAULT_SYMBOLS[0]
Trade = dict[str, Any]


async def rows(exchange: Peer, path: str, **query: object) -> list[Trade]:
    answer = await exchange.get(f"/api/v3/{path}", symbol="BTCUSDT", **query)
    assert answer.status == 200, answer.body
    return msgspec.json.decode(answer.body, type=list[Trade])


async def trades_of(exchange: Peer, start_ms: int, end_ms: int) -> tuple[list[Trade], list[Trade]]:
    """The aggregated trades of a span, and the single ones that they hold."""
    found: list[Trade] = await rows(exchange, "aggTrades", startTime=start_ms, endTime=end_ms - 1, limit=1000)
    singles: list[Trade] = []
    while not singles or singles[-1]["id"] < found[-1]["l"]:
        following = singles[-1]["id"] + 1 if singles else found[0]["f"]
        singles += await rows(exchange, "historicalTrades", fromId=following, limit=1000)
    return found, [trade for trade in singles if trade["id"] <= found[-1]["l"]]


async def test_the_trades_of_a_bar_add_up_to_its_candle() -> None:
    """Also around a downtime, and where a bar is not over; before a bar without a trade the price stands."""
    begin, shown = NOW - NOW % HOUR - HOUR, set[str]()
    config = ExchangeConfig(holes={"BTCUSDT": (TimeRange(begin + 10 * MINUTE, begin + 18 * MINUTE),)})
    async with peer(config) as exchange:
        _, singles = await trades_of(exchange, begin, begin + MINUTE)
        while len(more := await rows(exchange, "historicalTrades", fromId=singles[-1]["id"] + 1, limit=1000)):
            singles += more
        of_interval = {
            interval: (await exchange.klines(interval=interval, startTime=begin, limit=1000)).rows
            for interval, step_ms in STEPS_MS.items()
            if step_ms is not None and step_ms <= AGGREGATED_MS
        }
    assert singles[-1]["time"] <= NOW
    for interval, candles in of_interval.items():
        price = singles[0]["price"]
        for candle in candles:
            of_it = [trade for trade in singles if int(candle[0]) <= trade["time"] <= int(candle[6])]
            prices = [trade["price"] for trade in of_it] or [price]
            bought = [trade for trade in of_it if not trade["isBuyerMaker"]]
            assert candle[1:5] == [prices[0], max(prices, key=Decimal), min(prices, key=Decimal), prices[-1]], interval
            assert [Decimal(str(candle[n])) for n in (5, 7, 9, 10)] == [
                sum((Decimal(trade[name]) for trade in some), Decimal())
                for some, name in ((of_it, "qty"), (of_it, "quoteQty"), (bought, "qty"), (bought, "quoteQty"))
            ], (interval, candle)
            assert candle[8] == len(of_it)
            shown.add(f"{interval} {bool(of_it)}")
            price = prices[-1]
    assert shown == {f"{interval} True" for interval in of_interval} | {"1s False"}
    assert int(of_interval["1h"][-1][6]) > NOW


async def test_an_aggregate_holds_trades_of_one_price_side_and_moment() -> None:
    async with peer() as exchange:
        aggregates, singles = await trades_of(exchange, START, START + 5 * MINUTE)
    by_id = {trade["id"]: trade for trade in singles}
    for one in aggregates:
        held = [by_id[number] for number in range(one["f"], one["l"] + 1)]
        assert {(trade["price"], trade["time"], trade["isBuyerMaker"]) for trade in held} == {
            (one["p"], one["T"], one["m"])
        }
        assert sum(Decimal(trade["qty"]) for trade in held) == Decimal(one["q"])
    assert all(after["a"] == one["a"] + 1 and after["f"] == one["l"] + 1 for one, after in pairwise(aggregates))
    assert any(one["T"] == after["T"] for one, after in pairwise(aggregates)), "several share a millisecond"


async def test_the_first_trade_has_the_id_0() -> None:
    async with peer() as exchange:
        for path, name, time in (("historicalTrades", "id", "time"), ("aggTrades", "a", "T")):
            first = (await rows(exchange, path, fromId=0, limit=1))[0]
            assert (first[name], first[time]) == (0, BTC.listed_ms)


async def test_without_an_id_the_newest_trades_are_given() -> None:
    async with peer() as exchange:
        newest = await rows(exchange, "trades", limit=3)
        assert await rows(exchange, "historicalTrades", limit=3) == newest
        assert [one["time"] <= NOW for one in newest] == [True] * 3
        assert await rows(exchange, "historicalTrades", fromId=newest[-1]["id"] + 1) == []


async def test_downtime_has_no_trades_and_leaves_no_gap_in_the_ids() -> None:
    hole = TimeRange(START + 2 * MINUTE, START + 5 * MINUTE)
    async with peer(ExchangeConfig(holes={"BTCUSDT": (hole,)})) as exchange:
        aggregates, singles = await trades_of(exchange, START, START + 7 * MINUTE)
    assert not [one for one in singles if one["time"] in hole]
    assert {(one["time"] - START) // MINUTE for one in singles} == {0, 1, 5, 6}
    assert [one["id"] for one in singles] == list(range(singles[0]["id"], singles[-1]["id"] + 1))
    assert all(after["f"] == one["l"] + 1 for one, after in pairwise(aggregates))


async def test_below_its_floor_rest_answers_from_the_floor_on() -> None:
    floor = msgspec.structs.replace(BTC, trades_from_ms=START)
    async with peer(ExchangeConfig(symbols=(floor,))) as exchange:
        for path, time in (("historicalTrades", "time"), ("aggTrades", "T")):
            first = (await rows(exchange, path, fromId=1, limit=1))[0]
            assert (first[time], first["id" if time == "time" else "a"] > 1) == (START, True)
        assert await rows(exchange, "aggTrades", startTime=START - DAY, endTime=START - 1) == []


@given(st.integers(0, 400 * DAY), st.lists(st.tuples(st.integers(0, 300 * DAY), st.integers(0, DAY)), max_size=4))
@settings(max_examples=60)
def test_the_number_of_a_time_and_the_time_of_a_number_agree(offset: int, downtime: list[tuple[int, int]]) -> None:
    spec: SymbolSpec = BTC
    holes = [TimeRange(spec.listed_ms + start, spec.listed_ms + start + length) for start, length in downtime if length]
    series = SeededTrades(Tape(spec, holes, PricePath(1, spec)))
    number = series.at(spec.listed_ms + offset)
    around = [msgspec.json.decode(row) for row in series.rows(max(0, number - 1), number, 0)]
    assert [one["id"] for one in around] == list(range(max(0, number - 1), number + 1))
    assert around[-1]["time"] >= spec.listed_ms + offset
    assert number == 0 or around[0]["time"] < spec.listed_ms + offset


@pytest.mark.parametrize("path", ["aggTrades", "historicalTrades"])
async def test_the_oracle_knows_each_trade_of_a_range_once(path: str) -> None:
    async with peer() as exchange:
        answer = await exchange.get(f"/oracle/{path}", symbol="BTCUSDT", startTime=START, endTime=START + HOUR)
        expected = msgspec.json.decode(answer.body, type=list[Trade])
        name = "a" if path == "aggTrades" else "id"
        assert [one[name] for one in expected] == list(range(expected[0][name], expected[-1][name] + 1))
        assert await rows(exchange, path, fromId=expected[0][name], limit=1000) == expected[:1000]


async def test_a_busy_exchange_has_as_many_trades_as_it_was_told() -> None:
    async with peer(ExchangeConfig(trades_a_minute=500)) as exchange:
        aggregates = [(await rows(exchange, "aggTrades", startTime=at, limit=1))[0] for at in (START, START + HOUR)]
        assert 0.9 < (aggregates[1]["f"] - aggregates[0]["f"]) / (60 * 500) < 1.1
        candle = (await exchange.klines(startTime=START, limit=1)).rows[0]
        assert isinstance(candle[8], int)
        assert candle[8] > 16
