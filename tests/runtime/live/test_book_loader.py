"""A loader of order books: every diff, how far it is trusted, and books that are the exchange's."""

from __future__ import annotations

import random

import pytest

from streamforge_utils.model.books.snapshot_requests import Importance
from streamforge_utils.model.books.trust import Cause, Trust
from streamforge_utils.model.errors import PermanentError, RetryableError
from streamforge_utils.runtime.live.book_loader import BookParameters, load_book
from tests.runtime.book_rig import BookMarket, check_ledger
from tests.runtime.live_rig import play

VERIFIED = (Trust.VERIFIED, "")
AWAITING = (Trust.UNVERIFIABLE, Cause.AWAITING)


async def began(market: BookMarket) -> None:
    """The first attempt runs, and its book is verified."""
    await market.begin()
    await market.clock.sleep(1)
    assert len(market.stream.live) == 1
    await market.flow(20)
    assert market.live.trust == "verified"


def test_diffs_the_ledger_and_books_are_written_as_they_come() -> None:
    async def act(market: BookMarket) -> None:
        await began(market)
        await market.flow(100)
        assert market.ids == [(at, at + 3) for at in range(51, 531, 4)]
        assert market.exchange.limits == [1000]
        tops, checkpoints = market.records("depth_top"), market.records("depth_checkpoint")
        assert len(tops) >= 40
        assert len(checkpoints) >= 8
        assert market.check_books() >= 100
        assert market.live.last_id == 530
        assert market.live.verified + market.live.unverifiable == 120
        await market.stop()
        assert market.told == [(*AWAITING, ""), (*VERIFIED, "stopped")]
        assert [(one.first_id, one.last_id) for one in market.ledger][-1][1] == 530

    play(load_book, act, BookMarket)


def test_updates_that_lack_are_a_hole_and_the_book_is_asked_for_again() -> None:
    async def act(market: BookMarket) -> None:
        await began(market)
        lost = market.happen()
        await market.flow(30)
        assert market.told[:3] == [(*AWAITING, ""), (*VERIFIED, "sequence gap"), (Trust.SUSPECT, "sequence gap", "")]
        assert market.told[3:] == [(*VERIFIED, "")]
        before, after = market.ledger[1:3]
        assert (before.last_id + 1, after.first_id - 1) == lost
        assert len(market.exchange.limits) == 2
        assert [rank[0] for rank in market.exchange.ranks] == [-Importance.MISSING] * 2
        assert market.exchange.ranks[0] < market.exchange.ranks[1]
        assert market.check_books() > 30

    play(load_book, act, BookMarket)


def test_what_happens_between_two_connections_is_lost_by_disconnect() -> None:
    async def act(market: BookMarket) -> None:
        await began(market)
        market.stream.connections[0].end()
        market.happen()
        await market.clock.sleep(5)
        await market.flow(30)
        assert [cause for _, _, cause in market.told if cause] == ["disconnect"]
        assert (Trust.UNVERIFIABLE, "disconnect", "") in market.told
        assert market.told[-1] == (*VERIFIED, "")
        assert market.live.reconnects == 1

    play(load_book, act, BookMarket)


def test_a_rotation_loses_nothing_and_needs_no_snapshot() -> None:
    async def act(market: BookMarket) -> None:
        await began(market)
        market.stream.connections[0].announced = True
        await market.flow(100)
        assert market.live.rotations == 1
        assert market.told == [(*AWAITING, ""), (*VERIFIED, "")]
        assert market.exchange.limits == [1000]
        assert market.ids == [(at, at + 3) for at in range(51, market.exchange.at, 4)]
        assert {one.connection for one in market.records("depth")} == {1, 2}
        assert market.live.duplicates > 0

    play(load_book, act, BookMarket)


def test_a_connection_that_takes_over_may_begin_ahead_of_the_one_that_it_replaces() -> None:
    async def act(market: BookMarket) -> None:
        await began(market)
        market.stream.connections[0].announced = True
        await market.clock.sleep(2)
        first, second = market.stream.live
        lacks, begins = market.happen(3), market.happen(3)
        second.give(market.market.diff(*begins))
        await market.clock.sleep(1)
        assert market.ids[-1][1] == lacks[0] - 1
        first.give(market.market.diff(lacks[0], begins[0]), market.market.diff(begins[0] + 1, begins[1]))
        await market.flow(50)
        assert market.live.rotations == 1
        assert market.told == [(*AWAITING, ""), (*VERIFIED, "")]
        assert market.exchange.limits == [1000]
        assert market.check_books() > 50

    play(load_book, act, BookMarket)


