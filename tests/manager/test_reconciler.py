from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from streamforge.manager import reconciler as reconciling
from streamforge.manager.deciding import World as Facts
from streamforge.manager.deciding import decide
from streamforge.manager.hearing import MOST, Ear
from streamforge.manager.policy import Policy
from streamforge.manager.repository import KIND
from streamforge.manager.workflow import Status, StepStatus, Workflow
from streamforge_utils.model import names
from streamforge_utils.model.candles import candle_key
from streamforge_utils.model.commands import Command
from streamforge_utils.model.errors import BannedError, ConfigError, PermanentError, RetryableError
from streamforge_utils.ports.bus import Consumer, Message, Received
from streamforge_utils.ports.store import Document, State
from tests.doubles.manualclock import ManualClock
from tests.doubles.memorybus import MemoryBus
from tests.doubles.scriptedexchange import ScriptedExchange
from tests.manager.support import (
    DAY_MS,
    DAY_START,
    LOADER,
    MINUTE_MS,
    NOW,
    POLICY,
    SINK,
    World,
    accepted,
    attempt,
    planned,
    replace,
    said,
    step,
)

OPENS = range(DAY_START, DAY_START + DAY_MS, MINUTE_MS)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World(clock=ManualClock(NOW))
    await world.start()
    yield world
    await world.die()


async def create(world: World, workflow: Workflow) -> str:
    return (await world.parts.workflows.create(workflow)).workflow.queue_id


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


# A whole life


async def test_from_request_to_proof(world: World) -> None:
    queue_id = await create(world, accepted())
    await world.turns(3)
    workflow = await world.workflow(queue_id)
    assert sorted(world.launcher.running()) == [attempt(workflow, SINK).job, attempt(workflow, LOADER).job]
    assert (
        world.launcher.specs[attempt(workflow, LOADER).job].environment["STREAMFORGE_RANGES"] == "2024-08-01:2024-08-02"
    )
    assert set(world.bus.log) >= {workflow.topic, names.dlq_topic(workflow.topic)}
    assert [command["target"] for command in world.commands("start")].count(LOADER) == 1
    store_bars(world, workflow)
    finish(world, workflow)
    await world.turns(3)
    workflow = await world.workflow(queue_id)
    assert workflow.status is Status.FINISHED
    assert [s.verdict.value for s in await world.manager.coverage(queue_id)] == ["stored"]
    assert not world.parts.workflows.live


async def test_a_hole_that_is_ours_is_loaded_again(world: World) -> None:
    workflow = await launched(world)
    store_bars(world, workflow, [*OPENS[:700], *OPENS[703:]])
    finish(world, workflow)
    await world.turns(4)
    workflow = await world.workflow(workflow.queue_id)
    assert (workflow.status, workflow.repairs) == (Status.RUNNING, 1)
    environment = world.launcher.specs[attempt(workflow, LOADER).job].environment
    assert environment["STREAMFORGE_RANGES"] == "2024-08-01T11:40Z:2024-08-01T11:43Z"
    upstream = world.launcher.specs[attempt(workflow, SINK).job].environment["STREAMFORGE_UPSTREAM"]
    assert upstream == "loader-api-candles__abc123:2"
    store_bars(world, workflow)
    finish(world, workflow)
    await world.turns(4)
    assert (await world.workflow(workflow.queue_id)).status is Status.FINISHED


async def test_a_hole_of_the_exchange_is_settled(world: World) -> None:
    workflow = await launched(world)
    there = [*OPENS[:700], *OPENS[703:]]
    exchange_of(world).opens = there
    store_bars(world, workflow, there)
    finish(world, workflow)
    await world.turns(3)
    assert (await world.workflow(workflow.queue_id)).status is Status.FINISHED
    assert [s.verdict.value for s in await world.manager.coverage(workflow.queue_id)] == [
        "stored",
        "exchange",
        "stored",
    ]


async def test_what_waits_for_a_slot_gets_it_in_turn() -> None:
    world = World(clock=ManualClock(NOW), policy=Policy(max_running=1))
    await world.start()
    ids = [await create(world, planned_later(f"00000{n}", NOW + n)) for n in range(3)]
    await world.turns(2)
    assert [(await world.workflow(i)).status.value for i in ids] == ["running", "pending", "pending"]
    await world.die()
    await world.start()
    await world.manager.stop(ids[0])
    await world.turns(25)
    assert [(await world.workflow(i)).status.value for i in ids] == ["interrupted", "running", "pending"]
    await world.die()


def planned_later(code: str, created_ms: int) -> Workflow:
    return accepted(code, created_ms=created_ms)


# Last words


