"""What a topic removed, and what lies behind a marker, in the proof of a workflow that stores it."""

from __future__ import annotations

import pytest

from streamforge.manager.engine.document import Status
from streamforge.manager.workflows.topics.answers import topic_answer
from streamforge.manager.workflows.topics.model import Topics
from streamforge.manager.workflows.topics.requests import TARGET
from tests.manager.support import World, said
from tests.manager.workflows.topics.topic_rig import (
    TOPIC,
    begun,
    counts,
    finish,
    job,
    mark,
    store,
    world_with_topic,
    write,
)


@pytest.fixture
async def world() -> World:
    return await world_with_topic()


async def test_what_the_topic_has_removed_meanwhile_is_told(world: World) -> None:
    workflow = await begun(world)
    await store(world)
    world.bus.starts[TOPIC] = 6
    workflow = await finish(world, workflow)
    assert workflow.status is Status.FINISHED
    assert counts(workflow) == {"stored": 2, "gone": 6}


async def test_what_was_removed_before_it_was_read_is_an_error_that_a_retry_does_not_heal(world: World) -> None:
    workflow = await begun(world)
    await store(world, 2)
    world.bus.starts[TOPIC] = 5
    await store(world)
    now = await world.workflow(workflow.queue_id)
    for number, told in ((1, ["0:2:4", "x", 7]), (0, ["0:2:5"])):  # the other one of an older attempt that still reads
        world.say(said(now, TARGET, "loading", number=number, extra={"skipped": told}))
    workflow = await finish(world, workflow)
    assert workflow.status is Status.ERROR
    assert workflow.failure is not None
    assert "3 offsets of topic orders were removed" in workflow.failure.reason
    assert "partition 0, 2 to before 5" in workflow.failure.reason
    assert "retention.ms" in workflow.failure.next_step
    assert counts(workflow) == {"stored": 2, "skipped": 3, "dead": 1, "gone": 2}
    report, answer = await world.manager.coverage(workflow.queue_id), topic_answer(workflow.part(Topics))
    assert answer is not None
    assert (report.complete, answer.complete) == (False, False)
    await world.manager.retry(workflow.queue_id)
    await world.turns(3)
    assert (await finish(world, workflow)).status is Status.ERROR


async def test_what_was_removed_before_it_was_read_is_an_error_too_for_one_that_is_stopped(world: World) -> None:
    workflow = await begun(world, until="stop")
    await store(world, 2)
    world.bus.starts[TOPIC] = 5
    await store(world)
    world.say(said(await world.workflow(workflow.queue_id), TARGET, "loading", extra={"skipped": ["0:2:5"]}))
    await world.turns(2)
    await world.manager.stop(workflow.queue_id)
    await world.turns(3)
    workflow = await finish(world, workflow, "interrupted")
    assert workflow.status is Status.ERROR
    assert workflow.failure is not None
    assert "partition 0, 2 to before 5" in workflow.failure.reason
    assert counts(workflow) == {"stored": 2, "skipped": 3, "dead": 1, "gone": 2}


async def test_what_was_removed_and_never_read_is_not_said_to_have_been_read(world: World) -> None:
    workflow = await begun(world)
    await store(world, 3)
    world.bus.starts[TOPIC] = 6
    await world.manager.stop(workflow.queue_id)
    await world.turns(3)
    workflow = await finish(world, workflow, "interrupted")
    assert workflow.status is Status.INTERRUPTED
    assert counts(workflow) == {"gone": 3, "unread": 5}


@pytest.mark.parametrize("lost", [None, 10])
async def test_what_lies_behind_the_first_of_many_markers_is_proven_though_it_is_not_committed(
    world: World, lost: int | None
) -> None:
    workflow = await begun(world, until="marker:a,b")
    mark(world, "a")
    write(world, *(b'{"_key":"%s"}' % key for key in (b"x", b"y", b"z")))
    mark(world, "b")
    await store(world, lose=lost)
    world.bus.committed[TOPIC, job(world).environment["STREAMFORGE_GROUP"]] = 8
    now = await world.workflow(workflow.queue_id)
    world.say(said(now, TARGET, "loading", extra={"ends": ["0:0:13", "x"]}))
    world.say(said(now, TARGET, "loading", extra={"ends": ["0:0:12"]}))
    write(world, b'{"later":1}')
    workflow = await finish(world, workflow)
    assert workflow.status is (Status.RUNNING if lost else Status.FINISHED)
    more = {"missing": 1} if lost else {}
    assert counts(workflow) == {"stored": 10 - len(more), "dead": 1, "markers": 2, **more}


async def test_what_was_read_in_full_before_is_not_lost_when_a_second_reading_no_longer_finds_it(world: World) -> None:
    workflow = await begun(world)
    await store(world, lose=4)
    workflow = await finish(world, workflow)
    world.bus.starts[TOPIC] = 3
    await store(world)
    now = await world.workflow(workflow.queue_id)
    world.say(said(now, TARGET, "loading", extra={"skipped": ["0:0:3"]}))
    workflow = await finish(world, workflow)
    assert workflow.status is Status.FINISHED
    assert counts(workflow) == {"stored": 4, "dead": 1, "gone": 3}
