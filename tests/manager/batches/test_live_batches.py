"""Batches of live workflows: all of them go on at once, and are stopped and retried together."""

from __future__ import annotations

from typing import Any

import pytest

from streamforge.manager.batches.model import BatchStatus
from streamforge.manager.batches.presentation import batch_summary
from streamforge.manager.engine.document import Status
from streamforge.manager.policy import Policy
from streamforge.manager.workflows.live.model import Ledger
from tests.manager.batches.batch_world import batch_world, begun, end, live, look, shown, statuses, symbols
from tests.manager.support import NOW, World, changed, replace

COUNT = 5


async def a_batch(**fields: Any) -> tuple[World, str]:
    world = await batch_world(COUNT, Policy(batch_live=2))
    asked = {"type": "ws_candles_1m", "time_range": "", **fields}
    batch_id = await begun(world, "*USDT", **asked)
    await look(world, 3)
    return world, batch_id


async def test_a_pattern_fits_what_is_traded_and_all_of_it_runs_at_once() -> None:
    world, batch_id = await a_batch()
    names = symbols(COUNT)
    assert [one.symbol for one in live(world)] == [names[0], names[1], names[3], names[4]]
    assert {one.requested for one in live(world)} == {"now:"}
    for one in live(world)[:3]:
        ledger = Ledger(stream_ms=NOW, from_ms=NOW, proven_ms=NOW + 1)
        change = lambda workflow, ledger=ledger: changed(workflow, status=Status.RUNNING, ledger=ledger)  # noqa: E731
        await world.deps.workflows.change(one.queue_id, change)
    summary = batch_summary(await shown(world, batch_id))
    assert (summary.status, summary.live) == ("running", {"live": 3})
    assert (summary.counts.running, summary.counts.pending) == (3, 1)


async def test_what_all_that_run_wait_for_the_batch_waits_for() -> None:
    world, batch_id = await a_batch()
    first, second, *_ = live(world)
    for one, reason, told in ((first, "a ban", "a ban"), (second, "", None), (second, "a ban", "a ban")):
        change = lambda found, reason=reason: replace(found, status=Status.RUNNING, waiting_for=reason)  # noqa: E731
        await world.deps.workflows.change(one.queue_id, change)
        assert batch_summary(await shown(world, batch_id)).waiting_for == told


async def test_it_is_stopped_and_what_did_not_finish_is_retried() -> None:
    world, batch_id = await a_batch()
    await world.manager.batches.stop(batch_id)
    await look(world, 2)
    assert all(one.stop_asked_ms is not None for one in live(world))
    first, *others = live(world)
    await end(world, others)
    await end(world, [first], Status.INTERRUPTED)
    await look(world, 2)
    assert statuses(await shown(world, batch_id)) == {"finished": 3, "interrupted": 1}
    assert (await shown(world, batch_id)).batch.status is not BatchStatus.RUNNING
    await world.manager.batches.retry(batch_id)
    await look(world, 3)
    assert [one.queue_id for one in live(world)] == [first.queue_id]
    assert (await shown(world, batch_id)).batch.status is BatchStatus.RUNNING


@pytest.mark.parametrize("since", ["last", "2024-08-01"])
async def test_each_goes_on_from_where_it_was_asked_to(since: str) -> None:
    world, _ = await a_batch(since=since, default_start="2024-08-01" if since == "last" else None)
    assert {one.span.start_ms for one in live(world)} == {NOW - 10 * 86_400_000}
