"""The end of a live workflow that was stopped, while others keep what it needs from answering."""

from __future__ import annotations

import pytest

from streamforge.manager.engine.document import Status
from streamforge.manager.engine.execution.dispatcher import Kind, Work
from streamforge.manager.workflows.live.ends import closed
from tests.manager.execution.world import never
from tests.manager.live_world import begun, end_jobs, live_world, minutes, pass_time, store, wanted
from tests.manager.support import replace
from tests.manager.workflows.live.live_rig import a_rig


async def test_it_does_not_wait_for_proofs_that_hang() -> None:
    world = await live_world()
    live = await begun(world, wanted())
    dispatcher = world.reconciler.dispatcher
    for kind in (Kind.PROVING, Kind.SURVEYING):
        for number in range(kind):
            dispatcher.begin_work(Work(("hangs", kind.name, str(number)), kind, never()))
    await pass_time(world, 130, alive=[live.queue_id])
    store(world, live, minutes(100, 101))
    await world.manager.stop(live.queue_id)
    await world.turns()
    await end_jobs(world, live.queue_id, "interrupted")
    assert (await world.workflow(live.queue_id)).status is Status.FINISHED
    await world.die()


@pytest.mark.e2e
@pytest.mark.usefixtures("ticks")
async def test_an_exchange_that_hangs_leaves_time_to_prove_what_is_stored() -> None:
    rig = await a_rig()
    rig.store(*range(1, 9))
    rig.world.exchange.page = never  # type: ignore[method-assign]
    now_ms, policy = rig.world.clock.now_ms(), rig.world.deps.policy
    stopped = replace(rig.workflow, stop_asked_ms=now_ms - int((policy.live_stop_s - 3) * 1000))
    proven = await closed(rig.world.deps, stopped, rig.ledger, 1, ask=True)
    # Only the exchange knows whether the eighth is the last one of its millisecond.
    assert (proven.left, proven.proof.stored) == ({}, 7)
