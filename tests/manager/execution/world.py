"""A manager whose clock, exchange, launcher and workers a test controls, and a series counted in minutes of a day."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from streamforge.manager.engine.document import Workflow
from streamforge.manager.retention.driver import Retention
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.store import Document
from tests.doubles.candles import candle_key
from tests.doubles.memorystore import MemoryStore
from tests.doubles.scriptedexchange import ScriptedExchange
from tests.manager.support import DAY_MS, DAY_START, LOADER, MINUTE_MS, SINK, World, attempt, planned, said

OPENS = range(DAY_START, DAY_START + DAY_MS, MINUTE_MS)
SERIES = Series("BTCUSDT", "candles", "1m")
C = "collection"


def minute(number: float) -> int:
    """When the minute of the day opens, unix milliseconds."""
    return DAY_START + int(number * MINUTE_MS)


def span(first: float, last: float) -> TimeRange:
    return TimeRange(minute(first), minute(last))


def segment(first: float, last: float, verdict: Verdict, collection: str | None = None, records: int = 0) -> Segment:
    return Segment(start_ms=minute(first), end_ms=minute(last), verdict=verdict, collection=collection, records=records)


def stored(first: float, last: float, records: int = 0, collection: str | None = C) -> Segment:
    return segment(first, last, Verdict.STORED, collection, records)


def hold(store: MemoryStore, *opens: int, series: Series = SERIES, collection: str = C) -> None:
    """The store holds the candles that open then."""
    there = store.documents.setdefault(collection, {})
    there |= {k: Document(k, 1, b"{}") for k in (candle_key(series.symbol, series.interval, time) for time in opens)}


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
    hold(world.store, *opens, collection=workflow.collection)


def finish(world: World, workflow: Workflow, *targets: str) -> None:
    """The workers have done all there is to do."""
    for target in targets or (LOADER, SINK):
        world.say(said(workflow, target, "finished"))
        world.launcher.end(attempt(workflow, target).job, exit_code=0)


async def stubborn(gate: asyncio.Event) -> None:
    """Wait for `gate`, also where the task is cancelled."""
    while not gate.is_set():
        with suppress(asyncio.CancelledError):
            await gate.wait()


def hold_back(part: object, name: str, gate: asyncio.Event, *, answer: bool = False) -> None:
    """Let the next call of `part.name` wait for the gate, also where it is cancelled.

    answer: it is carried out at once, and its answer waits.
    """
    call = getattr(part, name)

    async def slow(*args: Any, **fields: Any) -> Any:
        setattr(part, name, call)
        if not answer:
            await stubborn(gate)
        found = await call(*args, **fields)
        if answer:
            await stubborn(gate)
        return found

    setattr(part, name, slow)


async def retain(retention: Retention) -> None:
    """Do all that retention does now and then."""
    await asyncio.gather(*retention.parts().values())


async def never(*_: object, **__: object) -> Any:
    """In the place of a call that does not return."""
    await asyncio.Event().wait()


async def unanswered(*_: object, **__: object) -> Any:
    """In the place of a call to something that is away."""
    raise RetryableError("it does not answer")


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
