"""A workflow whose series has files of its first seven days, and whose exchange gives the rest by requests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from streamforge.manager.engine.document import Status, StepStatus, Workflow
from streamforge.manager.use_cases import StartRequest
from streamforge_utils.model.kinds.candles import Interval
from tests.doubles.manualclock import ManualClock
from tests.doubles.memoryarchive import TARGET, MemoryArchive, published
from tests.doubles.scriptedexchange import ScriptedExchange
from tests.manager.execution.world import turns_until_ended
from tests.manager.support import (
    DAY_MS,
    DAY_START,
    MINUTE_MS,
    NOW,
    World,
    attempt,
    replace,
    said,
    the_plan,
)

DAYS = 9
OPENS = range(DAY_START, DAY_START + DAYS * DAY_MS, MINUTE_MS)
REQUEST = StartRequest(symbol="BTCUSDT", type="api_candles_1m", time_range="2024-08-01:2024-08-10")
"""Files are there of the first seven days."""


@asynccontextmanager
async def world_with_files() -> AsyncIterator[World]:
    world = World(
        clock=ManualClock(NOW),
        exchange=ScriptedExchange(Interval.M1, OPENS, now_ms=NOW),
        archive=MemoryArchive([published(f"2024-08-{day:02}") for day in range(1, 8)]),
    )
    await world.start()
    yield world
    await world.die()


async def running(world: World, **fields: Any) -> Workflow:
    """The workflow, once its workers have started."""
    queue_id = (await world.manager.start(replace(REQUEST, **fields))).workflow.queue_id
    return await again(world, queue_id)


async def again(world: World, queue_id: str) -> Workflow:
    """The workflow, once the workers of its round have started."""
    await world.turns(4)
    workflow = await world.workflow(queue_id)
    for one in workflow.steps:
        if one.status is StepStatus.RUNNING:
            world.say(said(workflow, one.target, "started"))
    await world.turns()
    return await world.workflow(queue_id)


def ends(world: World, workflow: Workflow, target: str, **extra: object) -> None:
    """The worker has done all there is to do."""
    world.say(said(workflow, target, "finished", extra=dict(extra)))
    world.launcher.end(attempt(workflow, target).job, exit_code=0)


def all_end(world: World, workflow: Workflow, **extra: object) -> None:
    """Those that run end; extra: what the loader of files has to report."""
    for one in workflow.steps:
        if one.status is StepStatus.RUNNING:
            ends(world, workflow, one.target, **(extra if one.target == TARGET else {}))


def launched_with(world: World, target: str) -> Mapping[str, str]:
    """The environment of the latest job of a target."""
    return [spec.environment for spec in world.launcher.specs.values() if spec.target == target][-1]


async def finished(world: World, queue_id: str) -> Workflow:
    workflow = await turns_until_ended(world, queue_id)
    assert workflow.status is Status.FINISHED, workflow.failure
    return workflow


def parts(workflow: Workflow) -> list[tuple[str, str]]:
    return [(str(part.span), part.source.value) for part in the_plan(workflow).parts]
