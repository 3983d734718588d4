from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from streamforge.manager.persistence.bans import KIND as BAN
from streamforge.manager.policy import Policy
from streamforge.manager.service import KeyReused, NotFound, NotNow, StartRequest
from streamforge.manager.workflow import Status, StepStatus
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.errors import BannedError, ConfigError, InvalidInput, RetryableError
from streamforge_utils.model.series import Series
from streamforge_utils.ports.exchange import SymbolInfo
from tests.doubles.scriptedexchange import ScriptedExchange
from tests.manager.stored import ended, put, stored_day
from tests.manager.support import (
    DAY_START,
    LOADER,
    MINUTE_MS,
    NOW,
    POLICY,
    SINK,
    World,
    accepted,
    attempt,
    decide_running,
    job_named,
    replace,
)

REQUEST = StartRequest(symbol="BTCUSDT", type="api_candles_1m", time_range="2024-08-01")
NEXT_DAY = StartRequest(symbol="BTCUSDT", type="api_candles_1m", time_range="2024-08-02")


def codes(*wanted: str) -> Iterator[str]:
    yield from wanted


# Starting


async def test_a_request_is_stored_before_it_is_answered(world: World) -> None:
    workflow, new, *_ = await world.manager.start(REQUEST)
    assert new
    assert workflow.status is Status.PENDING
    assert ("workflow", workflow.queue_id) in world.store.states
    assert world.launcher.started == []


async def test_what_the_exchange_does_not_know_is_refused_at_once(world: World) -> None:
    with pytest.raises(InvalidInput) as refused:
        await world.manager.start(replace(REQUEST, symbol="NOSUCH"))
    assert refused.value.field == "symbol"
    assert str(refused.value) == "NOSUCH is not a symbol of the exchange: GET /symbols lists what it has"
    assert not world.deps.workflows.live


async def test_the_symbol_that_was_probably_meant_is_named(world: World) -> None:
    assert isinstance(world.exchange, ScriptedExchange)
    world.exchange.listed = [
        SymbolInfo(symbol=f"{base}{quote}", status=status, base_asset=base, quote_asset=quote)
        for base, quote, status in [
            ("NOSUCH", "USDT", "BREAK"),
            ("NOSUCH", "USDC", "TRADING"),
            ("ETH", "USDC", "TRADING"),
        ]
    ]
    with pytest.raises(InvalidInput, match=r"NOSUCH is not a symbol of the exchange: did you mean NOSUCHUSDC\?"):
        await world.manager.start(replace(REQUEST, symbol="NOSUCH"))


async def test_a_list_that_cannot_be_had_does_not_hide_that_the_symbol_is_unknown(world: World) -> None:
    assert isinstance(world.exchange, ScriptedExchange)

    async def refused() -> list[SymbolInfo]:
        raise RetryableError("not now")

    world.exchange.symbols = refused  # type: ignore[method-assign]
    with pytest.raises(InvalidInput, match="NOSUCH is not a symbol of the exchange: GET /symbols lists"):
        await world.manager.start(replace(REQUEST, symbol="NOSUCH"))


async def test_series_are_listed_page_by_page_last_first(world: World) -> None:
    stored = Segment(start_ms=NOW, end_ms=NOW + 60_000, verdict=Verdict.STORED, collection="c", records=1)
    names = [Series(f"S{number}USDT", "candles", "1m") for number in range(5)]
    for name in names:
        await world.deps.coverage.learn(name, [stored])
    listed: list[Series] = []
    cursor: str | None = None
    while True:
        page = await world.manager.series(cursor=cursor, limit=2)
        listed += [one.series for one in page.series]
        assert [list(one.segments) for one in page.series] == [[stored]] * len(page.series)
        cursor = page.cursor
        if cursor is None:
            break
    assert listed == names[::-1]
    with pytest.raises(InvalidInput, match="cursor 'gone' is not one of this server"):
        await world.manager.series(cursor="gone")


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