async def test_a_silent_end_gets_one_last_word_and_the_next_attempt(world: World) -> None:
    workflow = await launched(world)
    world.launcher.end(attempt(workflow, LOADER).job, signal=9)
    await world.turns(4)
    workflow = await world.workflow(workflow.queue_id)
    assert world.words(workflow.queue_id) == [("loader-api-candles__abc123", 1, "error")]
    assert attempt(workflow, LOADER).number == 2
    assert step(workflow, LOADER).failures == 0


async def test_a_job_that_disappears_gets_one_last_word(world: World) -> None:
    workflow = await launched(world)
    del world.launcher.known[attempt(workflow, LOADER).job]
    await world.turns(4, hear=False)
    assert world.words(workflow.queue_id) == [("loader-api-candles__abc123", 1, "error")]


async def test_a_last_word_behind_many_events_is_found_before_another_one_is_written(world: World) -> None:
    workflow = await launched(world)
    beat = said(workflow, LOADER, "loading", records=1)
    for _ in range(MOST + 1500):
        world.say(beat)
    world.say(said(workflow, LOADER, "finished"))
    world.launcher.end(attempt(workflow, LOADER).job, exit_code=0)
    await world.die()
    await world.start()
    await world.turns(6)
    assert world.words(workflow.queue_id) == [("loader-api-candles__abc123", 1, "finished")]
    assert step(await world.workflow(workflow.queue_id), LOADER).status is StepStatus.FINISHED


class SlowPoll:
    """A consumer of which the first poll has looked, and found nothing, before the message came."""

    def __init__(self, bus: MemoryBus, gate: asyncio.Event) -> None:
        self._bus = bus
        self._gate = gate
        self._polls = 0

    async def poll(self, max_messages: int, timeout_s: float) -> Sequence[Received]:
        self._polls += 1
        if self._polls == 1:
            await self._gate.wait()
        return self._bus.messages("queue-events") if self._polls == 2 else []

    async def commit(self, offsets: object) -> None: ...

    async def seek(self, partition: object, offset: int) -> None: ...

    async def close(self) -> None: ...


async def test_a_poll_that_had_looked_before_proves_nothing() -> None:
    gate = asyncio.Event()

    class Bus(MemoryBus):
        async def consumer(self, *args: object, **kwargs: object) -> Consumer:
            return SlowPoll(self, gate)

    bus = Bus()
    ear = Ear(bus, bus, "queue-events")
    await ear.wait(asyncio.Event(), 0.01)
    bus.log["queue-events"] = [Received("queue-events", 0, 0, None, b"word", 0)]
    gate.set()
    assert await ear.read_all()
    assert [received.value for received in ear.heard] == [b"word"]
    await ear.close()


async def test_the_ear_waits_no_longer_and_no_shorter_than_it_should() -> None:
    bus = MemoryBus()
    bus.log["queue-events"] = []
    ear, waking, loop = Ear(bus, bus, "queue-events"), asyncio.Event(), asyncio.get_running_loop()
    began = loop.time()
    await ear.wait(waking, 0.3)
    assert 0.29 <= loop.time() - began < 2, "empty polls end no wait"
    loop.call_later(0.01, waking.set)
    await asyncio.wait_for(ear.wait(waking, 30), 5)
    waking.clear()
    loop.call_later(0.01, bus.append, "queue-events", Message(None, b"x"))
    await asyncio.wait_for(ear.wait(waking, 30), 5)
    assert len(ear.heard) == 1
    await ear.commit()
    assert (ear.heard, bus.committed) == ([], {("queue-events", "queue-manager"): 1})
    await ear.close()


# Being away


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
    for _ in range(3):
        await asyncio.wait_for(world.clock.sleeping(1), 5)
        assert world.reconciler.last_error is not None
        world.clock.advance(1)
        await asyncio.sleep(0.005)
    async with asyncio.timeout(5):
        while world.reconciler.last_look is None:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.005)
    assert world.reconciler.last_error is None
    assert world.observer.counts["reconcile_failures_total"] == 3
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


# One that is bad holds up no other


