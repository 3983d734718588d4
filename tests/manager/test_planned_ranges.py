"""A range that ends at now: what of it is over when it is planned is loaded, proven and spoken of, now and later."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from unittest.mock import patch

import pytest

from streamforge.manager.engine.document import Status, Workflow
from streamforge.manager.engine.lifecycle.job_spec import start_command
from streamforge.manager.presentation import coverage_answer, workflow_answer
from streamforge.manager.use_cases import Report, StartRequest
from streamforge.manager.workflows.series.model import loaded_series, plan_of, planned_span
from streamforge_utils.model.coverage import Verdict
from streamforge_utils.model.kinds.candles import Candle, Interval
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.exchange import SymbolInfo
from streamforge_utils.ports.store import Document
from tests.doubles.candles import candle_key
from tests.doubles.manualclock import ManualClock
from tests.doubles.scriptedexchange import Question, ScriptedExchange
from tests.manager.execution.world import exchange_of, finish
from tests.manager.support import DAY_MS, HOUR_MS, MINUTE_MS, NOW, World, replace, step

HOUR = StartRequest(symbol="BTCUSDT", type="api_candles_1m", time_range="-1h", collection="c")
ASKED_MS = NOW + 30_400
"""When it is asked for: in the middle of a minute, and of a second."""


@pytest.fixture
async def world() -> AsyncIterator[World]:
    opens = range(NOW - DAY_MS, NOW + DAY_MS, MINUTE_MS)
    world = World(clock=ManualClock(ASKED_MS), exchange=ScriptedExchange(Interval.M1, opens, now_ms=ASKED_MS))
    await world.start()
    yield world
    await world.die()


def store(world: World, opens: Sequence[int]) -> None:
    keys = [candle_key("BTCUSDT", "1m", time) for time in opens]
    world.store.documents.setdefault("c", {}).update({key: Document(key, 1, b"{}") for key in keys})


async def started(world: World, request: StartRequest = HOUR) -> Workflow:
    queue_id = (await world.manager.start(request)).workflow.queue_id
    await world.turns(6, seconds=0.5)
    return await world.workflow(queue_id)


async def ended(world: World, workflow: Workflow) -> Workflow:
    """The workflow, whose workers have stored all of its range."""
    span = planned_span(workflow)
    assert span is not None
    store(world, Interval.M1.rule.times(span.start_ms, span.end_ms))
    finish(world, workflow)
    await world.turns(6, seconds=0.5)
    return await world.workflow(workflow.queue_id)


async def shown(world: World, queue_id: str) -> tuple[Workflow, Report, bool]:
    """The workflow, what is known of its range now, and whether `show` calls that complete."""
    workflow, report = await world.workflow(queue_id), await world.manager.coverage(queue_id)
    now = (await world.manager.reports.of_ended([workflow])).get(queue_id)
    view = workflow_answer(workflow, None, now)
    assert view.coverage is not None
    assert view.coverage.complete is coverage_answer(report).complete
    assert view.coverage.records_stored <= view.coverage.records_expected
    assert (view.time_range.start_ms, view.time_range.end_ms) == (
        (workflow.span.start_ms, workflow.span.start_ms)
        if report.span is None
        else (report.span.start_ms, report.span.end_ms)
    )
    return workflow, report, view.coverage.complete


async def test_what_is_said_of_a_finished_workflow_stays_true_when_the_next_bars_end(world: World) -> None:
    workflow = await started(world)
    assert workflow.span == TimeRange(NOW + 30_000 - 3_600_000, NOW + 30_000)
    assert planned_span(workflow) == TimeRange(workflow.span.start_ms, NOW), "the bar that is open is no part of it"
    assert start_command(workflow, workflow.steps[0], workflow.steps[0].attempts[-1]).time_range == str(
        planned_span(workflow)
    )
    world.later(40)  # it ends while the others are loaded
    workflow = await ended(world, workflow)
    assert workflow.status is Status.FINISHED
    for seconds in (0, 60, 86_400):
        world.later(seconds)
        _, report, complete = await shown(world, workflow.queue_id)
        assert (report.span, complete) == (planned_span(workflow), True)
        assert [(one.verdict, one.records) for one in report.segments] == [(Verdict.STORED, 59)]


async def test_bars_that_others_store_later_do_not_count(world: World) -> None:
    first = await ended(world, await started(world))
    world.later(600)
    second = await ended(world, await started(world))
    span = planned_span(second)
    assert span is not None
    assert span.end_ms == NOW + 600_000
    _, report, complete = await shown(world, first.queue_id)
    assert (sum(one.records for one in report.segments), complete) == (59, True)


async def test_what_was_not_over_is_not_called_asked_for(world: World) -> None:
    workflow = await ended(world, await started(world))
    world.later(60)
    report = await world.manager.reports.of_series("BTCUSDT", "api_candles_1m")
    assert planned_span(workflow) == TimeRange(NOW - HOUR_MS + 30_000, NOW)
    bars = TimeRange(NOW - HOUR_MS + MINUTE_MS, NOW)
    assert (report.span, coverage_answer(report).complete) == (bars, True)
    named = await world.manager.reports.of_series("BTCUSDT", "api_candles_1m", TimeRange(NOW - 60_000, NOW + 180_000))
    assert [(one.verdict, one.end_ms - NOW) for one in named.segments] == [
        (Verdict.STORED, 0), (Verdict.UNKNOWN, MINUTE_MS), (Verdict.PENDING, 3 * MINUTE_MS),
    ]  # fmt: skip


@pytest.mark.parametrize("words", ["2024-08-11:", "2024-08-11:2030", "2024-08-11T00:00:10Z:2024-08-11T00:00:20Z"])
async def test_a_range_of_which_no_bar_is_over_finishes_with_nothing_and_says_so(world: World, words: str) -> None:
    workflow = await started(world, replace(HOUR, time_range=words))
    await world.turns(6, seconds=0.5)
    workflow, report, complete = await shown(world, workflow.queue_id)
    assert (workflow.status, planned_span(workflow)) == (Status.FINISHED, None)
    assert (report.span, list(report.segments), complete) == (None, [], True)
    world.later(120)
    assert (await shown(world, workflow.queue_id))[1:] == (report, True)
    removed = await world.manager.remove(workflow.queue_id, data=True)
    assert (removed.records_removed, removed.staying) == (0, [])


async def test_a_retry_reaches_to_what_is_over_by_then_of_what_was_asked_for(world: World) -> None:
    workflow = await started(world)
    await world.manager.stop(workflow.queue_id)
    await world.turns(2, seconds=0)
    finish(world, workflow)
    await world.turns(6, seconds=0.5)
    assert (await world.workflow(workflow.queue_id)).status is Status.INTERRUPTED
    world.later(600)
    await world.manager.retry(workflow.queue_id)
    await world.turns(6, seconds=0.5)
    again = await world.workflow(workflow.queue_id)
    assert (plan_of(again) is not None, planned_span(again)) == (True, again.span), (
        "with the bar of which a part was asked for"
    )
    bars = TimeRange(again.span.start_ms + 30_000, again.span.end_ms + 30_000)
    assert step(again, "loader-api-candles").ranges == (str(bars),)


async def test_data_of_others_behind_the_planned_range_stay_when_a_workflow_is_removed(world: World) -> None:
    first = await ended(world, await started(world))
    world.later(60)
    store(world, [NOW])
    assert (await world.manager.remove(first.queue_id, data=True)).records_removed == 59
    assert list(world.store.documents["c"]) == [candle_key("BTCUSDT", "1m", NOW)]


async def test_answers_that_take_their_time_set_no_clock_back(world: World) -> None:
    def slow(number: int, question: Question, page: Sequence[Candle]) -> Sequence[Candle]:
        world.later(20)
        return page

    exchange_of(world).lie = slow
    workflow = await ended(world, await started(world))
    known = await world.deps.coverage.known(loaded_series(workflow))
    assert workflow.status is Status.FINISHED
    assert -20_000 < known.clock_ahead_ms <= 0, "as of when the exchange said its time, not as of the last answer"


async def test_who_joins_is_told_what_is_over_since_and_not_planned(world: World) -> None:
    """Also where both ask for the same instant: the bar that it lies in was open when the first was planned."""
    request = replace(HOUR, time_range="2024-08-10T23:00Z:2024-08-11T00:00:30Z")
    first = await started(world, request)
    assert (await world.manager.start(request)).behind_ms == 0
    world.later(30)
    again = await world.manager.start(request)
    assert (again.workflow.queue_id, again.joined, again.behind_ms) == (first.queue_id, True, MINUTE_MS)


async def test_who_joins_before_the_plan_is_told_what_it_asked_for(world: World) -> None:
    """The exchange may have said its time already: what is over since then is no part of the plan that is made."""
    held = asyncio.Event()
    exchange = exchange_of(world)
    ask = exchange.symbol_info

    async def slow(symbol: str) -> SymbolInfo:
        await held.wait()
        return await ask(symbol)

    first = (await world.manager.start(HOUR)).workflow
    with patch.object(exchange, "symbol_info", slow):
        await world.turns(3, seconds=0)
        world.later(40)
        joining = asyncio.create_task(world.manager.start(HOUR))
        await asyncio.sleep(0)
        held.set()
        again = await joining
    assert (again.workflow.queue_id, again.joined, plan_of(again.workflow)) == (first.queue_id, True, None)
    assert again.asked == TimeRange(NOW + 70_000 - 3_600_000, NOW + MINUTE_MS)
    await world.turns(6, seconds=0)
    workflow = await world.workflow(first.queue_id)
    assert planned_span(workflow) == TimeRange(first.span.start_ms, NOW), "without the bar that is over since"
