"""What is away, bad or silent holds up nothing else."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from streamforge.manager.api.app import create_app
from streamforge.manager.engine.document import Status, Workflow
from streamforge.manager.engine.execution import reconciler as reconciling
from streamforge.manager.engine.lifecycle.conditions import Conditions
from streamforge.manager.engine.lifecycle.decision import decide
from streamforge.manager.engine.persistence.workflow_store import KIND
from streamforge.manager.health.readiness import LATE_S
from streamforge.manager.persistence.installation import instant
from streamforge.manager.policy import Policy
from streamforge_utils.model.errors import ConfigError, RetryableError
from streamforge_utils.ports.bus import Message
from tests.doubles.manualclock import ManualClock
from tests.doubles.memorybus import MemoryBus
from tests.limits import LIMIT_S
from tests.manager.api.support import client_of
from tests.manager.execution.world import finish, launched, store_bars
from tests.manager.support import LOADER, SINK, World, attempt, planned, replace, said


async def test_workers_that_nobody_listened_to_are_not_taken_for_silent(world: World) -> None:
    workflow = await launched(world)
    await world.die()
    assert isinstance(world.clock, ManualClock)
    world.clock.advance(3_600)
    await world.start()
    await world.turns(20)
    assert world.launcher.stopped == []
    await world.turns(12)
    assert sorted(world.launcher.stopped) == sorted(attempt(workflow, target).job for target in (LOADER, SINK))


@pytest.mark.parametrize("broken", ["bus", "store", "launcher"])
async def test_when_something_was_away_for_long_all_goes_on(world: World, broken: str) -> None:
    workflow = await launched(world)
    part: MemoryBus = getattr(world, broken)
    part.failing = RetryableError("no answer")
    world.say(said(workflow, LOADER, "loading", records=2))
    for _ in range(3):
        with pytest.raises(RetryableError):
            await world.turns(seconds=30)
    part.failing = None
    await world.turns(3)
    assert world.launcher.stopped == []
    store_bars(world, workflow)
    finish(world, workflow)
    await world.turns(4)
    assert (await world.workflow(workflow.queue_id)).status is Status.FINISHED


async def test_the_loop_survives_whatever_is_raised(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    errors = iter([RuntimeError("a bug"), ConfigError("x"), RetryableError("y")])
    turns = 0
    turn = world.reconciler.turn

    async def failing() -> None:
        nonlocal turns
        turns += 1
        for error in errors:
            raise error
        await turn()

    monkeypatch.setattr(world.reconciler, "turn", failing)
    monkeypatch.setattr(world.reconciler, "HURRY_S", 0.01)
    monkeypatch.setattr(world.reconciler, "LOOK_EVERY_S", 0.01)
    running = asyncio.create_task(world.reconciler.run())
    assert isinstance(world.clock, ManualClock)
    for number in (1, 2, 3):
        async with asyncio.timeout(LIMIT_S):
            while turns < number:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.001)
            await world.clock.sleeping(1)
        assert turns == number
        assert world.reconciler.last_error is not None
        world.clock.advance(1)
    async with asyncio.timeout(LIMIT_S):
        while world.reconciler.last_look is None:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.005)
    assert world.reconciler.last_error is None
    assert world.observer.counts["reconcile_failures_total"] == 3
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_workflows_of_a_loop_that_fails_for_long_are_said_to_be_undriven(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue_id = (await launched(world)).queue_id
    world.say(said(await world.workflow(queue_id), SINK, "loading", records=10, rate=5.0))
    await world.turns()
    monkeypatch.setattr(world.reconciler, "LOOK_EVERY_S", 0.01)
    assert isinstance(world.clock, ManualClock)
    world.clock.advance(1)
    async with client_of(create_app(world.manager)) as client:

        async def asked() -> dict[str, Any]:
            [found] = (await client.get("/queues")).json()["queues"]
            assert (found["queue_id"], found["status"]) == (queue_id, "running")
            return dict(found)

        world.launcher.failing = RetryableError("it does not answer")
        running = asyncio.create_task(world.reconciler.run())
        async with asyncio.timeout(LIMIT_S):
            while world.reconciler.last_error is None:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.001)
        since = instant(world.clock.now_ms())
        world.clock.advance(LATE_S - 0.001)
        found = await asked()
        assert (found["undriven"], found["progress"]["rate"]) == (None, 5.0), "it may come back at once"
        world.clock.advance(600 - LATE_S)
        found = await asked()
        why = f"the manager has not looked at the workflows since {since}: it does not answer"
        assert (found["undriven"], found["waiting_for"]) == (why, f"a manager: {why}")
        assert (found["progress"]["rate"], found["progress"]["eta_seconds"]) == (0.0, None)
        world.launcher.failing = None
        async with asyncio.timeout(LIMIT_S):
            while world.reconciler.last_look is None:
                world.clock.advance(0.01)
                await asyncio.sleep(0.001)
        assert (await asked())["undriven"] is None
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_workflow_that_cannot_be_reconciled_is_left_for_later_with_all_it_has_to_hear(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = await launched(world, planned(code="aaaaaa")), await launched(world, planned(code="bbbbbb"))
    broken = True

    def deciding(workflow: Workflow, now_ms: int, policy: Policy, facts: Conditions) -> object:
        if broken and workflow.queue_id == bad.queue_id:
            raise ZeroDivisionError
        return decide(workflow, now_ms, policy, facts)

    monkeypatch.setattr(reconciling, "decide", deciding)
    for workflow in (bad, good):
        store_bars(world, workflow)
        finish(world, workflow)
    await world.turns(8, seconds=0.5)
    assert (await world.workflow(good.queue_id)).status is Status.FINISHED
    assert (await world.workflow(bad.queue_id)).status is Status.RUNNING
    failures = world.observer.counts["workflow_failures_total"]
    assert 2 <= failures <= 3, "tried again, ever more seldom"
    broken = False
    await world.turns(8)
    assert (await world.workflow(bad.queue_id)).status is Status.FINISHED
    assert {word for _, _, word in world.words(bad.queue_id)} == {"finished"}


async def test_a_damaged_document_stops_nobody_and_its_jobs_are_left_alone(world: World) -> None:
    bad, good = await launched(world, planned(code="aaaaaa")), await launched(world, planned(code="bbbbbb"))
    await world.die()
    world.store.damage(KIND, bad.queue_id, b"{")
    await world.start()
    world.say(said(bad, LOADER, "loading"))
    store_bars(world, good)
    finish(world, good)
    await world.turns(5)
    assert (await world.workflow(good.queue_id)).status is Status.FINISHED
    assert world.launcher.stopped == []
    assert len(world.launcher.running()) == 2


async def test_events_that_make_no_sense_are_passed_over(world: World) -> None:
    workflow = await launched(world)
    for value in (b"", b"{}", b"[1]", b"\xff", b'{"event":"shout","queue_id":"a","producer":"p","target":"t"}'):
        world.bus.append("queue-events", Message(None, value))
    world.say(replace(said(workflow, LOADER, "finished"), queue_id="../../etc/passwd"))
    world.say(replace(said(workflow, LOADER, "finished"), queue_id="wf-nobody-20240801-zzzzzz"))
    await world.turns()
    assert world.observer.counts["events_malformed_total"] == 5
    assert world.observer.counts["events_foreign_total"] == 2
    assert len(await world.manager.events(workflow.queue_id)) == 2
