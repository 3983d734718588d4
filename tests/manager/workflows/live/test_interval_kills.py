"""A manager that dies at any write while an order book is recorded, stopped and retried: no claim without records."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from streamforge.manager.engine.document import Status
from streamforge.manager.policy import Policy
from streamforge.manager.use_cases import StartRequest
from streamforge.manager.workflows.live.model import ledger_of
from streamforge.manager.workflows.series.requests import check, workflow_of
from streamforge_utils.model.books.records import id_key
from streamforge_utils.model.coverage import Verdict
from streamforge_utils.model.kinds.candles import Interval
from tests.doubles.manualclock import ManualClock
from tests.doubles.scriptedexchange import ScriptedExchange
from tests.manager.support import World, attempt, said, the_proof
from tests.manager.workflows.live.interval_rig import SERIES, STREAM, BookRecords, at, counted, shown
from tests.manager.workflows.live.test_live_kills import Mortal as Dying

LOADER, SINK = "loader-ws-orderbook", "arango-orderbook"
WRITES = 24


class Mortal(Dying):
    """As of candles; what it claims is compared with diffs."""

    async def check(self) -> None:
        segments = await self.world.deps.coverage.of(SERIES)
        for one in (one for one in segments if one.verdict is Verdict.STORED):
            there = self.world.store.documents.get(one.collection or "", {})
            for number in range(1000):
                if one.start_ms <= at(number) < one.end_ms:
                    assert id_key("BTCUSDT", number) in there
        for stored in self.world.deps.workflows.live.values():
            ledger = ledger_of(stored.workflow)
            if ledger is not None and ledger.span is not None:
                assert ledger.span.end_ms <= max(one.end_ms for one in segments)


async def book_world() -> tuple[World, str, BookRecords]:
    """A workflow of an order book whose jobs run and have started, and what they store."""
    now_ms = STREAM + 1000
    exchange = ScriptedExchange(Interval.M1, [], now_ms=now_ms)
    world = World(clock=ManualClock(now_ms), policy=Policy(compare_every_s=5, hole_grace_s=0), exchange=exchange)
    await world.start()
    checked = check(StartRequest(symbol="BTCUSDT", type="ws_orderbook"), now_ms)
    made = workflow_of(checked, code="abc123", now_ms=now_ms, exchange_now_ms=now_ms)
    queue_id = (await world.deps.workflows.create(made)).workflow.queue_id
    await world.turns(3)
    await speak(world, queue_id, "started")
    return world, queue_id, BookRecords(world.store, made.placement)


async def speak(world: World, queue_id: str, word: str) -> None:
    for target in (LOADER, SINK):
        world.say(said(await world.workflow(queue_id), target, word))
    await world.turns()


async def pass_time(world: World, queue_id: str, seconds: int) -> None:
    for _ in range(seconds // 5):
        world.later(4)
        await speak(world, queue_id, "loading")
        world.later(0)


async def stop(world: World, queue_id: str) -> None:
    workflow = await world.workflow(queue_id)
    if workflow.ended:
        return
    await world.manager.stop(queue_id)
    await world.turns(2)
    for target in (LOADER, SINK):
        world.say(said(workflow, target, "interrupted"))
        world.launcher.end(attempt(workflow, target).job, exit_code=0)
    await world.turns(4)


async def retry(world: World, queue_id: str, before: int) -> None:
    if (await world.workflow(queue_id)).epoch <= before:
        await world.manager.retry(queue_id)
    await world.turns(3)
    await speak(world, queue_id, "started")


@pytest.mark.parametrize("number", range(WRITES))
async def test_at_any_write(number: int) -> None:
    world, queue_id, books = await book_world()
    mortal = Mortal(world, number)

    def doing(work: Callable[..., Awaitable[Any]], *given: object) -> Callable[[], Awaitable[Any]]:
        return lambda: work(world, queue_id, *given)

    await books.hear(20, 21, 22)
    await books.end("disconnect")
    await books.hear(30, 31)
    await books.keep(31)  # it never comes to the store
    await books.hear(32, 33)
    await books.keep()
    await mortal.survive(doing(pass_time, 10))
    await books.end("stopped")
    await mortal.survive(doing(stop))
    ended = await world.workflow(queue_id)
    assert (ended.status, ended.surveyed) == (Status.INTERRUPTED, True)
    await books.replay(31)
    await mortal.survive(doing(retry, ended.epoch))
    await books.hear(200, 201)
    await books.keep()
    await mortal.survive(doing(pass_time, 10))
    await books.end("stopped")
    await mortal.survive(doing(stop))
    ended = await world.workflow(queue_id)
    assert (ended.status, ended.failure) == (Status.FINISHED, None)
    found = await world.deps.coverage.of(SERIES)
    assert shown(found) == [
        (20, 23, "stored", ""),
        (23, 30, "lost", "disconnect"),
        (30, 34, "stored", ""),
        (34, 200, "lost", "stopped"),
        (200, 202, "stored", ""),
    ]
    assert counted(found) == 9
    assert (the_proof(ended).stored, the_proof(ended).expected) == (9, 9)
    await world.die()
