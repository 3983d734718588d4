"""Whether a manager's parts work: asked now and then, however many want to know."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from structlog.testing import capture_logs

from streamforge.manager.health.readiness import FRESH_S
from streamforge_utils.model.errors import RetryableError
from tests.doubles.manualclock import ManualClock
from tests.manager.support import World


async def test_readiness_names_what_is_wrong() -> None:
    clock = ManualClock()
    world = World(clock=clock)
    await world.start()
    assert (await world.manager.readiness.look())["reconciler"] == "it has not looked at the workflows yet"
    clock.advance(FRESH_S)
    world.store.failing = RetryableError("no disk")
    world.launcher.failing = RuntimeError("a bug")
    world.reconciler.last_error = "stuck"
    ready = await world.manager.readiness.look()
    assert ready == {"bus": None, "store": "no disk", "launcher": "a bug", "reconciler": "stuck"}
    world.store.failing = world.launcher.failing = world.reconciler.last_error = None
    clock.advance(FRESH_S)
    world.reconciler.last_look = clock.monotonic()
    assert set((await world.manager.readiness.look()).values()) == {None}
    clock.advance(FRESH_S)
    world.launcher.unseen = "the API server cannot be reached"
    assert (await world.manager.readiness.look())["launcher"] == "the API server cannot be reached"
    world.reconciler.last_look = clock.monotonic() - 31
    assert "not looked for 31 s" in str((await world.manager.readiness.look())["reconciler"])


async def test_readiness_asks_each_part_once_however_many_ask_and_again_when_that_is_old() -> None:
    clock = ManualClock()
    world = World(clock=clock)
    await world.start()
    asked, answering = 0, asyncio.Event()
    names = world.store.names

    async def slow_names() -> Sequence[str]:
        nonlocal asked
        asked += 1
        await answering.wait()
        return await names()

    world.store.names = slow_names  # type: ignore[method-assign]
    asking = [asyncio.create_task(world.manager.readiness.look()) for _ in range(1000)]
    await world.settle()
    asking[0].cancel()
    await world.settle()
    assert asked == 1, "the others wait for the answer, also where the first has gone"
    answering.set()
    assert all(found["store"] is None for found in await asyncio.gather(*asking[1:]))
    clock.advance(FRESH_S - 0.1)
    await world.manager.readiness.look()
    assert asked == 1
    clock.advance(0.1)
    await world.manager.readiness.look()
    assert asked == 2


async def test_what_does_not_work_is_logged_once_and_so_is_its_end() -> None:
    clock = ManualClock()
    world = World(clock=clock)
    await world.start()
    with capture_logs() as logs:
        for failing in (None, RetryableError("no disk"), RetryableError("no disk"), None, None):
            world.store.failing = failing
            await world.manager.readiness.look()
            clock.advance(FRESH_S)
    assert [(line["part"], line.get("error")) for line in logs] == [("store", "no disk"), ("store", None)]
