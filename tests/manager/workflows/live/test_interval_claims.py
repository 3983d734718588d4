"""The coverage claims nothing that is not stored, for every loader and sink of order books."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from itertools import pairwise
from math import inf
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamforge.manager.retention.segment_retention import SegmentRetention
from streamforge.manager.workflows.series.model import loaded_series
from streamforge_utils.model.books.records import kind_name_of
from streamforge_utils.model.books.stored_intervals import UNBACKED
from streamforge_utils.model.books.trust import Mark
from streamforge_utils.model.coverage import DONE, Segment, Verdict
from streamforge_utils.model.kinds.registry import kind_named
from streamforge_utils.ports.bus import Message, Received
from streamforge_utils.ports.store import Document
from streamforge_utils.runtime.life.worker_definition import Role
from streamforge_utils.runtime.live.book_loader import load_book
from tests.doubles.market import START_MS
from tests.manager.support import replace, with_attempt
from tests.manager.workflows.live.interval_rig import (
    AWAITING,
    SUSPECTED,
    VERIFIED,
    BookRecords,
    C,
    Rig,
    a_rig,
    at,
    counted,
)
from tests.runtime.book_rig import BookMarket
from tests.runtime.live.test_turned_books import contradict
from tests.runtime.live_rig import TOPIC, play


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_a_loader_tells_and_a_sink_stores_nothing_is_claimed_that_is_not_there(data: st.DataObject) -> None:
    """Each update is in the coverage as it is in truth: stored with its doubt, lost with its cause, or unknown."""

    async def scenario() -> None:
        rig = await a_rig()
        books, number, gap, marks = rig.books, 0, "", list[Mark]()
        doubts, causes, there = dict[int, str](), dict[int, str](), set[int]()
        for _ in range(data.draw(st.integers(1, 8))):
            match data.draw(st.sampled_from(["hear", "lose", "doubt", "turn", "keep", "drop", "step"])):
                case "hear":
                    fresh = range(number + 1, number + 1 + data.draw(st.integers(1, 4)))
                    doubts |= dict.fromkeys(fresh, books.ledger.standing.trust.value)
                    await books.hear(*fresh)
                    number, gap = fresh[-1], ""
                    marks.append(books.ledger.mark())
                case "lose" if doubts:
                    gap = gap or data.draw(st.sampled_from(["disconnect", "sink too slow"]))
                    await books.end(gap)
                    causes |= dict.fromkeys(range(number + 1, number + 4), gap)
                    number += 3
                case "doubt":
                    books.ledger.standing = data.draw(st.sampled_from([VERIFIED, AWAITING, SUSPECTED]))
                case "turn" if marks:
                    mark = data.draw(st.sampled_from(marks))
                    standing = data.draw(st.sampled_from([VERIFIED, AWAITING, SUSPECTED]))
                    first = opened(books)
                    books.ledger.turn_since(mark, standing)
                    await books.tell()
                    doubts |= {n: standing.trust.value for n in doubts if n > mark.last_id and n >= first}
                case "keep":
                    there |= set(books.held)
                    await books.keep()
                case "drop" if len(set(books.held)) > 2:
                    lost = data.draw(st.sampled_from(sorted(books.held)))
                    there |= set(books.held) - {lost}
                    await books.keep(lost)
                case "step":
                    await rig.step()
                    await claims_hold(rig, doubts, there)
        await books.end("stopped")
        there |= set(books.held)
        await books.keep()
        await rig.step(close=True)
        await claims_hold(rig, doubts, there)
        segments = await rig.world.deps.coverage.of(loaded_series(rig.workflow))
        for lost, cause in causes.items():
            one = next((s for s in segments if s.start_ms <= at(lost) < s.end_ms), None)
            if one is not None and one.verdict is Verdict.LOST:
                assert one.cause == cause
        whole = there == doubts.keys()
        assert all(one.verdict in DONE for one in segments) == whole
        assert counted(segments) == len(there) or not whole

    asyncio.run(scenario())


def opened(books: BookRecords) -> float:
    """The first id of the interval that goes on; where there is none, beyond all."""
    goes_on = books.ledger.open()
    return inf if goes_on is None else goes_on.first_id


def unbacked(one: Segment) -> set[str]:
    return {"verified"} if one.cause == f"unverifiable: {UNBACKED}" else set()


async def claims_hold(rig: Rig, doubts: dict[int, str], there: set[int]) -> None:
    for one in await rig.world.deps.coverage.of(loaded_series(rig.workflow)):
        claimed = {n for n in doubts if one.start_ms <= at(n) < one.end_ms}
        if one.verdict is Verdict.STORED:
            assert claimed <= there
            told = {doubts[n] for n in claimed}
            assert told <= ({one.cause.partition(":")[0]} if one.cause else {"verified"}) | unbacked(one)
        elif one.verdict is Verdict.LOST:
            assert not claimed


async def test_behind_what_is_all_expired_a_chain_that_goes_on_has_no_hole(tmp_path: Path) -> None:
    rig = await a_rig(tmp_path)
    await rig.books.hear(1, 2, 3)
    await rig.books.keep()
    assert await rig.step() == [(1, 4, "stored", "")]
    rig.wait(2 * 86_400)
    policy = replace(rig.world.deps.policy, segment_days=1)
    await SegmentRetention(replace(rig.world.deps, policy=policy)).apply()
    assert await rig.step() == [(1, 4, "expired", "retention")]
    await rig.books.hear(4, 5)
    await rig.books.keep()
    assert await rig.step() == [(1, 4, "expired", "retention"), (4, 6, "stored", "")]
    assert (rig.ledger.proven_id, rig.ledger.open_holes) == (5, 0)
    await rig.books.hear(6, 7, 8)
    await rig.books.keep(6)
    assert [one[2] for one in await rig.step()] == ["expired", "stored", "unknown", "stored"]


async def test_what_comes_after_it_was_called_lost_is_stored() -> None:
    rig = await a_rig()
    await rig.books.hear(1, 2)
    await rig.books.end("sequence gap")
    await rig.books.hear(6, 7)
    await rig.books.keep()
    assert (await rig.step())[1] == (3, 6, "lost", "sequence gap")
    rig.books.ledger.late(4, 4, at(4))
    await rig.books.tell()
    await rig.books.replay(4)
    found = [
        (1, 3, "stored", ""),
        (3, 4, "lost", "sequence gap"),
        (4, 5, "stored", "suspect: sequence gap"),
        (5, 6, "lost", "sequence gap"),
        (6, 8, "stored", ""),
    ]
    assert await rig.step() == found
    assert await rig.step() == found
    assert (rig.ledger.proven_id, rig.ledger.open_holes, rig.ledger.stored) == (7, 0, 5)


async def test_what_a_killed_loader_has_left_untold_in_an_open_segment_is_not_lost(tmp_path: Path) -> None:
    rig = await a_rig(tmp_path)
    loader = next(one.target for one in rig.workflow.steps if one.role is Role.LOADER)
    rig.workflow = with_attempt(rig.workflow, loader, planned_ms=at(400))
    await rig.books.hear(101, 102)
    await rig.books.keep()
    await rig.books.hear(103, 104, told=False)
    await rig.books.restart()
    await rig.books.hear(600, 601)
    assert await rig.step() == [(101, 103, "stored", "")]
    await rig.books.keep()
    ended = [(103, 105, "stored", "unverifiable: loader ended"), (105, 600, "lost", "loader ended")]
    assert await rig.step() == [(101, 103, "stored", ""), *ended, (600, 602, "stored", "")]


@pytest.mark.parametrize("seed", [*range(12), 179])
def test_what_a_killed_loader_had_on_its_way_may_come_behind_what_the_next_one_tells(seed: int) -> None:
    """As on Kafka: the next one reads a topic that lacks it. Half of them have listened beside it."""
    chance = random.Random(seed)
    random.seed(seed)

    async def act(market: BookMarket) -> tuple[list[Received], int, set[int]]:
        listens = seed % 2 == 0
        await market.begin()
        await market.clock.sleep(1)
        await market.flow(chance.randint(3, 30))
        if listens:
            await market.begin(shadow=True)
            await market.clock.sleep(0.5)
        for _ in range(chance.randint(20, 40)):
            first, second = market.happen(), market.happen()
            for number, one in enumerate(market.stream.live):  # two connections cut them differently
                cut = first[number]
                one.give(market.market.diff(first[0], cut), market.market.diff(cut + 1, second[1]))
            await market.clock.sleep(0.1)
        if chance.random() < 0.6:
            contradict(market)
            await market.flow(chance.randint(0, 12))
        doubted = {
            n for one in market.ledger if one.doubt and not listens for n in range(one.first_id, one.last_id + 1)
        }
        await market.kill()
        log, killed_ms = market.bus.log[TOPIC], START_MS + 100 * market.exchange.at
        late = log[len(log) - chance.randint(1, 25) :]
        del log[-len(late) :]
        if listens:
            market.take_over()
        else:
            market.happen(chance.choice((0, 9)))
            await market.begin()
        while late:
            await market.flow(1, chance.choice((0, 0.05, 0.5)))
            count = chance.randint(0, len(late))
            market.bus.append(TOPIC, *(Message(one.key, one.value) for one in late[:count]))
            late = late[count:]
        await market.flow(40)
        await market.stop()
        market.bus.log[TOPIC] = stored(log)
        assert market.check_books() > 20
        return log, killed_ms, doubted

    log, killed_ms, doubted = play(load_book, act, BookMarket)
    claims = asyncio.run(proven_whole(log, killed_ms, chance))
    assert not [one for one in doubted if claims.get(one, "doubted") == ""]


def stored(log: Sequence[Received]) -> list[Received]:
    """The messages of a topic without entries of the ledger that another one has replaced in the store."""
    counts = dict[bytes | None, tuple[int, int]]()
    for number, one in enumerate(log):
        if kind_name_of(one.key or b"") == "depth_interval":
            version = msgspec.json.decode(one.value)["_version"]
            counts[one.key] = max(counts.get(one.key, (0, 0)), (version, number))
    return [one for number, one in enumerate(log) if counts.get(one.key, (0, number))[1] == number]


async def proven_whole(log: Sequence[Received], begun_ms: int, chance: random.Random) -> dict[int, str]:
    """Each diff of a topic is claimed, and what lacks has its cause; the doubts, by last ids.

    begun_ms: the second attempt began then.
    """
    rig = await a_rig()
    loader = next(one.target for one in rig.workflow.steps if one.role is Role.LOADER)
    rig.workflow = with_attempt(rig.workflow, loader, planned_ms=begun_ms)
    for one in log:
        document = Document(*kind_named(kind_name_of(one.key or b"")).document(one.key, one.value))
        await rig.world.store.upsert(C, [document])
        if chance.random() < 0.05:
            await rig.step()
    await rig.step(close=True)
    segments = await rig.world.deps.coverage.of(loaded_series(rig.workflow))
    lost = [one for one in segments if one.verdict is Verdict.LOST]
    assert all(one.cause for one in lost)
    documents = await rig.world.store.read(C, limit=10_000)
    found = [msgspec.json.decode(one.body) for one in documents if kind_name_of(one.key.encode()) == "depth"]
    claims = dict[int, str]()
    for one in found:
        (segment,) = (part for part in segments if one["event_time"] in part.span)
        claims[one["last_update_id"]] = segment.cause
        assert segment.verdict is Verdict.STORED, (one["last_update_id"], segment)
    ids = sorted({each for one in found for each in range(one["first_update_id"], one["last_update_id"] + 1)})
    assert len(lost) == sum(before + 1 < after for before, after in pairwise(ids))
    assert {one.verdict for one in segments} <= {Verdict.STORED, Verdict.LOST}
    return claims


async def test_a_segment_is_found_whose_first_diff_says_that_it_reaches_far_back(tmp_path: Path) -> None:
    rig = await a_rig(tmp_path)
    for first in (1, 3, 5, 7):
        await rig.books.hear(first, first + 1)
        await rig.books.keep()
        await rig.step()
    await rig.books.hear(9, 10)
    rig.books.held[9] = msgspec.json.encode({**msgspec.json.decode(rig.books.held[9]), "first_update_id": 2})
    await rig.books.keep()
    await rig.step()
    assert (rig.ledger.proven_id, rig.ledger.open_holes) == (10, 0)
