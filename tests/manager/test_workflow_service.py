from __future__ import annotations

import asyncio
from collections.abc import Iterator
from unittest.mock import AsyncMock

import pytest

from streamforge.manager.engine.document import Status, StepStatus
from streamforge.manager.engine.persistence.bans import KIND as BAN
from streamforge.manager.engine.refusals import NotFound, NotNow
from streamforge.manager.policy import Policy
from streamforge.manager.use_cases import KeyReused, StartRequest
from streamforge.manager.workflows.series.model import loaded_series, plan_of, proof_of
from streamforge_utils.model.errors import BannedError, ConfigError, InvalidInput, RetryableError
from streamforge_utils.ports.exchange import SymbolInfo
from tests.doubles.scriptedexchange import ScriptedExchange
from tests.manager.support import (
    DAY_START,
    LOADER,
    MINUTE_MS,
    POLICY,
    SINK,
    World,
    accepted,
    attempt,
    decide_running,
    ended,
    job_named,
    put,
    replace,
    said,
    stored_day,
)

REQUEST = StartRequest(symbol="BTCUSDT", type="api_candles_1m", time_range="2024-08-01")
NEXT_DAY = StartRequest(symbol="BTCUSDT", type="api_candles_1m", time_range="2024-08-02")


def codes(*wanted: str) -> Iterator[str]:
    yield from wanted


# Starting


