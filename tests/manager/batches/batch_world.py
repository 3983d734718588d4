"""A manager with batches, whose exchange lists as many symbols as a test wants."""

from __future__ import annotations

from collections.abc import Iterable

from streamforge.manager.batches.requests import BatchRequest
from streamforge.manager.batches.service import View
from streamforge.manager.engine.document import Failure, Status, Workflow
from streamforge.manager.policy import Policy
from streamforge.manager.workflows.series.model import SeriesProof
from streamforge_utils.ports.archive import Archive
from streamforge_utils.ports.exchange import SymbolInfo
from tests.doubles.manualclock import ManualClock
from tests.manager.execution.world import exchange_of
from tests.manager.support import NOW, World, changed, replace

EXPECTED = 1440
TYPE, DAY = "api_candles_1m", "2024-08-01"


def symbols(count: int) -> tuple[str, ...]:
    return tuple(f"S{number:03d}USDT" for number in range(count))


def request(*names: str, **fields: object) -> BatchRequest:
    return replace(BatchRequest(symbols=names, type=TYPE, time_range=DAY), **fields)


async def batch_world(count: int, policy: Policy | None = None, archive: Archive | None = None) -> World:
    """A manager that has just begun; the exchange lists `count` symbols, each third of them delisted."""
    world = World(clock=ManualClock(NOW), policy=policy or Policy(), archive=archive)
    exchange_of(world).listed = [
        SymbolInfo(symbol=symbol, status="BREAK" if number % 3 == 2 else "TRADING")
        for number, symbol in enumerate(symbols(count))
    ]
    await world.start()
    return world


async def begun(world: World, *names: str, key: str | None = None, **fields: object) -> str:
    started = await world.manager.batches.start(request(*names, **fields), idempotency_key=key)
    return started.view.batch.batch_id


async def look(world: World, times: int = 1) -> None:
    """Let the driver look at the batches; the loop stands still."""
    driver = world.reconciler.batches
    assert driver is not None
    for _ in range(times):
        await driver.look()


async def shown(world: World, batch_id: str) -> View:
    return await world.manager.batches.get(batch_id)


def statuses(view: View) -> dict[str, int]:
    return view.batch.totals.statuses


def live(world: World) -> list[Workflow]:
    """The workflows that have not ended, oldest first."""
    return [stored.workflow for stored in world.deps.workflows.live.values()]


async def end(
    world: World, workflows: Iterable[Workflow], status: Status = Status.FINISHED, stored: int = EXPECTED
) -> None:
    """Let these workflows end."""
    now_ms = world.clock.now_ms()
    failure = Failure(reason="the store is full", next_step="make room") if status is Status.ERROR else None
    proof = SeriesProof(round=1, checked_ms=now_ms, expected=EXPECTED if stored else 0, stored=stored, segments=())
    ended = {"status": status, "ended_ms": now_ms, "failure": failure, "proof": proof}
    for one in workflows:
        await world.deps.workflows.change(one.queue_id, lambda workflow: changed(workflow, **ended))


async def all_workflows(world: World) -> list[Workflow]:
    return list(await world.deps.workflows.find(limit=10_000))
