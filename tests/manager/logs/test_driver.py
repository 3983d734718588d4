"""The log of an attempt outlives its job, and is gone with its workflow."""

from __future__ import annotations

import msgspec
import pytest

from streamforge.manager.logs.driver import LogKeeper
from streamforge.manager.logs.store import COLLECTION, SHARED_BYTES
from streamforge_utils.model.errors import PermanentError, RetryableError
from streamforge_utils.ports.launcher import JobState
from streamforge_utils.runtime.telemetry.logs import TextRedactor
from tests.doubles.manualclock import ManualClock
from tests.manager.execution.world import finish, launched, store_bars, turns_until_ended
from tests.manager.support import LOADER, NOW, SINK, World, attempt, ended, job_named


@pytest.fixture
async def world() -> World:
    world = World(clock=ManualClock(NOW))
    await world.start()
    return world


async def kept(world: World, queue_id: str, target: str = LOADER) -> str | None:
    found = await world.deps.logs.read(queue_id, target, 1)
    return None if found is None else found.text


async def test_it_is_kept_when_its_job_is_seen_to_have_ended_and_goes_with_the_workflow(world: World) -> None:
    workflow = await launched(world)
    queue_id, job = workflow.queue_id, attempt(workflow, LOADER).job
    world.launcher.logs[job] = "it begins\n"
    await world.turns()
    assert await kept(world, queue_id) is None, "it runs"
    world.launcher.logs[job] = "it begins\nit ends: Authorization: Bearer abcdefgh1234\n"
    store_bars(world, workflow)
    finish(world, workflow)
    await turns_until_ended(world, queue_id)
    assert await kept(world, queue_id) == "it begins\nit ends: Authorization: Bearer ***\n"
    assert await kept(world, queue_id, SINK) is None, "the launcher had none"
    assert COLLECTION not in await world.manager.collections(), "they are no records"
    await world.launcher.forget(job)
    assert await kept(world, queue_id) is not None
    await world.manager.remove(queue_id)
    assert await kept(world, queue_id) is None


async def test_what_a_basket_wrote_of_none_of_its_members_is_bounded_and_marked(world: World) -> None:
    workflow = await launched(world)
    job = attempt(workflow, LOADER).job
    world.launcher.known[job] = msgspec.structs.replace(world.launcher.known[job], basket="basket-1")
    own = f'{{"queue_id": "{workflow.queue_id}"}}\n'
    world.launcher.logs[job] = own + "".join(f"{number:0100d}\n" for number in range(500))
    world.launcher.end(job, exit_code=1)
    await world.turns()
    text = await kept(world, workflow.queue_id)
    assert text is not None
    first, *shared = text.splitlines(keepends=True)
    assert first == own
    assert shared == [f"(shared) {number:0100d}\n" for number in range(500 - len(shared), 500)]
    assert SHARED_BYTES - 110 < len("".join(shared)) <= SHARED_BYTES


async def test_the_next_manager_keeps_what_the_last_one_did_not(world: World) -> None:
    workflow = await launched(world)
    job = attempt(workflow, LOADER).job
    world.launcher.logs[job] = "words\n"
    await world.die()
    world.launcher.end(job, exit_code=1)
    await world.start()
    await world.turns()
    assert await kept(world, workflow.queue_id) == "words\n"
    world.launcher.logs[job] = "others\n"
    await world.die()
    await world.start()
    await world.turns()
    assert await kept(world, workflow.queue_id) == "words\n", "it is kept once"


async def test_known_secrets_are_taken_out_and_the_job_of_no_workflow_is_passed_over(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    workflow = await launched(world)
    job = attempt(workflow, LOADER).job
    for name in (job, attempt(workflow, SINK).job):
        world.launcher.end(name, exit_code=1)
        world.launcher.logs[name] = f"{name} hush-hush\n"
    stray = msgspec.structs.replace(world.launcher.known[job], name="stray", queue_id="wf-gone")
    world.launcher.known["stray"], world.launcher.logs["stray"] = stray, "words\n"
    keeper = LogKeeper(msgspec.structs.replace(world.deps, redact=TextRedactor(["hush-hush"])))
    assert keeper.hear(await world.launcher.jobs())
    log, asked = world.launcher.log, list[str]()

    async def watched(name: str) -> str | None:
        asked.append(name)
        return await log(name)

    monkeypatch.setattr(world.launcher, "log", watched)
    await keeper.keep()
    assert "stray" not in asked
    assert await kept(world, workflow.queue_id) == f"{job} ***\n"
    assert len(world.store.documents[COLLECTION]) == 2
    assert not keeper.hear([])


async def test_nothing_stays_of_a_workflow_that_is_removed_while_its_log_is_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue_id = await ended(world)
    workflow = await world.workflow(queue_id)
    job = job_named(attempt(workflow, LOADER).job, queue_id=queue_id, target=LOADER, state=JobState.ENDED)

    async def removing(name: str) -> str | None:
        await world.manager.remove(queue_id)
        return "words\n"

    monkeypatch.setattr(world.launcher, "log", removing)
    keeper = LogKeeper(world.deps)
    keeper.hear([job])
    await keeper.keep()
    assert await kept(world, queue_id) is None


async def test_a_launcher_that_does_not_answer_is_asked_again_and_one_bad_log_holds_up_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    workflow = await launched(world)
    names = [attempt(workflow, target).job for target in (LOADER, SINK)]
    for name in names:
        world.launcher.end(name, exit_code=1)
        world.launcher.logs[name] = "words\n"
    keeper = LogKeeper(world.deps)
    keeper.hear(await world.launcher.jobs())
    world.launcher.failing = RetryableError("away")
    with pytest.raises(RetryableError, match="away"):
        await keeper.keep()
    world.launcher.failing = None
    assert keeper.hear([]), "it is still to be done"
    log = world.launcher.log

    async def damaged(name: str) -> str | None:
        if name == min(names):
            raise PermanentError("damaged")
        return await log(name)

    monkeypatch.setattr(world.launcher, "log", damaged)
    await keeper.keep()
    assert len(world.store.documents[COLLECTION]) == 1
    assert not keeper.hear([])
