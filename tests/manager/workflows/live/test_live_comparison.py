"""The ledger of a live workflow: what is proven follows from what is stored, and no hole is hidden or named early."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamforge.manager.engine.persistence.workflow_store import OutOfDate
from streamforge.manager.engine.refusals import ExchangeFailed
from streamforge.manager.workflows.live.comparison import Comparison
from streamforge.manager.workflows.live.model import Ledger
from streamforge.manager.workflows.series.model import loaded_series
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.model.kinds.paging import ById
from streamforge_utils.model.messages import Progress
from streamforge_utils.runtime.life.worker_definition import Role
from tests.doubles import ticks
from tests.doubles.manualclock import ManualClock
from tests.manager.execution.world import unanswered
from tests.manager.support import HOUR_MS, replace, with_attempt
from tests.manager.workflows.live.live_rig import MARKET, STREAM, a_rig

pytestmark = pytest.mark.usefixtures("ticks")


async def test_it_begins_with_the_first_record_and_is_proven_to_the_millisecond_of_the_last() -> None:
    rig = await a_rig()
    assert (await rig.step()).span is None
    rig.store(2, 3, 4)
    ledger = await rig.step()
    assert (ledger.from_ms, ledger.proven_ms, ledger.proven_id) == (STREAM + 1000, STREAM + 2000, 2)
    rig.store(5, 6)
    ledger = await rig.step()
    assert (ledger.proven_ms, ledger.proven_id, ledger.open_holes) == (STREAM + 4000, 5, 0)
    assert await rig.known() == [(1000, 4000, "stored", 2, 5)]


async def test_that_a_symbol_is_no_longer_traded_is_told_within_two_minutes() -> None:
    waited = []
    for asked_s in (0, 30, 59):  # before it ended the exchange had just been asked, or was about to be
        rig = await a_rig()
        rig.store(*MARKET)
        await rig.step(quiet=True)
        rig.wait(60 + asked_s)
        assert (await rig.step(quiet=True)).untraded == ""
        assert isinstance(rig.world.exchange, ticks.TickExchange)
        rig.world.exchange.status = "BREAK"
        seconds = 0
        while not rig.ledger.untraded:
            rig.wait(1)
            seconds += 1
            await rig.step(quiet=True)
            assert seconds <= 120
        assert rig.ledger.untraded == "BREAK"
        waited.append(seconds)
    assert max(waited) > 30, "it is asked again and again"


async def test_a_young_hole_is_left_to_the_loader_and_an_old_one_is_named() -> None:
    rig = await a_rig()
    rig.store(1, 2, 6, 7)
    assert (await rig.step()).proven_ms == STREAM + 1000
    assert (await rig.step()).open_holes == 0
    rig.store(3, 4, 5)  # it has filled it
    ledger = await rig.step()
    assert (ledger.proven_ms, ledger.proven_id) == (STREAM + 9000, 6)
    rig = await a_rig()
    rig.store(1, 2, 6, 7)
    rig.wait(60)
    ledger = await rig.step()
    assert (ledger.proven_ms, ledger.proven_id, ledger.open_holes) == (STREAM + 1000, 2, 1)
    assert [(one.first_id, one.last_id) for one in ledger.holes] == [(3, 5)]
    assert [one[2:] for one in await rig.known()] == [("stored", 1, 2), ("unknown", 3, 5), ("stored", 6, 6)]


async def test_a_hole_is_young_as_long_as_an_attempt_is() -> None:
    rig = await a_rig()
    rig.wait(60)
    begun_ms = rig.world.clock.now_ms() - 1000
    target = rig.workflow.steps[0].target
    rig.workflow = with_attempt(rig.workflow, target, started_ms=begun_ms)
    rig.store(1, 2, 6, 7)
    assert (await rig.step()).open_holes == 0
    rig.workflow = with_attempt(rig.workflow, target, started_ms=None)
    assert (await rig.step()).open_holes == 0
    rig.workflow = with_attempt(rig.workflow, target, started_ms=0)
    assert (await rig.step()).open_holes == 1


async def test_a_hole_is_old_also_where_the_clock_of_the_exchange_is_years_behind() -> None:
    rig = await a_rig(clock=ManualClock(STREAM + 365 * 24 * HOUR_MS))
    await rig.measure(STREAM + 70_000)
    begun_ms, target = rig.world.clock.now_ms() - 60_000, rig.workflow.steps[0].target
    rig.workflow = with_attempt(rig.workflow, target, started_ms=begun_ms)
    rig.store(1, 2, 6, 7)
    assert (await rig.step()).open_holes == 1


async def test_a_hole_is_old_once_its_loader_is_far_beyond_it_whichever_clock_was_measured() -> None:
    rig = await a_rig()
    await rig.measure(STREAM - 24 * HOUR_MS)
    rig.store(1, 2, 6, 7)
    target = next(one.target for one in rig.workflow.steps if one.role is Role.LOADER)
    for reached_ms, holes in ((33_999, 0), (34_000, 1)):
        rig.workflow = with_attempt(rig.workflow, target, progress=Progress(position=STREAM + reached_ms))
        assert (await rig.step()).open_holes == holes


async def test_a_hole_that_another_workflow_has_loaded_is_none_any_more() -> None:
    rig = await a_rig()
    rig.wait(60)
    rig.store(1, 2, 6, 7)
    hole = (await rig.step()).holes[0]
    filled = replace(hole, verdict=Verdict.STORED, collection="other", records=3)
    await rig.world.deps.coverage.lay_over(loaded_series(rig.workflow), [filled])
    ledger = await rig.step()
    assert (ledger.proven_ms, ledger.proven_id, ledger.open_holes) == (STREAM + 9000, 6, 0)


async def test_a_hole_that_its_own_loader_fills_late_is_none_any_more() -> None:
    rig = await a_rig()
    rig.wait(60)
    rig.store(1, 2, 6, 7)
    assert (await rig.step()).open_holes == 1
    rig.store(3, 4)
    assert (await rig.step()).open_holes == 1
    rig.store(5)
    ledger = await rig.step()
    assert (ledger.proven_ms, ledger.proven_id, ledger.open_holes) == (STREAM + 9000, 6, 0)
    assert [one[2:] for one in await rig.known()] == [("stored", 1, 6)]


async def test_a_record_that_shares_its_millisecond_with_the_one_before_the_hole_closes_it() -> None:
    """A supplement of the hole's time loads it, and proves only what happened in that time."""
    rig = await a_rig()
    rig.wait(60)
    rig.store(1, 2, 3, 6, 7)
    (hole,) = (await rig.step()).holes
    assert (hole.first_id, hole.last_id) == (4, 5)
    assert hole.start_ms == STREAM + 2001
    rig.store(4, 5)
    ledger = await rig.step()
    assert (ledger.proven_id, ledger.open_holes) == (6, 0)


