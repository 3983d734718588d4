"""A loader of an order book that has no snapshot of its own goes on with the verified book of the one before."""

from __future__ import annotations

import asyncio
import tempfile
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from streamforge.manager.engine.execution.exchange_limits import Budget
from streamforge.manager.policy import Policy
from streamforge_utils.model.books.snapshot_requests import Importance
from streamforge_utils.model.books.trust import Cause, Trust
from streamforge_utils.model.completeness.continuity import chains
from streamforge_utils.ports.job_settings import KubernetesSettings
from streamforge_utils.runtime.live.book_loader import PATIENCE_S, BookParameters, load_book
from tests.doubles.market import Market
from tests.doubles.virtualloop import VirtualLoop
from tests.runtime.book_rig import BOOK, BookMarket, check_diffs, check_ledger
from tests.runtime.live_rig import TOPIC, play

NEVER_S = 100_000.0


async def begun(market: BookMarket) -> None:
    """An attempt writes a verified book; nobody else will have a snapshot."""
    await market.begin()
    await market.clock.sleep(1)
    await market.flow(20)
    assert market.live.trust == "verified"
    market.exchange.slow_s = NEVER_S


async def beside(market: BookMarket) -> None:
    """Another one listens, and is ready without a snapshot."""
    await market.begin(shadow=True)
    await market.flow(int(PATIENCE_S * 10) + 30)
    assert market.shadow is not None
    assert (market.shadow.told.shadow, market.shadow.told.trust) == ("ready", "unverifiable")


def check(market: BookMarket) -> None:
    """One chain, whose every diff is there once, and is verified but for the first ones."""
    check_diffs(market)
    check_ledger(market)
    assert len(chains(market.ledger)) == 1
    assert {trust for trust, _, _ in market.told[1:]} == {Trust.VERIFIED}
    assert market.check_books() > 40


def test_the_one_that_is_told_to_end_leaves_its_book() -> None:
    async def act(market: BookMarket) -> None:
        market.parameters = BookParameters(top_seconds=1.0, checkpoint_seconds=NEVER_S)
        await begun(market)
        await beside(market)
        market.bus.starts[TOPIC] = len(market.bus.log[TOPIC]) - 5  # the first checkpoint is trimmed
        await market.hand_over()
        await market.flow(30)
        assert market.live.trust == "verified"
        check(market)
        _, left, behind = (one.last_update_id for one in market.records("depth_checkpoint"))
        assert left == market.ledger[1].last_id < behind
        assert market.ledger[1].anchor_id == market.ledger[2].anchor_id  # of the same snapshot

    play(load_book, act, BookMarket)


def test_what_a_killed_one_has_written_behind_its_last_book_leads_that_on() -> None:
    async def act(market: BookMarket) -> None:
        market.parameters = BookParameters(top_seconds=1.0, checkpoint_seconds=NEVER_S)
        await begun(market)
        await beside(market)
        assert len(market.records("depth_checkpoint")) == 1  # from before the other one began
        await market.kill()
        await market.flow(5)
        market.take_over()
        await market.flow(30)
        assert market.live.trust == "verified"
        check(market)

    play(load_book, act, BookMarket)


def test_where_there_is_no_book_nothing_is_called_verified_and_nothing_lacks() -> None:
    async def act(market: BookMarket) -> None:
        market.parameters = BookParameters(top_seconds=1.0, checkpoint_seconds=NEVER_S)
        await begun(market)
        await beside(market)
        await market.kill()
        market.bus.starts[TOPIC] = len(market.bus.log[TOPIC]) - 40
        market.take_over()
        await market.flow(30)
        check_diffs(market)
        check_ledger(market)
        assert len(chains(market.ledger)) == 1
        assert market.told[-1] == (Trust.UNVERIFIABLE, Cause.AWAITING, "")
        assert market.live.trust == "unverifiable"

    play(load_book, act, BookMarket)


