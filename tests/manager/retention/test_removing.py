"""Removing records: refused while a workflow relies on them, and what a load again leaves."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from streamforge.manager.coverage.store import KIND as COVERAGE
from streamforge.manager.coverage.store import SeriesCoverage
from streamforge.manager.engine.document import Status, Workflow
from streamforge.manager.engine.refusals import NotNow
from streamforge.manager.policy import RetentionRule
from streamforge.manager.retention.driver import CollectionRetention
from streamforge.manager.workflows.history import form as history_form
from streamforge.manager.workflows.history.planner import verified
from streamforge.manager.workflows.history.proof import prove
from streamforge.manager.workflows.series.model import Plan, loaded_series, proof_of
from streamforge_utils.adapters.object_storage.object_folder import ObjectFolder
from streamforge_utils.model.coverage import Verdict
from tests.doubles.candles import candle_key
from tests.doubles.manualclock import ManualClock
from tests.manager.execution.world import create
from tests.manager.retention.removal_rig import (
    FIRST,
    OTHER,
    SECOND,
    TWO_DAYS,
    counts,
    ended_and_stored,
    later,
    run_to_its_end,
    statements_hold,
    store,
    stored,
)
from tests.manager.support import (
    DAY_START,
    MINUTE_MS,
    NOW,
    World,
    accepted,
    changed,
    replace,
    rest,
    the_plan,
    the_proof,
)


@pytest.fixture
async def world() -> World:
    world = World(clock=ManualClock(NOW))
    await world.start()
    return world


async def test_what_a_live_workflow_relies_on_is_not_removed(world: World) -> None:
    old = await ended_and_stored(world)
    queue_id = await create(world, later())
    await world.turns(2)
    planned = await world.workflow(queue_id)
    assert (the_plan(planned).load, the_plan(planned).there) == (("2024-08-02:2024-08-03",), 1440)
    with pytest.raises(NotNow, match=f"workflow {queue_id} is running and relies on records.*wait until it has ended"):
        await world.manager.remove(old.queue_id, data=True)
    assert (await world.workflow(old.queue_id)).queue_id == old.queue_id
    workflow = await run_to_its_end(world, queue_id)
    assert (workflow.status, proof_of(workflow) is not None) == (Status.FINISHED, True)
    assert (the_proof(workflow).expected, the_proof(workflow).stored) == (2880, 2880)
    await world.manager.remove(old.queue_id, data=True)
    assert old.collection not in world.store.documents
    report = await world.manager.reports.of_series("BTCUSDT", "api_candles_1m")
    assert [(s.start_ms, s.end_ms, s.verdict.value, s.collection) for s in report.segments] == [
        (FIRST.start, FIRST.stop, "unknown", None),
        (SECOND.start, SECOND.stop, "stored", OTHER),
    ], "the other workflow was asked for both days"
    await world.manager.remove(queue_id, data=True)
    assert not await world.deps.coverage.of(loaded_series(old)), "nobody is left who was asked for anything"


async def test_what_coverage_says_is_relied_on_also_where_no_record_is_there_any_more(world: World) -> None:
    old = await ended_and_stored(world)
    before = list(await world.deps.coverage.of(loaded_series(old)))
    queue_id = await create(world, later())
    await world.turns(2)
    del world.store.documents[old.collection]
    with pytest.raises(NotNow, match=f"workflow {queue_id} is running and relies on records"):
        await world.manager.remove(old.queue_id, data=True)
    assert [one for one in await world.deps.coverage.of(loaded_series(old)) if one.verdict is Verdict.STORED] == before
    await world.manager.stop(queue_id)
    assert (await run_to_its_end(world, queue_id)).status is Status.INTERRUPTED
    await world.manager.remove(old.queue_id, data=True)
    assert old.collection not in [one.collection for one in await world.deps.coverage.of(loaded_series(old))]


async def test_without_its_data_a_workflow_is_removed_whoever_relies_on_them(world: World) -> None:
    old = await ended_and_stored(world)
    await create(world, later())
    await world.manager.remove(old.queue_id)
    assert len(world.store.documents[old.collection]) == 1440


async def test_what_is_gone_before_the_proof_is_loaded_again(world: World) -> None:
    """As it happened: the day that was left out as "there" is removed behind the manager's back."""
    old = await ended_and_stored(world)
    queue_id = await create(world, later())
    await world.turns(2)
    del world.store.documents[old.collection]
    workflow = await run_to_its_end(world, queue_id)
    assert workflow.status is Status.FINISHED
    assert (workflow.repairs, the_proof(workflow).expected, the_proof(workflow).stored) == (1, 2880, 2880)
    assert len(world.store.documents[OTHER]) == 2880
    await statements_hold(world, workflow)