async def test_a_workflow_that_cannot_be_reconciled_is_left_for_later_with_all_it_has_to_hear(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = await launched(world, planned(code="aaaaaa")), await launched(world, planned(code="bbbbbb"))
    broken = True

    def deciding(workflow: Workflow, now_ms: int, policy: Policy, facts: Facts) -> object:
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


async def test_jobs_that_nobody_wants_are_ended(world: World) -> None:
    workflow = await launched(world)
    job = world.launcher.known[attempt(workflow, LOADER).job]
    for name in ("job-stray", attempt(workflow, LOADER).job + "-2"):
        world.launcher.known[name] = replace(job, name=name)
    await world.turns(2)
    assert sorted(set(world.launcher.stopped)) == [attempt(workflow, LOADER).job + "-2", "job-stray"]
    assert len(world.launcher.running()) == 2


# Stopping while things are under way


async def test_a_stop_while_a_job_is_being_launched_says_one_last_word(world: World) -> None:
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
    for _ in range(world.reconciler.SHORT_AT_ONCE):
        await world.reconciler._short.acquire()
    await world.turns()
    await world.manager.stop(queue_id)
    await world.turns()
    for _ in range(world.reconciler.SHORT_AT_ONCE):
        world.reconciler._short.release()
    await world.settle()
    assert world.launcher.started == []
    await world.turns(14)
    assert (await world.workflow(queue_id)).status is Status.INTERRUPTED


async def test_a_stop_is_meant_for_one_attempt(world: World) -> None:
    """Workers read commands from a little before their launch: a retry soon after a stop must not hear the stop."""
    workflow = await launched(world)
    await world.manager.stop(workflow.queue_id)
    await world.turns()
    assert [(c["target"], c["attempt"]) for c in world.commands("stop")] == [(LOADER, 1)]


async def test_a_stop_before_the_exchange_has_answered_stays_a_stop(world: World) -> None:
    gate, exchange = asyncio.Event(), exchange_of(world)
    symbol_info = exchange.symbol_info

    async def slow(symbol: str) -> object:
        await gate.wait()
        return await symbol_info(symbol)

    exchange.symbol_info = slow  # type: ignore[method-assign, assignment]
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
    hanging = asyncio.Event()

    async def never(*_: object, **__: object) -> list[object]:
        await hanging.wait()
        return []

    exchange_of(world).candles = never  # type: ignore[method-assign, assignment]
    await world.turns(3)
    await world.manager.stop(workflow.queue_id)
    await world.turns(3)
    workflow = await world.workflow(workflow.queue_id)
    assert workflow.status is Status.INTERRUPTED
    assert [s.verdict.value for s in await world.manager.coverage(workflow.queue_id)] == ["stored", "unknown"]
    assert [key for key in world.reconciler._running if key[0] == "Prove"] == [], "its answer could come after a retry"


# What fails has an end and a reason


async def turns_until_ended(world: World, queue_id: str, most: int = 60) -> Workflow:
    for _ in range(most):
        await world.turns(seconds=70)
        workflow = await world.workflow(queue_id)
        if workflow.ended:
            return workflow
    raise AssertionError(f"it does not end: {await world.workflow(queue_id)}")


async def test_an_exchange_that_never_answers_ends_the_workflow(world: World) -> None:
    exchange_of(world).failing = RetryableError("no route to the exchange")
    workflow = await turns_until_ended(world, await create(world, accepted()))
    assert workflow.status is Status.ERROR
    assert workflow.failure is not None
    assert workflow.failure.reason == "the exchange was asked 8 times in vain; the last time: no route to the exchange"


async def test_a_ban_is_waited_for_however_long_and_remembered(world: World) -> None:
    until_ms = NOW + 600_000
    exchange_of(world).failing = BannedError("banned", until_ms=until_ms, retry_after=600)
    queue_id = await create(world, accepted())
    await world.turns(20)
    workflow = await world.workflow(queue_id)
    assert (workflow.status, workflow.asking_failures) == (Status.RUNNING, 0)
    assert "ban" in workflow.waiting_for
    await world.die()
    await world.start()
    assert world.reconciler.actor.banned_until_ms == until_ms
    exchange_of(world).failing = None
    await world.turns(3)
    assert (await world.workflow(queue_id)).plan is None
    await world.turns(2, seconds=600)
    assert (await world.workflow(queue_id)).plan is not None


async def test_nobody_can_claim_a_ban_for_ever(world: World) -> None:
    await world.reconciler.actor.remember_ban(NOW + 999 * DAY_MS)
    assert world.reconciler.actor.banned_until_ms <= world.clock.now_ms() + 3 * DAY_MS


async def test_a_ban_that_could_not_be_stored_is_stored_later(world: World) -> None:
    world.store.failing = RetryableError("no disk")
    with pytest.raises(RetryableError):
        await world.reconciler.actor.remember_ban(NOW + 60_000)
    world.store.failing = None
    await world.reconciler.actor.remember_ban(NOW + 60_000)
    writes = len(world.store.puts)
    await world.reconciler.actor.remember_ban(NOW + 60_000)
    assert len(world.store.puts) == writes, "once is enough"
    await world.start()
    assert world.reconciler.actor.banned_until_ms == NOW + 60_000


@pytest.mark.parametrize("error", [PermanentError("no such page"), RuntimeError("a bug")])
async def test_preparing_that_cannot_work_fails_the_workflow_with_its_reason(world: World, error: Exception) -> None:
    exchange_of(world).failing = error
    workflow = await turns_until_ended(world, await create(world, accepted()))
    assert workflow.status is Status.ERROR
    assert workflow.failure is not None
    assert str(error) in workflow.failure.reason
    assert workflow.failure.next_step


async def test_a_job_that_can_never_start_fails_the_workflow(world: World) -> None:
    world.launcher.starting = ConfigError("no such image")
    workflow = await turns_until_ended(world, await create(world, planned()))
    assert workflow.failure is not None
    assert "no such image" in workflow.failure.reason
    assert len(world.words(workflow.queue_id)) <= 2


async def test_a_launcher_that_is_away_is_waited_for_and_its_slowness_is_not_the_workers(world: World) -> None:
    world.launcher.starting = RetryableError("no answer")
    queue_id = await create(world, planned())
    await world.turns(60, seconds=2)
    world.launcher.starting = None
    await world.turns(10)
    assert len(world.launcher.running()) == 2
    assert world.launcher.stopped == []
    assert {len(s.attempts) for s in (await world.workflow(queue_id)).steps} == {1}


async def test_a_store_that_is_away_during_the_proof_is_not_the_exchanges_fault(world: World) -> None:
    workflow = await launched(world)
    store_bars(world, workflow)
    finish(world, workflow)
    keys = world.store.keys

    async def away(*_: object, **__: object) -> Sequence[str]:
        raise RetryableError("the store does not answer")

    world.store.keys = away  # type: ignore[method-assign]
    await world.turns(15)
    found = await world.workflow(workflow.queue_id)
    assert (found.status, found.asking_failures, found.failure) == (Status.RUNNING, 0, None)
    world.store.keys = keys  # type: ignore[method-assign]
    await world.turns(4)
    assert (await world.workflow(workflow.queue_id)).status is Status.FINISHED


async def test_a_survey_that_cannot_be_made_does_not_keep_a_stopped_workflow_from_ending(world: World) -> None:
    workflow = await launched(world)

    async def bug(*_: object, **__: object) -> Sequence[str]:
        raise ValueError("a bug")

    world.store.keys = bug  # type: ignore[method-assign]
    await world.manager.stop(workflow.queue_id)
    assert (await turns_until_ended(world, workflow.queue_id)).status is Status.INTERRUPTED


# Budget, retention


async def test_loaders_are_told_their_share_again_until_it_was_sent(world: World) -> None:
    one = await launched(world, planned(code="aaaaaa"))
    assert world.commands("budget") == []
    send = world.reconciler.actor.send
    failures = 0

    async def failing(command: Command) -> None:
        nonlocal failures
        failures += 1
        raise RetryableError("no answer")

    world.reconciler.actor.send = failing  # type: ignore[method-assign]
    two = await create(world, planned(code="bbbbbb"))
    for _ in range(2):
        with pytest.raises(RetryableError):
            await world.turns()
    world.reconciler.actor.send = send  # type: ignore[method-assign]
    await world.turns(2)
    sent = [(c["queue_id"], c["attempt"], c["payload"]["weight_per_minute"]) for c in world.commands("budget")]
    assert sent == [(one.queue_id, 1, POLICY.weight_per_minute // 2)]
    loader = attempt(await world.workflow(two), LOADER).job
    assert world.launcher.specs[loader].environment["STREAMFORGE_WEIGHT_PER_MINUTE"] == "2100"
    await world.die()
    await world.start()
    await world.turns(2)
    assert len(world.commands("budget")) == 3, "a manager that remembers nothing tells both"


async def test_topics_and_jobs_of_the_past_are_removed(world: World) -> None:
    workflow = await launched(world)
    store_bars(world, workflow)
    finish(world, workflow)
    await world.turns(3)
    await world.turns(2, seconds=3_700)
    workflow = await world.workflow(workflow.queue_id)
    assert workflow.topic_removed
    assert set(world.bus.log) == {"queue-control", "queue-events", names.dlq_topic(workflow.topic)}
    assert world.launcher.known == {}
    await world.turns(2, seconds=7 * 86_400)
    assert (await world.workflow(workflow.queue_id)).dlq_removed
    assert set(world.bus.log) == {"queue-control", "queue-events"}


async def test_a_workflow_that_memory_lacks_is_found(world: World) -> None:
    lost = World()
    lost.store = world.store
    await lost.start()
    queue_id = await create(lost, accepted())
    await world.turns(3, seconds=61)
    assert (await world.workflow(queue_id)).status is Status.RUNNING


async def test_what_was_heard_is_not_lost_when_another_change_comes_first(world: World) -> None:
    workflow = await launched(world)
    put = world.store.put

    async def overtaken(kind: str, id: str, body: bytes, **fields: Any) -> State:
        world.store.put = put  # type: ignore[method-assign]
        state = world.store.states[kind, id]
        await put(kind, id, state.body, expected=state.revision, labels=state.labels)  # whoever else wrote it
        return await put(kind, id, body, **fields)

    world.say(said(workflow, SINK, "finished"))
    world.store.put = overtaken  # type: ignore[method-assign]
    await world.turns()
    assert attempt(await world.workflow(workflow.queue_id), SINK).last_word == "finished"