async def test_what_is_gone_from_the_coverage_is_proven_no_more() -> None:
    rig = await a_rig()
    rig.store(1, 2, 3, 4, 5, 6)
    assert (await rig.step()).proven_ms == STREAM + 4000
    gone = Segment(start_ms=STREAM + 500, end_ms=STREAM + 1500, verdict=Verdict.OURS)
    await rig.world.deps.coverage.lay_over(loaded_series(rig.workflow), [gone])
    ledger = await rig.step()
    assert (ledger.proven_ms, ledger.open_holes) == (STREAM + 499, 1)


async def test_silence_is_proven_by_an_answer_with_the_last_record() -> None:
    rig = await a_rig()
    exchange = rig.world.exchange
    assert isinstance(exchange, ticks.TickExchange)
    rig.store(*MARKET)
    assert (await rig.step(quiet=True)).proven_id == 7  # of the last one's millisecond more may come
    assert exchange.asked == []
    for last in (rig.world.clock.now_ms(), rig.world.clock.now_ms() + 90_000):
        rig.wait(90)
        exchange.now_ms = rig.world.clock.now_ms()
        assert last < exchange.now_ms
        ledger = await rig.step(quiet=True)
        assert (ledger.proven_ms, ledger.proven_id) == (exchange.now_ms - 1000, 8)
    assert [(one[2], one[3], one[4]) for one in await rig.known()] == [("stored", 1, 8)]
    assert [one.records for one in await rig.world.deps.coverage.of(loaded_series(rig.workflow))] == [8]
    rig.wait(59)
    await rig.step(quiet=True)
    assert exchange.asked == [ById(8, limit=2)] * 2  # not again within a minute


