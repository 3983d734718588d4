"""Streams that never send anything, though something happens: it is told, and what can be asked for is."""

from __future__ import annotations

import pytest

from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.runtime.book_loader import load_book
from streamforge_utils.runtime.stream_loader import load_ids
from tests.runtime.book_rig import BookMarket
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
