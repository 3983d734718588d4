"""A series of two days of which a workflow has stored the first, and managers that die at a write."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from streamforge.manager.engine.document import Workflow
from streamforge.manager.engine.persistence.event_history import COLLECTION as HISTORY
from streamforge.manager.workflows.series.model import loaded_series
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.timeranges import parse_time_range
from streamforge_utils.ports.store import Document
from tests.doubles.candles import candle_key
from tests.manager.execution.world import finish
from tests.manager.support import (
    DAY_MS,
    DAY_START,
    MINUTE_MS,
    World,
    accepted,
    ended,
)

FIRST = range(DAY_START, DAY_START + DAY_MS, MINUTE_MS)
SECOND = range(FIRST.stop, FIRST.stop + DAY_MS, MINUTE_MS)
OTHER = "another_collection"
TWO_DAYS = "2024-08-01:2024-08-03"


def store(world: World, collection: str, opens: range) -> None:
    there = world.store.documents.setdefault(collection, {})
    there |= {k: Document(k, 1, b"{}") for k in (candle_key("BTCUSDT", "1m", time) for time in opens)}


def stored(collection: str, opens: range) -> Segment:
    return Segment(
        start_ms=opens.start, end_ms=opens.stop, verdict=Verdict.STORED, collection=collection, records=len(opens)
    )


async def ended_and_stored(world: World) -> Workflow:
    """A workflow that has stored the first of the exchange's two days, and coverage knows it."""
    workflow = await world.workflow(await ended(world))
    store(world, workflow.collection, FIRST)
    await world.deps.coverage.lay_over(loaded_series(workflow), [stored(workflow.collection, FIRST)])
    return workflow


def later(*, again: bool = False) -> Workflow:
    """A request for both days, into its own collection."""
    return accepted("bbbbbb", time_range=TWO_DAYS, collection=OTHER, again=again)


def counts(world: World) -> dict[str, int]:
    """How many records each collection holds."""
    return {name: len(there) for name, there in world.store.documents.items() if name != HISTORY}


async def statements_hold(world: World, workflow: Workflow) -> None:
    """Coverage calls nothing stored that is not in the collection that it names."""
    for segment in await world.deps.coverage.of(loaded_series(workflow)):
        if segment.verdict is Verdict.STORED:
            there = world.store.documents.get(segment.collection or "", {})
            lacking = [
                time
                for time in range(segment.start_ms, segment.end_ms, MINUTE_MS)
                if candle_key("BTCUSDT", "1m", time) not in there
            ]
            assert lacking == [], segment


async def run_to_its_end(world: World, queue_id: str) -> Workflow:
    """The workers store what they were told to load."""
    for _ in range(30):
        await world.turns(seconds=2)
        workflow = await world.workflow(queue_id)
        if workflow.ended:
            return workflow
        for name in world.launcher.running():
            spec = world.launcher.specs[name]
            if spec.queue_id != queue_id:
                continue
            for text in filter(None, spec.environment.get("STREAMFORGE_RANGES", "").split(",")):
                span = parse_time_range(text)
                store(world, workflow.collection, range(span.start_ms, span.end_ms, MINUTE_MS))
        if len(world.launcher.running()) == 2:
            finish(world, workflow)
    raise AssertionError(f"it does not end: {await world.workflow(queue_id)}")


class Killed(asyncio.CancelledError):
    """The process is gone."""


def kill_at(world: World, number: int) -> None:
    """Let the call of that number that changes the store be its last: it is carried out, and nobody hears of it."""
    left = number

    def dying(change: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(*args: object, **more: object) -> object:
            nonlocal left
            answer = await change(*args, **more)
            left -= 1
            if left == 0:
                raise Killed
            return answer

        return call

    for name in ("put", "delete", "drop"):
        setattr(world.store, name, dying(getattr(world.store, name)))


def revive(world: World) -> None:
    for name in ("put", "delete", "drop"):
        delattr(world.store, name)
