"""What comes back too late changes nothing, and what takes long holds up nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest

from streamforge.manager.acting.tasks import Kind
from streamforge.manager.policy import Policy
from streamforge.manager.workflow import Status
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.ports.exchange import SymbolInfo
from tests.doubles.manualclock import ManualClock
from tests.manager.acting.world import OPENS, create, finish, launched, store_bars
from tests.manager.support import NOW, World, accepted, planned


async def stubborn(gate: asyncio.Event) -> None:
    """Wait for `gate`, also where the task is cancelled."""
    while not gate.is_set():
        with suppress(asyncio.CancelledError):
            await gate.wait()


def shielded(world: World) -> asyncio.Event:
    """The first question to the exchange waits for the event returned, and a cancelled one is answered all the same."""
    gate, symbol_info = asyncio.Event(), world.exchange.symbol_info
    asked = 0

    async def slow(symbol: str) -> SymbolInfo:
        nonlocal asked
        asked += 1
        if asked == 1:
            await stubborn(gate)
        return await symbol_info(symbol)

    world.exchange.symbol_info = slow  # type: ignore[method-assign]
    return gate


async def test_a_plan_that_comes_after_a_stop_and_a_retry_starts_nothing() -> None:
    world = World(clock=ManualClock(NOW), policy=Policy(max_running=1))
    await world.start()
    gate = shielded(world)
    late = await create(world, accepted("aaaaaa"))
    await world.turns()
    await world.manager.stop(late)
    await world.turns()
    await create(world, accepted("bbbbbb"))
    await world.turns(2)
    assert (await world.manager.retry(late)).status is Status.PENDING
    gate.set()
    await world.settle()
    await world.turns(3)
    workflow = await world.workflow(late)
    assert (workflow.status, workflow.plan) == (Status.PENDING, None)
    assert workflow.waiting_for == "a free slot: other workflows are running"
    assert {world.launcher.specs[name].queue_id[-6:] for name in world.launcher.started} == {"bbbbbb"}
    await world.die()


async def test_a_retry_does_not_wait_for_the_plan_from_before_the_stop(world: World) -> None:
    gate = shielded(world)
    queue_id = await create(world, accepted())
    await world.turns()
    await world.manager.stop(queue_id)
    await world.turns()
    await world.manager.retry(queue_id)
    await world.turns(3)
    assert len(world.launcher.running()) == 2
    gate.set()


async def test_a_proof_from_before_a_stop_and_a_retry_proves_nothing(world: World) -> None:
    workflow = await launched(world)
    store_bars(world, workflow, OPENS[:700])
    finish(world, workflow)
    gate, keys = asyncio.Event(), world.store.keys

    async def slow(*args: Any, **fields: Any) -> Sequence[str]:
        found = await keys(*args, **fields)
        await stubborn(gate)
        return found

    world.store.keys = slow  # type: ignore[method-assign]
    await world.turns(2)
    world.store.keys = keys  # type: ignore[method-assign]
    await world.manager.stop(workflow.queue_id)
    await world.turns(3)
    await world.manager.retry(workflow.queue_id)
    await world.turns()
    gate.set()
    await world.settle()
    await world.turns()
    assert (await world.workflow(workflow.queue_id)).proof is None


async def test_long_proofs_hold_up_no_plan_and_no_stop(world: World) -> None:
    hanging = asyncio.Event()
    keys = world.store.keys

    async def slow(collection: str, **fields: Any) -> Sequence[str]:
        if collection == planned().collection:
            await hanging.wait()
        return await keys(collection, **fields)

    world.store.keys = slow  # type: ignore[method-assign]
    workflow = planned()
    for number in range(Kind.PROVING + 1):
        workflow = await launched(world, planned(code=f"00000{number}"))
        finish(world, workflow)
        await world.turns(2)
    queue_id = await create(world, accepted(symbol="ETHUSDT"))
    await world.turns(3)
    assert (await world.workflow(queue_id)).plan is not None
    world.store.keys = keys  # type: ignore[method-assign]
    await world.manager.stop(workflow.queue_id)
    await world.turns(3)
    assert (await world.workflow(workflow.queue_id)).status is Status.INTERRUPTED
    hanging.set()


async def test_what_was_found_out_waits_for_a_store_that_is_away(world: World) -> None:
    asked, symbol_info = 0, world.exchange.symbol_info

    async def counted(symbol: str) -> SymbolInfo:
        nonlocal asked
        asked += 1
        return await symbol_info(symbol)

    world.exchange.symbol_info = counted  # type: ignore[method-assign]
    queue_id = await create(world, accepted())
    await world.turns()
    world.store.failing = RetryableError("no disk")
    for _ in range(3):
        with pytest.raises(RetryableError):
            await world.turns()
    world.store.failing = None
    await world.turns()
    assert (await world.workflow(queue_id)).plan is not None
    assert asked == 1
