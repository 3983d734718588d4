"""What fails has an end and a reason."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest.mock import AsyncMock

import msgspec
import pytest

from streamforge.manager.engine.document import Status
from streamforge.manager.engine.execution.exchange_limits import ExchangeWaits
from streamforge.manager.engine.persistence.bans import KIND as BAN
from streamforge.manager.engine.persistence.workflow_store import KIND
from streamforge.manager.engine.stored_document import decode_workflow
from streamforge.manager.workflows.series.model import plan_of
from streamforge_utils.model.errors import BannedError, ConfigError, PermanentError, RetryableError
from streamforge_utils.ports.exchange import SymbolInfo
from tests.doubles.candles import candle_key
from tests.manager.execution.world import (
    OPENS,
    create,
    exchange_of,
    finish,
    hold_back,
    launched,
    store_bars,
    stubborn,
    turns_until_ended,
    unanswered,
)
from tests.manager.support import DAY_MS, LOADER, NOW, World, accepted, planned, replace, said, the_plan, the_proof


async def test_an_exchange_that_never_answers_ends_the_workflow(world: World) -> None:
    exchange_of(world).failing = RetryableError("no route to the exchange")
    workflow = await turns_until_ended(world, await create(world, accepted()))
    assert workflow.status is Status.ERROR
    assert workflow.failure is not None
    assert (
        workflow.failure.reason
        == "the exchange did not answer 8 times in a row; the last time: no route to the exchange"
    )


async def test_a_range_of_which_all_is_stored_is_proven_without_the_exchange(world: World) -> None:
    workflow = await launched(world)
    store_bars(world, workflow)
    finish(world, workflow)
    first = await turns_until_ended(world, workflow.queue_id)
    exchange_of(world).failing = RetryableError("no route to the exchange")
    second = await turns_until_ended(world, await create(world, accepted("bbbbbb")), most=3)
    assert (first.status, second.status) == (Status.FINISHED, Status.FINISHED)
    assert (the_proof(second).expected, the_proof(second).stored, the_plan(second).parts) == (
        1440,
        1440,
        (),
    )
    # One bar is gone, or all is wanted again: the exchange is asked.
    for wanted in (accepted("cccccc", again=True), accepted("dddddd", time_range="2024-08-01:2024-08-02T00:01Z")):
        queue_id = await create(world, wanted)
        await world.turns(3)
        waits = (await world.workflow(queue_id)).waiting_for
        assert waits.startswith("the exchange: no route to the exchange; next try at 2024-08-11T")
        assert (await turns_until_ended(world, queue_id)).status is Status.ERROR
    del world.store.documents[workflow.collection][candle_key("BTCUSDT", "1m", OPENS[7])]
    assert (await turns_until_ended(world, await create(world, accepted("eeeeee")))).status is Status.ERROR


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
    assert world.reconciler.bans.ban.until_ms == until_ms
    exchange_of(world).failing = None
    await world.turns(3)
    assert plan_of(await world.workflow(queue_id)) is None
    await world.turns(2, seconds=600)
    assert plan_of(await world.workflow(queue_id)) is not None


async def test_what_the_exchange_is_asked_in_vain_is_said_while_it_is_asked(world: World, gate: asyncio.Event) -> None:
    waits = ExchangeWaits(world.observer, world.clock)
    world.reconciler._deps = replace(world.deps, exchange_waits=waits)
    hold_back(world.exchange, "symbol_info", gate)
    queue_id = await create(world, accepted())
    await world.turns(2)
    assert (await world.workflow(queue_id)).waiting_for == "the exchange: its answer"
    waits.waiting("another try: no connection to https://x:443: No route to host", NOW)
    await world.turns()
    assert "No route to host" in (await world.workflow(queue_id)).waiting_for
    assert not (await world.workflow(queue_id)).failure
    waits.waiting(None)
    gate.set()
    await world.turns(3)
    assert (await world.workflow(queue_id)).waiting_for == ""


async def test_a_worker_s_ban_that_is_heard_late_holds_up_nobody(world: World) -> None:
    """The first is over by now; the second was said four days ago by one who names a time far away."""
    workflow = await launched(world)
    for until_ms, said_ms in ((NOW - 1, NOW - 60_000), (NOW + 999 * DAY_MS, NOW - 4 * DAY_MS)):
        event = said(workflow, LOADER, "loading", extra={"banned_until_ms": until_ms})
        world.say(replace(event, timestamp=said_ms / 1000))
    await world.turns(2)
    queue_id = await create(world, accepted("bbbbbb", symbol="ETHUSDT"))
    await world.turns(2)
    assert plan_of(await world.workflow(queue_id)) is not None
    assert (BAN, BAN) not in world.store.states


@pytest.mark.parametrize(("timestamp", "counts"), [(0.0, True), (1e308, True), (-1e308, True), (5.0, False)])
async def test_whatever_time_a_worker_claims_its_ban_is_judged(world: World, timestamp: float, counts: bool) -> None:
    workflow = await launched(world)
    event = said(workflow, LOADER, "loading", extra={"banned_until_ms": NOW + DAY_MS})
    world.say(replace(event, timestamp=timestamp))
    await world.turns()
    assert world.reconciler.bans.ban.until_ms == (NOW + DAY_MS if counts else 0)


def refuse_late(world: World, gate: asyncio.Event) -> int:
    """Questions to the exchange are answered by a ban, once the gate is open; returns when that ends."""
    until_ms = NOW + 600_000

    async def refused(symbol: str) -> SymbolInfo:
        await stubborn(gate)
        raise BannedError(f"{symbol}: banned", until_ms=until_ms, retry_after=600)

    world.exchange.symbol_info = refused  # type: ignore[method-assign]
    return until_ms


async def test_a_ban_that_a_late_plan_was_told_of_counts_for_all_others(world: World, gate: asyncio.Event) -> None:
    """What the workflow waits for is judged by its epoch; that the exchange refuses everybody is not."""
    answered = world.exchange.symbol_info
    until_ms = refuse_late(world, gate)
    stopped = await create(world, accepted())
    await world.turns()
    world.exchange.symbol_info = answered  # type: ignore[method-assign]
    await world.manager.stop(stopped)
    await world.turns(2)
    gate.set()
    await world.settle()
    other = await create(world, accepted("bbbbbb"))
    await world.turns(2)
    waiting = await world.workflow(other)
    assert plan_of(waiting) is None
    assert waiting.waiting_for == "the end of the exchange's ban at 2024-08-11T00:10Z: BTCUSDT: banned"
    workflow = await world.workflow(stopped)
    assert (workflow.status, workflow.not_before_ms) == (Status.INTERRUPTED, 0)
    assert msgspec.json.decode(world.store.states[BAN, BAN].body)["until_ms"] == until_ms


async def test_a_ban_that_is_received_during_a_pass_is_stored_before_the_workflow_that_was_refused(
    world: World, gate: asyncio.Event
) -> None:
    """The manager dies right after it has stored the workflow."""
    until_ms = refuse_late(world, gate)
    stopped = await create(world, accepted())
    asking = await create(world, accepted("bbbbbb", symbol="ETHUSDT"))
    await world.turns()
    await world.manager.stop(stopped)
    put = world.store.put

    async def dying(kind: str, id: str, body: bytes, **fields: Any) -> Any:
        if id == stopped:  # the first of the pass: the other one is told of the ban meanwhile
            gate.set()
            await world.settle()
        state = await put(kind, id, body, **fields)
        if id == asking:
            raise RetryableError("it has died")
        return state

    world.store.put = dying  # type: ignore[method-assign]
    with pytest.raises(RetryableError, match="it has died"):
        await world.turns()
    await world.die()
    world.store.put = put  # type: ignore[method-assign]
    await world.start()
    assert "banned" in (await world.workflow(asking)).waiting_for
    assert world.reconciler.bans.ban.until_ms == until_ms


@pytest.mark.parametrize("error", [PermanentError("no such page"), RuntimeError("a bug")])
async def test_preparing_that_cannot_work_fails_the_workflow_with_its_reason(world: World, error: Exception) -> None:
    exchange_of(world).failing = error
    workflow = await turns_until_ended(world, await create(world, accepted()))
    assert workflow.status is Status.ERROR
    assert workflow.failure is not None
    assert str(error) in workflow.failure.reason
    assert workflow.failure.next_step


@pytest.mark.parametrize(
    ("error", "counter"),
    [(RetryableError("no route"), "asking_failures"), (RuntimeError("a bug"), "action_failures")],
)
async def test_a_failed_plan_is_counted_once_if_the_store_s_answer_is_lost(
    world: World, error: Exception, counter: str
) -> None:
    """The store keeps what follows from the failure, and its answer does not come."""
    exchange_of(world).failing = error
    put = world.store.put

    async def lost(kind: str, id: str, body: bytes, **fields: Any) -> Any:
        state = await put(kind, id, body, **fields)
        if kind == KIND and getattr(decode_workflow(body), counter):
            world.store.put = put  # type: ignore[method-assign]
            raise RetryableError("the connection broke")
        return state

    queue_id = await create(world, accepted())
    world.store.put = lost  # type: ignore[method-assign]
    await world.turns()
    with pytest.raises(RetryableError, match="the connection broke"):
        await world.turns(seconds=0.5)
    await world.turns(seconds=0.1)
    assert getattr(await world.workflow(queue_id), counter) == 1


async def test_failed_tries_are_counted_over_restarts(world: World) -> None:
    exchange_of(world).failing = RuntimeError("a bug")
    queue_id = await create(world, accepted())
    for number in range(1, world.policy.max_action_failures):
        await world.turns(2)
        assert (await world.workflow(queue_id)).action_failures == number
        await world.die()
        await world.start()
    await world.turns(2)
    failure = (await world.workflow(queue_id)).failure
    assert failure is not None
    assert failure.reason == "Prepare failed again and again: a bug"


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
    waiting = (await world.workflow(queue_id)).waiting_for
    assert waiting == "the start of its workers, tried again and again: no answer"
    world.launcher.starting = None
    await world.turns(10)
    assert (await world.workflow(queue_id)).waiting_for == ""
    assert len(world.launcher.running()) == 2
    assert world.launcher.stopped == []
    assert {len(s.attempts) for s in (await world.workflow(queue_id)).steps} == {1}


async def test_a_store_that_is_away_during_the_proof_is_not_the_exchanges_fault(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    workflow = await launched(world)
    store_bars(world, workflow)
    finish(world, workflow)
    with monkeypatch.context() as patch:
        patch.setattr(world.store, "keys", unanswered)
        await world.turns(15)
    found = await world.workflow(workflow.queue_id)
    assert (found.status, found.asking_failures, found.failure) == (Status.RUNNING, 0, None)
    await world.turns(4)
    assert (await world.workflow(workflow.queue_id)).status is Status.FINISHED


async def test_a_survey_that_cannot_be_made_does_not_keep_a_stopped_workflow_from_ending(world: World) -> None:
    workflow = await launched(world)
    world.store.keys = AsyncMock(side_effect=ValueError("a bug"))  # type: ignore[method-assign]
    await world.manager.stop(workflow.queue_id)
    assert (await turns_until_ended(world, workflow.queue_id)).status is Status.INTERRUPTED
