"""What people ask for is stored by the loop and then answered, also while something is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from streamforge.manager.engine.document import Status, Workflow
from streamforge.manager.engine.execution import inbox as inboxes
from streamforge.manager.engine.lifecycle.ban import Ban, Banned
from streamforge.manager.engine.lifecycle.findings import Fact, TopicsRemoved
from streamforge.manager.engine.persistence.bans import KIND as BAN
from streamforge.manager.engine.persistence.workflow_store import KIND
from streamforge.manager.engine.refusals import NotFound, NotNow
from streamforge.manager.engine.stored_document import decode_workflow
from streamforge.manager.use_cases import StartRequest
from streamforge_utils.model.errors import BannedError, RetryableError
from tests.limits import LIMIT_S
from tests.manager.execution.world import create, exchange_of, hold_back, never
from tests.manager.support import LOADER, World, accepted, decide_running, ended, planned, said

NOBODY = "wf-nobody-20240801-zzzzzz"


@asynccontextmanager
async def driven(world: World) -> AsyncIterator[None]:
    """The loop runs in the block."""
    running = asyncio.create_task(world.reconciler.run(), name="loop")
    async with asyncio.timeout(LIMIT_S):
        await until(lambda: world.reconciler.inbox.driven)
        try:
            yield
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    await world.start()
    yield world
    await world.die()


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - any condition
        await asyncio.sleep(0)


@pytest.mark.parametrize("away", ["bus", "launcher", "bus, silently", "launcher, silently"])
async def test_requests_are_stored_and_answered_while_bus_or_launcher_are_away(world: World, away: str) -> None:
    queue_id = await create(world, accepted("bbbbbb"))
    done = await ended(world, Status.INTERRUPTED)
    if away == "bus":
        world.bus.failing = RetryableError("no answer")
    elif away == "launcher":
        world.launcher.failing = RetryableError("no answer")
    elif away == "bus, silently":
        world.bus.consumer = world.bus.lag = never  # type: ignore[method-assign]
    else:
        world.launcher.jobs = never  # type: ignore[method-assign]
    async with driven(world):
        assert (await world.manager.stop(queue_id)).status is Status.STOPPING
        assert decode_workflow(world.store.states[KIND, queue_id].body).stop_asked_ms is not None
        assert (await world.manager.retry(done)).status is Status.PENDING
        with pytest.raises(NotFound):
            await world.manager.stop(NOBODY)
        with pytest.raises(NotNow):
            await world.manager.retry(done)


async def test_what_could_not_be_stored_is_not_said_to_be(world: World) -> None:
    queue_id = await create(world, planned())
    async with driven(world):
        world.store.failing = RetryableError("no disk")
        with pytest.raises(RetryableError, match="no disk"):
            await world.manager.stop(queue_id)
        world.store.failing = None
        assert decode_workflow(world.store.states[KIND, queue_id].body).stop_asked_ms is None
        await world.manager.stop(queue_id)


def writers_of(world: World, changed: str) -> list[str]:
    """The names of the tasks that change states of this kind from now on."""
    put, writers = world.store.put, list[str]()

    async def noted(kind: str, *args: Any, **fields: Any) -> Any:
        task = asyncio.current_task()
        if kind == changed and (kind == BAN or fields.get("expected") is not None):
            writers.append("" if task is None else task.get_name())
        return await put(kind, *args, **fields)

    world.store.put = noted  # type: ignore[method-assign]
    return writers


async def test_the_loop_alone_writes_a_workflow_that_goes_on(world: World) -> None:
    queue_id = await create(world, accepted())
    writers = writers_of(world, KIND)
    async with driven(world):
        await until(lambda: len(world.launcher.running()) == 2)
        workflow = await world.workflow(queue_id)
        for step in workflow.steps:
            world.say(said(workflow, step.target, "started"))
        await world.manager.stop(queue_id)
        for step in reversed(workflow.steps):
            assert step.attempt is not None
            world.say(said(workflow, step.target, "interrupted"))
            world.launcher.end(step.attempt.job, exit_code=0)
        await until(lambda: queue_id not in world.deps.workflows.live)
        await world.manager.retry(queue_id)
    assert len(writers) > 4
    assert set(writers) == {"loop"}


async def test_the_loop_alone_stores_a_ban_whoever_was_told_of_it(world: World) -> None:
    writers = writers_of(world, BAN)
    now_ms, exchange = world.clock.now_ms(), exchange_of(world)
    workflow = decide_running()
    await create(world, workflow)
    async with driven(world):
        exchange.failing = BannedError("told a request", until_ms=now_ms + 10**6, retry_after=0)
        await world.manager.start(StartRequest(symbol="ETHUSDT", type="api_candles_1m", time_range="2024-08-02"))
        await until(lambda: len(writers) == 1)
        world.say(said(workflow, LOADER, "loading", extra={"banned_until_ms": now_ms + 2 * 10**6}))
        await until(lambda: len(writers) == 2)
    await world.start()
    world.reconciler.bans.ban = Ban()  # so that a plan asks
    exchange.failing = BannedError("told a plan", until_ms=now_ms + 3 * 10**6, retry_after=0)
    async with driven(world):
        await until(lambda: len(writers) == 3)
    assert set(writers) == {"loop"}


async def test_a_ban_that_was_heard_since_the_last_look_is_stored_when_the_manager_ends(world: World) -> None:
    now_ms = world.clock.now_ms()
    async with driven(world):
        world.reconciler.bans.hear(Banned(until_ms=now_ms + 10**6, said_ms=now_ms))
    await world.start()
    assert world.reconciler.bans.ban.until_ms == now_ms + 10**6


async def test_a_request_does_not_wait_until_every_workflow_was_looked_at(world: World) -> None:
    ids = [await create(world, accepted(f"{number:06d}")) for number in range(50)]
    world.reconciler.inbox.driven = True
    put, written, asking = world.store.put, list[str](), list[asyncio.Task[Workflow]]()

    async def noted(kind: str, id: str, body: bytes, **fields: Any) -> Any:
        if kind == KIND:
            if not written:
                asking.append(asyncio.create_task(world.manager.stop(ids[0])))
            written.append(id)
        return await put(kind, id, body, **fields)

    world.store.put = noted  # type: ignore[method-assign]
    await world.reconciler.turn()
    assert (await asking[0]).status is Status.STOPPING
    assert written.count(ids[0]) == 2
    assert set(written[-9:]).isdisjoint(written[:-9])


async def test_a_request_that_waits_when_the_manager_ends_is_refused_for_now(world: World) -> None:
    queue_id = await create(world, accepted())
    world.store.put = never  # type: ignore[method-assign]
    async with driven(world):
        asking = [asyncio.create_task(world.manager.stop(queue_id)) for _ in range(2)]
        await world.settle()
    for answer in await asyncio.gather(*asking, return_exceptions=True):
        assert isinstance(answer, RetryableError)


async def test_more_requests_than_may_wait_are_refused_for_now(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inboxes, "MOST_ASKED", 3)
    queue_id = await create(world, accepted())
    inbox = world.reconciler.inbox
    inbox.driven = True
    asking = [asyncio.create_task(world.manager.stop(queue_id)) for _ in range(3)]
    await world.settle()
    with pytest.raises(RetryableError, match="3 requests wait"):
        await world.manager.stop(queue_id)
    await inbox.answer()
    assert {answer.status for answer in await asyncio.gather(*asking)} == {Status.STOPPING}


async def test_who_left_is_not_answered_and_asked_for_nothing(world: World) -> None:
    queue_id = await create(world, accepted())
    world.reconciler.inbox.driven = True
    asking = asyncio.create_task(world.manager.stop(queue_id))
    await world.settle()
    asking.cancel()
    await world.settle()
    await world.reconciler.inbox.answer()
    assert (await world.workflow(queue_id)).stop_asked_ms is None


async def test_facts_of_a_workflow_have_a_limit_and_end_with_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inboxes, "MOST_FACTS", 2)
    inbox, fact = world.reconciler.inbox, Fact(0, TopicsRemoved(dead_letters=False))
    for _ in range(2):
        inbox.put(NOBODY, fact)
    with pytest.raises(RetryableError, match="2 facts"):
        inbox.put(NOBODY, fact)
    inbox.folded(NOBODY, [fact])
    assert inbox.facts(NOBODY) == (fact,)
    inbox.forget(())
    assert inbox.facts(NOBODY) == ()


async def test_a_launcher_that_answers_late_is_waited_for(world: World) -> None:
    gate = asyncio.Event()
    hold_back(world.launcher, "jobs", gate)
    queue_id = await create(world, planned())
    async with driven(world):
        await world.settle()
        gate.set()
        await until(lambda: len(world.launcher.running()) == 2)
    assert (await world.workflow(queue_id)).status is Status.RUNNING
