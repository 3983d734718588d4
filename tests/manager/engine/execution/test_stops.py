"""A stop reaches what is being launched, prepared or proven."""

from __future__ import annotations

import asyncio

import pytest

from streamforge.manager.engine.document import Status, Workflow
from streamforge.manager.engine.execution.dispatcher import Kind
from streamforge_utils.model import names
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.model.messages import EOS_KEY, Command, EndOfStream, encode_marker
from streamforge_utils.ports.bus import Message
from tests.manager.execution.world import OPENS, create, exchange_of, finish, hold_back, launched, never, store_bars
from tests.manager.support import LOADER, SINK, World, accepted, attempt, planned, said, step


async def test_a_stop_while_a_job_is_being_launched_says_one_terminal_event(world: World) -> None:
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
        await world.reconciler.dispatcher.limits[Kind.SHORT].acquire()
    await world.turns()
    await world.manager.stop(queue_id)
    await world.turns()
    for _ in range(Kind.SHORT):
        world.reconciler.dispatcher.limits[Kind.SHORT].release()
    await world.settle()
    assert world.launcher.started == []
    await world.turns(14)
    assert (await world.workflow(queue_id)).status is Status.INTERRUPTED


async def test_a_stop_is_sent_again_until_the_worker_has_ended_and_not_too_often(world: World) -> None:
    workflow = await launched(world)
    await world.manager.stop(workflow.queue_id)
    sent = []
    for _ in range(6):
        await world.turns(seconds=1.1)
        sent.append(len(world.commands("stop")))
    assert sent == [1, 1, 2, 2, 3, 3]
    assert {c["attempt"] for c in world.commands("stop")} == {1}, "a retry soon after must not obey it"
    world.say(said(workflow, LOADER, "interrupted"))
    await world.turns(2, seconds=1.1)
    assert [c["target"] for c in world.commands("stop")] == [LOADER] * 3
    world.launcher.end(attempt(workflow, LOADER).job, exit_code=0)
    await world.turns(2)
    assert [(c["target"], c.get("payload")) for c in world.commands("stop")[3:]] == [(SINK, {"upstream_ended": True})]


@pytest.mark.parametrize("heard", [False, True], ids=["never sent", "sent and lost"])
async def test_a_stop_survives_a_manager_that_dies_before_it_was_heard(world: World, heard: bool) -> None:
    workflow = await launched(world)
    await world.manager.stop(workflow.queue_id)
    if not heard:
        world.reconciler.executor.send = lost  # type: ignore[method-assign]
    await world.turns()
    assert attempt(await world.workflow(workflow.queue_id), LOADER).stop_asked_ms is not None
    await world.die()
    world.bus.log["queue-control"].clear()
    await world.start()
    await world.turns()
    assert [c["target"] for c in world.commands("stop")] == [LOADER]


async def lost(*commands: Command) -> None:
    raise RetryableError(f"no answer: {commands[0].command} is lost")


async def test_a_stop_before_the_exchange_has_answered_stays_a_stop(world: World, gate: asyncio.Event) -> None:
    hold_back(world.exchange, "symbol_info", gate)
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
    exchange_of(world).candles = never  # type: ignore[method-assign]
    await world.turns(3)
    await world.manager.stop(workflow.queue_id)
    await world.turns(3)
    assert (await world.workflow(workflow.queue_id)).status is Status.INTERRUPTED
    segments = (await world.manager.coverage(workflow.queue_id)).segments
    assert [segment.verdict.value for segment in segments] == ["stored", "unknown"]
    assert [key for key in world.reconciler.dispatcher.running if key[0] == "Prove"] == [], (
        "its answer could come after a retry"
    )


async def stop_with_messages(world: World, workflow: Workflow, *, committed: int = 0) -> None:
    """Five candles and a marker are on the topic; the workflow is asked to stop, and its loader has finished."""
    marker = EndOfStream(producer="loader-api-candles__abc123", attempt=1, records=5, reason="interrupted")
    candles = [Message(b"k%d" % number, b"{}") for number in range(5)]
    await (await world.bus.producer()).send(workflow.topic, [*candles, Message(EOS_KEY, encode_marker(marker))])
    if committed:
        consumer = await world.bus.consumer(workflow.topic, group=names.consumer_group(workflow.queue_id, SINK))
        await consumer.commit({0: committed})
        await consumer.close()
    await world.manager.stop(workflow.queue_id)
    await world.turns()
    finish(world, workflow, LOADER)


async def left_of(world: World, workflow: Workflow) -> int | None:
    """What the sink has left, once the workflow is interrupted."""
    await world.turns(8)
    found = await world.workflow(workflow.queue_id)
    assert found.status is Status.INTERRUPTED
    assert step(found, LOADER).left is None
    return step(found, SINK).left


@pytest.mark.parametrize(("stored", "left"), [(0, 5), (3, 2), (5, 0)])
async def test_what_a_sink_that_sent_no_event_left_on_its_topic_is_reported(
    world: World, stored: int, left: int
) -> None:
    workflow = await launched(world)
    await stop_with_messages(world, workflow, committed=stored)
    world.launcher.end(attempt(workflow, SINK).job, signal=9)  # it had not even begun
    assert await left_of(world, workflow) == left
    await world.manager.retry(workflow.queue_id)
    assert step(await world.workflow(workflow.queue_id), SINK).left is None


async def test_what_a_sink_between_two_attempts_left_on_its_topic_is_reported(world: World) -> None:
    workflow = await launched(world)
    world.say(said(workflow, SINK, "error", error="no disk"))
    world.launcher.end(attempt(workflow, SINK).job, exit_code=1)
    await world.turns(2, seconds=0)
    await stop_with_messages(world, workflow)
    assert await left_of(world, workflow) == 5


async def test_of_a_sink_that_has_reported_it_nothing_is_counted(world: World) -> None:
    workflow = await launched(world)
    await stop_with_messages(world, workflow)
    world.say(said(workflow, SINK, "interrupted", extra={"exit_code": 0, "left": 4}))
    world.launcher.end(attempt(workflow, SINK).job, exit_code=0)
    assert await left_of(world, workflow) is None