def test_a_book_that_something_speaks_against_is_left_to_nobody() -> None:
    async def act(market: BookMarket) -> None:
        await begun(market)
        await beside(market)
        lost = market.happen()
        _, second = market.stream.live
        second.give(market.market.diff(*lost))
        await market.flow(20)
        assert market.live.trust == "suspect"
        await market.hand_over()
        await market.flow(20)
        assert market.told[-1][0] is not Trust.VERIFIED
        assert market.live.trust == "unverifiable"
        assert market.check_books() > 0

    play(load_book, act, BookMarket)


def test_who_had_not_heard_what_was_written_last_goes_on_with_the_book_too() -> None:
    async def act(market: BookMarket) -> None:
        await begun(market)
        await beside(market)
        first, second = market.stream.live
        for _ in range(3):
            first.give(market.market.diff(*market.happen()))
        await market.clock.sleep(0.2)
        await market.hand_over()
        await market.clock.sleep(8)
        second.give(market.market.diff(market.exchange.at - 3, market.exchange.at))
        await market.flow(30)
        check(market)

    play(load_book, act, BookMarket)


@pytest.mark.parametrize("differs", [False, True])
def test_the_exchange_is_asked_for_the_book_behind_all_others_and_may_contradict_it(differs: bool) -> None:
    async def act(market: BookMarket) -> None:
        await begun(market)
        market.exchange.slow_s = 0.05
        market.weight_per_minute = 6  # so that the shadow's request waits for minutes
        await beside(market)
        await market.hand_over()
        while len(market.exchange.limits) == 1:
            market.change()
            snapshot = msgspec.json.decode(market.market.snapshot(market.exchange.at, 1000))
            if differs:
                max(snapshot["bids"], snapshot["asks"], key=len)[-1][1] = "77.00000000"
            market.exchange.answer = msgspec.json.encode(snapshot)
            await market.clock.sleep(5)
        await market.flow(20)
        assert market.exchange.ranks[1][0] == -Importance.RENEW
        assert [why for _, why, _ in market.told[1:3]] == [Cause.WITNESS if differs else ""] * 2  # of both attempts
        assert market.told[-1] == (Trust.VERIFIED, "", "")
        assert market.live.trust == "verified"

    play(load_book, act, BookMarket)


BOOKS = 150


@pytest.mark.e2e
def test_so_many_books_of_a_node_are_handed_over_before_it_is_gone() -> None:
    """Each shadow has its share of the weight, which is no snapshot's within this time; the nodes are slow to begin."""

    async def run() -> None:
        loop, shared = asyncio.get_running_loop(), Market(1, 3000)
        assert isinstance(loop, VirtualLoop)
        with tempfile.TemporaryDirectory() as folder:
            markets = [BookMarket(loop, load_book, BOOK, Path(folder)) for _ in range(BOOKS)]
            for one in markets:
                one.exchange.market = shared
                one.parameters = BookParameters(limit=1001)  # of which no side counts as cut
                await one.begin()
            clock = markets[0].clock
            await flow(markets, 5)
            assert {one.live.trust for one in markets} == {"verified"}
            began = clock.monotonic()
            for number, one in enumerate(markets):
                one.weight_per_minute = Budget(Policy().weight_per_minute).share(2 * BOOKS)
                await one.begin(shadow=True)
                if number % 10 == 0:
                    await flow(markets, 1)
            while left := [one for one in markets if one.shadow is not None]:
                for one in left:
                    assert one.shadow is not None
                    if one.shadow.told.shadow == "ready":
                        await one.hand_over()
                await flow(markets, 1)
                assert clock.monotonic() - began < KubernetesSettings().eviction_seconds, f"{len(left)} are left"
            await flow(markets, 5)
            for one in markets:
                one.check()
                assert len(one.exchange.limits) == 1  # nobody could pay for another snapshot
                assert all(after[0] == before[1] + 1 for before, after in pairwise(one.ids))
                assert one.ids[-1][1] == one.exchange.at
                assert len(chains(one.ledger)) == 1
                assert {trust for trust, _, _ in one.told[1:]} == {Trust.VERIFIED}
            assert markets[0].check_books() > 10
            for one in markets:
                await one.stop()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(run())


async def flow(markets: list[BookMarket], seconds: int) -> None:
    """In each of them something happens once a second."""
    for _ in range(seconds):
        for one in markets:
            one.change()
        await markets[0].clock.sleep(1)
