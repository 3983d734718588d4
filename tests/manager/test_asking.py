"""What is asked of workflows that are there: pings, dead letters, records, following, coverage."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec
import pytest
from structlog.testing import capture_logs

from streamforge.manager.readiness import FRESH_S, WAITING
from streamforge.manager.service import NotFound, NotNow
from streamforge.manager.workflow import Status, StepStatus
from streamforge_utils.model import names
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.model.events import Event, encode_event
from streamforge_utils.model.kinds.candles import encode_candle, stored_document
from streamforge_utils.ports.bus import Message, TopicSpec
from streamforge_utils.ports.store import Document
from tests.doubles.candles import candle
from tests.doubles.manualclock import ManualClock
from tests.limits import LIMIT_S
from tests.manager.stored import ended, put, stored_day
from tests.manager.support import (
    DAY_START,
    LOADER,
    MINUTE_MS,
    NOW,
    SINK,
    World,
    accepted,
    decide_running,
    replace,
    said,
)


async def answering(world: World, queue_id: str, *telemetry: str) -> None:
    """Workers that answer the next ping, and one that answers another one's."""
    workflow = await world.manager.get(queue_id)
    while not (pings := world.commands("ping")):
        await world.bus.sent.wait()
    for of in workflow.steps:
        if of.telemetry_id in telemetry:
            pong = replace(said(workflow, of.target, "pong"), ping_ts=pings[0]["sent_at"], ponged_at=1.0)
            for listener in tuple(world.reconciler.listeners):
                listener(replace(pong, ping_ts=1.5))
                listener(replace(pong, queue_id="wf-other-20240801-aaaaaa"))
                listener(pong)


async def test_a_ping_tells_who_answered_and_who_did_not(world: World) -> None:
    queue_id = await put(world, decide_running())
    loader, sink = (f"{target}__abc123" for target in (LOADER, SINK))
    asking = asyncio.create_task(world.manager.ping(queue_id, timeout_s=0.2))
    await answering(world, queue_id, loader)
    answers = await asking
    assert answers[loader] is not None
    assert answers[sink] is None
    assert world.reconciler.listeners == set()
    world.bus.log["queue-control"].clear()
    asking = asyncio.create_task(world.manager.ping(queue_id, timeout_s=50))
    await answering(world, queue_id, loader, sink)
    assert all(seconds is not None for seconds in (await asking).values()), (
        "all have answered: nothing more to wait for"
    )


async def test_where_nobody_runs_nobody_is_asked(world: World) -> None:
    queue_id = await put(world, accepted())
    assert set((await world.manager.ping(queue_id)).values()) == {None}
    assert world.commands("ping") == []


async def test_a_replay_needs_an_end_and_something_to_replay(world: World) -> None:
    queue_id = await ended(world, Status.ERROR)
    workflow = await world.manager.get(queue_id)
    with pytest.raises(NotNow, match="no dead letters"):
        await world.manager.replay_dead_letters(queue_id)
    topic = names.dlq_topic(workflow.topic)
    await world.bus.create_topic(TopicSpec(name=topic))
    world.bus.append(topic, Message(b"k", b"v"))
    page = await world.manager.dead_letters(queue_id)
    assert (len(page.letters), page.outstanding) == (1, 1)
    again = await world.manager.replay_dead_letters(queue_id)
    assert (again.status, again.plan, again.surveyed) == (Status.PENDING, workflow.plan, False)
    assert [(s.target, s.status) for s in again.steps if s.role.value == "loader"] == [(LOADER, StepStatus.FINISHED)]
    with pytest.raises(NotNow, match="pending"):
        await world.manager.replay_dead_letters(queue_id)