async def test_the_same_key_and_request_give_the_same_workflow(world: World) -> None:
    one, new, *_ = await world.manager.start(REQUEST, idempotency_key="k")
    same, again, *_ = await world.manager.start(REQUEST, idempotency_key="k")
    assert (one.queue_id, new, again) == (same.queue_id, True, False)
    with pytest.raises(KeyReused):
        await world.manager.start(replace(REQUEST, again=True), idempotency_key="k")
    other, *_ = await world.manager.start(NEXT_DAY, idempotency_key="K")
    assert other.queue_id != one.queue_id


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


# Finding


async def test_pages_of_workflows(world: World) -> None:
    for number in range(5):
        await put(world, accepted(f"00000{number}", created_ms=NOW + number))
    page = await world.manager.find(limit=2)
    assert [w.queue_id[-1] for w in page.workflows] == ["4", "3"]
    page = await world.manager.find(limit=2, cursor=page.cursor)
    page = await world.manager.find(limit=2, cursor=page.cursor)
    assert ([w.queue_id[-1] for w in page.workflows], page.cursor) == (["0"], None)
    assert (await world.manager.find(limit=5)).cursor is None
    assert (
        len((await world.manager.find(statuses=[Status.PENDING], symbol="btcusdt", type="api_candles_1m")).workflows)
        == 5
    )
    assert (await world.manager.find(statuses=[Status.ERROR])).workflows == []
    with pytest.raises(InvalidInput) as refused:
        await world.manager.find(cursor="wf-nobody-20240801-zzzzzz")
    assert refused.value.field == "cursor"


async def test_nobody_knows_what_is_not_there(world: World) -> None:
    nobody = "wf-nobody-20240801-zzzzzz"
    manager = world.manager
    for call in (
        manager.get, manager.stop, manager.retry, manager.remove, manager.ping, manager.events, manager.coverage,
        manager.dead_letters, manager.replay_dead_letters,
    ):  # fmt: skip
        with pytest.raises(NotFound, match=nobody):
            await call(nobody)


# Stopping, retrying


async def test_stopping_twice_is_stopping_once(world: World) -> None:
    queue_id = await put(world, decide_running())
    first = await world.manager.stop(queue_id)
    assert first.status is Status.STOPPING
    assert await world.manager.stop(queue_id) == first


async def test_what_has_ended_cannot_be_stopped_and_what_goes_on_not_retried(world: World) -> None:
    queue_id = await ended(world, Status.FINISHED)
    with pytest.raises(NotNow, match="finished"):
        await world.manager.stop(queue_id)
    with pytest.raises(NotNow, match="finished"):
        await world.manager.retry(queue_id)


@pytest.mark.parametrize("status", [Status.INTERRUPTED, Status.ERROR])
async def test_a_retry_is_planned_anew_under_new_names(world: World, status: Status) -> None:
    queue_id = await ended(world, status)
    again = await world.manager.retry(queue_id)
    assert (again.status, again.plan, again.proof, again.stop_asked_ms, again.ended_ms) == (
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


async def test_what_goes_on_is_not_removed(world: World) -> None:
    queue_id = await put(world, decide_running())
    with pytest.raises(NotNow, match="stop it"):
        await world.manager.remove(queue_id)


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
    assert len(await world.deps.coverage.of(workflow.series)) == 1


async def test_removing_with_data_takes_the_workflows_range_and_its_coverage_alone(world: World) -> None:
    queue_id = await ended(world)
    workflow = await stored_day(world, queue_id)
    await world.manager.remove(queue_id, data=True)
    assert [k[-13:] for k in world.store.documents[workflow.collection]] == [
        str(DAY_START - 2 * MINUTE_MS),
        str(DAY_START - MINUTE_MS),
    ]
    assert [(s.start_ms, s.end_ms) for s in await world.deps.coverage.of(workflow.series)] == [
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
