"""A live loader is handed over in the loop: one attempt writes at any time, and none is missed for long."""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from streamforge.manager.engine.document import Status, Workflow
from streamforge.manager.engine.lifecycle.handovers import MOST_SHADOWS
from streamforge.manager.engine.refusals import NotNow
from streamforge.manager.presentation import workflow_answer
from streamforge_utils.model.errors import ConfigError
from streamforge_utils.model.messages import decode_command
from streamforge_utils.ports.launcher import JobState
from tests.manager.live_world import POLICY, begun, end_jobs, live_world, speak, wanted
from tests.manager.support import LOADER, SINK, World, attempt, replace, said, step
from tests.manager.workflows.live.test_live_kills import Mortal


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = await live_world()
    yield world
    await world.die()


def job(number: int) -> str:
    return "job-loader-api-candles-btcusdt-abc123" + ("" if number == 1 else f"-{number}")


async def tell(world: World, live: Workflow, number: int, word: str = "loading", **stream: Any) -> None:
    """An attempt of the loader says how its stream does, and the sink that it is there."""
    told, found = {"frame_age_s": 0.1, **stream}, await world.workflow(live.queue_id)
    world.say(said(found, LOADER, word, number=number, extra={"live": told}))
    world.say(said(found, SINK, "loading"))
    await world.turns()


async def beside(world: World, live: Workflow) -> None:
    """A handover is asked for, and the shadow has started."""
    await world.manager.hand_over(live.queue_id)
    await world.turns(2)
    await tell(world, live, 2, "started")
    await tell(world, live, 2, shadow="waiting")


async def handover_of(world: World, live: Workflow) -> Any:
    found = workflow_answer(await world.workflow(live.queue_id))
    return next(one for one in found.steps if one.target == LOADER).handover


def told(world: World, command: str) -> list[tuple[int, Any]]:
    """To which attempts of the loader it was sent, and with what."""
    return [(one["attempt"], one.get("payload")) for one in world.commands(command) if one.get("target") == LOADER]


async def test_the_one_that_writes_is_ended_once_the_other_is_ready_and_that_is_told_once_it_has_ended(
    world: World,
) -> None:
    live = await begun(world, wanted())
    await beside(world, live)
    environment = world.launcher.specs[job(2)].environment
    assert (environment["STREAMFORGE_SHADOW"], environment["STREAMFORGE_ATTEMPT"]) == ("true", "2")
    assert "STREAMFORGE_SHADOW" not in world.launcher.specs[job(1)].environment
    await world.turns(5)
    assert (told(world, "stop"), world.launcher.stopped) == ([], [])
    shown = await handover_of(world, live)
    assert (shown.state, shown.reason, shown.attempt) == ("listening", "somebody asked for it", 2)
    await tell(world, live, 2, shadow="ready")
    assert told(world, "stop") == [(1, {"handover": True})]
    assert (await handover_of(world, live)).state == "taking over"
    world.say(said(await world.workflow(live.queue_id), LOADER, "interrupted", number=1))
    await world.turns(2)
    assert told(world, "takeover") == []  # its process may still be there
    world.launcher.end(job(1), exit_code=0)
    await world.turns(2)
    assert told(world, "takeover") == [(2, None)]
    await world.turns(4)
    assert len(told(world, "takeover")) > 1  # the first one may be lost
    await tell(world, live, 2, shadow="")
    sent = len(told(world, "takeover"))
    await world.turns(5)
    assert len(told(world, "takeover")) == sent
    found = await world.workflow(live.queue_id)
    assert [(one.number, one.outcome) for one in step(found, LOADER).attempts] == [(1, "handed over"), (2, None)]
    assert (found.status, await handover_of(world, live)) == (Status.RUNNING, None)
    assert world.launcher.started.count(attempt(found, SINK).job) == 1
    assert world.words(live.queue_id) == [(step(found, LOADER).telemetry_id, 1, "interrupted")]


async def test_it_takes_over_at_once_from_one_that_dies(world: World) -> None:
    live = await begun(world, wanted())
    await beside(world, live)
    world.launcher.end(job(1), signal=9)
    await world.turns(3)
    assert told(world, "takeover")[0] == (2, None)
    assert world.launcher.running() == [attempt(live, SINK).job, job(2)]
    assert attempt(await world.workflow(live.queue_id), LOADER).number == 2
    assert (step(live, LOADER).telemetry_id, 1, "error") in world.words(live.queue_id)


async def test_one_that_does_not_end_when_it_is_told_is_ended_by_force(world: World) -> None:
    live = await begun(world, wanted())
    await beside(world, live)
    await tell(world, live, 2, shadow="ready")
    await world.turns(12)
    assert world.launcher.stopped == [job(1)]
    assert attempt(await world.workflow(live.queue_id), LOADER).number == 2