def test_what_a_connection_has_given_ahead_of_one_that_ends_is_written() -> None:
    async def act(market: BookMarket) -> None:
        await began(market)
        market.stream.connections[0].announced = True
        await market.clock.sleep(2)
        first, second = market.stream.live
        lost, begins = market.happen(), market.happen()
        second.give(market.market.diff(*begins))
        await market.clock.sleep(1)
        first.end()
        await market.flow(30)
        assert begins in market.ids
        assert [cause for _, _, cause in market.told if cause] == ["disconnect"]
        before, after = market.ledger[1:3]
        assert (before.last_id + 1, after.first_id - 1) == lost
        assert market.told[-1] == (*VERIFIED, "")

    play(load_book, act, BookMarket)


def test_diffs_that_stop_while_best_prices_go_on_are_noticed() -> None:
    async def act(market: BookMarket) -> None:
        await began(market)
        for _ in range(70):
            market.happen()
            market.ticker()
            await market.clock.sleep(1)
        assert len(market.stream.connections) == 2
        assert not [limit for limit in market.exchange.limits if limit < 1000]  # nobody had to be asked
        await market.flow(20)
        assert [cause for _, _, cause in market.told if cause] == ["disconnect"]
        assert market.told[-1] == (*VERIFIED, "")

    play(load_book, act, BookMarket)


def test_a_quiet_market_is_asked_and_the_connection_stays() -> None:
    async def act(market: BookMarket) -> None:
        await began(market)
        market.ticker()
        await market.clock.sleep(200)
        assert len(market.stream.connections) == 1
        assert market.exchange.limits[1:3] == [5, 5]
        market.happen()
        await market.clock.sleep(500)
        assert len(market.stream.connections) == 2

    play(load_book, act, BookMarket)


def test_the_best_prices_are_compared_and_a_book_that_differs_is_suspect() -> None:
    async def act(market: BookMarket) -> None:
        await began(market)
        market.ticker()
        await market.clock.sleep(0.5)
        assert market.live.agreed == 1
        at = market.exchange.at
        market.change()
        market.exchange.at = at - 40  # the best prices of another book, as if they were of this one
        payload = market.market.ticker(market.exchange.at)
        assert payload is not None
        market.exchange.at = at + 4
        market.stream.live[0].give(payload.replace(b'"u":%d,' % (at - 40), b'"u":%d,' % (at + 4)))
        await market.flow(20)
        assert (Trust.SUSPECT, "witness differs", "") in market.told
        assert market.told[-1] == (*VERIFIED, "")
        suspect = next(one for one in market.ledger if one.why == "witness differs")
        assert suspect.first_id == at + 1  # what was compared before stays verified

    play(load_book, act, BookMarket)


@pytest.mark.parametrize("answer", [b"<html>", b'{"lastUpdateId":9,"bids":[["1","0"]],"asks":[]}'])
def test_a_snapshot_that_is_none_is_asked_for_again_within_the_share_of_the_weight(answer: bytes) -> None:
    async def act(market: BookMarket) -> None:
        market.weight_per_minute = 600  # 300 for snapshots: six in a minute
        market.exchange.answer = answer
        await market.begin()
        await market.flow(1800)
        assert 5 <= len(market.exchange.limits) <= 24
        assert market.live.trust == "unverifiable"
        assert market.live.refused == len(market.exchange.limits)
        market.exchange.answer = None
        await market.flow(400)
        assert market.told == [(*AWAITING, ""), (*VERIFIED, "")]
        assert market.check_books() > 50

    play(load_book, act, BookMarket)


def test_stale_and_slow_snapshots_keep_what_was_heard() -> None:
    async def act(market: BookMarket) -> None:
        market.exchange.stale, market.exchange.slow_s = 10_000, 1.0
        await market.begin()
        await market.flow(100)
        assert market.told == [(*AWAITING, "")]
        market.exchange.stale, market.exchange.slow_s = 8, 15.0
        await market.flow(400)
        assert market.told == [(*AWAITING, ""), (*VERIFIED, "")]
        before, after = market.ledger  # what was held behind the snapshot is verified, too
        assert after.anchor_id is not None
        assert before.last_id <= after.anchor_id + 4

    play(load_book, act, BookMarket)


def test_a_ban_is_waited_for_and_told() -> None:
    async def act(market: BookMarket) -> None:
        market.exchange.failing = RetryableError("depth: HTTP 418", retry_after=30)
        await market.begin()
        await market.flow(100)
        assert len(market.exchange.limits) == 1
        assert market.instruments.progress.snapshot().waiting == "depth: HTTP 418"
        market.exchange.failing = None
        await market.flow(300)
        assert market.instruments.progress.snapshot().waiting is None
        assert market.told[:2] == [(*AWAITING, ""), (*VERIFIED, "")]
        assert not [cause for _, _, cause in market.told if cause]

    play(load_book, act, BookMarket)