async def keys(world: World, collection: str, **fields: object) -> list[int]:
    batches = [batch async for batch in world.manager.records(collection, **fields)]  # type: ignore[arg-type]
    return [(int(key[-13:]) - DAY_START) // MINUTE_MS for batch in batches for key, _ in batch]


async def test_records_in_pages_and_by_range(world: World) -> None:
    opens = [DAY_START + n * MINUTE_MS for n in range(10)]
    documents = [Document(*stored_document(None, encode_candle(candle(time)))) for time in opens]
    await world.store.upsert("c", documents)
    assert await keys(world, "c") == list(range(10))
    assert await keys(world, "c", limit=3) == [0, 1, 2]
    assert await keys(world, "c", after=documents[2].key, limit=3) == [3, 4, 5]
    span = msgspec.structs.replace(accepted().span, start_ms=opens[4], end_ms=opens[8])
    assert await keys(world, "c", span=span, limit=3) == [4, 5, 6]
    assert await keys(world, "c", limit=0) == []
    with pytest.raises(NotFound, match="nothing"):
        await keys(world, "nothing")
    await world.deps.history.append([("wf-a-20240801-aaaaaa", 1, b"{}")])
    assert await world.manager.collections() == ["c"]


async def test_following_ends_with_the_workflow(world: World) -> None:
    queue_id = await put(world, decide_running())
    workflow = await world.manager.get(queue_id)
    seen: list[str] = []

    async def follow() -> None:
        async for event in world.manager.follow(queue_id):
            word = msgspec.json.decode(event.body, type=Event).event
            seen.append(word)

    following = asyncio.create_task(follow())
    await world.deps.history.append([(queue_id, 1, encode_event(said(workflow, SINK, "loading")))])
    async with asyncio.timeout(LIMIT_S):
        while not seen:  # noqa: ASYNC110 - it is heard by following alone
            await asyncio.sleep(0.001)
    await world.deps.workflows.change(queue_id, lambda w: replace(w, status=Status.FINISHED, ended_ms=NOW))
    await world.deps.history.append([(queue_id, 2, encode_event(said(workflow, SINK, "finished")))])
    await asyncio.wait_for(following, LIMIT_S)
    assert seen == ["loading", "finished"]


async def test_coverage_is_that_of_the_series(world: World) -> None:
    queue_id = await ended(world)
    await stored_day(world, queue_id)
    assert [s.verdict.value for s in (await world.manager.coverage(queue_id)).segments] == ["stored", "unknown"]
    assert len((await world.manager.series_coverage("btcusdt", "api_candles_1m")).segments) == 1


async def test_readiness_names_what_is_wrong() -> None:
    clock = ManualClock()
    world = World(clock=clock)
    await world.start()
    assert (await world.manager.ready())["reconciler"] == "it has not looked at the workflows yet"
    clock.advance(FRESH_S)
    world.store.failing = RetryableError("no disk")
    world.launcher.failing = RuntimeError("a bug")
    world.reconciler.last_error = "stuck"
    ready = await world.manager.ready()
    assert ready == {"bus": None, "store": "no disk", "launcher": "a bug", "reconciler": "stuck"}
    world.store.failing = world.launcher.failing = world.reconciler.last_error = None
    clock.advance(FRESH_S)
    world.reconciler.last_look = clock.monotonic()
    assert set((await world.manager.ready()).values()) == {None}
    clock.advance(FRESH_S)
    world.launcher.unseen = "the API server cannot be reached"
    assert (await world.manager.ready())["launcher"] == "the API server cannot be reached"
    world.reconciler.last_look = clock.monotonic() - 31
    assert "not looked for 31 s" in str((await world.manager.ready())["reconciler"])


async def test_readiness_asks_each_part_once_however_many_ask_and_again_when_that_is_old() -> None:
    clock = ManualClock()
    world = World(clock=clock)
    await world.start()
    asked, answering = 0, asyncio.Event()
    names = world.store.names

    async def slow_names() -> Sequence[str]:
        nonlocal asked
        asked += 1
        await answering.wait()
        return await names()

    world.store.names = slow_names  # type: ignore[method-assign]
    asking = [asyncio.create_task(world.manager.ready()) for _ in range(WAITING)]
    await world.settle()
    assert asked == 1, "the others wait for the answer"
    asking[0].cancel()
    await world.settle()
    assert asked == 2, "who asked has gone: the next one asks"
    answering.set()
    assert all(found["store"] is None for found in await asyncio.gather(*asking[1:]))
    clock.advance(FRESH_S - 0.1)
    await world.manager.ready()
    assert asked == 2
    clock.advance(0.1)
    await world.manager.ready()
    assert asked == 3


async def test_any_number_of_callers_of_a_part_that_hangs_wait_in_a_bounded_queue() -> None:
    clock = ManualClock()
    world = World(clock=clock)
    await world.start()
    before = await world.manager.ready()
    assert before["store"] is None
    answering = asyncio.Event()
    names = world.store.names

    async def slow_names() -> Sequence[str]:
        await answering.wait()
        return await names()

    world.store.names = slow_names  # type: ignore[method-assign]
    clock.advance(FRESH_S)
    asking = [asyncio.create_task(world.manager.ready()) for _ in range(1000)]
    await world.settle()
    answered = [task.result() for task in asking if task.done()]
    assert answered == [before] * (1000 - WAITING), "with what was found last"
    answering.set()
    await asyncio.gather(*asking)


async def test_who_asks_first_and_finds_no_place_is_told_that_nothing_is_known() -> None:
    world = World(clock=ManualClock())
    await world.start()
    answering = asyncio.Event()

    async def slow_names() -> Sequence[str]:
        await answering.wait()
        return ()

    world.store.names = slow_names  # type: ignore[method-assign]
    asking = [asyncio.create_task(world.manager.ready()) for _ in range(WAITING)]
    await world.settle()
    assert (await world.manager.ready())["store"] == "it has not answered yet"
    answering.set()
    assert [found["store"] for found in await asyncio.gather(*asking)] == [None] * WAITING


async def test_what_does_not_work_is_logged_once_and_so_is_its_end() -> None:
    clock = ManualClock()
    world = World(clock=clock)
    await world.start()
    with capture_logs() as logs:
        for failing in (None, RetryableError("no disk"), RetryableError("no disk"), None, None):
            world.store.failing = failing
            await world.manager.ready()
            clock.advance(FRESH_S)
    assert [(line["part"], line.get("error")) for line in logs] == [("store", "no disk"), ("store", None)]
