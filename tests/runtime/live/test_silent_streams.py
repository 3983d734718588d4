"""Streams that never send anything, though something happens: it is told, and what can be asked for is."""

from __future__ import annotations

from itertools import pairwise

import pytest

from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.runtime.live.book_loader import load_book
from streamforge_utils.runtime.live.stream_loader import load_ids
from tests.doubles.market import Update
from tests.runtime.book_rig import BookMarket, check_diffs
from tests.runtime.live_rig import START_MS, TradeMarket, play

MINUTE_S = 65
"""A minute without a message, and what an answer may be late."""


async def told_after(market: TradeMarket | BookMarket) -> int:
    """After how many seconds in which things happen it is told that the stream says nothing of them."""
    for second in range(1, 300):
        market.happen()
        await market.clock.sleep(1)
        if market.live.failure:
            return second
    raise AssertionError("it was never told")


@pytest.mark.parametrize("ranges", [(), (TimeRange(START_MS, START_MS + 10**9),)])
def test_of_trades(ranges: tuple[TimeRange, ...]) -> None:
    async def act(market: TradeMarket) -> None:
        market.given_ranges = ranges
        await market.begin()
        assert await told_after(market) <= MINUTE_S
        for _ in range(10):
            market.happen()
            await market.clock.sleep(1)
        assert market.live.failure == "BTCUSDT/trades: the exchange has more than its stream"
        assert market.live.reconnects == 1
        assert market.written == [*range(100, 100 + len(market.written))]
        assert (len(market.written) >= 60) is bool(ranges)  # else nobody knows where it begins

    play(load_ids, act)


def test_of_an_order_book() -> None:
    async def act(market: BookMarket) -> None:
        await market.begin()
        assert await told_after(market) <= MINUTE_S
        for _ in range(60):
            market.happen()
            await market.clock.sleep(1)
        assert market.live.failure == "BTCUSDT/depth: the exchange has more than its stream"
        assert market.live.reconnects >= 1
        assert (market.live.trust, market.ids) == ("unverifiable", [])

    play(load_book, act, BookMarket)


SILENT = "btcusdt@bookTicker said nothing for 60 s, though other streams show that it had to"


def test_of_best_prices_beside_diffs_that_go_on() -> None:
    async def act(market: BookMarket) -> None:
        await market.begin()
        await market.flow(30)
        market.ticker()
        await market.flow(30)
        assert market.live.agreed_age_s is not None
        before_s = market.live.agreed_age_s
        second = 0
        while not market.live.failure:
            await market.flow(10)
            second += 1
        assert 55 <= second <= 62
        assert market.live.failure == SILENT
        assert market.live.agreed_age_s == pytest.approx(before_s + second, abs=1.5)
        await market.flow(10)
        assert (market.live.rotations, market.live.reconnects) == (1, 0)
        for _ in range(20):
            market.ticker()
            await market.flow(1)
        assert market.live.agreed > 1
        assert market.live.agreed_age_s < 3
        check_diffs(market)
        assert [cause for _, _, cause in market.told if cause] == []
        assert market.live.trust == "verified"

    play(load_book, act, BookMarket)


def test_of_best_prices_that_no_connection_gives_is_told_and_asked_for_less_and_less_often() -> None:
    async def act(market: BookMarket) -> None:
        await market.begin()
        await market.clock.sleep(1)
        made, at = list[float](), 0
        while not market.live.unchecked_s >= 700:
            market.change(1)
            at += 1
            await market.clock.sleep(0.5)
            if market.live.rotations > len(made):
                made.append(at / 2)
        assert [round((after - before) / 60) for before, after in pairwise(made)] == [2, 4]
        assert market.live.trust == "verified"

    play(load_book, act, BookMarket)


def test_of_best_prices_that_are_between_two_diffs_is_told_and_leaves_the_connection() -> None:
    async def act(market: BookMarket) -> None:
        await market.begin()
        await market.flow(30)
        market.ticker()
        while market.live.unchecked_s < 300:
            at = market.happen(1)
            market.ticker()  # of an update with which no diff ends
            last = market.happen(1)
            market.send((at[0], last[1]))
            await market.clock.sleep(0.5)
        assert market.live.agreed == 1
        assert market.live.agreed_age_s is not None
        assert market.live.agreed_age_s >= 300
        assert (len(market.stream.connections), market.live.failure) == (1, "")
        market.ticker()
        await market.flow(20)
        assert (market.live.agreed, market.live.unchecked_s) == (2, 0)

    play(load_book, act, BookMarket)


def test_of_best_prices_that_do_not_change_nothing_is_told() -> None:
    async def act(market: BookMarket) -> None:
        await market.begin()
        await market.flow(30)
        market.ticker()
        await market.clock.sleep(2)
        deep = [Update(0, 1, 1 + n % 9) for n in range(700)]
        market.market.updates[market.exchange.at :] = deep
        for _ in deep:
            market.change(1)
            await market.clock.sleep(1)
        assert (market.live.unchecked_s, market.live.failure) == (0, "")
        assert (len(market.stream.connections), market.live.agreed) == (1, 1)
        assert market.live.agreed_age_s is not None
        assert market.live.agreed_age_s > 700

    play(load_book, act, BookMarket)
