"""One range of a series is loaded once, however many ask for it: the same request joins, an overlapping one waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from streamforge.manager.engine.document import Status, Workflow
from streamforge.manager.policy import Policy
from streamforge.manager.use_cases import KeyReused, Started, StartRequest
from streamforge.manager.workflows.series.model import loaded_series, plan_of
from streamforge_utils.model.kinds.candles import Interval
from tests.doubles.manualclock import ManualClock
from tests.limits import LIMIT_S
from tests.manager.execution.world import exchange_of, finish, store_bars
from tests.manager.support import DAY_MS, DAY_START, LOADER, MINUTE_MS, NOW, SINK, World, replace, said

DAY = StartRequest(symbol="BTCUSDT", type="api_candles_1m", time_range="2024-08-01")
BOTH = replace(DAY, time_range="2024-08-01:2024-08-03")
NEXT = replace(DAY, time_range="2024-08-02")
SECOND_DAY = range(DAY_START + DAY_MS, DAY_START + 2 * DAY_MS, MINUTE_MS)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World(clock=ManualClock(NOW))
    await world.start()
    yield world
    await world.die()


async def begun(world: World, request: StartRequest, **fields: Any) -> Started:
    if isinstance(world.clock, ManualClock):
        world.clock.advance(1)
    return await world.manager.start(replace(request, **fields))


async def running(world: World, queue_id: str) -> Workflow:
    """The workflow, once its workers have started."""
    await world.turns(4)
    for target in (LOADER, SINK):
        world.say(said(await world.workflow(queue_id), target, "started"))
    await world.turns()
    return await world.workflow(queue_id)


@pytest.mark.parametrize("loads_all_again", [True, False])
async def test_the_same_request_joins_the_workflow_that_is_under_way(loads_all_again: bool) -> None:
    world = World(clock=ManualClock(NOW), policy=Policy(max_live=1))  # who joins needs no room
    await world.start()
    first = await begun(world, DAY, again=loads_all_again)
    assert (first.new, first.joined) == (True, False)
    same = (DAY, replace(DAY, symbol="btcusdt"), replace(DAY, time_range="2024-08-01:2024-08-02"))
    for again in (*same, replace(DAY, again=loads_all_again)):
        second = await begun(world, again)
        assert (second.workflow.queue_id, second.new, second.joined) == (first.workflow.queue_id, False, True)
    await running(world, first.workflow.queue_id)
    assert (await begun(world, DAY)).workflow.status is Status.RUNNING
    assert len(world.deps.workflows.live) == 1
    await world.die()


async def test_other_ranges_of_the_series_do_not_wait_for_one_that_is_being_made(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, create = asyncio.Event(), world.deps.workflows.create

    async def held(workflow: Workflow) -> object:
        if workflow.requested == DAY.time_range:
            await gate.wait()
        return await create(workflow)

    monkeypatch.setattr(world.deps.workflows, "create", held)
    first, same = (asyncio.create_task(world.manager.start(DAY, idempotency_key=key)) for key in ("k1", "k2"))
    other = replace(DAY, time_range="2024-07-01")
    started = await asyncio.wait_for(world.manager.start(other, idempotency_key="k3"), LIMIT_S)
    assert (started.new, first.done(), same.done()) == (True, False, False)
    gate.set()
    made, joined = await asyncio.gather(first, same)
    assert (made.new, joined.joined) == (True, True)
    assert made.workflow.queue_id == joined.workflow.queue_id != started.workflow.queue_id


async def test_many_that_ask_at_once_get_one_workflow(world: World) -> None:
    answers = await asyncio.gather(*(world.manager.start(DAY, idempotency_key=f"k{n}") for n in range(8)))
    assert len({started.workflow.queue_id for started in answers}) == 1
    assert sorted((started.new, started.joined) for started in answers) == [(False, True)] * 7 + [(True, False)]


async def test_a_key_that_joined_keeps_naming_the_workflow_after_its_end(world: World) -> None:
    first = await begun(world, DAY)
    await world.manager.start(DAY, idempotency_key="k")
    workflow = await running(world, first.workflow.queue_id)
    store_bars(world, workflow)
    finish(world, workflow)
    await world.turns(3)
    again = await world.manager.start(DAY, idempotency_key="k")
    assert (again.workflow.queue_id, again.new, again.joined) == (workflow.queue_id, False, True)
    assert (again.replayed, again.behind_ms, again.asked) == (True, 0, None)
    assert again.workflow.status is Status.FINISHED
    with pytest.raises(KeyReused):
        await world.manager.start(NEXT, idempotency_key="k")


@pytest.mark.parametrize(
    "other",
    [
        replace(DAY, again=True),
        replace(DAY, collection="elsewhere"),
        replace(DAY, symbol="ETHUSDT"),
        replace(DAY, type="api_candles_1h"),
        BOTH,
        replace(DAY, time_range="2024-08-01:2024-08-01T12:00Z"),
    ],
)
async def test_another_request_is_another_workflow(world: World, other: StartRequest) -> None:
    first, second = await begun(world, DAY), await begun(world, other)
    assert (second.new, second.workflow.queue_id != first.workflow.queue_id) == (True, True)


@pytest.mark.parametrize(
    ("words", "type", "later_s", "behind_ms"),
    [
        ("2024-08-01:", "api_candles_1m", 0, 0),
        ("2024-08-01:", "api_candles_1m", 7, 0),
        ("2024-08-01:", "api_candles_1m", 3600, 3_600_000),
        ("-30d", "api_candles_1m", 7, 0),
        ("-30d", "api_candles_1m", 3600, 3_600_000),
        ("-30d", "api_candles_1h", 1200, 0),
        ("-30d", "api_candles_1m", 86_400, 86_400_000),
        ("-30d", "api_candles_3d", 60, 60_000),
        # Absolute, and clipped to the exchange's now.
        ("2024:2100", "api_candles_1m", 3600, 3_600_000),
    ],
)
async def test_the_same_words_join_what_they_meant_a_short_while_ago(
    world: World, words: str, type: str, later_s: int, behind_ms: int
) -> None:
    request = replace(DAY, time_range=words, type=type)
    first = await begun(world, request)
    world.later(later_s - 1)
    second = await begun(world, request)
    assert (second.workflow.queue_id, second.joined) == (first.workflow.queue_id, True)
    assert (second.behind_ms, first.behind_ms) == (behind_ms, 0)
    # From the start that the words mean now, to what is over at the exchange. How much of it the first one will load is
    # not known before its plan.
    now_ms = first.workflow.span.end_ms + later_s * 1000
    known = Interval(loaded_series(first.workflow).interval).rule.is_fixed(None)
    assert first.asked is None
    assert second.asked is not None
    assert second.asked.end_ms == (
        Interval(loaded_series(first.workflow).interval).rule.floor(now_ms) if known else now_ms
    )
    assert len(world.deps.workflows.live) == 1


async def test_a_key_that_joined_tells_again_what_is_left_out(world: World) -> None:
    """The answer may be lost; who asks again is not to take the workflow for its own, nor for all that it asked for."""
    first = await begun(world, replace(DAY, time_range="-30d"))
    world.later(3600)
    request = replace(DAY, time_range="-30d")
    told = await world.manager.start(request, idempotency_key="k")
    assert (told.joined, told.replayed, told.behind_ms) == (True, False, 3_600_000)
    world.later(3600)
    for _ in range(2):
        again = await world.manager.start(request, idempotency_key="k")
        assert again == told._replace(replayed=True), "what was asked for then, not now"
        await world.die()
        await world.start()
    await running(world, first.workflow.queue_id)
    planned = await world.manager.start(request, idempotency_key="k")
    assert plan_of(planned.workflow) is not None
    assert (planned.joined, planned.behind_ms, planned.asked) == (True, 3_600_000, told.asked)
    own = await world.manager.start(NEXT, idempotency_key="own")
    assert (own.new, own.joined, own.replayed) == (True, False, False)
    own = await world.manager.start(NEXT, idempotency_key="own")
    assert (own.new, own.joined, own.replayed) == (False, False, True)


@pytest.mark.parametrize(
    ("words", "other", "later_s"),
    [
        ("-30d", "-30d", 86_461),  # more than a day
        ("-2h", "-2h", 721),  # more than a tenth of it
        ("-30d", "-31d", 7),
        ("-30d", "-30d:", 7),  # other words, though they mean the same
    ],
)
async def test_what_means_much_more_by_now_waits_and_loads_the_rest(
    world: World, words: str, other: str, later_s: int
) -> None:
    first = await begun(world, replace(DAY, time_range=words))
    world.later(later_s - 1)
    second = await begun(world, replace(DAY, time_range=other))
    assert (second.new, second.workflow.queue_id != first.workflow.queue_id) == (True, True)
    await world.turns(3)
    assert (await world.workflow(second.workflow.queue_id)).waiting_for == (
        f"the end of {first.workflow.queue_id}, which loads a part of its range"
    )


async def test_the_same_words_into_another_collection_are_another_workflow(world: World) -> None:
    first = await begun(world, replace(DAY, time_range="-30d", collection="a"))
    for collection, joined in (("a", True), ("b", False), (None, False)):
        world.later(7)
        again = await begun(world, replace(DAY, time_range="-30d", collection=collection))
        assert (again.joined, again.workflow.queue_id == first.workflow.queue_id) == (joined, joined)


async def test_what_is_being_stopped_is_not_joined(world: World) -> None:
    first = await begun(world, DAY)
    await running(world, first.workflow.queue_id)
    await world.manager.stop(first.workflow.queue_id)
    second = await begun(world, DAY)
    assert second.new
    await world.turns(2)
    waiting = await world.workflow(second.workflow.queue_id)
    assert (waiting.status, waiting.waiting_for) == (
        Status.PENDING, f"the end of {first.workflow.queue_id}, which loads a part of its range",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("bars", "status", "load", "there"),
    [
        (1440, Status.FINISHED, "2024-08-02:2024-08-03", 1440),
        (600, Status.INTERRUPTED, "2024-08-01T10:00Z:2024-08-03", 600),
    ],
)
async def test_an_overlapping_range_waits_and_then_loads_what_is_lacking(
    world: World, bars: int, status: Status, load: str, there: int
) -> None:
    first, second = await begun(world, DAY), await begun(world, BOTH)
    other = await begun(world, NEXT, symbol="ETHUSDT")
    workflow = await running(world, first.workflow.queue_id)
    waiting = await world.workflow(second.workflow.queue_id)
    assert (waiting.status, plan_of(waiting)) == (Status.PENDING, None)
    assert waiting.waiting_for == f"the end of {workflow.queue_id}, which loads a part of its range"
    assert (await world.workflow(other.workflow.queue_id)).status is Status.RUNNING
    store_bars(world, workflow, range(DAY_START, DAY_START + bars * MINUTE_MS, MINUTE_MS))
    if status is Status.INTERRUPTED:
        await world.manager.stop(workflow.queue_id)
        await world.turns()
    finish(world, workflow)
    await world.turns(8)
    assert (await world.workflow(workflow.queue_id)).status is status
    plan = plan_of(await world.workflow(second.workflow.queue_id))
    assert plan is not None
    assert (plan.load, plan.there) == ((load,), there)


async def test_a_retried_workflow_waits_for_a_younger_one_that_has_begun(world: World) -> None:
    first = (await begun(world, DAY)).workflow
    await world.manager.stop(first.queue_id)
    await world.turns(3)
    assert (await world.workflow(first.queue_id)).status is Status.INTERRUPTED
    second = (await begun(world, BOTH)).workflow
    await running(world, second.queue_id)
    await world.manager.retry(first.queue_id)
    await world.turns(3)
    waiting = await world.workflow(first.queue_id)
    assert (waiting.status, waiting.waiting_for) == (
        Status.PENDING, f"the end of {second.queue_id}, which loads a part of its range",
    )  # fmt: skip
    workflow = await world.workflow(second.queue_id)
    store_bars(world, workflow, [*range(DAY_START, DAY_START + DAY_MS, MINUTE_MS), *SECOND_DAY])
    finish(world, workflow)
    await world.turns(8)
    assert (await world.workflow(first.queue_id)).status is Status.FINISHED


async def test_the_order_holds_over_a_crash(world: World) -> None:
    assert exchange_of(world).now_ms == NOW
    first, second = await begun(world, BOTH), await begun(world, NEXT)
    await world.die()
    await world.start()
    await world.turns(3)
    assert plan_of(await world.workflow(first.workflow.queue_id)) is not None
    assert plan_of(await world.workflow(second.workflow.queue_id)) is None
