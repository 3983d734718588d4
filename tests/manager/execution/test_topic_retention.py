"""What is over goes after its time, topics and reservations; one that cannot go holds up no other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

import pytest

from streamforge.manager.coverage.store import SeriesCoverage
from streamforge.manager.engine.document import Status, Workflow
from streamforge.manager.engine.lifecycle.facts import Retry, Stop, grant
from streamforge.manager.engine.persistence.workflow_store import WorkflowStore
from streamforge.manager.engine.stored_document import decode_workflow
from streamforge.manager.persistence.reservations import CODE_KEPT_MS, CODE_KIND
from streamforge.manager.retention import driver as retention_module
from streamforge.manager.retention.driver import EXPIRE_EVERY_S, Retention
from streamforge.manager.workflows.series.model import loaded_series
from streamforge_utils.model import names
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.ports.bus import TopicSpec
from tests.doubles.manualclock import ManualClock
from tests.doubles.scriptedexchange import ScriptedExchange
from tests.manager.execution.world import create, never, retain, unanswered
from tests.manager.support import NOW, POLICY, World, accepted, decide_running, job_named, planned, replace


def retaining(world: World) -> Retention:
    return Retention(world.deps, world.reconciler.executor, world.reconciler.inbox)


def clock(world: World) -> ManualClock:
    assert isinstance(world.clock, ManualClock)
    return world.clock


async def ended(world: World, code: str, *, dead_letters: bool = True) -> Workflow:
    """A workflow that ended just now, with its topics."""
    workflow = replace(accepted(code), status=Status.FINISHED, ended_ms=NOW)
    await world.deps.workflows.create(workflow)
    await world.bus.create_topic(TopicSpec(name=workflow.topic))
    if dead_letters:
        await world.bus.create_topic(TopicSpec(name=names.dlq_topic(workflow.topic)))
    return workflow


async def ended_elsewhere(world: World, workflow: Workflow) -> Workflow:
    """A workflow that another manager has ended just now, with its topics; in memory here it is what it was."""
    await create(world, workflow)
    others = WorkflowStore(world.store)
    await others.load()
    [stored] = others.live.values()
    done = await others.replace(stored, stored.workflow.next_epoch(status=Status.FINISHED, ended_ms=NOW))
    assert workflow.queue_id in world.deps.workflows.live
    await world.bus.create_topic(TopicSpec(name=workflow.topic))
    return done.workflow


async def topics(world: World) -> set[str]:
    return set(await world.bus.topics()) - {"queue-control", "queue-events"}


def stopping() -> Workflow:
    """A workflow that was asked to stop while its jobs were running."""
    return grant(decide_running(), Stop(), NOW)


async def untouched(world: World, workflow: Workflow) -> None:
    """Nothing was done for the workflow but for its topics."""
    assert isinstance(world.exchange, ScriptedExchange)
    assert (world.launcher.started, world.launcher.stopped, world.exchange.asked) == ([], [], [])
    assert world.commands("start") == world.commands("stop") == []
    assert await world.deps.coverage.known(loaded_series(workflow)) == SeriesCoverage(series=loaded_series(workflow))


async def test_only_workflows_that_have_topics_are_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a hundred thousand that have ended few still have any."""
    one = await ended(world, "abc123")
    await world.deps.workflows.create(
        replace(one, queue_id=f"{one.queue_id[:-1]}4", topic_removed=True, dlq_removed=True)
    )
    read: list[str] = []

    def noted(body: bytes) -> Workflow:
        read.append(decode_workflow(body).queue_id)
        return decode_workflow(body)

    monkeypatch.setattr("streamforge.manager.engine.persistence.workflow_store.decode_workflow", noted)
    assert await retaining(world).remove_topics() == 0
    assert read == [one.queue_id]


