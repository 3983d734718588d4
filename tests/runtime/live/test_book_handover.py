"""A loader of an order book that takes another one's place: its chain of diffs goes on, and the book stays verified."""

from __future__ import annotations

import asyncio
import itertools
import random
import re

import pytest

from streamforge_utils.model.books.trust import Cause, Trust
from streamforge_utils.model.completeness.continuity import chains
from streamforge_utils.runtime.live.book_loader import PATIENCE_S, load_book
from tests.doubles.stream import ScriptedConnection
from tests.runtime.book_rig import BookMarket, check_diffs
from tests.runtime.live_rig import TOPIC, play

VERIFIED = (Trust.VERIFIED, "")


async def beside(market: BookMarket) -> None:
    """An attempt writes a verified book, and another one has heard as much beside it."""
    await market.begin()
    await market.clock.sleep(1)
    await market.flow(20)
    await market.begin(shadow=True)
    await market.clock.sleep(0.5)
    await market.flow(40)
    assert market.live.trust == "verified"


def shadow_of(market: BookMarket) -> str:
    assert market.shadow is not None
    return market.shadow.told.shadow


async def check_ledger(market: BookMarket) -> None:
    """It tells of every diff on the topic, of nothing else, of nothing twice, and why something lacks."""
    await market.clock.sleep(2)
    ids, ledger = market.ids, market.ledger
    there = {at for first, last in ids for at in range(first, last + 1)}
    for told in ledger:
        assert set(range(told.first_id, told.last_id + 1)) <= there, told
    for one in market.records("depth"):
        entries = [each for each in ledger if each.first_id <= one.last_update_id <= each.last_id]
        assert [each.start_ms <= one.event_time < each.end_ms for each in entries] == [True], (one, entries)
    for before, after in itertools.pairwise(ledger):
        assert before.last_id < after.first_id, (before, after)
        assert before.cause or after.first_id == before.last_id + 1, (before, after)


def test_its_book_is_verified_before_it_is_ready_and_the_chain_goes_on() -> None:
    async def act(market: BookMarket) -> None:
        await beside(market)
        assert shadow_of(market) == "ready"
        snapshots, written = len(market.exchange.limits), len(market.ids)
        market.change()
        await market.hand_over()
        await market.flow(5)
        assert len(market.exchange.limits) == snapshots
        await market.flow(35)
        assert len(market.ids) == written + 41
        await market.stop()
        check_diffs(market)
        (chain,) = chains(market.ledger)
        assert (chain.first_id, chain.last_id) == (51, market.exchange.at)
        assert market.told[1:] == [(*VERIFIED, ""), (*VERIFIED, "stopped")]
        before, after = market.ledger[1:]
        assert (before.last_id + 1, before.end_ms) == (after.first_id, after.start_ms)
        assert sum(one.messages for one in market.ledger) == len(market.ids)
        assert market.check_books() > 80

    play(load_book, act, BookMarket)


def test_it_waits_for_a_snapshot_but_not_for_long() -> None:
    async def act(market: BookMarket) -> None:
        await market.begin()
        await market.clock.sleep(1)
        await market.flow(20)
        market.exchange.slow_s = 1_000.0
        await market.begin(shadow=True)
        await market.flow(int(PATIENCE_S * 10))
        assert shadow_of(market) == "waiting"
        await market.flow(30)
        assert shadow_of(market) == "ready"

    play(load_book, act, BookMarket)


def test_the_ledger_tells_where_the_topic_ends_whose_diffs_are_trimmed() -> None:
    async def act(market: BookMarket) -> None:
        await market.begin()
        await market.clock.sleep(1)
        await market.flow(20)
        await market.clock.sleep(2)
        market.bus.starts[TOPIC] = len(market.bus.log[TOPIC]) - 1
        assert market.ledger[-1].last_id == market.exchange.at
        market.bus_stalls = True
        market.change()
        await market.begin(shadow=True)
        await market.clock.sleep(0.5)
        await market.flow(40)
        assert shadow_of(market) == "waiting"
        market.bus_stalls = False
        await market.flow(20)
        assert shadow_of(market) == "ready"

    play(load_book, act, BookMarket)


def test_two_connections_that_batch_differently_overlap_and_lose_nothing() -> None:
    async def act(market: BookMarket) -> None:
        await beside(market)
        first, second = market.stream.live
        a, b = market.happen(6), market.happen(6)
        first.give(market.market.diff(*a))
        second.give(market.market.diff(a[0], a[0] + 2), market.market.diff(a[0] + 3, b[1]))
        await market.clock.sleep(2)
        await market.hand_over()
        await market.flow(20)
        assert (a[0] + 3, b[1]) in market.ids
        assert (a[0], a[0] + 2) not in market.ids
        check_diffs(market)
        assert len(chains(market.ledger)) == 1
        assert market.check_books() > 40

    play(load_book, act, BookMarket)


