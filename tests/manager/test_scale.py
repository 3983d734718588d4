"""A look costs what it must, however many workflows there are."""

from __future__ import annotations

import time

from streamforge.manager.policy import Policy
from streamforge.manager.workflow import Status
from tests.doubles.manualclock import ManualClock
from tests.manager.support import DAY_START, LOADER, NOW, SINK, World, accepted, planned, replace, said

LIVE, ENDED, WAITING = 1_000, 4_000, 3_000


async def best_turn(world: World, turns: int = 3) -> float:
    """Seconds that the fastest of some turns took."""
    took = []
    for _ in range(turns):
        began = time.perf_counter()
        await world.reconciler.turn()
        took.append(time.perf_counter() - began)
        await world.settle()
    return min(took)


async def test_a_thousand_live_and_thousands_of_ended_ones() -> None:
    world = World(clock=ManualClock(NOW), policy=Policy(max_running=LIVE))
    await world.start()
    for number in range(ENDED):
        done = replace(accepted(f"9{number:05d}", created_ms=NOW + number), status=Status.FINISHED, ended_ms=NOW)
        await world.parts.workflows.create(done)
    for number in range(LIVE):
        await world.parts.workflows.create(planned(code=f"{number:06d}"))
    world.reconciler._retained_at = float("inf")  # beside the loop, once a minute
    await world.turns(3)
    assert len(world.launcher.running()) == 2 * LIVE
    for stored in world.parts.workflows.live.values():
        for target in (LOADER, SINK):
            world.say(said(stored.workflow, target, "started"))
    await world.turns()
    assert await best_turn(world) < 0.1
    for stored in world.parts.workflows.live.values():
        for target in (LOADER, SINK):
            world.say(said(stored.workflow, target, "loading", records=1, position=DAY_START))
    await world.reconciler._ear.read_all()
    began = time.perf_counter()
    await world.reconciler.turn()
    assert time.perf_counter() - began < 1.0
    began = time.perf_counter()
    page = await world.manager.find(limit=100)
    assert len(page.workflows) == 100
    assert time.perf_counter() - began < 0.5, "most of it is the double's own sorting"
    await world.die()


async def test_thousands_that_wait_for_a_slot() -> None:
    world = World(clock=ManualClock(NOW))
    await world.start()
    for number in range(WAITING):
        await world.parts.workflows.create(accepted(f"{number:06d}", created_ms=NOW + number))
    await world.reconciler.turn()
    running = [s.workflow for s in world.parts.workflows.live.values() if s.workflow.status is Status.RUNNING]
    assert [w.queue_id[-6:] for w in running] == [f"{number:06d}" for number in range(8)], "the oldest first"
    assert await best_turn(world) < 0.1
    await world.die()
