"""A stop reaches what is being launched, prepared or proven."""

from __future__ import annotations

import asyncio

from streamforge.manager.acting.tasks import Kind
from streamforge.manager.workflow import Status
from tests.manager.acting.world import OPENS, create, exchange_of, finish, launched, store_bars
from tests.manager.support import (
    LOADER,
    SINK,
    World,
    accepted,
    attempt,
    planned,
    said,
)


async def test_a_stop_while_a_job_is_being_launched_says_one_last_word(world: World) -> None:
    world.launcher.gate = asyncio.Event()
    queue_id = await create(world, planned())
    await world.turns()
    await world.manager.stop(queue_id)
    await world.turns(8)
    workflow = await world.workflow(queue_id)
    assert workflow.status is Status.STOPPING, "the launch may still succeed"
    assert world.words(queue_id) == []
    world.launcher.gate.set()
    await world.settle()
    await world.turns()
    for target in (LOADER, SINK):
        await world.turns()
        world.say(said(workflow, target, "interrupted"))
        world.launcher.end(attempt(workflow, target).job, exit_code=0)
    await world.turns(4)
    assert (await world.workflow(queue_id)).status is Status.INTERRUPTED
    assert sorted(world.words(queue_id)) == [
        ("arango-candles__abc123", 1, "interrupted"),
        ("loader-api-candles__abc123", 1, "interrupted"),
    ]


async def test_a_launch_that_waited_for_its_turn_is_not_made_after_a_stop(world: World) -> None:
    queue_id = await create(world, planned())
    for _ in range(Kind.SHORT):
        await world.reconciler.tasks.limits[Kind.SHORT].acquire()
    await world.turns()
    await world.manager.stop(queue_id)
    await world.turns()
    for _ in range(Kind.SHORT):
        world.reconciler.tasks.limits[Kind.SHORT].release()
    await world.settle()
    assert world.launcher.started == []
    await world.turns(14)
    assert (await world.workflow(queue_id)).status is Status.INTERRUPTED


async def test_a_stop_is_meant_for_one_attempt(world: World) -> None:
    """Workers read commands from a little before their launch: a retry soon after a stop must not hear the stop."""
    workflow = await launched(world)
    await world.manager.stop(workflow.queue_id)
    await world.turns()
    assert [(c["target"], c["attempt"]) for c in world.commands("stop")] == [(LOADER, 1)]


async def test_a_stop_before_the_exchange_has_answered_stays_a_stop(world: World) -> None:
    gate, exchange = asyncio.Event(), exchange_of(world)
    symbol_info = exchange.symbol_info

    async def slow(symbol: str) -> object:
        await gate.wait()
        return await symbol_info(symbol)

    exchange.symbol_info = slow  # type: ignore[method-assign, assignment]
    queue_id = await create(world, accepted())
    await world.turns()
    await world.manager.stop(queue_id)
    await world.turns()
    stopped = await world.workflow(queue_id)
    assert stopped.status is Status.INTERRUPTED
    gate.set()
    await world.settle()
    assert await world.workflow(queue_id) == stopped, "what comes too late changes nothing"


async def test_a_stop_does_not_wait_for_the_exchange(world: World) -> None:
    workflow = await launched(world)
    store_bars(world, workflow, OPENS[:5])
    finish(world, workflow)
    hanging = asyncio.Event()

    async def never(*_: object, **__: object) -> list[object]:
        await hanging.wait()
        return []

    exchange_of(world).candles = never  # type: ignore[method-assign, assignment]
    await world.turns(3)
    await world.manager.stop(workflow.queue_id)
    await world.turns(3)
    workflow = await world.workflow(workflow.queue_id)
    assert workflow.status is Status.INTERRUPTED
    assert [s.verdict.value for s in await world.manager.coverage(workflow.queue_id)] == ["stored", "unknown"]
    assert [key for key in world.reconciler.tasks if key[0] == "Prove"] == [], "its answer could come after a retry"
