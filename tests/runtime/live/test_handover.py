"""An attempt that listens beside the one that writes, and takes its place: nothing lacks, and nothing comes twice."""

from __future__ import annotations

import pytest

from streamforge_utils.model.errors import RetryableError
from streamforge_utils.model.kinds.paging import ById
from streamforge_utils.runtime.life.termination import root_of
from streamforge_utils.runtime.live.bar_loader import load_bars
from streamforge_utils.runtime.live.live_worker import LiveParameters
from streamforge_utils.runtime.live.stream_loader import load_ids
from streamforge_utils.runtime.output.topic_tail import PATIENCE_S
from tests.runtime.live_rig import BARS, BarMarket, TradeMarket, play


async def beside(market: TradeMarket, *, before: int = 3) -> None:
    """An attempt writes, and another one listens beside it."""
    await market.begin()
    await market.clock.sleep(1)
    for _ in range(before):
        market.trade()
        await market.clock.sleep(0.1)
    await market.begin(shadow=True)
    await market.clock.sleep(0.5)
    assert len(market.stream.live) == 2


def shadow_of(market: TradeMarket | BarMarket) -> str:
    assert market.shadow is not None
    return market.shadow.told.shadow


def test_it_holds_what_comes_and_goes_on_behind_the_last_record() -> None:
    async def act(market: TradeMarket) -> None:
        await beside(market)
        assert shadow_of(market) == "waiting"
        for _ in range(30):
            market.trade()
            await market.clock.sleep(0.1)
        assert shadow_of(market) == "ready"
        market.trade(2)
        await market.hand_over()
        assert market.live.shadow == ""
        market.trade(3)
        await market.clock.sleep(1)
        assert market.written == [*range(100, 138)]
        assert market.bodies == market.oracle
        assert market.live.backfilled == 0

    play(load_ids, act)


def test_it_holds_nothing_that_the_other_one_has_written() -> None:
    async def act(market: TradeMarket) -> None:
        await beside(market)
        for _ in range(50):
            market.trade(20)
            await market.clock.sleep(0.1)
        assert market.shadow is not None
        assert 0 < market.shadow.told.held_bytes < 20 * 12 * 500

    play(load_ids, act)


def test_it_waits_where_what_it_heard_does_not_follow_what_is_written() -> None:
    async def act(market: TradeMarket) -> None:
        await market.begin()
        await market.clock.sleep(1)
        market.trade()
        await market.clock.sleep(0.1)
        market.bus_stalls = True
        market.trade(5)
        await market.begin(shadow=True)
        await market.clock.sleep(0.5)
        market.trade()
        await market.clock.sleep(5)
        assert shadow_of(market) == "waiting"
        market.bus_stalls = False
        await market.clock.sleep(2)
        assert shadow_of(market) == "ready"

    play(load_ids, act)


def test_where_nothing_happens_the_exchange_is_asked_whether_that_is_so() -> None:
    async def act(market: TradeMarket) -> None:
        await beside(market)
        market.exchange.asked.clear()
        await market.clock.sleep(5)
        assert shadow_of(market) == "ready"
        assert market.exchange.asked == [ById(103, limit=1)]

    play(load_ids, act)


def test_a_trade_that_only_the_exchange_has_yet_is_waited_for() -> None:
    async def act(market: TradeMarket) -> None:
        await beside(market)
        (late,) = market.happen()
        await market.clock.sleep(5)
        assert shadow_of(market) == "waiting"
        market.send(late)
        await market.clock.sleep(2)
        assert shadow_of(market) == "ready"

    play(load_ids, act)


@pytest.mark.parametrize("overlaps", [True, False])
def test_it_takes_the_place_of_one_that_was_killed(overlaps: bool) -> None:
    async def act(market: TradeMarket) -> None:
        await beside(market)
        if overlaps:
            market.trade(5)
            await market.clock.sleep(3)
        else:
            market.happen(5)
        await market.kill()
        market.trade(2)
        await market.clock.sleep(2)
        assert len(market.written) == (8 if overlaps else 3)
        market.take_over()
        market.trade()
        await market.clock.sleep(3)
        assert market.written == [*range(100, 111)]
        assert market.live.backfilled == (0 if overlaps else 5)

    play(load_ids, act)


def test_a_bus_that_is_away_when_it_takes_over_is_asked_again_for_a_minute() -> None:
    async def act(market: TradeMarket) -> None:
        await beside(market)
        market.bus.failing = RetryableError("away")
        await market.hand_over()
        market.trade(3)
        await market.clock.sleep(PATIENCE_S / 2)
        assert market.written == [*range(100, 103)]
        market.bus.failing = None
        await market.clock.sleep(6)
        assert market.written == [*range(100, 106)]
        assert market.live.backfilled == 0

    play(load_ids, act)


def test_a_bus_that_stays_away_when_it_takes_over_ends_it() -> None:
    async def act(market: TradeMarket) -> None:
        await beside(market)
        market.bus.failing = RetryableError("away")
        await market.hand_over()
        await market.clock.sleep(PATIENCE_S + 1)
        loader, market.loader = market.loader, None
        assert loader is not None
        assert loader.done()
        assert str(root_of(loader.exception() or AssertionError())) == "away"

    play(load_ids, act)


def test_what_it_has_no_room_for_is_asked_for_once_it_writes() -> None:
    async def act(market: TradeMarket) -> None:
        market.parameters = LiveParameters(buffer_bytes=3_000, spill_bytes=9_000)
        await beside(market)
        market.bus_stalls = True
        for _ in range(100):
            market.trade(5)
            await market.clock.sleep(0.1)
        assert market.shadow is not None
        assert market.shadow.told.dropped > 100
        assert market.shadow.told.held_bytes < 20_000
        await market.kill()
        market.bus_stalls = False
        market.take_over()
        await market.clock.sleep(10)
        assert market.written == [*range(100, 603)]
        assert market.live.held_bytes == 0

    play(load_ids, act)


def test_one_that_is_stopped_while_it_waits_writes_nothing() -> None:
    async def act(market: TradeMarket) -> None:
        await beside(market)
        market.trade(5)
        await market.clock.sleep(2)
        assert market.shadow is not None
        await market.shadow.stop()
        market.shadow = None
        assert market.written == [*range(100, 108)]
        assert len(market.stream.live) == 1

    play(load_ids, act)


def test_bars_go_on_by_time() -> None:
    async def act(market: BarMarket) -> None:
        await market.begin()
        await market.until(2.5)
        await market.begin(shadow=True)
        await market.until(3.5)
        assert shadow_of(market) == "ready"
        asked = len(market.exchange.asked)
        await market.hand_over()
        await market.until(6.5)
        assert market.minutes == [*range(6)]
        assert len(market.exchange.asked) > asked

    play(load_bars, act, BarMarket, series=BARS)