def test_one_that_lags_behind_catches_up_first() -> None:
    async def act(market: BookMarket) -> None:
        await beside(market)
        first, second = market.stream.live
        batch = market.happen()
        first.give(market.market.diff(*batch))
        await market.clock.sleep(0.2)
        await market.hand_over()
        await market.clock.sleep(0.6)
        second.give(market.market.diff(*batch))
        await market.flow(20)
        check_diffs(market)
        assert len(chains(market.ledger)) == 1

    play(load_book, act, BookMarket)


def test_the_place_of_one_that_was_killed_is_taken_without_a_break() -> None:
    async def act(market: BookMarket) -> None:
        await beside(market)
        await market.kill()
        await market.flow(30)
        market.take_over()
        await market.flow(20)
        await market.stop()
        check_diffs(market)
        (chain,) = chains(market.ledger)
        assert (chain.first_id, chain.last_id) == (51, market.exchange.at)
        assert {trust for trust, _, _ in market.told[1:]} == {Trust.VERIFIED}
        assert market.check_books() > 40

    play(load_book, act, BookMarket)


def test_one_that_did_not_hear_enough_leaves_the_gap_that_there_is() -> None:
    async def act(market: BookMarket) -> None:
        await market.begin()
        await market.clock.sleep(1)
        await market.flow(20)
        await market.kill()
        lost = market.happen()
        await market.begin(shadow=True)
        await market.clock.sleep(1)
        await market.flow(20)
        market.take_over()
        await market.flow(20)
        assert [cause for _, _, cause in market.told if cause] == [Cause.ENDED]
        before, after = chains(market.ledger)
        assert (before.last_id + 1, after.first_id - 1) == lost
        assert market.told[-1] == (*VERIFIED, "")

    play(load_book, act, BookMarket)


def test_a_gap_of_its_own_stream_makes_it_wait_until_it_is_past() -> None:
    async def act(market: BookMarket) -> None:
        await beside(market)
        first, _ = market.stream.live
        first.give(market.market.diff(*market.happen()))  # the shadow does not get it
        market.bus_stalls = True
        await market.flow(20)
        assert shadow_of(market) == "waiting"
        market.bus_stalls = False
        await market.flow(20)
        assert shadow_of(market) == "ready"
        await market.hand_over()
        await market.flow(10)
        check_diffs(market)
        assert len(chains(market.ledger)) == 1

    play(load_book, act, BookMarket)


def test_what_only_it_heard_before_the_last_diff_on_the_topic_is_lost_and_not_told() -> None:
    async def act(market: BookMarket) -> None:
        await beside(market)
        first, second = market.stream.live
        lost = [market.happen() for _ in range(5)]
        for batch in lost:
            second.give(market.market.diff(*batch))
            await market.clock.sleep(0.1)
        first.give(market.market.diff(*market.happen()))  # the shadow does not get it
        await market.clock.sleep(2)
        await market.kill()
        market.take_over()
        await market.clock.sleep(8)
        await market.flow(40)
        await check_ledger(market)
        before, after = market.ledger[1:3]
        assert (before.last_id + 1, after.first_id - 1, before.cause) == (lost[0][0], lost[-1][1], Cause.GAP)
        assert market.told[-1] == (*VERIFIED, "")
        assert market.check_books() > 40

    play(load_book, act, BookMarket)


@pytest.mark.parametrize("misses", [False, True])
def test_a_gap_that_was_written_and_not_told_stays_one(misses: bool) -> None:
    """misses: the shadow lacks the diff right behind the last one on the topic."""

    async def act(market: BookMarket) -> None:
        await beside(market)
        first, second = market.stream.live
        lost, behind = market.happen(), market.happen()
        second.give(market.market.diff(*lost), market.market.diff(*behind))
        first.give(market.market.diff(*behind))
        while market.ids[-1] != behind:  # noqa: ASYNC110 - the output writes one record, then yields
            await asyncio.sleep(0)
        await market.kill()
        assert market.ledger[-1].last_id < lost[0]
        if misses:
            market.happen()
            await market.flow(5)
        market.take_over()
        await market.flow(40)
        await check_ledger(market)
        assert {told.cause for told in market.ledger if told.last_id + 1 == lost[0]} == {Cause.GAP}
        assert len(chains(market.ledger)) == (3 if misses else 2)

    play(load_book, act, BookMarket)


def test_a_gap_right_behind_what_the_other_one_told_has_a_cause() -> None:
    async def act(market: BookMarket) -> None:
        await beside(market)
        await market.clock.sleep(1.5)
        await market.hand_over()
        await market.clock.sleep(1.5)
        lost = market.happen()
        await market.flow(40)
        await check_ledger(market)
        assert [told.cause for told in market.ledger if told.last_id + 1 == lost[0]] == [Cause.GAP]

    play(load_book, act, BookMarket)


