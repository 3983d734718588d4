"""So many workers begin at once where they are processes of one machine; the others wait for their turn."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from functools import partial

import pytest

from streamforge.manager.engine.document import Status, Workflow
from streamforge_utils.model.errors import RetryableError
from tests.manager.live_world import POLICY, live_world, pass_time, speak, wanted
from tests.manager.support import LOADER, SINK, World, accepted, attempt, put, replace, step

TURN = "its turn to start {}: other workers are starting"
BOUND = replace(POLICY, max_starting=3, max_running=100)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = await live_world(BOUND)
    yield world
    await world.die()


async def series(world: World, *workflows: Workflow) -> list[str]:
    """Each is of a series of its own, and was asked for a second after the one before."""
    queue_ids = [await put(world, one, created_ms=one.created_ms + 1000 * n) for n, one in enumerate(workflows)]
    for queue_id in queue_ids:
        await world.deps.workflows.change(queue_id, partial(replace, symbol=f"S{queue_id[-3:]}USDT"))
    return queue_ids


async def live(world: World, count: int) -> list[str]:
    return await series(world, *(wanted(code=f"abc{100 + number}") for number in range(count)))


def started(world: World, target: str, queue_ids: Sequence[str]) -> list[int]:
    """The numbers of the workflows of which a job of the target was started, in that order."""
    specs = [world.launcher.specs[name] for name in world.launcher.started]
    return [queue_ids.index(one.queue_id) for one in specs if one.target == target]


async def all_begun(world: World, queue_ids: Sequence[str]) -> None:
    """Let the workers that were started say so, until all have."""
    for _ in range(3 * len(queue_ids)):
        for queue_id in queue_ids:
            for one in (await world.workflow(queue_id)).steps:
                if one.attempt is not None and one.attempt.observed and one.attempt.started_ms is None:
                    await speak(world, queue_id, "started", one.target)
        await world.turns()


async def test_loaders_that_share_a_process_begin_and_sinks_take_turns_in_the_order_of_asking(world: World) -> None:
    queue_ids = await live(world, 6)
    await world.turns(4)
    assert [len(one) for one in world.launcher.together] == [6], "one process"
    assert started(world, SINK, queue_ids) == [0, 1, 2]
    assert [(await world.workflow(one)).waiting_for for one in queue_ids] == ["", "", "", *[TURN.format(SINK)] * 3]
    await world.turns(5)
    assert started(world, SINK, queue_ids) == [0, 1, 2], "the process of the loaders is one of the three now"
    await speak(world, queue_ids[1], "started", SINK)
    await world.turns(1)
    assert started(world, SINK, queue_ids) == [0, 1, 2]
    await speak(world, queue_ids[0], "started", SINK)
    await world.turns(1)
    assert started(world, SINK, queue_ids) == [0, 1, 2, 3]
    await all_begun(world, queue_ids)
    assert started(world, SINK, queue_ids) == [0, 1, 2, 3, 4, 5]
    assert {(await world.workflow(one)).waiting_for for one in queue_ids} == {""}


async def test_loaders_that_are_alone_take_turns_with_the_sinks(world: World) -> None:
    await world.die()
    world.policy = replace(BOUND, basket_size=1)
    await world.start()
    queue_ids = await live(world, 4)
    await world.turns(4)
    assert (started(world, SINK, queue_ids), started(world, LOADER, queue_ids)) == ([0, 1], [0])
    assert (await world.workflow(queue_ids[1])).waiting_for == TURN.format(LOADER)
    await all_begun(world, queue_ids)
    assert sorted(started(world, LOADER, queue_ids)) == [0, 1, 2, 3]


async def test_what_is_loaded_by_requests_waits_with_each_worker(world: World) -> None:
    queue_ids = await series(world, *(accepted(f"abc10{number}") for number in range(5)))
    await world.turns(4)
    assert (started(world, SINK, queue_ids), started(world, LOADER, queue_ids)) == ([0, 1], [0])
    found = [await world.workflow(one) for one in queue_ids]
    assert [one.waiting_for for one in found] == ["", *[TURN.format(LOADER)] * 4]
    assert [len(step(found[2], target).attempts) for target in (SINK, LOADER)] == [0, 0]
    for number in range(5):
        await speak(world, queue_ids[number], "started", SINK)
        await world.turns(1)
    await all_begun(world, queue_ids)
    specs = [world.launcher.specs[name] for name in world.launcher.started]
    later = [(one.target, queue_ids.index(one.queue_id)) for one in specs]
    assert sorted(later) == sorted((target, number) for number in range(5) for target in (SINK, LOADER))
    assert all(later.index((SINK, number)) < later.index((LOADER, number)) for number in range(5)), "nothing is unseen"
    assert [number for target, number in later if target == LOADER] == [0, 1, 2, 3, 4]


async def test_without_a_bound_all_begin_at_once(world: World) -> None:
    await world.die()
    world.policy = replace(BOUND, max_starting=None)
    await world.start()
    queue_ids = await live(world, 30)
    await world.turns(4)
    assert sorted(started(world, SINK, queue_ids)) == list(range(30))


async def test_one_that_is_stopped_while_it_waits_ends_at_once_and_starts_nothing(world: World) -> None:
    await world.die()
    world.policy = replace(BOUND, basket_size=1)
    await world.start()
    queue_ids = await live(world, 4)
    await world.turns(4)
    before = len(world.launcher.started)
    await world.manager.stop(queue_ids[3])
    await world.turns(2)
    ended = await world.workflow(queue_ids[3])
    assert ended.ended
    assert [len(one.attempts) for one in ended.steps] == [0, 0]
    assert len(world.launcher.started) == before
    await all_begun(world, queue_ids[:3])
    assert sorted(started(world, SINK, queue_ids)) == [0, 1, 2]


async def test_the_wait_is_no_attempt(world: World) -> None:
    await world.die()
    world.policy = replace(BOUND, basket_size=1)
    await world.start()
    queue_ids = await live(world, 4)
    world.launcher.starting = RetryableError("the disk is busy")  # what begins takes long
    await world.turns(4)
    await pass_time(world, int(BOUND.start_within_s) - 10)
    found = await world.workflow(queue_ids[3])
    assert (found.status, found.waiting_for, found.failure) == (Status.RUNNING, TURN.format(LOADER), None)
    assert [len(one.attempts) for one in found.steps] == [0, 0]
    world.launcher.starting = None
    await all_begun(world, queue_ids)
    assert attempt(await world.workflow(queue_ids[3]), SINK).number == 1


async def test_what_cannot_be_launched_holds_no_place_for_ever(world: World) -> None:
    await world.die()
    world.policy = replace(BOUND, max_starting=1)
    await world.start()
    queue_ids = await live(world, 2)
    world.launcher.starting = RetryableError("its folder cannot be written")
    await world.turns(4)
    assert [len(step(await world.workflow(one), SINK).attempts) for one in queue_ids] == [1, 0]
    await pass_time(world, int(BOUND.start_within_s) + 1)
    await world.turns(1)
    assert [len(step(await world.workflow(one), SINK).attempts) for one in queue_ids] == [1, 1]


async def test_a_manager_that_follows_begins_no_more_than_the_bound(world: World) -> None:
    queue_ids = await live(world, 8)
    await world.turns(4)
    for _ in range(3):
        await world.die()
        await world.start()
        await world.turns(4)
        assert started(world, SINK, queue_ids) == [0, 1, 2]
        assert len(started(world, LOADER, queue_ids)) == 8
    for number in (0, 1):
        await speak(world, queue_ids[number], "started", SINK)
    await world.turns(1)
    assert started(world, SINK, queue_ids) == [0, 1, 2, 3]


async def test_when_the_machine_was_started_again_all_take_turns(world: World) -> None:
    queue_ids = await live(world, 6)
    await world.turns(4)
    await all_begun(world, queue_ids)
    await world.die()
    for name in world.launcher.running():
        world.launcher.end(name)
    await world.start()
    await world.turns(6)
    assert started(world, SINK, queue_ids)[6:] == [0, 1, 2]
    assert len(started(world, LOADER, queue_ids)) == 6 + 6
    await all_begun(world, queue_ids)
    assert started(world, SINK, queue_ids)[6:] == [0, 1, 2, 3, 4, 5]


async def test_a_handover_does_not_wait(world: World) -> None:
    await world.die()
    world.policy = replace(BOUND, max_starting=1)
    await world.start()
    first = (await live(world, 1))[0]
    await world.turns(4)
    await all_begun(world, [first])
    later = await series(world, *(wanted(code=f"abc{200 + number}") for number in range(6)))
    await world.turns(4)
    assert (await world.workflow(later[1])).waiting_for == TURN.format(SINK)
    await world.manager.hand_over(first)
    await world.turns(3)
    shadow = step(await world.workflow(first), LOADER).shadow
    assert shadow is not None
    assert shadow.job in world.launcher.running()
