"""Workflows that are stored already when a test begins."""

from __future__ import annotations

from streamforge.manager.workflow import Status, StepStatus, Workflow
from streamforge_utils.model import names
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.kinds.candles import encode_candle, stored_document
from streamforge_utils.ports.bus import TopicSpec
from streamforge_utils.ports.store import Document
from tests.doubles.candles import candle
from tests.manager.support import (
    DAY_START,
    LOADER,
    MINUTE_MS,
    NOW,
    SINK,
    World,
    attempt,
    decide_running,
    replace,
    step,
)


async def put(world: World, workflow: Workflow, **fields: object) -> str:
    stored = await world.deps.workflows.create(replace(workflow, **fields))
    return stored.workflow.queue_id


async def ended(world: World, status: Status = Status.INTERRUPTED) -> str:
    """A workflow of which one attempt of each step has run."""
    workflow = decide_running()
    for target in (LOADER, SINK):
        of = step(workflow, target)
        last = replace(attempt(workflow, target), ended_ms=NOW, terminal_event="interrupted", outcome="interrupted")
        workflow = workflow.with_step(replace(of, status=StepStatus.INTERRUPTED, attempts=(last,)))
    return await put(world, workflow, status=status, ended_ms=NOW, surveyed=True, stop_asked_ms=NOW)


async def stored_day(world: World, queue_id: str) -> Workflow:
    """The workflow's topics, jobs, history, records and coverage are there."""
    workflow = await world.manager.get(queue_id)
    for topic in (workflow.topic, names.dlq_topic(workflow.topic)):
        await world.bus.create_topic(TopicSpec(name=topic))
    await world.deps.history.append([(queue_id, 1, b"{}")])
    opens = range(DAY_START - 2 * MINUTE_MS, DAY_START + 3 * MINUTE_MS, MINUTE_MS)
    documents = [Document(*stored_document(None, encode_candle(candle(time)))) for time in opens]
    await world.store.upsert(workflow.collection, documents)
    whole = Segment(
        start_ms=DAY_START - 2 * MINUTE_MS,
        end_ms=DAY_START + 3 * MINUTE_MS,
        verdict=Verdict.STORED,
        collection=workflow.collection,
    )
    await world.deps.coverage.lay_over(workflow.series, [whole])
    return workflow
