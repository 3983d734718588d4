"""Removing records: refused while somebody relies on them, and brought to its end after a kill."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from streamforge.manager.bars.store import COLLECTION as ROLLUPS
from streamforge.manager.bars.store import Rollups
from streamforge.manager.coverage.store import KIND as COVERAGE
from streamforge.manager.coverage.store import SeriesCoverage
from streamforge.manager.engine.document import Status, Workflow
from streamforge.manager.engine.persistence.event_history import COLLECTION as HISTORY
from streamforge.manager.engine.refusals import NotNow
from streamforge.manager.policy import RetentionRule
from streamforge.manager.retention.driver import CollectionRetention
from streamforge.manager.workflows.history import form as history_form
from streamforge.manager.workflows.history.planner import verified
from streamforge.manager.workflows.history.proof import prove
from streamforge.manager.workflows.series.model import Plan, loaded_series, proof_of
from streamforge_utils.adapters.object_storage.object_folder import ObjectFolder
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.timeranges import parse_time_range
from streamforge_utils.ports.store import Document
from tests.doubles.candles import candle_key
from tests.doubles.manualclock import ManualClock
from tests.manager.execution.world import create, finish
from tests.manager.support import (
    DAY_MS,
    DAY_START,
    MINUTE_MS,
    NOW,
    World,
    accepted,
    changed,
    ended,
    replace,
    rest,
    the_plan,
    the_proof,
)

FIRST = range(DAY_START, DAY_START + DAY_MS, MINUTE_MS)
SECOND = range(FIRST.stop, FIRST.stop + DAY_MS, MINUTE_MS)
OTHER = "another_collection"
TWO_DAYS = "2024-08-01:2024-08-03"


@pytest.fixture
async def world() -> World:
    world = World(clock=ManualClock(NOW))
    await world.start()
    return world


def store(world: World, collection: str, opens: range) -> None:
    there = world.store.documents.setdefault(collection, {})
    there |= {k: Document(k, 1, b"{}") for k in (candle_key("BTCUSDT", "1m", time) for time in opens)}


def stored(collection: str, opens: range) -> Segment:
    return Segment(
        start_ms=opens.start, end_ms=opens.stop, verdict=Verdict.STORED, collection=collection, records=len(opens)
    )


async def ended_and_stored(world: World) -> Workflow:
    """A workflow that has stored the first of the exchange's two days, and coverage knows it."""
    workflow = await world.workflow(await ended(world))
    store(world, workflow.collection, FIRST)
    await world.deps.coverage.lay_over(loaded_series(workflow), [stored(workflow.collection, FIRST)])
    return workflow


def later(*, again: bool = False) -> Workflow:
    """A request for both days, into its own collection."""
    return accepted("bbbbbb", time_range=TWO_DAYS, collection=OTHER, again=again)


def counts(world: World) -> dict[str, int]:
    """How many records each collection holds."""
    return {name: len(there) for name, there in world.store.documents.items() if name != HISTORY}


async def statements_hold(world: World, workflow: Workflow) -> None:
    """Coverage calls nothing stored that is not in the collection that it names."""
    for segment in await world.deps.coverage.of(loaded_series(workflow)):
        if segment.verdict is Verdict.STORED:
            there = world.store.documents.get(segment.collection or "", {})
            lacking = [
                time
                for time in range(segment.start_ms, segment.end_ms, MINUTE_MS)
                if candle_key("BTCUSDT", "1m", time) not in there
            ]
            assert lacking == [], segment


async def run_to_its_end(world: World, queue_id: str) -> Workflow:
    """The workers store what they were told to load."""
    for _ in range(30):
        await world.turns(seconds=2)
        workflow = await world.workflow(queue_id)
        if workflow.ended:
            return workflow
        for name in world.launcher.running():
            spec = world.launcher.specs[name]
            if spec.queue_id != queue_id:
                continue
            for text in filter(None, spec.environment.get("STREAMFORGE_RANGES", "").split(",")):
                span = parse_time_range(text)
                store(world, workflow.collection, range(span.start_ms, span.end_ms, MINUTE_MS))
        if len(world.launcher.running()) == 2:
            finish(world, workflow)
    raise AssertionError(f"it does not end: {await world.workflow(queue_id)}")


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


class Killed(asyncio.CancelledError):
    """The process is gone."""