async def test_silence_is_not_asked_about_where_a_young_hole_lies_behind_what_is_known() -> None:
    rig = await a_rig()
    rig.workflow = with_attempt(rig.workflow, rig.workflow.steps[0].target, started_ms=None)
    rig.store(1, 2, 3, 4, 5, 6, 8)
    rig.wait(90)
    exchange = rig.world.exchange
    assert isinstance(exchange, ticks.TickExchange)
    exchange.now_ms = rig.world.clock.now_ms()
    await rig.step(quiet=True)
    assert exchange.asked == []


@pytest.mark.parametrize("answer", [[], [(8, STREAM + 9500), (9, STREAM + 50_000)]])
async def test_silence_is_not_believed_where_the_answer_has_more_or_nothing(answer: Sequence[tuple[int, int]]) -> None:
    rig = await a_rig()
    exchange = rig.world.exchange
    assert isinstance(exchange, ticks.TickExchange)
    rig.store(*MARKET)
    rig.wait(90)
    exchange.now_ms = rig.world.clock.now_ms()
    exchange.lie = lambda number, page: ticks.page_of(answer)
    assert (await rig.step(quiet=True)).proven_ms == STREAM + 9500


async def test_an_exchange_that_does_not_answer_is_asked_again_later() -> None:
    rig = await a_rig()
    rig.store(*MARKET)
    rig.wait(90)
    rig.world.exchange.server_time = unanswered  # type: ignore[method-assign]
    comparison = Comparison(rig.world.deps, rig.workflow, rig.ledger)
    await comparison.step()
    with pytest.raises(ExchangeFailed):
        await comparison.quiet()
    assert comparison.ledger.proven_ms == STREAM + 9500


async def test_the_history_comes_first_and_its_last_id_is_checked() -> None:
    since = Ledger(from_ms=STREAM - 5000, stream_ms=STREAM, history_ms=STREAM + 1000)
    rig = await a_rig(since)
    rig.store(2, 3, 4, 5, 6, 7)
    comparison = Comparison(rig.world.deps, rig.workflow, since)
    await comparison.step()
    assert comparison.ledger.proven_ms is None
    assert not comparison.ledger.has_history
    assert [(one.start_ms, one.end_ms) for one in await comparison.lacking()] == [(STREAM - 5000, STREAM + 1000)]
    history = Segment(
        start_ms=STREAM - 5000,
        end_ms=STREAM + 1000,
        verdict=Verdict.STORED,
        collection="history",
        records=1,
        first_id=1,
        last_id=1,
    )
    await rig.world.deps.coverage.lay_over(loaded_series(rig.workflow), [history])
    ledger = await rig.step()
    assert (ledger.proven_ms, ledger.proven_id, ledger.has_history) == (STREAM + 9000, 6, True)
    assert await rig.known() == [(-5000, 1000, "stored", 1, 1), (1000, 9000, "stored", 2, 6)]


async def test_a_record_that_lacks_between_history_and_stream_is_a_hole() -> None:
    rig = await a_rig(Ledger(from_ms=STREAM - 5000, stream_ms=STREAM, history_ms=STREAM + 500))
    rig.wait(60)
    rig.store(3, 4, 5, 6, 7)
    history = Segment(
        start_ms=STREAM - 5000,
        end_ms=STREAM + 500,
        verdict=Verdict.STORED,
        collection="history",
        first_id=1,
        last_id=1,
    )
    await rig.world.deps.coverage.lay_over(loaded_series(rig.workflow), [history])
    ledger = await rig.step()
    assert (ledger.proven_ms, ledger.proven_id) == (STREAM + 499, 1)
    assert [(one.first_id, one.last_id) for one in ledger.holes] == [(2, 2)]


async def test_after_a_history_that_failed_the_stream_is_compared_all_the_same() -> None:
    rig = await a_rig(Ledger(from_ms=STREAM - 5000, stream_ms=STREAM, history_ms=STREAM + 1000, failures=1))
    rig.store(*MARKET)
    ledger = await rig.step()
    assert ledger.proven_ms is None
    assert [one[2:] for one in await rig.known()] == [("stored", 1, 7)]