def test_a_diff_that_it_lacks_and_of_which_nothing_was_told_is_told() -> None:
    async def act(market: BookMarket) -> None:
        await beside(market)
        first, second = market.stream.live
        one, two, three = (market.happen() for _ in range(3))
        first.give(*(market.market.diff(*batch) for batch in (one, two, three)))
        second.give(*(market.market.diff(*batch) for batch in (one, three)))
        await market.clock.sleep(0.1)
        await market.kill()
        assert (two in market.ids, market.ledger[-1].last_id < one[0]) == (True, True)
        market.take_over()
        await market.clock.sleep(1)
        second.give(market.market.diff(*two))
        await market.flow(40)
        check_diffs(market)
        await check_ledger(market)
        assert len(chains(market.ledger)) == 1

    play(load_book, act, BookMarket)


@pytest.mark.parametrize("misses_first", [False, True])
def test_a_diff_of_another_time_than_its_own_lies_in_the_interval_that_tells_of_it(misses_first: bool) -> None:
    """misses_first: the diff that lacks lies before the takeover."""

    async def act(market: BookMarket) -> None:
        await beside(market)
        first, second = market.stream.live
        diff = market.market.diff(*market.happen())
        at = int(re.findall(rb'"E":(\d+)', diff)[0])
        first.give(diff.replace(b'"E":%d' % at, b'"E":%d' % (at + 70)))
        second.give(diff)
        await market.clock.sleep(0.1)
        await market.kill()
        assert market.records("depth")[-1].event_time == at + 70
        if misses_first:
            market.happen()
            await market.flow(5)
        market.take_over()
        await market.clock.sleep(1)
        market.happen()
        await market.flow(40)
        await check_ledger(market)

    play(load_book, act, BookMarket)


def test_a_diff_that_comes_late_and_that_another_one_has_written_is_not_written_again() -> None:
    async def act(market: BookMarket) -> None:
        await beside(market)
        first, second = market.stream.live
        one, two, three = (market.happen() for _ in range(3))
        first.give(*(market.market.diff(*batch) for batch in (one, two)))
        for batch in (one, three, two):
            second.give(market.market.diff(*batch))
        await market.clock.sleep(0.1)
        await market.kill()
        market.take_over()
        await market.flow(40)
        check_diffs(market)
        await check_ledger(market)

    play(load_book, act, BookMarket)


def test_what_reaches_it_too_late_is_not_written_twice() -> None:
    async def act(market: BookMarket) -> None:
        await beside(market)
        first, second = market.stream.live
        batches = [market.happen() for _ in range(8)]
        first.give(*(market.market.diff(*batch) for batch in batches))
        await market.clock.sleep(2)
        await market.kill()
        market.take_over()
        await market.clock.sleep(8)
        second.give(*(market.market.diff(*batch) for batch in batches))
        await market.flow(40)
        check_diffs(market)
        await check_ledger(market)
        assert market.told[-1] == (*VERIFIED, "")
        assert market.check_books() > 40

    play(load_book, act, BookMarket)


@pytest.mark.parametrize("seed", range(12))
def test_whatever_happens_no_diff_comes_twice_and_no_book_is_called_verified_that_is_not(seed: int) -> None:
    async def act(market: BookMarket) -> None:
        chance = random.Random(seed)
        random.seed(seed)
        await market.begin()
        late = list[tuple[ScriptedConnection, bytes]]()
        while market.exchange.at < 1_500:
            what, diff = chance.random(), market.market.diff(*market.happen(chance.randint(1, 6)))
            for one in market.stream.live:
                which = chance.random()
                if which < 0.02:
                    late.append((one, diff))
                elif which < 0.96:
                    one.give(diff)
                elif which < 0.965:
                    one.end()
            while late and chance.random() < 0.3:
                connection, diff = late.pop()
                connection.give(diff)
            if what < 0.05 and market.shadow is None:
                await market.begin(shadow=True)
            elif what < 0.10 and market.shadow is not None:
                await market.hand_over()
            elif what < 0.12:
                await market.kill()
                if market.shadow is None:
                    await market.begin()
                else:
                    market.take_over()
            elif what < 0.14 and market.shadow is not None:
                await market.shadow.stop()
                market.shadow = None
            elif what < 0.16:
                market.bus_stalls = chance.random() < 0.5
            await market.clock.sleep(chance.choice((0, 0.1, 0.3, 1.0)))
        market.bus_stalls = False
        await market.clock.sleep(8)
        await market.flow(40)
        lasts = [last for _, last in market.ids]
        assert len(lasts) == len(set(lasts))
        await check_ledger(market)
        assert market.check_books() > 10

    play(load_book, act, BookMarket)
