"""A manager whose clock, exchange, launcher and workers the test holds in its hand."""

from __future__ import annotations

from collections.abc import Sequence

from streamforge.manager.workflow import Workflow
from streamforge_utils.model.kinds.candles import candle_key
from streamforge_utils.ports.store import Document
from tests.doubles.scriptedexchange import ScriptedExchange
from tests.manager.support import (
    DAY_MS,
    DAY_START,
    LOADER,
    MINUTE_MS,
    SINK,
    World,
    attempt,
    planned,
    said,
)

OPENS = range(DAY_START, DAY_START + DAY_MS, MINUTE_MS)


async def create(world: World, workflow: Workflow) -> str:
    return (await world.deps.workflows.create(workflow)).workflow.queue_id


async def launched(world: World, workflow: Workflow | None = None) -> Workflow:
    """A workflow whose jobs run and have started."""
    queue_id = await create(world, workflow or planned())
    await world.turns(2)
    for target in (LOADER, SINK):
        world.say(said(await world.workflow(queue_id), target, "started"))
    await world.turns()
    return await world.workflow(queue_id)


def store_bars(world: World, workflow: Workflow, opens: Sequence[int] = OPENS) -> None:
    there = world.store.documents.setdefault(workflow.collection, {})
    there |= {k: Document(k, 1, b"{}") for k in (candle_key("BTCUSDT", "1m", time) for time in opens)}


def finish(world: World, workflow: Workflow, *targets: str) -> None:
    """The workers have done all there is to do."""
    for target in targets or (LOADER, SINK):
        world.say(said(workflow, target, "finished"))
        world.launcher.end(attempt(workflow, target).job, exit_code=0)


def exchange_of(world: World) -> ScriptedExchange:
    assert isinstance(world.exchange, ScriptedExchange)
    return world.exchange


async def turns_until_ended(world: World, queue_id: str, most: int = 60) -> Workflow:
    for _ in range(most):
        await world.turns(seconds=70)
        workflow = await world.workflow(queue_id)
        if workflow.ended:
            return workflow
    raise AssertionError(f"it does not end: {await world.workflow(queue_id)}")