async def test_a_step_is_bounded_and_says_that_there_is_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamforge.manager.workflows.live.comparison.RECORDS_A_STEP", 4)
    rig = await a_rig()
    rig.store(*MARKET)
    seen = []
    for _ in range(9):
        ledger = await rig.step()
        seen.append((ledger.proven_id, ledger.behind))
        if not ledger.behind:
            break
    assert seen[0] == (2, True)
    assert seen[-1] == (7, False)


async def test_nothing_is_claimed_that_is_not_safe_or_in_another_epoch() -> None:
    rig = await a_rig()
    rig.store(*MARKET)
    rig.world.store.flush = unanswered  # type: ignore[method-assign]
    with pytest.raises(RetryableError):
        await rig.step()
    assert await rig.known() == []
    del rig.world.store.flush
    rig.workflow = replace(rig.workflow, epoch=rig.workflow.epoch + 1)
    with pytest.raises(OutOfDate):
        await rig.step()
    assert await rig.known() == []


async def test_closing_it_takes_in_the_last_record_and_names_every_hole() -> None:
    rig = await a_rig()
    await rig.measure(STREAM - HOUR_MS)
    rig.store(1, 2, 3, 5, 6)
    ledger, segments = await Comparison(rig.world.deps, rig.workflow, rig.ledger, close=True).closed()
    assert [(one.verdict.value, one.first_id, one.last_id) for one in segments] == [
        ("stored", 1, 3),
        ("unknown", 4, 4),
        ("stored", 5, 6),
    ]
    assert (ledger.from_ms, ledger.end_ms) == (STREAM, STREAM + 4001)
    later = Comparison(rig.world.deps, rig.workflow, Ledger(stream_ms=STREAM + 60_000), close=True)
    assert (await later.closed())[1] == []


async def test_closing_it_ends_before_a_millisecond_that_may_not_be_whole() -> None:
    rig = await a_rig()
    rig.store(1, 2, 3, 4)  # the fifth is of the same millisecond
    assert (await rig.step(close=True)).proven_id == 2
    assert await rig.known() == [(0, 2000, "stored", 1, 2)]
    rig = await a_rig()
    rig.store(1, 2, 3, 4, 5)
    rig.world.exchange.page = unanswered  # type: ignore[method-assign]
    assert (await rig.step(close=True)).proven_id == 2
    rig = await a_rig()
    rig.store(1, 2, 3, 4, 5)
    assert (await rig.step(close=True)).proven_id == 5
    assert await rig.known() == [(0, 2001, "stored", 1, 5)]


@given(st.data())
def test_whatever_comes_when_nothing_is_claimed_that_is_not_stored_and_all_is_in_the_end(data: st.DataObject) -> None:
    market = data.draw(ticks.ticks_of_a_market(STREAM))
    first = data.draw(st.integers(0, len(market) - 1))
    waves = data.draw(st.lists(st.sets(st.integers(first, len(market) - 1)), max_size=6))
    waits = data.draw(st.lists(st.sampled_from([0, 5, 45, 90]), min_size=len(waves), max_size=len(waves)))

    async def scenario() -> None:
        rig = await a_rig()
        exchange = rig.world.exchange
        assert isinstance(exchange, ticks.TickExchange)
        exchange.ticks, there = market, set[int]()

        async def step(wave: set[int], wait: float) -> Ledger:
            there.update(wave)
            ticks.hold(rig.world.store, [market[n] for n in sorted(wave)], rig.workflow.collection)
            rig.wait(wait)
            exchange.now_ms = rig.world.clock.now_ms()
            ledger = await rig.step(quiet=True)
            if ledger.span is not None:
                claimed = {n for n, (_, time_ms) in enumerate(market) if n >= first and time_ms in ledger.span}
                assert claimed <= there
                ids = {n for n, (tick, _) in enumerate(market) if n >= min(there) and tick <= (ledger.proven_id or 0)}
                assert ids <= there
            return ledger

        await step({first}, 0)  # it begins with the first one, in order
        for wave, wait in zip(waves, waits, strict=True):
            await step(wave, wait)
        await step(set(range(first, len(market))), 200)
        rig.wait(200)
        ledger = await step(set(), 200)
        assert (ledger.proven_id, ledger.open_holes) == (market[-1][0], 0)
        assert ledger.proven_ms == exchange.now_ms - 1000

    asyncio.run(scenario())