@pytest.mark.parametrize("listed", [True, False, None], ids=["one is like it", "none is", "no list"])
async def test_a_symbol_that_the_exchange_does_not_know_is_refused_at_once(
    world: World, listed: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange = world.exchange
    assert isinstance(exchange, ScriptedExchange)
    if listed:
        exchange.listed = [
            SymbolInfo(symbol=f"{base}{quote}", status=status, base_asset=base, quote_asset=quote)
            for base, quote, status in [
                ("NOSUCH", "USDT", "BREAK"),
                ("NOSUCH", "USDC", "TRADING"),
                ("ETH", "USDC", "TRADING"),
            ]
        ]
    if listed is None:
        monkeypatch.setattr(exchange, "symbols", AsyncMock(side_effect=RetryableError("not now")))
    with pytest.raises(InvalidInput) as refused:
        await world.manager.start(replace(REQUEST, symbol="NOSUCH"))
    hint = "did you mean NOSUCHUSDC?" if listed else "GET /symbols lists what it has"
    assert (refused.value.field, str(refused.value)) == (
        "symbol",
        f"NOSUCH is not a symbol of the exchange: {hint}",
    )
    assert not world.deps.workflows.live


async def test_an_exchange_that_does_not_answer_keeps_nobody_from_asking(world: World) -> None:
    assert isinstance(world.exchange, ScriptedExchange)
    world.exchange.failing = RetryableError("no route")
    assert (await world.manager.start(REQUEST))[0].status is Status.PENDING
    world.exchange.failing = BannedError("banned", until_ms=world.clock.now_ms() + 60_000, retry_after=60)
    assert (await world.manager.start(REQUEST))[0].status is Status.PENDING
    assert world.reconciler.bans.ban.until_ms > world.clock.now_ms()
    assert (BAN, BAN) not in world.store.states, "the loop alone stores it"
    await world.reconciler.turn()
    assert (BAN, BAN) in world.store.states


async def test_too_many_are_refused_for_now() -> None:
    world = World(policy=Policy(max_live=1))
    await world.start()
    await world.manager.start(REQUEST)
    with pytest.raises(RetryableError) as refused:
        await world.manager.start(NEXT_DAY)
    assert refused.value.retry_after == 30


async def test_two_workflows_never_share_a_code(world: World) -> None:
    """Jobs are named by symbol, target and code alone."""
    drawn = codes("aaaaaa", "aaaaaa", "bbbbbb")
    await world.start(lambda: next(drawn))
    one, *_ = await world.manager.start(REQUEST)
    other, *_ = await world.manager.start(replace(REQUEST, time_range="2024-08-02"))
    assert (one.queue_id[-6:], other.queue_id[-6:]) == ("aaaaaa", "bbbbbb")


async def test_no_code_left_is_said(world: World) -> None:
    await world.start(lambda: "aaaaaa")
    await world.manager.start(REQUEST)
    with pytest.raises(RetryableError, match="no free queue_id"):
        await world.manager.start(NEXT_DAY)


async def test_the_same_key_many_times_at_once_gives_one_workflow(world: World) -> None:
    answers = await asyncio.gather(*(world.manager.start(REQUEST, idempotency_key="k") for _ in range(8)))
    assert len({workflow.queue_id for workflow, *_ in answers}) == 1
    assert sum(started.new for started in answers) == 1
    assert len(world.deps.workflows.live) == 1


async def test_a_repeated_key_is_answered_at_once_where_nothing_new_would_be_accepted() -> None:
    world = World(policy=replace(POLICY, max_live=1))
    await world.start()
    one, *_ = await world.manager.start(REQUEST, idempotency_key="k")
    with pytest.raises(RetryableError, match="waiting or running"):
        await world.manager.start(NEXT_DAY, idempotency_key="other")
    assert isinstance(world.exchange, ScriptedExchange)
    world.exchange.failing = AssertionError("the exchange was asked")
    same, new, *_ = await world.manager.start(REQUEST, idempotency_key="k")
    assert (same.queue_id, new) == (one.queue_id, False)
    with pytest.raises(KeyReused):
        await world.manager.start(replace(REQUEST, again=True), idempotency_key="k")


@pytest.mark.parametrize("lost", range(1, 4))
async def test_a_crash_at_any_write_leaves_a_request_that_can_be_sent_again(lost: int) -> None:
    """The code, the reservation and the workflow are three writes: the manager dies after one of them."""
    world = World()
    await world.start()
    writes = 0
    put_state = world.store.put

    async def dying(kind: str, id: str, body: bytes, **fields: object) -> object:
        nonlocal writes
        state = await put_state(kind, id, body, **fields)  # type: ignore[arg-type]
        writes += 1
        if writes == lost:
            raise asyncio.CancelledError
        return state

    world.store.put = dying  # type: ignore[method-assign, assignment]
    with pytest.raises(asyncio.CancelledError):
        await world.manager.start(REQUEST, idempotency_key="k")
    await world.start()
    workflow, new, *_ = await world.manager.start(REQUEST, idempotency_key="k")
    assert new is (lost < 3)
    assert list(world.deps.workflows.live) == [workflow.queue_id]
    assert len([id for kind, id in world.store.states if kind == "workflow"]) == 1


# Pinging


async def answering(world: World, queue_id: str, *telemetry: str) -> None:
    """Workers that answer the next ping, and one that answers another one's."""
    workflow = await world.manager.get(queue_id)
    while not (pings := world.commands("ping")):
        await world.bus.sent.wait()
    for of in workflow.steps:
        if of.telemetry_id in telemetry:
            pong = replace(said(workflow, of.target, "pong"), ping_ts=pings[0]["sent_at"], ponged_at=1.0)
            for listener in tuple(world.reconciler.listeners):
                listener(replace(pong, ping_ts=1.5))
                listener(replace(pong, queue_id="wf-other-20240801-aaaaaa"))
                listener(pong)


async def test_a_ping_tells_who_answered_and_who_did_not(world: World) -> None:
    queue_id = await put(world, decide_running())
    loader, sink = (f"{target}__abc123" for target in (LOADER, SINK))
    asking = asyncio.create_task(world.manager.ping(queue_id, timeout_s=0.2))
    await answering(world, queue_id, loader)
    answers = await asking
    assert answers[loader] is not None
    assert answers[sink] is None
    assert world.reconciler.listeners == set()
    world.bus.log["queue-control"].clear()
    asking = asyncio.create_task(world.manager.ping(queue_id, timeout_s=50))
    await answering(world, queue_id, loader, sink)
    assert all(seconds is not None for seconds in (await asking).values()), (
        "all have answered: nothing more to wait for"
    )


async def test_where_nobody_runs_nobody_is_asked(world: World) -> None:
    queue_id = await put(world, accepted())
    assert set((await world.manager.ping(queue_id)).values()) == {None}
    assert world.commands("ping") == []


# Retrying


@pytest.mark.parametrize("status", [Status.INTERRUPTED, Status.ERROR])
async def test_a_retry_is_planned_anew_under_new_names(world: World, status: Status) -> None:
    queue_id = await ended(world, status)
    again = await world.manager.retry(queue_id)
    assert (again.status, plan_of(again), proof_of(again), again.stop_asked_ms, again.ended_ms) == (
        Status.PENDING, None, None, None, None,
    )  # fmt: skip
    assert not again.surveyed
    assert {(s.status, s.round_from, s.failures, len(s.attempts)) for s in again.steps} == {
        (StepStatus.WAITING, 2, 0, 1)
    }
    assert queue_id in world.deps.workflows.live
    with pytest.raises(NotNow):
        await world.manager.retry(queue_id)


# Removing


async def test_removing_forgets_all_but_the_records(world: World) -> None:
    queue_id = await ended(world)
    workflow = await stored_day(world, queue_id)
    await world.manager.remove(queue_id)
    with pytest.raises(NotFound):
        await world.manager.get(queue_id)
    assert await world.bus.topics() == ["queue-control", "queue-events"]
    assert sorted(world.launcher.forgotten) == sorted(attempt(workflow, target).job for target in (LOADER, SINK))
    assert await world.deps.history.read(queue_id, after=-1, limit=9) == []
    assert len(world.store.documents[workflow.collection]) == 5
    assert len(await world.deps.coverage.of(loaded_series(workflow))) == 1


async def test_removing_with_data_takes_the_workflows_range_and_its_coverage_alone(world: World) -> None:
    queue_id = await ended(world)
    workflow = await stored_day(world, queue_id)
    await world.manager.remove(queue_id, data=True)
    assert [k[-13:] for k in world.store.documents[workflow.collection]] == [
        str(DAY_START - 2 * MINUTE_MS),
        str(DAY_START - MINUTE_MS),
    ]
    assert [(s.start_ms, s.end_ms) for s in await world.deps.coverage.of(loaded_series(workflow))] == [
        (DAY_START - 2 * MINUTE_MS, DAY_START)
    ]


async def test_an_empty_collection_is_removed_with_its_data(world: World) -> None:
    queue_id = await ended(world)
    workflow = await stored_day(world, queue_id)
    world.store.documents[workflow.collection] = {
        key: document
        for key, document in world.store.documents[workflow.collection].items()
        if int(key[-13:]) >= DAY_START
    }
    await world.manager.remove(queue_id, data=True)
    assert workflow.collection not in world.store.documents


async def test_a_workflow_whose_document_is_damaged_can_be_removed(world: World) -> None:
    queue_id = await put(world, decide_running())
    workflow = await stored_day(world, queue_id)
    world.launcher.known["job"] = job_named("job", queue_id=queue_id)
    world.store.damage("workflow", queue_id, b"{")
    await world.start()
    assert queue_id in world.deps.workflows.unreadable
    with pytest.raises(ConfigError, match="remove the workflow"):
        await world.manager.get(queue_id)
    with pytest.raises(InvalidInput, match="without data"):
        await world.manager.remove(queue_id, data=True)
    await world.manager.remove(queue_id)
    with pytest.raises(NotFound):
        await world.manager.get(queue_id)
    assert world.deps.workflows.unreadable == {}
    assert (world.launcher.stopped, world.launcher.forgotten) == (["job"], ["job"])
    assert await world.bus.topics() == ["queue-control", "queue-events"]
    assert await world.deps.history.read(queue_id, after=-1, limit=9) == []
    assert len(world.store.documents[workflow.collection]) == 5


async def test_what_is_being_removed_is_not_started_again(world: World) -> None:
    queue_id = await ended(world)
    workflow = await stored_day(world, queue_id)
    removing = asyncio.create_task(world.manager.remove(queue_id, data=True))
    while not removing.done():
        await asyncio.sleep(0)
        with pytest.raises((NotNow, NotFound)):
            await world.manager.retry(queue_id)
    await removing
    assert workflow.queue_id not in world.deps.workflows.live
    with pytest.raises(NotFound):
        await world.manager.retry(queue_id)


async def test_what_is_being_started_again_is_not_removed(world: World) -> None:
    queue_id = await ended(world)
    retrying = asyncio.create_task(world.manager.retry(queue_id))
    await asyncio.sleep(0)
    with pytest.raises(NotNow):
        await world.manager.remove(queue_id, data=True)
    assert (await retrying).status is Status.PENDING