@pytest.mark.parametrize("make", [accepted, planned, stopping])
async def test_topics_of_what_another_manager_has_ended_go_by_tidying_alone(
    world: World, make: Callable[[], Workflow]
) -> None:
    """As this manager knows the workflow it has not ended: the loop, or what goes on beside it, does nothing."""
    workflow = await ended_elsewhere(world, make())
    clock(world).advance(POLICY.topic_retention_s + 1)
    assert await retaining(world).remove_topics() == 0
    await untouched(world, workflow)
    assert await topics(world) == {workflow.topic}
    assert await world.manager.tidy() == 1
    await untouched(world, workflow)
    assert await topics(world) == set()
    assert await world.workflow(workflow.queue_id) == replace(workflow, topic_removed=True)
    assert await world.manager.tidy() == 0


async def test_a_retry_waits_for_the_removal_of_topics_that_is_under_way(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    workflow = await ended(world, "abc123")
    await world.deps.workflows.change(workflow.queue_id, lambda one: replace(one, status=Status.ERROR))
    delete, going, go = world.bus.delete_topic, asyncio.Event(), asyncio.Event()

    async def slow(name: str) -> None:
        going.set()
        await go.wait()
        await delete(name)

    clock(world).advance(POLICY.topic_retention_s + 1)
    monkeypatch.setattr(world.bus, "delete_topic", slow)
    removing = asyncio.create_task(retaining(world).remove_topics())
    await going.wait()
    retrying = asyncio.create_task(world.manager.retry(workflow.queue_id))
    await world.turns(3)
    assert not retrying.done()
    assert await topics(world) == {workflow.topic, names.dlq_topic(workflow.topic)}
    go.set()
    await removing
    assert (await retrying).status is Status.PENDING
    monkeypatch.undo()
    await world.turns(3)
    assert workflow.topic in await topics(world), "its next attempt has what it needs"


async def test_what_goes_on_again_keeps_its_topics(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    workflow = await ended(world, "abc123")
    await world.deps.workflows.change(workflow.queue_id, lambda one: replace(one, status=Status.ERROR))
    clock(world).advance(POLICY.topic_retention_s + 1)
    # Retention has read the workflow's document, and the retry is granted before it acts.
    async with world.deps.coverage.locks.hold(workflow.topic):
        removing = asyncio.create_task(retaining(world).remove_topics())
        await world.settle()
        await world.deps.workflows.change(workflow.queue_id, lambda one: grant(one, Retry(), world.clock.now_ms()))
    assert await removing == 0
    assert workflow.topic in await topics(world)
    assert not (await world.workflow(workflow.queue_id)).topic_removed


async def test_one_that_cannot_go_holds_up_no_other_and_is_tried_once_each_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention_module, "_WORKFLOWS_A_PAGE", 3)
    stuck = [await ended(world, code) for code in ("aaaaaa", "bbbbbb", "cccccc", "dddddd", "eeeeee", "ffffff")]
    free, live = await ended(world, "gggggg"), await create(world, accepted("llllll"))
    delete = world.bus.delete_topic

    async def fail(name: str) -> None:
        if not name.startswith(free.topic):
            raise RetryableError("it does not answer")
        await delete(name)

    clock(world).advance(POLICY.topic_retention_s + 1)
    with monkeypatch.context() as patch:
        patch.setattr(world.bus, "delete_topic", fail)
        assert await retaining(world).remove_topics() == 1, "what could not be removed is not counted as removed"
    assert free.topic not in await topics(world)
    assert world.observer.counts["action_failures_total{action=RemoveTopics}"] == len(stuck)
    assert await retaining(world).remove_topics() == len(stuck)
    assert (await world.workflow(live)).waiting_for == "", "one that has not ended is left alone"


async def test_what_cannot_be_removed_yet_holds_up_nothing_and_is_counted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    workflow = await ended(world, "abc123")
    clock(world).advance(POLICY.topic_retention_s + 1)
    of = retaining(world)
    with monkeypatch.context() as patch:
        patch.setattr(world.deps.removal, "finish_all", unanswered)
        patch.setattr(world.store, "usage", unanswered)
        await retain(of)
    assert workflow.topic not in await topics(world)
    failed = {name: n for name, n in world.observer.counts.items() if n and name.startswith("action_failures")}
    assert failed == {"action_failures_total{action=Remove}": 1, "action_failures_total{action=Measure}": 1}


async def test_a_workflow_of_a_batch_loses_its_topics_at_once_as_all_is_stored(world: World) -> None:
    workflow = await ended(world, "abc123")
    await world.deps.workflows.change(workflow.queue_id, lambda one: replace(one, batch="b"))
    assert await retaining(world).remove_topics() == 1
    assert await topics(world) == set()
    assert await retaining(world).remove_topics() == 0


async def test_a_code_stays_taken_while_a_job_or_a_topic_has_its_name(world: World) -> None:
    free, job, data, dead = (accepted(code).queue_id for code in ("aaaaaa", "bbbbbb", "cccccc", "dddddd"))
    for queue_id in (free, job, data, dead):
        await world.deps.reservations.code(lambda _, of=queue_id: of)  # type: ignore[misc]
    codes = {state.id for state in await world.store.find(CODE_KIND)}
    assert len(codes) == 4
    for state in await world.store.find(CODE_KIND):
        body = state.body.replace(b'"removed_ms":null', b'"removed_ms":%d' % NOW)
        await world.store.put(CODE_KIND, state.id, body, expected=state.revision, labels={"removed": "yes"})
    world.launcher.known["x"] = job_named("x", queue_id=job)
    await world.bus.create_topic(TopicSpec(name=f"{data}-data"))
    await world.bus.create_topic(TopicSpec(name=f"{dead}-data-dlq"))
    of = retaining(world)
    await retain(of)
    assert len(await world.store.find(CODE_KIND)) == 4, "it is too early"
    clock(world).advance(CODE_KEPT_MS / 1000 + 1)
    await retain(of)
    left = {state.body.decode().split('"queue_id":"')[1].split('"')[0] for state in await world.store.find(CODE_KIND)}
    assert left == {job, data, dead}


async def test_reservations_are_looked_at_now_and_then(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []
    expire = world.deps.reservations.expire

    async def looked(*kept: Collection[str]) -> None:
        looks.append(kept)
        await expire(*kept)

    monkeypatch.setattr(world.deps.reservations, "expire", looked)
    of = retaining(world)
    for seconds, count in ((0, 1), (EXPIRE_EVERY_S - 1, 1), (1, 2), (EXPIRE_EVERY_S - 0.5, 2), (0.5, 3)):
        clock(world).advance(seconds)
        await retain(of)
        assert len(looks) == count, seconds


async def test_a_topic_that_takes_long_to_remove_holds_up_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    *others, slow = [await ended(world, code, dead_letters=False) for code in ("aaaaaa", "bbbbbb", "cccccc")]
    gate, delete = asyncio.Event(), world.bus.delete_topic

    async def held(name: str) -> None:
        if name == slow.topic:
            await gate.wait()
        await delete(name)

    clock(world).advance(POLICY.topic_retention_s + 1)
    monkeypatch.setattr(world.bus, "delete_topic", held)
    removing = asyncio.create_task(retaining(world).remove_topics())
    await world.settle()
    assert await topics(world) == {slow.topic}
    gate.set()
    assert await removing == 1 + len(others)


@pytest.mark.parametrize("part", ["_collections", "_segments"])
async def test_removals_of_records_that_take_long_hold_up_no_topic(
    world: World, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    monkeypatch.setattr(getattr(world.manager.upkeep.retention, part), "apply", never)
    for code in ("abc123", "abc124"):
        workflow = await ended(world, code)
        clock(world).advance(POLICY.topic_retention_s + 1)
        await world.turns(2, seconds=world.reconciler.RETAIN_EVERY_S)
        assert workflow.topic not in await topics(world)
    await world.die()
