"""What a loader has told of an order book is told again where the exchange's best prices contradict it later."""

from __future__ import annotations

from itertools import pairwise

from streamforge_utils.model.books.trust import Cause, Trust
from streamforge_utils.model.completeness.continuity import chains
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.runtime.live.book_loader import SKEW_MS, BookParameters, load_book
from tests.runtime.book_rig import BookMarket
from tests.runtime.live_rig import play

MOST = 2_000
"""Updates until a price leaves the band and comes back, at most."""


def contradict(market: BookMarket) -> None:
    """The next diff comes with the best prices of another book."""
    at = market.exchange.at
    payload = next(one for back in range(at - 200, at) if (one := market.market.ticker(back)) is not None)
    market.change()
    head, _, tail = payload.partition(b'"u":')
    market.stream.live[0].give(b'%b"u":%d,%b' % (head, at + 4, tail.partition(b",")[2]))


async def left_and_came_back(market: BookMarket) -> int:
    """The best prices agree, and leave what the snapshot knew, and are known again; returns the id that agreed."""
    while market.live.trust != "verified" or not market.live.agreed:
        assert market.exchange.at < MOST
        market.change()
        market.ticker()
        await market.clock.sleep(0.1)
    agreed, count = market.exchange.at, market.live.agreed
    market.exchange.failing = RetryableError("depth: HTTP 503")
    beyond = (Trust.UNVERIFIABLE, Cause.OUT_OF_BAND, "")
    while beyond not in market.told[-3:-1] or market.live.trust != "verified":
        assert market.exchange.at < MOST
        await market.flow(1)
    assert market.live.agreed == count
    return agreed


def test_what_ended_before_the_best_prices_differ_is_told_again_and_stays_suspect_after_a_kill() -> None:
    async def act(market: BookMarket) -> None:
        market.parameters = BookParameters(limit=5, top_seconds=1.0, checkpoint_seconds=5.0)
        await market.begin()
        await market.clock.sleep(1)
        agreed = await left_and_came_back(market)
        assert any(one.trust is Trust.VERIFIED and one.last_id > agreed for one in market.ledger[:-1])
        contradict(market)
        await market.flow(2)
        await market.clock.sleep(2)
        behind = [one for one in market.ledger if one.last_id > agreed]
        assert len(behind) >= 3
        assert {(one.trust, one.why) for one in behind} == {(Trust.SUSPECT, Cause.WITNESS)}
        assert behind[0].first_id == agreed + 1
        (chain,) = chains(market.ledger)
        assert (chain.first_id, chain.last_id) == (51, market.exchange.at)
        assert sum(one.messages for one in market.ledger) == len(market.ids)
        await market.kill()
        market.exchange.failing = None
        await market.begin()
        await market.flow(20)
        assert all(one.trust is Trust.SUSPECT for one in market.ledger if agreed < one.last_id <= chain.last_id)

    play(load_book, act, BookMarket)


def test_one_that_takes_over_tells_again_what_the_other_one_told_since_it_last_agreed() -> None:
    async def act(market: BookMarket) -> None:
        market.parameters = BookParameters(limit=5, top_seconds=1.0, checkpoint_seconds=5.0)
        await market.begin()
        await market.clock.sleep(1)
        await market.begin(shadow=True)
        await market.clock.sleep(0.5)
        agreed = await left_and_came_back(market)
        assert market.shadow is not None
        assert market.shadow.told.shadow == "ready"
        await market.hand_over()
        await market.clock.sleep(1)
        before = market.ledger
        contradict(market)
        await market.flow(2)
        await market.clock.sleep(2)
        assert agreed < before[-1].last_id < market.ledger[-1].first_id
        behind = [one for one in market.ledger if one.last_id > agreed]
        assert len(behind) >= 4
        assert {(one.trust, one.why) for one in behind} == {(Trust.SUSPECT, Cause.WITNESS)}
        assert behind[0].first_id == agreed + 1
        assert market.live.suspect == sum(one.messages for one in behind if one.first_id > before[-1].last_id)
        (chain,) = chains(market.ledger)
        assert (chain.first_id, chain.last_id) == (51, market.exchange.at)
        assert sum(one.messages for one in market.ledger) == len(market.ids)
        assert all(one.last_id < after.first_id for one, after in pairwise(market.ledger))

    play(load_book, act, BookMarket)


def test_what_a_killed_one_said_last_counts_of_its_entries_and_not_of_those_of_the_next_one() -> None:
    """It may come behind what the next one writes, of a clock that is ahead."""

    async def act(market: BookMarket) -> None:
        await market.begin()
        await market.clock.sleep(1)
        await market.flow(20)
        await market.clock.sleep(2)
        await market.kill()
        last, killed_ms = market.records("depth_interval")[-1], market.clock.now_ms()
        await market.begin()
        await market.clock.sleep(1)
        await market.flow(5)
        entries = market.records("depth_interval")
        closed = next(one for one in entries if one.cause)
        assert (closed.key, closed.cause, closed.version) == (last.key, Cause.ENDED, last.version + 1)
        own = [one for one in entries if one.first_update_id > last.last_update_id]
        assert min(one.version for one in own) > killed_ms + SKEW_MS

    play(load_book, act, BookMarket)
