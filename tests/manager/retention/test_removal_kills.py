"""A removal, a retention and a second copy are completed after a manager that died at any write."""

from __future__ import annotations

from pathlib import Path

from streamforge.manager.bars.store import COLLECTION as ROLLUPS
from streamforge.manager.bars.store import Rollups
from streamforge.manager.policy import RetentionRule
from streamforge.manager.retention.driver import CollectionRetention
from streamforge.manager.workflows.history.proof import prove
from streamforge.manager.workflows.series.model import Plan, loaded_series
from streamforge_utils.adapters.object_storage.object_folder import ObjectFolder
from streamforge_utils.model.coverage import Verdict
from tests.doubles.manualclock import ManualClock
from tests.manager.retention.removal_rig import (
    FIRST,
    OTHER,
    SECOND,
    TWO_DAYS,
    Killed,
    counts,
    ended_and_stored,
    kill_at,
    later,
    revive,
    statements_hold,
    store,
)
from tests.manager.support import (
    DAY_START,
    NOW,
    World,
    replace,
    rest,
)


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
