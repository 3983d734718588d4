"""Codes and keys are kept as long as they mean something, and no longer."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from streamforge.manager.engine.document import Status
from streamforge.manager.persistence.reservations import CODE_KEPT_MS, CODE_KIND, KEY_KEPT_MS, KEY_KIND
from streamforge.manager.use_cases import StartRequest
from streamforge_utils.model import names
from streamforge_utils.model.errors import DamagedFile
from streamforge_utils.ports.bus import TopicSpec
from streamforge_utils.ports.launcher import JobState
from tests.doubles.manualclock import ManualClock
from tests.manager.support import NOW, World, job_named, replace

REQUEST = StartRequest(symbol="BTCUSDT", type="api_candles_1m", time_range="2024-08-01")


async def made() -> World:
    world = World(clock=ManualClock(NOW))
    await world.start()
    return world


async def begun(world: World, key: str = "k") -> str:
    workflow, *_ = await world.manager.start(REQUEST, idempotency_key=key)
    return workflow.queue_id


async def end(world: World, queue_id: str) -> None:
    await world.deps.workflows.change(
        queue_id, lambda w: replace(w, status=Status.FINISHED, ended_ms=NOW, topic_removed=True, dlq_removed=True)
    )


def kept(world: World, kind: str) -> list[str]:
    return [id for of, id in world.store.states if of == kind]


def pass_by(world: World, ms: int) -> None:
    assert isinstance(world.clock, ManualClock)
    world.clock.advance(ms / 1000)


async def test_a_key_is_forgotten_after_its_time_and_its_workflow_is_not() -> None:
    world = await made()
    queue_id = await begun(world)
    pass_by(world, KEY_KEPT_MS)
    await world.deps.reservations.expire(())
    assert await begun(world) == queue_id
    pass_by(world, 1000)
    await world.deps.reservations.expire(())
    assert kept(world, KEY_KIND) == []
    await end(world, queue_id)
    assert await begun(world) != queue_id
    assert len(kept(world, "workflow")) == len(kept(world, CODE_KIND)) == 2


async def test_a_removed_workflow_frees_its_key_at_once_and_its_name_is_not_given_again() -> None:
    world = await made()
    queue_id = await begun(world)
    await end(world, queue_id)
    await world.manager.remove(queue_id)
    assert kept(world, KEY_KIND) == []
    assert kept(world, CODE_KIND) == [queue_id[-6:]]
    assert await begun(world) != queue_id


async def test_a_code_is_free_once_nothing_of_its_workflow_is_left() -> None:
    world = await made()
    queue_id = await begun(world)
    await end(world, queue_id)
    await world.manager.remove(queue_id)
    code = queue_id[-6:]
    pass_by(world, CODE_KEPT_MS)
    await world.deps.reservations.expire(())
    assert kept(world, CODE_KIND) == [code]
    world.launcher.known["job"] = job_named("job", queue_id=queue_id, state=JobState.ENDED)
    await world.turns(2, seconds=700)
    assert kept(world, CODE_KIND) == [code], "a job of it is there"
    world.launcher.known.clear()
    await world.bus.create_topic(TopicSpec(name=names.dlq_topic(names.data_topic(queue_id))))
    await world.turns(2, seconds=700)
    assert kept(world, CODE_KIND) == [code], "a topic of it is there"
    await world.bus.delete_topic(names.dlq_topic(names.data_topic(queue_id)))
    await world.turns(2, seconds=700)
    assert kept(world, CODE_KIND) == []


async def test_a_code_whose_workflow_is_still_there_is_kept() -> None:
    """The removal was cut short after its first step."""
    world = await made()
    queue_id = await begun(world)
    await world.deps.reservations.release(queue_id)
    pass_by(world, CODE_KEPT_MS + 1)
    await world.deps.reservations.expire(())
    assert kept(world, CODE_KIND) == [queue_id[-6:]]


async def test_a_damaged_reservation_is_kept_and_named_and_holds_up_no_other() -> None:
    world = await made()
    codes = []
    for key in ("a", "b", "c"):
        queue_id = await begun(world, key)
        await end(world, queue_id)
        codes.append(queue_id[-6:])
    for queue_id in [id for of, id in world.store.states if of == "workflow"][:2]:
        await world.manager.remove(queue_id)
    damaged, free, used = codes
    world.store.damage(CODE_KIND, damaged, b"{")
    (key,) = kept(world, KEY_KIND)
    world.store.damage(KEY_KIND, key, b"{")
    with pytest.raises(DamagedFile, match=f"reservation {key} cannot be read.*restore"):
        await begun(world, "c")
    pass_by(world, CODE_KEPT_MS + 1)
    with capture_logs() as logs:
        await world.deps.reservations.expire(())
    assert (kept(world, KEY_KIND), kept(world, CODE_KIND)) == ([], [damaged, used]), free
    assert [damaged in log["error"] for log in logs] == [True]
