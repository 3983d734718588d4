"""Aggregated trades of streams that do not begin where the one before them ended: requests tell what is right."""

from __future__ import annotations

import msgspec
import pytest

from streamforge_utils.model.kinds.paging import ById
from streamforge_utils.model.series import Series
from streamforge_utils.runtime.live.stream_chain import ANSWERS
from streamforge_utils.runtime.live.stream_loader import load_ids
from tests.runtime.live_rig import TOPIC, TradeMarket, play

AGGREGATES = Series("BTCUSDT", "agg_trades")


class AggregateMarket(TradeMarket):
    """Aggregate n has the trades 2 n and 2 n + 1; torn: those of which the streams say that they begin later."""

    torn: frozenset[int] = frozenset()

    def happen(self, count: int = 1) -> list[int]:
        return [self.record(self.first + len(self.exchange.records)) for _ in range(count)]

    def record(self, number: int, *, torn: bool = False) -> int:
        """It is so at the exchange."""
        time_ms = self.clock.now_ms()
        record = {"_key": f"BTCUSDT_{number:012}", "_version": 1, "symbol": "BTCUSDT", "trade_id": number}
        record |= {"price": "1.5", "quantity": "0.01", "first_trade_id": 2 * number + torn}
        record |= {"last_trade_id": 2 * number + 1, "timestamp": time_ms, "is_buyer_maker": False}
        self.exchange.records[number] = time_ms, msgspec.json.encode(record)
        return number

    def message(self, number: int) -> bytes:
        time_ms = self.exchange.records[number][0]
        data = {"e": "aggTrade", "E": time_ms, "s": "BTCUSDT", "a": number, "p": "1.5", "q": "0.01", "T": time_ms}
        data |= {"f": 2 * number + (number in self.torn), "l": 2 * number + 1, "m": False, "M": True}
        return msgspec.json.encode({"stream": "btcusdt@aggTrade", "data": data})

    async def wait(self) -> None:
        await self.clock.sleep(1)

    @property
    def asked_alone(self) -> list[int]:
        return [one.first_id for one in self.exchange.asked if isinstance(one, ById) and one.limit == 1]

    @property
    def firsts(self) -> list[tuple[int, int]]:
        """The ids of what was written, each with that of its first trade."""
        return [(one["trade_id"], one["first_trade_id"]) for one in self.bodies]


def right(*ids: int) -> list[tuple[int, int]]:
    return [(one, 2 * one) for one in ids]


@pytest.mark.parametrize("together", [True, False])
def test_an_aggregate_that_does_not_follow_is_asked_for_and_the_exchange_counts(together: bool) -> None:
    async def act(market: AggregateMarket) -> None:
        await market.begin()
        await market.wait()
        market.torn = frozenset({102})
        for ids in [market.happen(5)] if together else [market.happen() for _ in range(5)]:
            market.send(*ids)
            await market.wait()
        assert market.firsts == right(*range(100, 105))
        assert market.asked_alone == [101, 102]
        assert market.live.refused == 0

    play(load_ids, act, AggregateMarket, series=AGGREGATES)


def test_one_that_was_written_and_is_wrong_is_written_again() -> None:
    async def act(market: AggregateMarket) -> None:
        await market.begin()
        await market.wait()
        market.trade()
        await market.wait()
        wrong = market.exchange.records[100][1].replace(b'"last_trade_id":201', b'"last_trade_id":200')
        await market.kill()
        market.bus.log[TOPIC][0] = msgspec.structs.replace(market.bus.log[TOPIC][0], value=wrong)
        await market.begin()  # the next attempt compares what it hears with what is on the topic
        await market.wait()
        market.trade()
        await market.wait()
        assert market.written == [100, 100, 101]
        assert [one["last_trade_id"] for one in market.bodies] == [200, 201, 203]

    play(load_ids, act, AggregateMarket, series=AGGREGATES)


def test_where_the_exchange_contradicts_itself_a_record_is_left_out_and_the_reason_is_told() -> None:
    async def act(market: AggregateMarket) -> None:
        await market.begin()
        await market.wait()
        market.torn = frozenset({101})
        market.happen(4)
        market.record(101, torn=True)
        market.send(100, 101, 102, 103)
        await market.clock.sleep(10)
        assert market.written == [100, 102, 103]
        assert market.asked_alone == [100, 101] * ANSWERS
        assert market.live.last_id == 103
        assert market.live.refused == 1
        assert (
            market.live.refusal
            == "aggregate 100 ends with trade 201, and 101 begins with 203, also as requests give them"
        )

    play(load_ids, act, AggregateMarket, series=AGGREGATES)


def test_trades_that_follow_each_other_cost_no_request() -> None:
    async def act(market: AggregateMarket) -> None:
        await market.begin()
        await market.wait()
        for _ in range(3):
            market.trade(3)
            await market.wait()
        assert market.firsts == right(*range(100, 109))
        assert market.asked_alone == []

    play(load_ids, act, AggregateMarket, series=AGGREGATES)
