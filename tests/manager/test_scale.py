"""A look costs what it must, however many workflows there are: counted in calls, which no busy machine changes."""

from __future__ import annotations

import sys
from types import FrameType

from streamforge.manager.policy import Policy
from streamforge.manager.workflow import Status
from tests.doubles.manualclock import ManualClock
from tests.manager.support import DAY_START, LOADER, NOW, SINK, World, accepted, planned, replace, said


async def calls_of_a_turn(world: World) -> int:
    """How many functions one look calls, with what it sets going."""
    calls = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        await world.reconciler.turn()
    finally:
        sys.setprofile(None)
    await world.settle()
    return calls


async def busy_world(live: int, ended: int) -> World:
    """So many live workflows whose workers have started, beside so many ended ones."""
    world = World(clock=ManualClock(NOW), policy=Policy(max_running=live))
    await world.start()
    for number in range(ended):
        done = replace(accepted(f"9{number:05d}", created_ms=NOW + number), status=Status.FINISHED, ended_ms=NOW)
        await world.deps.workflows.create(done)
    for number in range(live):
        await world.deps.workflows.create(planned(code=f"{number:06d}"))
    world.reconciler._retained_at = float("inf")  # beside the loop, once a minute
    await world.turns(3)
    assert len(world.launcher.running()) == 2 * live
    for stored in world.deps.workflows.live.values():
        for target in (LOADER, SINK):
            world.say(said(stored.workflow, target, "started"))
    await world.turns()
    return world


async def costs(live: int, ended: int) -> tuple[int, int]:
    """Calls of a look at which nothing is new, and of one that hears a heartbeat of every worker."""
    world = await busy_world(live, ended)
    quiet = await calls_of_a_turn(world)
    for stored in world.deps.workflows.live.values():
        for target in (LOADER, SINK):
            world.say(said(stored.workflow, target, "loading", records=1, position=DAY_START))
    await world.reconciler._events.read_all()
    loud = await calls_of_a_turn(world)
    await world.die()
    return quiet, loud


async def test_a_look_grows_with_the_live_workflows_and_not_faster() -> None:
    (quiet_few, loud_few), (quiet_many, loud_many) = await costs(40, 0), await costs(400, 0)
    assert quiet_many < 11 * quiet_few
    assert loud_many < 11 * loud_few


async def test_a_look_does_not_grow_with_the_ended_workflows() -> None:
    for alone, beside in zip(await costs(40, 0), await costs(40, 2000), strict=True):
        assert abs(beside - alone) < 0.01 * alone, "2,000 more calls would be a third"


async def test_thousands_that_wait_for_a_slot_cost_little_each() -> None:
    calls = {}
    for waiting in (300, 3000):
        world = World(clock=ManualClock(NOW))
        await world.start()
        for number in range(waiting):
            symbol = f"S{number}USDT"  # of one series, whose ranges overlap, one would wait for the other
            await world.deps.workflows.create(accepted(f"{number:06d}", created_ms=NOW + number, symbol=symbol))
        await world.reconciler.turn()
        running = [s.workflow for s in world.deps.workflows.live.values() if s.workflow.status is Status.RUNNING]
        assert [w.queue_id[-6:] for w in running] == [f"{number:06d}" for number in range(8)], "the oldest first"
        await world.settle()
        calls[waiting] = await calls_of_a_turn(world)
        await world.die()
    assert calls[3000] < 11 * calls[300]
