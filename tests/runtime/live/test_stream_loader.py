"""A loader of streams of records with ids: in order, each once, without a gap, whatever the streams do."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from streamforge_utils.model.errors import InvalidInput, PermanentError, RetryableError
from streamforge_utils.model.kinds.paging import ById
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.bus import Message
from streamforge_utils.runtime.live.live_worker import FLUSH_S, LiveParameters
from streamforge_utils.runtime.live.stream_loader import READY_RECORDS, load_ids
from tests.runtime.live_rig import START_MS, TOPIC, TradeMarket, play


async def began(market: TradeMarket) -> None:
    """The first attempt runs and is connected."""
    await market.begin()
    await market.clock.sleep(1)
    assert len(market.stream.live) == 1


def test_trades_are_written_as_they_come_from_the_first_one_on() -> None:
    async def act(market: TradeMarket) -> None:
        market.happen(5)  # before anybody listens
        await began(market)
        for _ in range(10):
            market.trade(3)
            await market.clock.sleep(0.01)
        assert market.written == [*range(105, 135)]
        assert market.bodies == market.oracle
        assert market.live.last_id == 134
        assert market.live.last_time == market.exchange.records[134][0]
        assert not [one for one in market.exchange.asked if isinstance(one, ById) and one.limit != 1000]

    play(load_ids, act)


def test_what_comes_out_of_order_for_a_moment_is_sorted_and_nobody_is_asked() -> None:
    async def act(market: TradeMarket) -> None:
        await began(market)
        market.trade()
        await market.clock.sleep(1)
        asked = len(market.exchange.asked)
        a, b, c, d = market.happen(4)
        market.send(d, b)
        await market.clock.sleep(0.2)
        assert market.written == [100]
        market.send(c, a, b)
        await market.clock.sleep(1)
        assert market.written == [100, a, b, c, d]
        assert market.live.duplicates == 1
        e, f, g, h = market.happen(4)
        market.send(e, g, f, h)
        await market.clock.sleep(0.1)
        assert market.written == [100, a, b, c, d, e, f, g, h]
        assert len(market.exchange.asked) == asked

    play(load_ids, act)


def test_a_gap_is_filled_by_id_before_what_lies_behind_it_is_written() -> None:
    async def act(market: TradeMarket) -> None:
        await began(market)
        market.trade()
        await market.clock.sleep(1)
        market.happen(7)
        market.trade()
        await market.clock.sleep(0.3)
        assert market.written == [100]
        await market.clock.sleep(1)
        assert market.written == [*range(100, 109)]
        assert market.exchange.asked[-1] == ById(101, limit=7)
        assert market.live.backfilled == 7
        assert market.bodies == market.oracle

    play(load_ids, act)


def test_a_gap_of_many_pages_costs_half_of_the_weight_at_most() -> None:
    async def act(market: TradeMarket) -> None:
        market.weight_per_minute = 200  # 100 for gaps: four pages a minute
        await began(market)
        market.trade()
        await market.clock.sleep(50)
        asked = len(market.exchange.asked)
        market.happen(9495)
        for _ in range(6):
            market.trade()
            await market.clock.sleep(10)
        assert 4 <= len(market.exchange.asked) - asked <= 8  # those of the minute before, too
        for _ in range(12):
            market.trade()
            await market.clock.sleep(10)
        assert market.written == [*range(100, 9614)]
        assert len(market.exchange.asked) - asked == 10

    play(load_ids, act)


def test_what_happened_between_two_connections_is_asked_for_though_nothing_follows_it() -> None:
    async def act(market: TradeMarket) -> None:
        await began(market)
        market.trade(2)
        await market.clock.sleep(1)
        market.stream.connections[0].end()
        market.happen(3)
        await market.clock.sleep(5)
        assert market.written == [*range(100, 105)]
        assert market.live.reconnects == 1

    play(load_ids, act)


def test_a_stream_that_falls_silent_is_replaced_and_loses_nothing() -> None:
    async def act(market: TradeMarket) -> None:
        await began(market)
        market.trade()
        await market.clock.sleep(1)
        market.happen(4)
        await market.clock.sleep(70)
        assert market.written == [*range(100, 105)]
        assert len(market.stream.connections) == 2

    play(load_ids, act)


def test_a_refused_message_is_counted_and_the_exchange_is_asked_for_the_record() -> None:
    async def act(market: TradeMarket) -> None:
        await began(market)
        market.trade()
        await market.clock.sleep(1)
        (number,) = market.happen()
        for one in market.stream.live:
            one.give(market.message(number).replace(b'"q":"0.01"', b'"q":"0"'))
        await market.clock.sleep(1)
        assert market.written == [100, 101]
        assert (market.live.refused, market.live.refusal) == (
            1,
            "btcusdt@trade: 101: its quantity '0' is no decimal number above 0",
        )
        assert market.bodies == market.oracle

    play(load_ids, act)


def test_an_id_that_the_exchange_does_not_have_is_passed_over_after_three_answers() -> None:
    async def act(market: TradeMarket) -> None:
        await began(market)
        market.trade()
        await market.clock.sleep(1)
        market.exchange.hidden |= set(market.happen(2))
        market.trade()
        asked = len(market.exchange.asked)
        await market.clock.sleep(20)
        assert market.written == [100, 103]
        assert market.live.skipped == 2
        assert len(market.exchange.asked) - asked == 3

    play(load_ids, act)


def test_requests_that_lag_behind_the_stream_are_waited_for() -> None:
    async def act(market: TradeMarket) -> None:
        await began(market)
        market.trade()
        await market.clock.sleep(1)
        market.exchange.lag_ms = 2000
        market.happen(2)
        market.trade()
        await market.clock.sleep(10)
        assert market.written == [100, 101, 102, 103]
        assert market.live.skipped == 0

    play(load_ids, act)


def test_an_exchange_that_does_not_answer_is_waited_for_and_nothing_is_passed_over() -> None:
    async def act(market: TradeMarket) -> None:
        await began(market)
        market.trade()
        await market.clock.sleep(1)
        market.exchange.failing = RetryableError("HTTP 503")
        market.happen()
        for _ in range(300):
            market.trade()
            await market.clock.sleep(1)
        assert market.written == [100]
        assert market.instruments.progress.snapshot().waiting == "HTTP 503"
        market.exchange.failing = None
        await market.clock.sleep(40)
        assert market.written == [*range(100, 402)]
        assert market.instruments.progress.snapshot().waiting is None

    play(load_ids, act)


@pytest.mark.parametrize(("spill", "dropped"), [(10_000_000, False), (60_000, True)])
def test_what_the_bus_does_not_take_waits_in_memory_then_on_disk_and_what_is_too_much_is_asked_for_later(
    spill: int, dropped: bool
) -> None:
    async def act(market: TradeMarket) -> None:
        market.parameters = LiveParameters(buffer_bytes=50_000, spill_bytes=spill)
        await began(market)
        market.trade()
        await market.clock.sleep(1)
        market.bus_stalls = True
        most = 0
        for _ in range(600):
            market.trade(2)
            await market.clock.sleep(0.05)
            most = max(most, market.live.held_bytes)
        assert market.written == [100]
        assert most <= 52_000 + spill
        assert (market.live.dropped > 0) == dropped
        market.bus_stalls = False
        await market.clock.sleep(20)  # nothing more happens
        assert market.written == [*range(100, 1301)]
        assert market.bodies == market.oracle
        assert market.live.held_bytes == 0

    play(load_ids, act)


def test_no_more_is_asked_for_than_the_bus_takes() -> None:
    async def act(market: TradeMarket) -> None:
        await began(market)
        market.trade()
        await market.clock.sleep(1)
        await market.kill()
        market.happen(15_000)
        market.weight_per_minute = 100_000
        market.bus_stalls = True
        await market.begin()
        await market.clock.sleep(50)
        assert len([one for one in market.exchange.asked if isinstance(one, ById)]) <= READY_RECORDS / 1000 + 2
        market.bus_stalls = False
        await market.clock.sleep(10)
        assert market.written == [*range(100, 15_101)]

    play(load_ids, act)


def test_what_is_ready_is_written_before_a_stop_and_what_lies_behind_a_gap_is_not() -> None:
    async def act(market: TradeMarket) -> None:
        await began(market)
        market.trade()
        await market.clock.sleep(1)
        market.bus_stalls = True
        market.trade(50)
        await market.clock.sleep(0.1)
        market.happen()
        market.trade()
        stopping = asyncio.ensure_future(market.stop())
        await market.clock.sleep(0.2)
        market.bus_stalls = False
        await stopping
        assert market.written == [*range(100, 151)]

    play(load_ids, act)


def test_a_bus_that_takes_nothing_does_not_keep_a_stopped_loader() -> None:
    async def act(market: TradeMarket) -> None:
        await began(market)
        market.bus_stalls = True
        market.trade(50)
        await market.clock.sleep(1)
        asked_at = market.clock.monotonic()
        await market.stop()
        assert market.clock.monotonic() - asked_at <= FLUSH_S + 0.5

    play(load_ids, act)


def test_the_next_attempt_goes_on_behind_the_last_record_on_the_topic() -> None:
    async def act(market: TradeMarket) -> None:
        await began(market)
        market.trade(3)
        await market.clock.sleep(1)
        await market.kill()
        market.bus.append(TOPIC, Message(b"__eos__", b"{}"))
        market.happen(4)
        await began(market)
        market.trade()
        await market.clock.sleep(2)
        assert market.written == [*range(100, 108)]
        assert market.live.last_id == 107

    play(load_ids, act)


@pytest.mark.parametrize("happened", [0, 6])
def test_an_attempt_with_ranges_begins_where_they_begin(happened: int) -> None:
    async def act(market: TradeMarket) -> None:
        market.happen(2)
        await market.clock.sleep(10)
        market.given_ranges = (TimeRange(START_MS + 5000, START_MS + 10**9),)
        market.happen(happened)
        await market.clock.sleep(10)
        await began(market)
        market.trade()
        await market.clock.sleep(2)
        assert market.written == [*range(102, 103 + happened)]

    play(load_ids, act)


def test_what_happens_while_there_is_no_connection_belongs_to_the_ranges_though_nothing_was_heard_before() -> None:
    async def act(market: TradeMarket) -> None:
        market.given_ranges = (TimeRange(START_MS, START_MS + 10**9),)
        await began(market)
        market.stream.connections[0].end()
        market.happen(3)
        await market.clock.sleep(3)
        assert market.written == [100, 101, 102]

    play(load_ids, act)


def test_a_symbol_that_does_not_exist_ends_the_attempt_with_its_name() -> None:
    async def act(market: TradeMarket) -> None:
        market.exchange.symbol_error = InvalidInput("symbol", "NOSUCH: check its spelling")
        await market.begin()
        await market.clock.sleep(1)
        assert market.loader is not None
        with pytest.raises(ExceptionGroup) as caught:
            market.loader.result()
        assert caught.value.exceptions == (market.exchange.symbol_error,)
        market.loader = None

    play(load_ids, act)


def test_records_carry_the_exchanges_time_as_version() -> None:
    async def act(market: TradeMarket) -> None:
        market.exchange.ahead_ms = 3_600_000
        await began(market)
        market.trade()
        await market.clock.sleep(0.1)
        (one,) = market.bus.log[TOPIC]
        version = msgspec.json.decode(one.value)["_version"]
        assert abs(version - market.clock.now_ms() - 3_600_000) < 1000
        assert market.live.clock_offset_ms == 3_600_000

    play(load_ids, act)


@pytest.mark.parametrize("where", ["exchange", "bus", "stream"])
def test_what_will_never_succeed_ends_the_attempt_and_every_task_of_it(where: str) -> None:
    async def act(market: TradeMarket) -> None:
        await began(market)
        error = PermanentError("access is refused")
        if where == "exchange":
            market.exchange.failing = error
        elif where == "bus":
            market.bus_failing = error
        else:
            market.stream.failures.append(error)
        market.trade()
        market.happen()
        market.trade()
        market.stream.connections[0].end()
        await market.clock.sleep(10)
        assert market.loader is not None
        assert market.loader.done()
        with pytest.raises(ExceptionGroup) as caught:
            market.loader.result()
        assert caught.value.exceptions == (error,)
        assert not market.stream.live
        assert len(asyncio.all_tasks()) == 1
        market.loader = None

    play(load_ids, act)


def test_a_disk_that_takes_nothing_is_as_a_full_one(tmp_path: Path) -> None:
    async def act(market: TradeMarket) -> None:
        (tmp_path / "file").touch()
        market.folder = tmp_path / "file" / "below"
        market.parameters = LiveParameters(buffer_bytes=10_000)
        await began(market)
        market.bus_stalls = True
        for _ in range(100):
            market.trade()
            await market.clock.sleep(0.05)
        market.bus_stalls = False
        assert market.live.dropped > 0
        await market.clock.sleep(1)
        market.trade()
        await market.clock.sleep(5)
        assert market.written == [*range(100, 201)]

    play(load_ids, act)
