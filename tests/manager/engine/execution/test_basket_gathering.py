"""Launches of live loaders that come together are started together, and count as one connection."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest

from streamforge.manager.engine.execution.basket_gathering import GATHER_S, Baskets, Launches, processes_of
from streamforge.manager.policy import Policy
from streamforge_utils.model.errors import ConfigError, RetryableError
from streamforge_utils.model.messages import decode_command
from streamforge_utils.ports.bus import Message
from streamforge_utils.ports.launcher import Job, JobSpec, JobState
from tests.doubles.manualclock import ManualClock
from tests.doubles.scriptedlauncher import ScriptedLauncher
from tests.manager.execution.world import hold_back
from tests.manager.live_world import POLICY, live_world, pass_time, speak, wanted
from tests.manager.support import LOADER, SINK, World, attempt, replace, said


async def many(world: World, count: int, first: int = 0) -> list[str]:
    """So many live workflows, each of a series of its own, just accepted. first: its number."""
    names = [await world.deps.workflows.create(wanted(code=f"abc{100 + first + n}")) for n in range(count)]
    queue_ids = [one.workflow.queue_id for one in names]
    for number, queue_id in enumerate(queue_ids, first):
        await world.deps.workflows.change(queue_id, partial(replace, symbol=f"S{number}USDT"))
    return queue_ids


async def until_launched(world: World, queue_ids: Sequence[str], most: int = 200) -> None:
    for _ in range(most):
        await world.turns(1)
        workflows = [await world.workflow(one) for one in queue_ids]
        if all(step.attempt is not None and step.attempt.observed for one in workflows for step in one.steps):
            return
    raise AssertionError("they were not all launched")


async def world_of(policy: Policy) -> World:
    return await live_world(policy)


async def test_loaders_that_begin_together_are_started_in_baskets_and_sinks_alone() -> None:
    world = await world_of(replace(POLICY, basket_size=10))
    queue_ids = await many(world, 30)
    await until_launched(world, queue_ids)
    loaders = {attempt(await world.workflow(one), LOADER).job for one in queue_ids}
    assert sorted(map(len, world.launcher.together)) == [10, 10, 10]
    assert {job for basket in world.launcher.together for job in basket} == loaders
    assert len(world.launcher.started) == 60
    await world.die()


async def test_as_many_as_fit_into_a_basket_are_launched_at_once() -> None:
    world = await world_of(replace(POLICY, basket_size=25))
    await until_launched(world, await many(world, 25))
    assert [len(basket) for basket in world.launcher.together] == [25]
    await world.die()


async def test_series_that_are_planned_still_are_waited_for() -> None:
    world, gate = await world_of(POLICY), asyncio.Event()
    hold_back(world.exchange, "symbol_info", gate)
    queue_ids = await many(world, 3)
    try:
        await world.turns(3)
        assert [one.target for one in world.launcher.specs.values()] == [SINK, SINK]
    finally:
        gate.set()
    await until_launched(world, queue_ids)
    assert [len(basket) for basket in world.launcher.together] == [3]
    await world.die()


async def test_a_size_of_one_starts_each_alone() -> None:
    world = await world_of(replace(POLICY, basket_size=1))
    queue_ids = await many(world, 5)
    await until_launched(world, queue_ids)
    assert world.launcher.together == []
    await world.die()


async def test_more_series_than_connections_begin_at_once_as_a_basket_has_one() -> None:
    world = await world_of(replace(POLICY, basket_size=10, connects=8))
    queue_ids = await many(world, 20)
    await until_launched(world, queue_ids)
    late = (await world.deps.workflows.create(wanted(code="abc199"))).workflow.queue_id
    await world.turns(5)
    assert (await world.workflow(late)).waiting_for == "its turn to connect to the exchange's streams"
    await world.die()


async def test_each_member_is_told_what_its_process_may_use() -> None:
    world = await world_of(replace(POLICY, basket_size=2, connects=40, weight_per_minute=4000))
    queue_ids = await many(world, 4)
    await until_launched(world, queue_ids)
    for queue_id in queue_ids:
        await speak(world, queue_id, "started")
    await pass_time(world, 10, alive=queue_ids)
    told = {}
    for message in world.bus.messages(world.deps.control_topic):
        command = decode_command(message.value)
        if command.command == "budget":
            told[command.queue_id] = dict(command.payload or {})
    assert told == {one: {"weight_per_minute": 2000, "connects": 2} for one in queue_ids}
    await world.die()


async def test_when_a_basket_dies_its_members_are_made_again_and_grouped_again() -> None:
    world = await world_of(replace(POLICY, basket_size=3))
    queue_ids = await many(world, 3)
    await until_launched(world, queue_ids)
    for queue_id in queue_ids:
        await speak(world, queue_id, "started")
    (first,) = world.launcher.together
    for job in first:
        world.launcher.end(job, signal=9)
    await world.turns(5)
    await until_launched(world, queue_ids)
    found = [await world.workflow(one) for one in queue_ids]
    assert [attempt(one, LOADER).number for one in found] == [2, 2, 2]
    assert [attempt(one, SINK).number for one in found] == [1, 1, 1]
    assert [len(basket) for basket in world.launcher.together] == [3, 3]
    await world.die()


def spec(name: str, target: str = "loader-ws-trades", image: str | None = None) -> JobSpec:
    environment = {} if target == "arango-trades" else {"STREAMFORGE_CONNECTS": "1"}
    return JobSpec(name=name, target=target, queue_id=name, attempt=1, image=image, environment=environment)


class Stage:
    """beginning: how many are said to be about to be launched. begun: beside those that are ready."""

    def __init__(self, size: int = 10) -> None:
        self.clock = ManualClock(0)
        self.launcher = ScriptedLauncher()
        self.beginning = 0
        self.begun = 0
        self.baskets = Baskets(self.launcher, self.clock, size)
        self.baskets.expected = lambda: self.beginning
        self.baskets.begun = lambda: self.begun + sum(not task.done() for task in self.tasks)
        self.tasks: list[asyncio.Task[None]] = []

    async def begin(self, *specs: JobSpec) -> None:
        self.tasks += [asyncio.create_task(self.baskets.start(one)) for one in specs]
        await asyncio.sleep(0.001)


async def test_one_that_nobody_follows_is_started_at_once() -> None:
    stage = Stage()
    await stage.begin(spec("a"))
    assert (stage.launcher.started, stage.launcher.together) == (["a"], [])


async def test_those_that_are_ready_wait_for_those_that_come_but_not_long() -> None:
    stage = Stage()
    stage.beginning = 1
    await stage.begin(spec("a"))
    with stage.baskets.looking():
        await stage.begin(spec("b"))
        stage.beginning = 0
        assert stage.launcher.started == []
    await asyncio.sleep(0.001)
    assert stage.launcher.together == [["a", "b"]]
    stage.beginning = 5
    await stage.begin(spec("c"))
    with stage.baskets.looking():
        pass
    await asyncio.sleep(0.001)
    assert stage.launcher.started == ["a", "b"]
    stage.clock.advance(GATHER_S)
    with stage.baskets.looking():
        pass
    await asyncio.gather(*stage.tasks)
    assert stage.launcher.started == ["a", "b", "c"]


async def test_who_is_being_prepared_is_waited_for_and_no_more_once_it_is_not_wanted() -> None:
    stage = Stage()
    stage.begun = 1
    await stage.begin(spec("a"), spec("b"))
    assert stage.launcher.started == []
    stage.begun = 0
    with stage.baskets.looking():
        pass
    await asyncio.gather(*stage.tasks)
    assert stage.launcher.together == [["a", "b"]]


async def test_who_loads_no_stream_waits_for_nobody() -> None:
    stage = Stage()
    stage.beginning = 1
    await stage.begin(spec("a", "arango-trades"))
    assert stage.launcher.started == ["a"]


async def test_other_targets_and_images_become_other_processes() -> None:
    stage = Stage()
    with stage.baskets.looking():
        await stage.begin(
            spec("a"), spec("b", image="i"), spec("c", "loader-ws-candles"), spec("d"), spec("e", image="i")
        )
    await asyncio.gather(*stage.tasks)
    assert stage.launcher.together == [["a", "d"], ["b", "e"]]


@pytest.mark.parametrize("error", [RetryableError("away"), ConfigError("wrong")])
async def test_a_failure_is_that_of_all(error: Exception) -> None:
    stage = Stage()
    stage.launcher.starting = error
    with stage.baskets.looking():
        await stage.begin(spec("a"), spec("b"))
    assert await asyncio.gather(*stage.tasks, return_exceptions=True) == [error, error]


def job(name: str, basket: str = "") -> Job:
    return Job(name=name, target="t", queue_id="q", attempt=1, state=JobState.RUNNING, basket=basket)


def test_a_basket_is_one_connection_and_those_to_come_fill_baskets() -> None:
    jobs = {one.name: one for one in (job("a", "x"), job("b", "x"), job("c"))}
    assert processes_of(dict.fromkeys("abcd"), jobs) == (
        {"a": "x", "b": "x", "c": "c", "d": "d"},
        {"a": 2, "b": 2, "c": 1, "d": 1},
    )
    planned = {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "f": 6}
    counts = [Launches(size).beside_one_more(planned, jobs, 6) for size in (1, 2, 3, 4)]
    assert counts == [2 + 3, 2 + 1, 2 + 1, 2], "three are to come, and one more"
    assert Launches(1).beside_one_more(planned, {}, 6) == 6


def test_what_was_launched_counts_for_five_minutes_also_when_it_is_gone() -> None:
    launches, jobs = Launches(50), {one.name: one for one in (job("a"), job("b"))}
    counts = [
        launches.beside_one_more({"a": 1, "b": 2}, jobs, 2),
        launches.beside_one_more({"c": 5}, {"c": job("c")}, 5),
        launches.beside_one_more({}, {}, 300_001),
        launches.beside_one_more({}, {}, 300_005),
    ]
    assert counts == [2, 3, 2, 0]


class CountedJobs(dict[str, Job]):
    """reads: of single jobs, so far."""

    reads = 0

    def get(self, name: str, default: Any = None) -> Any:
        self.reads += 1
        return super().get(name, default)


def test_within_a_look_each_attempt_is_counted_once_and_the_counts_are_as_if_all_were_counted_anew() -> None:
    jobs = CountedJobs({one.name: one for one in (job(f"a{n}", f"x{n % 7}" if n % 3 else "") for n in range(100))})
    planned = {f"a{n}": n for n in range(300)}
    launches, now_ms = Launches(8), 300_050
    found = launches.beside_one_more(planned, jobs, now_ms)
    assert found == Launches(8).beside_one_more(planned, dict(jobs), now_ms)
    assert jobs.reads == 249, "the others are too old"
    for number in range(300, 400):
        more = {f"a{number}": now_ms}
        found = launches.beside_one_more(more | {"a299": 299}, jobs, now_ms)
        planned |= more
        assert found == Launches(8).beside_one_more(planned, dict(jobs), now_ms)
    assert jobs.reads == 249 + 100


async def in_a_basket(count: int, **policy: object) -> tuple[World, list[str], list[str]]:
    """So many workflows whose loaders are one process, which have started, and the jobs of these."""
    world = await world_of(replace(POLICY, basket_size=count, **policy))
    queue_ids = await many(world, count)
    await until_launched(world, queue_ids)
    for queue_id in queue_ids:
        await speak(world, queue_id, "started")
    assert [len(basket) for basket in world.launcher.together] == [count]
    return world, queue_ids, [attempt(await world.workflow(one), LOADER).job for one in queue_ids]


@pytest.mark.parametrize(("word", "told", "code"), [("interrupted", {"exit_code": 0}, 0), ("error", {}, 1)])
async def test_the_launcher_hears_which_members_have_sent_their_terminal_event(
    word: str, told: dict[str, int], code: int
) -> None:
    world, queue_ids, jobs = await in_a_basket(3)
    world.launcher.sees_no_member = True
    await speak(world, queue_ids[1], word, LOADER, **told)
    await world.turns(2)
    assert set(world.launcher.noted) == {(jobs[1], code)}
    assert set(jobs) - set(world.launcher.running()) == {jobs[1]}
    await world.die()


@pytest.mark.parametrize(("word", "told", "code"), [("interrupted", {"exit_code": 0}, 0), ("error", {}, 1)])
async def test_the_launcher_hears_of_the_end_of_a_member_whose_workflow_is_gone(
    word: str, told: dict[str, int], code: int
) -> None:
    world, queue_ids, jobs = await in_a_basket(3)
    world.launcher.sees_no_member, world.launcher.obedient = True, False
    stored = await world.deps.workflows.get(queue_ids[1])
    assert stored is not None
    await world.deps.workflows.remove(stored)
    await world.turns(2)
    assert jobs[1] in world.launcher.stopped
    assert world.launcher.noted == []
    world.bus.append("queue-events", Message(b"", b"no event"))
    world.say(said(stored.workflow, LOADER, "loading"))
    world.say(said(stored.workflow, LOADER, word, number=2))
    world.say(said(stored.workflow, SINK, word))
    await world.turns(1)
    assert world.launcher.noted == []
    world.say(said(stored.workflow, LOADER, word, extra=told))
    await world.turns(1)
    assert world.launcher.noted == [(jobs[1], code)]
    assert set(jobs) - set(world.launcher.running()) == {jobs[1]}
    await world.die()


async def test_of_those_that_are_alone_the_launcher_sees_the_end() -> None:
    world, queue_ids, jobs = await in_a_basket(2)
    sink = attempt(await world.workflow(queue_ids[0]), SINK).job
    await speak(world, queue_ids[0], "interrupted", SINK, exit_code=0)
    await world.turns(2)
    assert world.launcher.noted == []
    assert {sink, *jobs} <= set(world.launcher.running())
    await world.die()


async def test_a_member_that_is_stuck_is_told_to_leave_its_topic_to_the_next_attempt_before_its_job_is_ended() -> None:
    world, queue_ids, jobs = await in_a_basket(2, silent_after_s=20.0)
    await pass_time(world, 30, alive=queue_ids[1:])
    assert jobs[0] in world.launcher.stopped
    assert jobs[1] not in world.launcher.stopped
    told = world.commands("stop")
    assert [(one["queue_id"], one["target"], one["attempt"], one["payload"]) for one in told[:1]] == [
        (queue_ids[0], LOADER, 1, {"handover": True})
    ]
    assert {one["queue_id"] for one in told} == {queue_ids[0]}
    await world.die()