def test_a_symbol_that_the_exchange_does_not_list_ends_the_attempt() -> None:
    async def act(market: BookMarket) -> str:
        market.exchange.failing = PermanentError("depth BTCUSDT: code -1121")
        await market.begin()
        assert market.loader is not None
        loader, market.loader = market.loader, None
        with pytest.raises(BaseExceptionGroup) as raised:
            await loader
        return repr(raised.value.exceptions)

    assert "code -1121" in play(load_book, act, BookMarket)


def test_a_bus_that_takes_nothing_costs_room_then_messages_with_their_cause() -> None:
    async def act(market: BookMarket) -> None:
        market.parameters = BookParameters(buffer_bytes=20_000, spill_bytes=20_000, top_seconds=60)
        await began(market)
        market.bus_stalls = True
        await market.flow(200)
        dropped = market.live.dropped
        assert 50 < dropped < 190
        assert market.live.held_bytes < 50_000
        assert market.live.trust == "unverifiable"
        market.bus_stalls = False
        await market.flow(50)
        assert market.live.held_bytes == 0
        assert dropped <= market.live.dropped <= dropped + 5
        assert [cause for _, _, cause in market.told if cause] == ["sink too slow"]
        before = next(one for one in market.ledger if one.cause)
        after = next(one for one in market.ledger if one.first_id > before.last_id)
        assert after.first_id - before.last_id - 1 == 4 * market.live.dropped
        assert market.told[-1] == (*VERIFIED, "")
        assert market.check_books() > 50

    play(load_book, act, BookMarket)


def test_an_attempt_that_was_killed_has_its_ledger_closed_by_the_next_one() -> None:
    async def act(market: BookMarket) -> None:
        await began(market)
        await market.kill()
        last_id = market.ids[-1][1]
        assert not [cause for _, _, cause in market.told if cause]
        market.happen()
        await began(market)
        assert [cause for _, _, cause in market.told if cause] == ["loader ended"]
        closed = next(one for one in market.ledger if one.cause)
        assert closed.last_id == last_id
        assert market.ledger[-1].trust is Trust.VERIFIED
        assert sum(one.messages for one in market.ledger) <= len(market.ids)
        assert market.check_books() > 20
        await market.stop()
        told = market.told
        await began(market)
        assert market.told[: len(told)] == told  # an end in order needs no other

    play(load_book, act, BookMarket)


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_no_book_is_called_verified_that_is_not_the_exchanges(seed: int) -> None:
    async def act(market: BookMarket) -> None:
        chance = random.Random(seed)
        random.seed(seed)
        market.parameters = BookParameters(
            buffer_bytes=8_000, spill_bytes=chance.choice((0, 30_000)), top_seconds=2.0, checkpoint_seconds=4.0
        )
        await market.begin()
        waiting: list[tuple[int, int]] = []
        while market.exchange.at < 2_900:
            what = chance.random()
            if what < 0.80:
                waiting.append(market.happen(chance.randint(1, 6)))
            batch, waiting = waiting, []
            if what < 0.02:
                continue  # lost
            if what < 0.04:
                waiting = batch  # late
                continue
            if what < 0.06:
                batch.reverse()
            elif what < 0.10:
                batch = [*batch, *batch]
            elif what < 0.12 and market.stream.live:
                market.stream.live[0].end()
            elif what < 0.13:
                market.exchange.stale = chance.choice((0, 0, 10, 200))
            elif what < 0.14:
                market.exchange.failing = chance.choice((None, None, RetryableError("HTTP 429", retry_after=5)))
            elif what < 0.16:
                market.bus_stalls = chance.random() < 0.5
            elif what < 0.17 and market.stream.live:
                market.stream.live[0].announced = True
            elif what < 0.175:
                await market.kill()
                await market.begin()
            elif what < 0.18:
                for one in market.stream.live:
                    one.give(b'{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate"')
            market.send(*batch)
            if chance.random() < 0.3:
                market.ticker()
            await market.clock.sleep(chance.choice((0, 0.05, 0.1, 0.5)))
        market.bus_stalls, market.exchange.failing, market.exchange.stale = False, None, 0
        await market.clock.sleep(70)
        await market.flow(20)
        assert market.told[-1] == (*VERIFIED, "")
        await market.stop()
        assert market.told[-1] == (*VERIFIED, "stopped")
        assert market.check_books() > 10
        check_ledger(market)

    play(load_book, act, BookMarket)
