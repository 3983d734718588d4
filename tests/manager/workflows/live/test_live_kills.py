"""A manager that dies at any write while a workflow is live: nothing is claimed that is not stored."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from streamforge.manager.engine.document import Status, Workflow
from streamforge.manager.engine.registry import form_of
from streamforge.manager.workflows.live.model import ledger_of
from streamforge_utils.model.coverage import Verdict
from tests.doubles.candles import candle_key
from tests.manager.live_world import (
    SERIES,
    begun,
    end_jobs,
    live_world,
    load,
    minutes,
    pass_time,
    store,
    wanted,
)
from tests.manager.retention.removal_rig import Killed
from tests.manager.support import DAY_START, MINUTE_MS, World

WRITES = 40


class Mortal:
    """Lets the write of that number be the manager's last: it is carried out, and nobody hears of it."""

    def __init__(self, world: World, number: int) -> None:
        self.world, self.left, self.died = world, number, False
        self._put = world.store.put
        setattr(world.store, "put", self._dying(self._put))  # noqa: B010 - a method of the double

    def _dying(self, put: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(*args: object, **more: object) -> object:
            if self.died:
                raise Killed
            answer = await put(*args, **more)
            self.left -= 1
            self.died = self.left == 0
            if self.died:
                raise Killed
            return answer

        return call

    async def check(self) -> None:
        await claims_hold(self.world)

    async def survive(self, work: Callable[[], Awaitable[Any]]) -> None:
        """Do a part of the scenario; where the manager dies in it, again with another one."""
        try:
            await work()
        except Killed:
            assert self.died
        await self.check()
        if self.died:
            setattr(self.world.store, "put", self._put)  # noqa: B010
            await self.world.die()
            self.died, self.left = False, -1
            await self.world.start()
            await self.survive(work)


async def claims_hold(world: World) -> None:
    """All that is called stored is there, and what is proven is called stored."""
    segments = await world.deps.coverage.of(SERIES)
    for one in (one for one in segments if one.verdict is Verdict.STORED):
        there = world.store.documents.get(one.collection or "", {})
        for open_ms in range(one.start_ms, one.end_ms, MINUTE_MS):
            assert candle_key("BTCUSDT", "1m", open_ms) in there
    for stored in world.deps.workflows.live.values():
        ledger = ledger_of(stored.workflow)
        if ledger is not None and ledger.span is not None:
            done = [one for one in segments if one.verdict is Verdict.STORED]
            claimed = range(ledger.span.start_ms, ledger.span.end_ms, MINUTE_MS)
            assert all(any(ms in one.span for one in done) for ms in claimed)


async def supplements(world: World, live: Workflow) -> list[Workflow]:
    found = await world.deps.workflows.find()
    return [one for one in found if form_of(one).parent(one) == live.queue_id]


@pytest.mark.parametrize("number", range(1, WRITES))
async def test_at_any_write(number: int) -> None:
    world = await live_world()
    live = await begun(world, wanted(since=90))
    mortal = Mortal(world, number)

    async def loaded() -> None:
        for one in await supplements(world, live):
            if not one.ended:
                await load(world, one)

    def passing(seconds: int) -> Callable[[], Awaitable[Any]]:
        return lambda: pass_time(world, seconds, alive=[live.queue_id])

    await mortal.survive(passing(30))
    await mortal.survive(loaded)
    await mortal.survive(passing(300))
    store(world, live, minutes(100, 101, 103, 104))
    await mortal.survive(passing(60))
    await mortal.survive(loaded)
    await mortal.survive(passing(40))
    ledger = ledger_of(await world.workflow(live.queue_id))
    assert ledger is not None
    assert (ledger.proven_ms, ledger.open_holes) == (DAY_START + 105 * MINUTE_MS, 0)
    made = await supplements(world, live)
    assert [one.status for one in made] == [Status.FINISHED] * 2

    async def ended() -> None:
        if not (await world.workflow(live.queue_id)).ended:
            await world.manager.stop(live.queue_id)
            await world.turns(2)
            await end_jobs(world, live.queue_id, "interrupted")

    await mortal.survive(ended)
    assert (await world.workflow(live.queue_id)).status is Status.FINISHED
    await world.die()