async def test_a_range_that_is_all_there_is_proven_too_and_repaired(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = await ended_and_stored(world)
    queue_id = await create(world, replace(accepted("bbbbbb"), collection=OTHER))
    key = candle_key("BTCUSDT", "1m", DAY_START + 7 * MINUTE_MS)
    survey = verified

    async def losing(*args: Any) -> SeriesCoverage:
        known = await survey(*args)
        world.store.documents[old.collection].pop(key, None)  # after the coverage was counted for the plan
        return known

    monkeypatch.setattr(history_form, "verified", losing)
    workflow = await run_to_its_end(world, queue_id)
    assert workflow.status is Status.FINISHED
    assert (the_plan(workflow).load, workflow.repairs) == ((), 1)
    assert list(world.store.documents[OTHER]) == [key]
    assert [(s.verdict.value, s.records, s.collection) for s in the_proof(workflow).segments] == [
        ("stored", 7, old.collection),
        ("stored", 1, OTHER),
        ("stored", 1432, old.collection),
    ]
    await statements_hold(world, old)


STEPS = range(0, 400, 3)


@pytest.mark.parametrize("lead", [True, False])
async def test_whatever_the_order_coverage_is_true_and_nothing_finished_lacks_anything(lead: bool) -> None:
    """The removal begins after each number of steps of a load, and a load after each of a removal."""
    for steps in STEPS:
        world = World(clock=ManualClock(NOW))
        await world.start()
        old = await ended_and_stored(world)
        request = later()

        async def load(world: World = world, request: Workflow = request) -> None:
            await world.deps.workflows.create(request)
            known = await verified(world.deps, request)
            assert known.series == loaded_series(request)

        async def remove(world: World = world, old: Workflow = old) -> None:
            try:
                await world.manager.remove(old.queue_id, data=True)
            except NotNow:
                assert "bbbbbb" in str(list(world.deps.workflows.live))

        first, second = (load, remove) if lead else (remove, load)
        begun = asyncio.create_task(first())
        for _ in range(steps):
            await asyncio.sleep(0)
        await asyncio.gather(begun, second())
        await statements_hold(world, old)
        workflow = await run_to_its_end(world, request.queue_id)
        assert workflow.status is Status.FINISHED
        assert (the_proof(workflow).expected, the_proof(workflow).stored) == (2880, 2880), steps
        await statements_hold(world, old)
        await world.die()


async def test_retention_waits_for_who_relies_on_a_collection(world: World, tmp_path: Path) -> None:
    old = await ended_and_stored(world)
    policy = replace(world.policy, retention=(RetentionRule("btcusdt_*", 5),))
    deps = replace(world.deps, policy=policy, retained=ObjectFolder(tmp_path))
    queue_id = await create(world, later())
    await CollectionRetention(deps).apply()
    assert len(world.store.documents[old.collection]) == 1440
    await run_to_its_end(world, queue_id)
    await CollectionRetention(deps).apply()
    assert old.collection not in world.store.documents
    await statements_hold(world, old)


@pytest.mark.parametrize(
    ("span", "left", "copied"), [(TWO_DAYS, 0, 2880), ("2024-08-01T12:00Z:2024-08-01T18:00Z", 1080, 360)]
)
async def test_a_load_again_leaves_one_copy(world: World, span: str, left: int, copied: int) -> None:
    old = await ended_and_stored(world)
    queue_id = await create(world, accepted("bbbbbb", time_range=span, collection=OTHER, again=True))
    assert (await run_to_its_end(world, queue_id)).status is Status.FINISHED
    assert counts(world) == {**({old.collection: left} if left else {}), OTHER: copied}
    await statements_hold(world, old)


async def test_what_another_workflow_is_storing_is_not_taken_for_a_copy(world: World) -> None:
    """Two workflows load the same day: the one that ends last has it, once."""
    one = accepted("aaaaaa", collection="one")
    two = accepted("bbbbbb", collection="two")
    for workflow in (one, two):
        await world.deps.workflows.create(workflow)
    plan = Plan(exchange_now_ms=NOW, parts=rest("2024-08-01"), bars=1440)
    store(world, "one", FIRST)
    store(world, "two", FIRST)
    assert (await prove(world.deps, one, plan, ask=True)).stored == 1440
    assert (await prove(world.deps, two, plan, ask=True)).stored == 1440
    await statements_hold(world, one)
    for queue_id in (one.queue_id, two.queue_id):
        await world.deps.workflows.change(queue_id, lambda w: replace(w, status=Status.FINISHED, ended_ms=NOW))
    await world.deps.removal.finish_all()
    await statements_hold(world, one)
    assert sum(map(len, world.store.documents.values())) == 1440


async def test_an_empty_collection_that_a_live_workflow_writes_to_stays(world: World) -> None:
    old = await ended_and_stored(world)
    await create(world, accepted("bbbbbb", symbol="ETHUSDT", collection=old.collection))
    await world.manager.remove(old.queue_id, data=True)
    assert world.store.documents[old.collection] == {}


@pytest.mark.parametrize("over", [True, False], ids=["a day was planned", "no bar was over"])
async def test_a_removal_meets_what_is_about_to_change_the_coverage(world: World, over: bool) -> None:
    """It changes nothing in it, and what was read before it is out of date all the same."""
    plan = Plan(exchange_now_ms=NOW, until_ms=FIRST.stop if over else FIRST.start)
    queue_id = await create(
        world, changed(accepted(), status=Status.INTERRUPTED, ended_ms=NOW, surveyed=True, plan=plan)
    )
    series = loaded_series(accepted())
    await world.deps.coverage.lay_over(series, [stored(OTHER, SECOND)])
    before = world.store.states[COVERAGE, series.id]
    await world.manager.remove(queue_id)
    after = world.store.states[COVERAGE, series.id]
    assert (after.body, after.revision != before.revision) == (before.body, True)
