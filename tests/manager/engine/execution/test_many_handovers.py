"""An upgrade of many live loaders: as many at once as the limits of the exchange allow, and a basket as a basket."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from streamforge.manager.engine.document import Workflow
from streamforge.manager.engine.execution.handover_limit import HandoverLimit
from streamforge.manager.engine.execution.overview import Overview
from streamforge.manager.policy import Policy
from streamforge_utils.model.messages import Event
from streamforge_utils.ports.launcher import Job, JobState
from streamforge_utils.runtime.live.book_loader import PATIENCE_S
from tests.manager.engine.execution.test_basket_gathering import many, until_launched, world_of
from tests.manager.live_world import POLICY, speak, wanted
from tests.manager.support import LOADER, SINK, World, attempt, job_named, replace, said, step

OLD, NEW = "registry/loader:1", "registry/loader:2"


async def upgraded(world: World, count: int) -> list[str]:
    """So many live workflows whose loaders run another image than the next ones will."""
    world.launcher.images[LOADER] = OLD
    queue_ids = await many(world, count)
    await until_launched(world, queue_ids)
    for queue_id in queue_ids:
        await speak(world, queue_id, "started")
    world.launcher.images[LOADER] = NEW
    return queue_ids


def live_as(workflow: Workflow, number: int, word: str = "loading", **stream: Any) -> Event:
    return said(workflow, LOADER, word, number=number, extra={"live": {"frame_age_s": 0.1, **stream}})


async def behave(world: World, queue_ids: Sequence[str], *, leaving: bool = False, ready_s: float = 0) -> set[str]:
    """A turn in which each worker does what it was told; returns whose loaders are being handed over.

    leaving: the first attempts are being ended. ready_s: shadows are ready so long after they were planned.
    """
    busy = set[str]()
    for queue_id in queue_ids:
        workflow = await world.workflow(queue_id)
        loader, writes = step(workflow, LOADER), attempt(workflow, LOADER)
        shadow = loader.shadow
        busy |= {queue_id} if loader.handover is not None else set()
        world.say(said(workflow, SINK, "loading"))
        if shadow is not None and shadow.observed:
            if shadow.started_ms is None:
                world.say(said(workflow, LOADER, "started", number=shadow.number))
            is_ready = world.clock.now_ms() - shadow.planned_ms >= 1000 * ready_s
            world.say(live_as(workflow, shadow.number, shadow="ready" if is_ready else "waiting"))
        if writes.stop_asked_ms is not None and writes.job in world.launcher.running():
            world.say(live_as(workflow, writes.number, "interrupted"))
            world.launcher.end(writes.job, exit_code=0)
        elif writes.stop_asked_ms is None:
            world.say(live_as(workflow, writes.number, leaving=leaving and writes.number == 1))
    await world.turns()
    return busy


async def until_upgraded(world: World, queue_ids: Sequence[str], turns: int, **how: Any) -> list[set[str]]:
    """Whose loaders were being handed over at the same time, in each of so many turns of a second at most."""
    seen = list[set[str]]()
    for _ in range(turns):
        seen.append(await behave(world, queue_ids, **how))
        found = [step(await world.workflow(one), LOADER) for one in queue_ids]
        if all(len(one.attempts) == 2 and one.handover is None for one in found):
            assert {one.attempts[0].outcome for one in found} == {"handed over"}
            return seen
    raise AssertionError("they were not all handed over")


async def test_several_are_handed_over_at_once_and_no_more_than_weight_and_connections_are_for() -> None:
    world = await world_of(replace(POLICY, basket_size=1, weight_per_minute=400, connects=88))
    queue_ids = await upgraded(world, 10)
    seen = await until_upgraded(world, queue_ids, 60)
    assert max(map(len, seen)) == 4
    assert set.union(*seen) == {*queue_ids}
    await world.die()


async def test_a_basket_is_handed_over_as_a_basket_and_one_after_the_other() -> None:
    world = await world_of(replace(POLICY, basket_size=3, weight_per_minute=200))
    queue_ids = await upgraded(world, 6)
    seen = await until_upgraded(world, queue_ids, 60)
    queues = [{world.launcher.known[job].queue_id for job in basket} for basket in world.launcher.together]
    assert sorted(map(sorted, queues[:2])) == sorted(map(sorted, queues[2:]))
    assert len(queues) == 4
    shadows = [job for basket in world.launcher.together[2:] for job in basket]
    assert all("STREAMFORGE_SHADOW" in world.launcher.specs[job].environment for job in shadows)
    assert all(any(busy <= basket for basket in queues[:2]) for busy in seen)
    await world.die()


async def test_for_loaders_that_are_being_ended_there_is_another_quarter_of_the_connections() -> None:
    world = await world_of(replace(POLICY, basket_size=1, connects=8))
    queue_ids = await many(world, 2)
    await until_launched(world, queue_ids)
    for queue_id in queue_ids:
        await speak(world, queue_id, "started")
        await world.manager.hand_over(queue_id)
    await world.turns(5)
    assert len(world.launcher.running()) == 4
    for queue_id in queue_ids:
        world.say(live_as(await world.workflow(queue_id), 1, leaving=True))
    await world.turns(4)
    assert len(world.launcher.running()) == 6
    await world.die()


async def test_a_node_with_150_jobs_of_loaders_is_left_by_all_of_them_in_time() -> None:
    """Their shadows are ready as late as those of order books whose snapshots do not come in time."""
    world = await world_of(replace(POLICY, basket_size=1, connects=300))
    queue_ids = await many(world, 150)
    for count in (75, 150):
        await until_launched(world, queue_ids[:count])
        for queue_id in queue_ids[count - 75 : count]:
            world.say(said(await world.workflow(queue_id), LOADER, "started"))
            world.say(said(await world.workflow(queue_id), SINK, "started"))
        await world.turns()
        world.later(301)  # more connections are allowed by then
    seen = await until_upgraded(world, queue_ids, 50, leaving=True, ready_s=PATIENCE_S + 5)
    assert max(map(len, seen)) == 150
    await world.die()


def together(*baskets: str) -> dict[str, Job]:
    """A job of each letter, which is its workflow; those of one word share a process."""
    return {
        one: replace(job_named(one), queue_id=one, basket=basket if len(basket) > 1 else "")
        for basket in baskets
        for one in basket
    }


def limit_of(policy: Policy, busy: str = "") -> HandoverLimit:
    """The loaders of these workflows are being handed over."""
    overview = Overview({})
    overview.handing_over = {*busy}
    return HandoverLimit(policy, overview)


def named(queue_id: str) -> Workflow:
    return replace(wanted(), queue_id=queue_id)


@pytest.mark.parametrize(
    ("asks", "busy", "may"),
    [
        ("a", "", True),
        ("a", "a", True),
        ("a", "bc", True),  # of its own process
        ("a", "x", False),  # four in all
        ("x", "a", False),
        ("x", "yz", True),
        ("w", "xyz", False),
        ("x", "xyz", True),
        ("unseen", "xy", True),
    ],
)
def test_no_more_than_three_are_handed_over_but_for_those_of_one_process(asks: str, busy: str, may: bool) -> None:
    limit = limit_of(Policy(weight_per_minute=399, connects=14), busy)
    assert limit.most == 3
    assert limit.may_begin(named(asks), together("abc", "w", "x", "y", "z")) is may
    assert limit.may_begin(None, {})


def test_who_shared_a_process_that_has_ended_is_alone() -> None:
    limit, jobs = limit_of(Policy(weight_per_minute=199), "b"), together("abc", "x")
    assert limit.most == 1
    assert limit.may_begin(named("a"), jobs)
    jobs = {name: replace(job, state=JobState.ENDED) for name, job in jobs.items()}
    assert not limit.may_begin(named("a"), jobs)
    assert limit_of(Policy(weight_per_minute=20)).most == 1
