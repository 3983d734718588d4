"""The coverage claims nothing that is not stored, for every loader and sink of order books."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from streamforge_utils.model.books.stored_intervals import UNBACKED
from streamforge_utils.model.books.trust import Mark
from streamforge_utils.model.coverage import DONE, Segment, Verdict
from tests.manager.execution.interval_rig import AWAITING, SUSPECTED, VERIFIED, BookRecords, at, counted
from tests.manager.execution.test_interval_comparison import Rig, a_rig


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
        segments = await rig.world.deps.coverage.of(rig.workflow.series)
        for lost, cause in causes.items():
            one = next((s for s in segments if s.start_ms <= at(lost) < s.end_ms), None)
            if one is not None and one.verdict is Verdict.LOST:
                assert one.cause == cause
        whole = there == doubts.keys()
        assert all(one.verdict in DONE for one in segments) == whole
        assert counted(segments) == len(there) or not whole

    asyncio.run(scenario())


def opened(books: BookRecords) -> int:
    """The first id of the interval that goes on."""
    goes_on = books.ledger.open()
    return books.ledger.next_id if goes_on is None else goes_on.first_id


def unbacked(one: Segment) -> set[str]:
    return {"verified"} if one.cause == f"unverifiable: {UNBACKED}" else set()


async def claims_hold(rig: Rig, doubts: dict[int, str], there: set[int]) -> None:
    for one in await rig.world.deps.coverage.of(rig.workflow.series):
        claimed = {n for n in doubts if one.start_ms <= at(n) < one.end_ms}
        if one.verdict is Verdict.STORED:
            assert claimed <= there
            told = {doubts[n] for n in claimed}
            assert told <= ({one.cause.partition(":")[0]} if one.cause else {"verified"}) | unbacked(one)
        elif one.verdict is Verdict.LOST:
            assert not claimed
