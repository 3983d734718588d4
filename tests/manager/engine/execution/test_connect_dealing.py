"""What a manager dealt of the exchange's connections counts for the one that follows it, too."""

from __future__ import annotations

import msgspec
import pytest

from streamforge.manager.engine.persistence.dealt_connects import KIND
from streamforge_utils.model.errors import RetryableError
from tests.manager.engine.execution.test_basket_gathering import many, until_launched
from tests.manager.live_world import POLICY, end_jobs, live_world, pass_time, speak
from tests.manager.support import LOADER, World, attempt, replace

TOTAL = 12
"""Three loaders may be launched in five minutes, and three more connections may be tried by those that run."""
FEW = replace(POLICY, connects=TOTAL, basket_size=1, start_within_s=10_000)


async def launched(world: World, queue_ids: list[str]) -> int:
    """Of how many the loader has been launched."""
    found = [await world.workflow(one) for one in queue_ids]
    return sum(step.attempt is not None for one in found for step in one.steps if step.target == LOADER)


async def all_ended(restarts: bool) -> World:
    """Three live workflows have run, were dealt what there is, and have ended; another manager may have followed."""
    world = await live_world(FEW)
    queue_ids = await many(world, 3)
    await until_launched(world, queue_ids)
    for queue_id in queue_ids:
        await speak(world, queue_id, "started")
    await pass_time(world, 70, alive=queue_ids)
    assert [one["payload"]["connects"] for one in world.commands("budget") if "connects" in one["payload"]] == [1, 1, 1]
    for queue_id in queue_ids:
        await world.manager.stop(queue_id)
        await world.turns(2)
        await end_jobs(world, queue_id, "interrupted")
        assert (await world.workflow(queue_id)).ended
    if restarts:
        await world.die()
        await world.start()
    return world


@pytest.mark.parametrize("restarts", [False, True])
async def test_after_a_restart_no_more_are_launched_than_without_one(restarts: bool) -> None:
    world = await all_ended(restarts)
    queue_ids = await many(world, 3, 3)
    await world.turns(20)
    assert await launched(world, queue_ids) == 0
    await pass_time(world, 150)
    assert await launched(world, queue_ids) == 0
    await pass_time(world, 150)
    assert await launched(world, queue_ids) == 3
    await world.die()


@pytest.mark.parametrize("written", [False, True])
async def test_nothing_is_dealt_that_is_not_stored(monkeypatch: pytest.MonkeyPatch, written: bool) -> None:
    """written: the store has what it said it did not take; it is found there."""
    world = await live_world(FEW)
    put, full = world.store.put, True

    async def limited(kind: str, *given: object, **more: object) -> object:
        if full and kind == KIND:
            if written:
                await put(kind, *given, **more)  # type: ignore[arg-type]
            raise RetryableError("no space is left")
        return await put(kind, *given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(world.store, "put", limited)
    queue_ids = await many(world, 1)
    await until_launched(world, queue_ids)
    await speak(world, queue_ids[0], "started")
    await pass_time(world, 20, alive=queue_ids)
    told = world.commands("budget")
    assert [one["payload"]["connects"] for one in told if "connects" in one["payload"]] == [1] * written
    full = False
    await pass_time(world, 10, alive=queue_ids)
    told = world.commands("budget")
    assert [one["payload"]["connects"] for one in told if "connects" in one["payload"]] == [1]
    job = attempt(await world.workflow(queue_ids[0]), LOADER).job
    stored = await world.store.get(KIND, KIND)
    assert stored is not None
    assert {f"process {job}", f"launch {job}"} <= msgspec.json.decode(stored.body).keys()
    await world.die()