async def test_shadows_that_die_are_tried_again_with_pauses_then_given_up_and_the_other_goes_on(world: World) -> None:
    live = await begun(world, wanted())
    await beside(world, live)
    for number in range(2, 2 + MOST_SHADOWS):
        for _ in range(20):
            if job(number) in world.launcher.running():
                break
            await tell(world, live, 1)
        world.launcher.end(job(number), exit_code=1)
        await tell(world, live, 1)
        await tell(world, live, 1)
    for _ in range(30):
        await tell(world, live, 1)
    assert world.launcher.running() == [attempt(live, SINK).job, job(1)]
    assert job(5) not in world.launcher.started
    shown = await handover_of(world, live)
    assert (shown.state, shown.trouble) == ("given up", "code 1 signal None")
    assert [(number, word) for _, number, word in world.words(live.queue_id)] == [(n, "error") for n in (2, 3, 4)]
    assert (await world.workflow(live.queue_id)).status is Status.RUNNING
    await world.manager.hand_over(live.queue_id)
    await world.turns(2)
    assert job(5) in world.launcher.running()


async def test_one_that_takes_too_long_is_ended_and_another_is_tried() -> None:
    world = await live_world(replace(POLICY, handover_within_s=20.0))
    live = await begun(world, wanted())
    await beside(world, live)
    for _ in range(12):
        await tell(world, live, 2, shadow="waiting")
        await tell(world, live, 1)
    assert world.launcher.stopped == [job(2)]
    for _ in range(5):
        await tell(world, live, 1)
    assert job(3) in world.launcher.running()
    assert "it was not ready within 2" in (await handover_of(world, live)).trouble
    await world.die()


async def test_one_that_cannot_be_launched_does_not_end_the_workflow(world: World) -> None:
    live = await begun(world, wanted())
    world.launcher.starting = ConfigError("no such image")
    await world.manager.hand_over(live.queue_id)
    for _ in range(40):
        await tell(world, live, 1)
    shown = await handover_of(world, live)
    assert shown.state == "given up"
    assert "no such image" in shown.trouble
    assert (await world.workflow(live.queue_id)).status is Status.RUNNING
    assert world.launcher.running() == [attempt(live, SINK).job, job(1)]


async def test_another_image_is_a_reason_once_and_for_as_many_workflows_as_the_limits_allow() -> None:
    world = await live_world(replace(POLICY, weight_per_minute=100))
    world.launcher.images[LOADER] = "registry/loader:1"
    live = await begun(world, wanted())
    other = await begun(world, replace(wanted(code="abd123"), symbol="ETHUSDT", collection="other"))
    await world.turns(3)
    assert await handover_of(world, live) is None
    world.launcher.images[LOADER] = "registry/loader:2"
    await world.turns(3)
    shown = await handover_of(world, live)
    assert shown.reason == "it runs image registry/loader:1, and the next attempt image registry/loader:2"
    assert await handover_of(world, other) is None
    await tell(world, live, 2, "started")
    await tell(world, live, 2, shadow="ready")
    world.launcher.end(job(1), exit_code=0)
    world.say(said(await world.workflow(live.queue_id), LOADER, "interrupted", number=1))
    await world.turns(3)
    await tell(world, live, 2, shadow="")
    await world.turns(2)
    assert await handover_of(world, live) is None
    assert (await handover_of(world, other)).state == "starting"
    await world.die()


async def test_a_worker_that_is_being_ended_from_outside_is_replaced(world: World) -> None:
    live = await begun(world, wanted())
    await tell(world, live, 1, leaving=True)
    await world.turns(2)
    assert job(2) in world.launcher.running()
    assert (await handover_of(world, live)).reason == "its process is being ended from outside"


async def test_a_stop_ends_both_and_the_one_that_writes_in_order(world: World) -> None:
    live = await begun(world, wanted())
    await beside(world, live)
    await tell(world, live, 2, shadow="ready")
    await world.manager.stop(live.queue_id)
    await world.turns(2)
    assert world.launcher.stopped == [job(2)]
    assert told(world, "stop")[-1] == (1, None)
    world.say(said(await world.workflow(live.queue_id), LOADER, "interrupted", number=2))
    await end_jobs(world, live.queue_id, "interrupted")
    await world.turns(3)
    found = await world.workflow(live.queue_id)
    assert found.ended
    assert (step(found, LOADER).shadow, step(found, LOADER).handover) == (None, None)
    assert told(world, "takeover") == []
    assert world.launcher.running() == []


async def test_only_a_live_loader_that_runs_can_be_handed_over(world: World) -> None:
    live = await begun(world, wanted())
    await world.manager.stop(live.queue_id)
    with pytest.raises(NotNow, match="does not run"):
        await world.manager.hand_over(live.queue_id)


