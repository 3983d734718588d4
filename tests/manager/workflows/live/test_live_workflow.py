"""A live workflow in the loop: its ledger goes on while it runs, and what it lacks is loaded beside it as history."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest

from streamforge.manager.coverage.service import LEFT, Reports
from streamforge.manager.engine.document import Status
from streamforge.manager.workflow_progress import progress_of
from streamforge.manager.workflows.history.model import History
from streamforge.manager.workflows.live.model import Ledger, ledger_of
from streamforge.manager.workflows.live.supplements import supplemented
from streamforge.manager.workflows.series.model import planned_span
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.model.timeranges import TimeRange
from tests.manager.execution.world import hold, never, unanswered
from tests.manager.live_world import (
    POLICY,
    SERIES,
    begun,
    end_jobs,
    live_world,
    load,
    minutes,
    pass_time,
    speak,
    store,
    supplement_of,
    wanted,
)
from tests.manager.support import DAY_START, LOADER, MINUTE_MS, SINK, World, attempt, replace, said, step, the_proof


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = await live_world()
    yield world
    await world.die()


async def proven(world: World, queue_id: str) -> int | None:
    """Through which minute of the day it is proven."""
    ledger = ledger_of(await world.workflow(queue_id))
    assert ledger is not None
    return None if ledger.proven_ms is None else (ledger.proven_ms - DAY_START) // MINUTE_MS


async def known(world: World) -> list[tuple[int, int, str, str | None]]:
    """The coverage in minutes of the day."""
    return [
        (
            (one.start_ms - DAY_START) // MINUTE_MS,
            (one.end_ms - DAY_START) // MINUTE_MS,
            one.verdict.value,
            one.collection,
        )
        for one in await world.deps.coverage.of(SERIES)
    ]


async def test_what_it_stores_is_proven_while_it_runs_and_the_stop_closes_the_ledger(world: World) -> None:
    live = await begun(world, wanted())
    environment = world.launcher.specs[attempt(live, LOADER).job].environment
    assert environment["STREAMFORGE_RANGES"] == "2024-08-01T01:40Z:2024-08-01T01:40:01Z"
    assert await proven(world, live.queue_id) is None
    await pass_time(world, 130, alive=[live.queue_id])
    store(world, live, minutes(100, 101))
    await pass_time(world, 10, alive=[live.queue_id])
    assert await proven(world, live.queue_id) == 102
    assert await known(world) == [(100, 102, "stored", "live")]
    await pass_time(world, 60, alive=[live.queue_id])
    await world.manager.stop(live.queue_id)
    store(world, live, minutes(102))
    await world.turns()
    await end_jobs(world, live.queue_id, "interrupted")
    ended = await world.workflow(live.queue_id)
    assert (ended.status, ended.failure) == (Status.FINISHED, None)
    assert (the_proof(ended).expected, the_proof(ended).stored) == (3, 3)
    span = planned_span(ended)
    assert span is not None
    assert [span.start_ms, span.end_ms] == minutes(100, 103)
    assert await known(world) == [(100, 103, "stored", "live")]


async def test_since_a_time_the_history_is_loaded_beside_it_and_both_are_one_series(world: World) -> None:
    live = await begun(world, wanted(since=0))
    await pass_time(world, 10, alive=[live.queue_id])
    history = await supplement_of(world, live)
    assert (history.type, history.part(History).supplements, history.collection) == (
        "api_candles_1m",
        live.queue_id,
        "btcusdt_api_candles_1m_2024_08_01",
    )
    assert [history.span.start_ms, history.span.end_ms] == minutes(0, 100)
    await pass_time(world, 120, alive=[live.queue_id, history.queue_id])
    store(world, live, minutes(100, 101))
    await pass_time(world, 10, alive=[live.queue_id, history.queue_id])
    assert await proven(world, live.queue_id) is None
    assert (await load(world, history)).status is Status.FINISHED
    await pass_time(world, 10, alive=[live.queue_id])
    assert await proven(world, live.queue_id) == 102
    assert await known(world) == [(0, 100, "stored", history.collection), (100, 102, "stored", "live")]
    assert progress_of(await world.workflow(live.queue_id)).records_stored == 102


async def test_what_the_coverage_has_of_the_history_is_not_loaded_again(world: World) -> None:
    there = Segment(
        start_ms=minutes(0)[0], end_ms=minutes(90)[0], verdict=Verdict.STORED, collection="live", records=90
    )
    await world.deps.coverage.lay_over(SERIES, [there])
    live = wanted(since=0)
    store(world, live, minutes(*range(90)))
    live = await begun(world, live)
    await pass_time(world, 10, alive=[live.queue_id])
    history = await supplement_of(world, live)
    assert [history.span.start_ms, history.span.end_ms] == minutes(90, 100)


async def test_a_hole_older_than_the_grace_is_loaded_while_it_runs(world: World) -> None:
    live = await begun(world, wanted())
    await pass_time(world, 300, alive=[live.queue_id])
    store(world, live, minutes(100, 101, 103, 104))
    await pass_time(world, 10, alive=[live.queue_id])
    assert await proven(world, live.queue_id) == 102
    assert world.observer.gauges["live_open_holes"] == 1
    repair = await supplement_of(world, live)
    assert (repair.collection, [repair.span.start_ms, repair.span.end_ms]) == ("live", minutes(102, 103))
    assert (await load(world, repair)).status is Status.FINISHED
    await pass_time(world, 10, alive=[live.queue_id])
    assert await proven(world, live.queue_id) == 105
    assert await known(world) == [(100, 105, "stored", "live")]
    ledger = ledger_of(await world.workflow(live.queue_id))
    assert ledger is not None
    assert (ledger.open_holes, ledger.supplement, ledger.supplements) == (0, "", 1)


async def test_a_hole_of_the_last_second_waits_until_a_plan_would_not_cut_it(world: World) -> None:
    made = wanted()
    live = replace(made, type="ws_trades", steps=tuple(replace(one, type="ws_trades") for one in made.steps))
    now_ms = world.clock.now_ms()
    old, new = TimeRange(now_ms - 9_000, now_ms - 7_500), TimeRange(now_ms - 1_100, now_ms - 900)
    ledger = Ledger(stream_ms=now_ms - 60_000)
    assert await supplemented(world.deps, live, ledger, [new]) == ledger
    told = await supplemented(world.deps, live, ledger, [old, new])
    assert (await world.workflow(told.supplement)).span == old


async def test_a_hole_is_over_where_the_loader_is_past_it_whatever_clock_was_measured(world: World) -> None:
    """The exchange's clock has gone faster than the manager's since the latest plan has read it."""
    live = await begun(world, wanted())
    ledger, hole = Ledger(stream_ms=minutes(100)[0]), TimeRange(*minutes(200, 201))
    assert await supplemented(world.deps, live, ledger, [hole]) == ledger
    await speak(world, live.queue_id, "loading", LOADER, records=1, position=hole.end_ms)
    told = await supplemented(world.deps, await world.workflow(live.queue_id), ledger, [hole])
    assert (await world.workflow(told.supplement)).span == hole


async def test_the_stop_ends_the_history_too_and_a_retry_loads_all_that_lacks(world: World) -> None:
    live = await begun(world, wanted(since=0))
    await pass_time(world, 10, alive=[live.queue_id])
    history = await supplement_of(world, live)
    await pass_time(world, 120, alive=[live.queue_id, history.queue_id])
    store(world, live, minutes(100, 101))
    await world.manager.stop(live.queue_id)
    await world.turns(2)
    await end_jobs(world, live.queue_id, "interrupted")
    await end_jobs(world, history.queue_id, "interrupted")
    await world.turns(3)
    assert (await world.workflow(history.queue_id)).status is Status.INTERRUPTED
    assert (await world.workflow(live.queue_id)).status is Status.INTERRUPTED
    assert (100, 102, "stored", "live") in await known(world)
    await pass_time(world, 300)
    await world.manager.retry(live.queue_id)
    await world.turns(3)
    await pass_time(world, 10, alive=[live.queue_id])
    again = await supplement_of(world, live)
    assert again.queue_id != history.queue_id
    loaded = await load(world, again)
    assert loaded.status is Status.FINISHED
    await pass_time(world, 10, alive=[live.queue_id])
    assert [one[2] for one in await known(world)] == ["stored"] * len(await known(world))
    assert (await proven(world, live.queue_id) or 0) >= 106


async def test_a_supplement_that_fails_is_told_and_made_again_later(world: World) -> None:
    live = await begun(world, wanted(since=0))
    await pass_time(world, 10, alive=[live.queue_id])
    first = await supplement_of(world, live)
    await world.turns(3)
    await world.manager.stop(first.queue_id)
    await world.turns(2)
    await end_jobs(world, first.queue_id, "interrupted")
    await pass_time(world, 10, alive=[live.queue_id])
    ledger = ledger_of(await world.workflow(live.queue_id))
    assert ledger is not None
    assert (ledger.failures, ledger.supplement, ledger.failure) == (1, "", f"{first.queue_id}: interrupted")
    await pass_time(world, 70, alive=[live.queue_id])
    assert (await supplement_of(world, live)).queue_id != first.queue_id


async def test_an_exchange_or_a_store_that_is_away_does_not_end_it(world: World) -> None:
    live = await begun(world, wanted())
    world.exchange.failing = RetryableError("away")  # type: ignore[attr-defined]
    await pass_time(world, 600, alive=[live.queue_id])
    world.store.failing = RetryableError("away")
    with pytest.raises(RetryableError):
        await pass_time(world, 5, alive=[live.queue_id])
    world.store.failing = world.exchange.failing = None  # type: ignore[attr-defined]
    store(world, live, minutes(*range(100, 110)))
    await pass_time(world, 70, alive=[live.queue_id])
    assert (await world.workflow(live.queue_id)).status is Status.RUNNING
    assert await proven(world, live.queue_id) == 110


async def test_the_next_attempt_is_told_from_where_on_all_is_stored(world: World) -> None:
    live = await begun(world, wanted())
    await pass_time(world, 130, alive=[live.queue_id])
    store(world, live, minutes(100, 101))
    await pass_time(world, 10, alive=[live.queue_id])
    world.launcher.end(attempt(live, LOADER).job, exit_code=1)
    await world.turns(5)
    again = attempt(await world.workflow(live.queue_id), LOADER)
    environment = world.launcher.specs[again.job].environment
    assert again.number == 2
    assert environment["STREAMFORGE_RANGES"] == "2024-08-01T01:42Z:2024-08-01T01:42:01Z"
    assert environment["TIME_RANGE"].startswith("2024-08-01T01:40Z:")
    assert int(environment["STREAMFORGE_CONNECTS"]) > 0


async def test_more_streams_than_may_connect_begin_one_after_the_other() -> None:
    world = await live_world(replace(POLICY, connects=8, basket_size=1))
    names = [await world.deps.workflows.create(wanted(code=f"abc12{n}")) for n in range(3)]
    queue_ids = [one.workflow.queue_id for one in names]
    for number, queue_id in enumerate(queue_ids):  # other series: of one there is no second
        await world.deps.workflows.change(queue_id, partial(replace, symbol=f"S{number}USDT"))
    await world.turns(4)
    found = [await world.workflow(one) for one in queue_ids]
    assert [sum(len(step.attempts) for step in one.steps) for one in found] == [2, 2, 1]
    assert found[2].waiting_for == "its turn to connect to the exchange's streams"
    for queue_id in queue_ids[:2]:
        await speak(world, queue_id, "started")
    await pass_time(world, 310, alive=queue_ids[:2])
    assert attempt(await world.workflow(queue_ids[2]), LOADER).number == 1
    await world.die()


async def test_its_workers_are_started_again_however_often_they_fail(world: World) -> None:
    live = await begun(world, wanted())
    for number in range(1, 8):
        job = attempt(await world.workflow(live.queue_id), LOADER)
        assert job.number == number
        world.launcher.end(job.job, exit_code=1)
        await pass_time(world, 120, alive=[live.queue_id])
    assert (await world.workflow(live.queue_id)).status is Status.RUNNING
    assert attempt(await world.workflow(live.queue_id), SINK).number == 1


async def test_a_sink_is_told_how_long_it_may_store_what_its_loader_has_sent() -> None:
    world = await live_world(replace(POLICY, live_stop_s=10))
    live = await begun(world, wanted())
    await world.manager.stop(live.queue_id)
    await world.turns()
    workflow = await world.workflow(live.queue_id)
    world.say(said(workflow, LOADER, "interrupted"))
    world.launcher.end(attempt(workflow, LOADER).job, exit_code=0)
    await world.turns(2)
    told = world.commands("stop")[-1]
    assert (told["target"], told["payload"]) == (SINK, {"upstream_ended": True, "drain_seconds": 3.0})
    await world.die()


@pytest.mark.parametrize("daily", [False, True], ids=["one collection", "daily"])
@pytest.mark.parametrize("answer", [never, unanswered])
async def test_a_stop_ends_in_its_time_though_the_store_does_not_answer(world: World, answer: Any, daily: bool) -> None:
    """Of the base of daily collections' names it may say that there is nothing, as there is no such collection."""
    live = await begun(world, replace(wanted(), daily=daily))
    collection = live.placement.at(minutes(100)[0])
    await pass_time(world, 130, alive=[live.queue_id])
    hold(world.store, *minutes(100, 101), collection=collection)
    await pass_time(world, 10, alive=[live.queue_id])
    assert await proven(world, live.queue_id) == 102

    async def asked(name: str, *_: object, **__: object) -> Any:
        return [] if name != collection else await answer()

    for name in ("read", "keys", "present", "count"):
        setattr(world.store, name, asked)
    await world.manager.stop(live.queue_id)
    await world.turns()
    workflow = await world.workflow(live.queue_id)
    for target, extra in ((LOADER, {"live": {"last_time": minutes(103)[0]}}), (SINK, {})):
        world.say(said(workflow, target, "interrupted", extra=extra))
        world.launcher.end(attempt(workflow, target).job, exit_code=0)
    world.later(3)
    for _ in range(400):
        await world.turns(seconds=0.1)
        if (workflow := await world.workflow(live.queue_id)).ended:
            break
        await asyncio.sleep(0.05)
    assert workflow.status is Status.INTERRUPTED
    assert await proven(world, live.queue_id) == 102
    assert step(workflow, SINK).left_at_least
    *_, last = (await Reports(world.deps).of_workflow(workflow)).segments
    assert [last.start_ms, last.end_ms] == minutes(102, 104)
    assert (last.verdict, last.cause) == (Verdict.UNKNOWN, LEFT)
