"""What comes back too late changes nothing, and what takes long holds up nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from unittest.mock import AsyncMock

import pytest

from streamforge.manager.coverage.store import CoverageStore, SeriesCoverage
from streamforge.manager.engine.document import Status, Workflow
from streamforge.manager.engine.execution.dispatcher import Kind
from streamforge.manager.engine.execution.reconciler import Reconciler
from streamforge.manager.workflows.series.model import loaded_series, plan_of
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.errors import RetryableError
from tests.manager.execution.world import OPENS, create, finish, hold_back, launched, store_bars
from tests.manager.support import DAY_MS, DAY_START, NOW, World, accepted, planned, replace

Meanwhile = Callable[[World, str], Awaitable[None]]


async def test_a_retry_does_not_wait_for_the_plan_from_before_the_stop(world: World, gate: asyncio.Event) -> None:
    hold_back(world.exchange, "symbol_info", gate)
    queue_id = await create(world, accepted())
    await world.turns()
    await world.manager.stop(queue_id)
    await world.turns()
    await world.manager.retry(queue_id)
    await world.turns(3)
    assert len(world.launcher.running()) == 2


async def proven_late(world: World, gate: asyncio.Event) -> Workflow:
    """A workflow of which all jobs are done, and whose proof waits for the store's answer until the gate is open."""
    workflow = await launched(world)
    store_bars(world, workflow, OPENS[:700])
    finish(world, workflow)
    hold_back(world.store, "keys", gate, answer=True)
    await world.turns(2)
    return workflow


async def stop_and_retry(world: World, queue_id: str) -> None:
    await world.manager.stop(queue_id)
    await world.turns(3)
    assert (await world.manager.retry(queue_id)).status is Status.PENDING


async def stop_and_remove_with_its_data(world: World, queue_id: str) -> None:
    await world.manager.stop(queue_id)
    await world.turns(3)
    await world.manager.remove(queue_id, data=True)


async def stop_and_retry_by_the_next_manager(world: World, queue_id: str) -> None:
    """The manager before has lost its place and does not know it."""
    await world.start()
    await stop_and_retry(world, queue_id)


MEANWHILE = pytest.mark.parametrize(
    "meanwhile", [stop_and_retry, stop_and_remove_with_its_data, stop_and_retry_by_the_next_manager]
)


async def all_done(world: World, manager: Reconciler) -> None:
    """Let all that the manager has begun come to its end."""
    for _ in range(20):
        await world.settle()
    assert not manager.dispatcher.running
    await manager.close()


async def coverage_of(world: World, workflow: Workflow) -> SeriesCoverage:
    return await world.deps.coverage.known(loaded_series(workflow))


@MEANWHILE
async def test_a_late_plan_teaches_the_coverage_nothing(
    world: World, gate: asyncio.Event, meanwhile: Meanwhile
) -> None:
    hold_back(world.exchange, "symbol_info", gate)
    workflow = accepted()
    before = await coverage_of(world, workflow)
    queue_id = await create(world, workflow)
    earlier = world.reconciler
    await world.turns()
    await meanwhile(world, queue_id)
    assert await coverage_of(world, workflow) == before
    gate.set()
    await all_done(world, earlier)
    assert await coverage_of(world, workflow) == before


@pytest.mark.parametrize("meanwhile", [stop_and_retry, stop_and_retry_by_the_next_manager])
async def test_what_a_late_plan_misses_is_not_marked_as_gone(
    world: World, gate: asyncio.Event, meanwhile: Meanwhile
) -> None:
    """The records that the coverage names are gone when they are counted, and are back by the time that is learnt."""
    workflow = accepted()
    whole = Segment(
        start_ms=DAY_START, end_ms=DAY_START + DAY_MS, verdict=Verdict.STORED, collection="elsewhere", records=1440
    )
    await world.deps.coverage.lay_over(loaded_series(workflow), [whole])
    queue_id = await create(world, workflow)
    hold_back(world.store, "count", gate, answer=True)
    earlier = world.reconciler
    await world.turns()
    store_bars(world, replace(workflow, collection="elsewhere"))
    before = await coverage_of(world, workflow)
    await meanwhile(world, queue_id)
    gate.set()
    await all_done(world, earlier)
    assert await coverage_of(world, workflow) == before


@MEANWHILE
async def test_a_late_proof_teaches_the_coverage_nothing(
    world: World, gate: asyncio.Event, meanwhile: Meanwhile
) -> None:
    earlier = world.reconciler
    workflow = await proven_late(world, gate)
    await meanwhile(world, workflow.queue_id)
    before = await coverage_of(world, workflow)
    gate.set()
    await all_done(world, earlier)
    assert await coverage_of(world, workflow) == before


async def test_what_a_plan_teaches_is_learnt_in_its_epoch_alone_whoever_writes_meanwhile(world: World) -> None:
    """Its write meets that of another manager, and before it is tried again the workflow is stopped."""
    workflow = accepted()
    queue_id = await create(world, workflow)
    put = world.store.put
    other = Segment(start_ms=NOW, end_ms=NOW + DAY_MS, verdict=Verdict.EXCHANGE)

    async def met(kind: str, *args: Any, **fields: Any) -> Any:
        if kind == "series":
            world.store.put = put  # type: ignore[method-assign]
            await CoverageStore(world.store).lay_over(loaded_series(workflow), [other])
            await world.manager.stop(queue_id)
        return await put(kind, *args, **fields)

    world.store.put = met  # type: ignore[method-assign]
    await world.turns()
    assert (await coverage_of(world, workflow)).segments == (other,)


async def test_long_proofs_hold_up_no_plan_and_no_stop(world: World, gate: asyncio.Event) -> None:
    keys = world.store.keys

    async def slow(collection: str, **fields: Any) -> Sequence[str]:
        if collection == planned().collection:
            await gate.wait()
        return await keys(collection, **fields)

    world.store.keys = slow  # type: ignore[method-assign]
    workflow = planned()
    for number in range(Kind.PROVING + 1):
        workflow = await launched(world, planned(code=f"00000{number}"))
        finish(world, workflow)
        await world.turns(2)
    queue_id = await create(world, accepted(symbol="ETHUSDT"))
    await world.turns(3)
    assert plan_of(await world.workflow(queue_id)) is not None
    world.store.keys = keys  # type: ignore[method-assign]
    await world.manager.stop(workflow.queue_id)
    await world.turns(3)
    assert (await world.workflow(workflow.queue_id)).status is Status.INTERRUPTED


async def test_what_was_found_out_waits_for_a_store_that_is_away(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = AsyncMock(side_effect=world.exchange.symbol_info)
    monkeypatch.setattr(world.exchange, "symbol_info", asked)
    queue_id = await create(world, accepted())
    await world.turns()
    world.store.failing = RetryableError("no disk")
    for _ in range(3):
        with pytest.raises(RetryableError):
            await world.turns()
    world.store.failing = None
    await world.turns()
    assert plan_of(await world.workflow(queue_id)) is not None
    assert asked.await_count == 1