@pytest.mark.parametrize("number", range(1, 10))
async def test_a_manager_that_dies_at_any_write_comes_to_the_same_end(number: int) -> None:
    world = await live_world()
    live = await begun(world, wanted())
    mortal = Mortal(world, number)

    async def asked() -> None:
        if attempt(await world.workflow(live.queue_id), LOADER).number == 1:
            await world.manager.hand_over(live.queue_id)
        await world.turns(3)

    async def ready() -> None:
        await tell(world, live, 2, "started")
        await tell(world, live, 2, shadow="ready")
        await world.turns(3)

    async def gone() -> None:
        assert told(world, "takeover") == [] or world.launcher.known[job(1)].state is JobState.ENDED
        if world.launcher.known[job(1)].state is JobState.RUNNING:
            world.say(said(await world.workflow(live.queue_id), LOADER, "interrupted", number=1))
            world.launcher.end(job(1), exit_code=0)
        await world.turns(4)

    async def writes() -> None:
        await tell(world, live, 2, shadow="")
        await speak(world, live.queue_id, "loading", SINK)
        await world.turns(3)

    for work in (asked, ready, gone, writes):
        await mortal.survive(work)
    found = await world.workflow(live.queue_id)
    assert [(one.number, one.outcome) for one in step(found, LOADER).attempts] == [(1, "handed over"), (2, None)]
    assert not attempt(found, LOADER).shadow
    assert (step(found, LOADER).handover, step(found, LOADER).shadow) == (None, None)
    assert world.launcher.started == [attempt(found, SINK).job, job(1), job(2)]
    assert world.launcher.running() == [attempt(found, SINK).job, job(2)]
    await world.die()


class Loader:
    """An attempt as it behaves: it obeys commands, late, and writes or listens."""

    def __init__(self, world: World, name: str, chance: random.Random) -> None:
        self.world, self.name, self.chance = world, name, chance
        spec = world.launcher.specs[name]
        self.number = spec.attempt
        self.writes = "STREAMFORGE_SHADOW" not in spec.environment
        self.age = self.read = 0
        self.told: set[str] = set()

    @property
    def alive(self) -> bool:
        return self.world.launcher.known[self.name].state is JobState.RUNNING

    async def live(self, live: Workflow) -> None:
        if not self.alive or self.chance.random() < 0.3:
            return  # it is slow
        self.age += 1
        sent = self.world.bus.messages("queue-control")
        commands = [decode_command(message.value) for message in sent[self.read :]]
        self.read = len(sent)
        self.told |= {one.command for one in commands if (one.target, one.attempt) == (LOADER, self.number)}
        self.writes |= "takeover" in self.told
        found = await self.world.workflow(live.queue_id)
        if "stop" in self.told:
            self.world.say(said(found, LOADER, "interrupted", number=self.number, extra={"exit_code": 0}))
            self.world.launcher.end(self.name, exit_code=0)
            return
        state = "" if self.writes else "ready" if self.age > 3 else "waiting"
        told = {"frame_age_s": 0.1, "shadow": state}
        word = "started" if self.age == 1 else "loading"
        self.world.say(said(found, LOADER, word, number=self.number, extra={"live": told}))


@pytest.mark.parametrize("seed", range(8))
async def test_whatever_dies_and_whenever_never_do_two_attempts_write(seed: int) -> None:
    chance = random.Random(seed)
    world = await live_world()
    live = await begun(world, wanted())
    loaders = {job(1): Loader(world, job(1), chance)}
    loaders[job(1)].age = 1

    async def pass_turn() -> None:
        for one in [*loaders.values()]:
            await one.live(live)
        world.say(said(await world.workflow(live.queue_id), SINK, "loading"))
        await world.turns(hear=chance.random() < 0.8)
        for name in world.launcher.started:
            if name.startswith(job(1)) and name not in loaders:
                loaders[name] = Loader(world, name, chance)
        assert sum(one.alive and one.writes for one in loaders.values()) <= 1

    for _ in range(120):
        what = chance.random()
        alive = [one for one in loaders.values() if one.alive]
        if what < 0.15 and (await world.workflow(live.queue_id)).status is Status.RUNNING:
            with contextlib.suppress(NotNow):
                await world.manager.hand_over(live.queue_id)
        elif what < 0.22 and alive:
            world.launcher.end(chance.choice(alive).name, signal=9)
        elif what < 0.27:
            await world.die()
            await world.start()
        await pass_turn()
    for _ in range(60):
        await pass_turn()
    found = await world.workflow(live.queue_id)
    assert found.status is Status.RUNNING
    assert [one.number for one in loaders.values() if one.alive and one.writes] == [attempt(found, LOADER).number]
    assert len({one.number for one in loaders.values()}) == len(loaders) > 3
    assert sum(one.outcome == "handed over" for one in step(found, LOADER).attempts) > 0
    await world.die()