def kill_at(world: World, number: int) -> None:
    """Let the call of that number that changes the store be its last: it is carried out, and nobody hears of it."""
    left = number

    def dying(change: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(*args: object, **more: object) -> object:
            nonlocal left
            answer = await change(*args, **more)
            left -= 1
            if left == 0:
                raise Killed
            return answer

        return call

    for name in ("put", "delete", "drop"):
        setattr(world.store, name, dying(getattr(world.store, name)))


def revive(world: World) -> None:
    for name in ("put", "delete", "drop"):
        delattr(world.store, name)


async def test_a_manager_that_dies_while_it_removes_leaves_nothing_that_is_called_stored_and_gone() -> None:
    died = 0
    for number in range(1, 14):
        world = World(clock=ManualClock(NOW))
        await world.start()
        old = await ended_and_stored(world)
        await Rollups(world.store).write(loaded_series(old), [("1d", DAY_START, "mark", [])])
        kill_at(world, number)
        try:
            await world.manager.remove(old.queue_id, data=True)
        except Killed:
            died += 1
        revive(world)
        await statements_hold(world, old)
        await world.start()
        await world.deps.removal.finish_all()
        await statements_hold(world, old)
        known = await world.deps.coverage.known(loaded_series(old))
        covered = any(segment.verdict is Verdict.STORED for segment in known.segments)
        assert known.leftovers == ()
        assert covered is (old.collection in world.store.documents), "records without coverage are tidied up"
        assert covered is bool(world.store.documents[ROLLUPS]), "and what was made of them"
    assert died > 3, "it died at every write"


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


async def test_a_manager_that_dies_in_retention_drops_the_collection_later(tmp_path: Path) -> None:
    died = 0
    for number in range(1, 6):
        world = World(clock=ManualClock(NOW))
        await world.start()
        old = await ended_and_stored(world)
        policy = replace(world.policy, retention=(RetentionRule("btcusdt_*", 5),))
        retained = ObjectFolder(tmp_path / str(number))
        await Rollups(world.store).write(loaded_series(old), [("1d", DAY_START, "mark", [])])
        kill_at(world, number)
        try:
            await CollectionRetention(replace(world.deps, policy=policy, retained=retained)).apply()
        except Killed:
            died += 1
        revive(world)
        await statements_hold(world, old)
        await world.start()
        await world.deps.removal.finish_all()
        await CollectionRetention(replace(world.deps, policy=policy, retained=retained)).apply()
        assert old.collection not in world.store.documents
        assert not world.store.documents[ROLLUPS]
        known = await world.deps.coverage.known(loaded_series(old))
        assert {(one.verdict, one.cause) for one in known.segments} == {(Verdict.EXPIRED, "retention")}
        assert known.leftovers == ()
    assert died >= 2


@pytest.mark.parametrize(
    ("span", "left", "copied"), [(TWO_DAYS, 0, 2880), ("2024-08-01T12:00Z:2024-08-01T18:00Z", 1080, 360)]
)
async def test_a_load_again_leaves_one_copy(world: World, span: str, left: int, copied: int) -> None:
    old = await ended_and_stored(world)
    queue_id = await create(world, accepted("bbbbbb", time_range=span, collection=OTHER, again=True))
    assert (await run_to_its_end(world, queue_id)).status is Status.FINISHED
    assert counts(world) == {**({old.collection: left} if left else {}), OTHER: copied}
    await statements_hold(world, old)


async def test_a_second_copy_goes_also_if_the_manager_dies_over_it() -> None:
    for number in range(1, 8):
        world = World(clock=ManualClock(NOW))
        await world.start()
        old = await ended_and_stored(world)
        workflow = later(again=True)
        await world.deps.workflows.create(workflow)
        store(world, OTHER, FIRST)
        store(world, OTHER, SECOND)
        plan = Plan(exchange_now_ms=NOW, parts=rest(TWO_DAYS), bars=2880)
        kill_at(world, number)
        try:
            await prove(world.deps, workflow, plan, ask=True)
        except Killed:
            revive(world)
            await statements_hold(world, old)
            await world.start()
            proof = await prove(world.deps, workflow, plan, ask=True)
            assert proof.stored == 2880
        assert counts(world) == {OTHER: 2880}
        assert (await world.deps.coverage.known(loaded_series(old))).leftovers == ()


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
