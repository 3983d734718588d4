"""So many workers begin at once where they are processes of one machine; the others wait for their turn."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from functools import partial

import pytest

from streamforge.manager.execution import reconciler
from streamforge.manager.lifecycle.decision import decide
from streamforge.manager.workflow import Status, Workflow
from streamforge_utils.model.errors import RetryableError
from tests.manager.live_world import POLICY, live_world, pass_time, speak, wanted
from tests.manager.support import LOADER, SINK, World, accepted, attempt, put, replace, step

TURN = "its turn to start {}: other workers are starting"
BOUND = replace(POLICY, max_starting=4, max_running=100)
"""One of the four is kept for what has run."""


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
    assert [len(one) for one in world.launcher.together] == [6], "one process of the four"
    assert started(world, SINK, queue_ids) == [0, 1]
    assert [(await world.workflow(one)).waiting_for for one in queue_ids] == ["", "", *[TURN.format(SINK)] * 4]
    await world.turns(5)
    assert started(world, SINK, queue_ids) == [0, 1]
    await speak(world, queue_ids[1], "started", SINK)
    assert started(world, SINK, queue_ids) == [0, 1, 2], "in the look in which the other one was heard"
    await all_begun(world, queue_ids)
    assert started(world, SINK, queue_ids) == [0, 1, 2, 3, 4, 5]
    assert {(await world.workflow(one)).waiting_for for one in queue_ids} == {""}


async def test_loaders_that_are_alone_are_processes_and_go_before_the_sinks_of_others(world: World) -> None:
    await world.die()
    world.policy = replace(BOUND, basket_size=1)
    await world.start()
    queue_ids = await live(world, 4)
    await world.turns(4)
    assert (started(world, SINK, queue_ids), started(world, LOADER, queue_ids)) == ([0, 1], [0])
    assert (await world.workflow(queue_ids[1])).waiting_for == TURN.format(LOADER)
    await all_begun(world, queue_ids)
    specs = [world.launcher.specs[name] for name in world.launcher.started]
    assert [(one.target, queue_ids.index(one.queue_id)) for one in specs[3:]] == [
        *((LOADER, number) for number in (1, 2, 3)),
        *((SINK, number) for number in (2, 3)),
    ]


async def test_what_is_loaded_by_requests_waits_with_each_worker(world: World) -> None:
    queue_ids = await series(world, *(accepted(f"abc10{number}") for number in range(3)))
    await world.turns(4)
    assert (started(world, SINK, queue_ids), started(world, LOADER, queue_ids)) == ([0, 1], [0])
    found = [await world.workflow(one) for one in queue_ids]
    assert [one.waiting_for for one in found] == ["", *[TURN.format(LOADER)] * 2]
    assert [len(step(found[2], target).attempts) for target in (SINK, LOADER)] == [0, 0]
    await all_begun(world, queue_ids)
    specs = [world.launcher.specs[name] for name in world.launcher.started]
    later = [(one.target, queue_ids.index(one.queue_id)) for one in specs[3:]]
    assert later == [(LOADER, 1), (SINK, 2), (LOADER, 2)], "nothing is produced unseen"


async def test_without_a_bound_all_begin_at_once(world: World) -> None:
    await world.die()
    world.policy = replace(BOUND, max_starting=None)
    await world.start()
    queue_ids = await live(world, 30)
    await world.turns(4)
    assert sorted(started(world, SINK, queue_ids)) == list(range(30))


async def test_what_has_run_begins_at_once_and_before_those_that_have_waited_longer(world: World) -> None:
    first = await live(world, 3)
    await world.turns(4)
    await all_begun(world, first)
    later = await series(world, *(wanted(code=f"abc{200 + number}") for number in range(6)))
    await world.turns(4)
    assert started(world, SINK, [*first, *later])[3:] == [3, 4], "with the basket of loaders three begin"
    for number in (2, 1):
        world.launcher.end(attempt(await world.workflow(first[number]), SINK).job, signal=9)
        await world.turns(3)
    again = [attempt(await world.workflow(one), SINK).number for one in first]
    assert again == [1, 1, 2], "one was kept for it; now all four begin"
    assert (await world.workflow(first[1])).waiting_for == TURN.format(SINK)
    await speak(world, later[0], "started", SINK)
    assert attempt(await world.workflow(first[1]), SINK).number == 2
    assert started(world, SINK, [*first, *later])[-1] == 1
    await all_begun(world, [*first, *later])
    assert [*dict.fromkeys(started(world, SINK, [*first, *later]))] == [0, 1, 2, 3, 4, 5, 6, 7, 8]


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


async def test_the_wait_is_no_attempt_and_has_no_limit_of_time(world: World) -> None:
    await world.die()
    world.policy = replace(BOUND, basket_size=1)
    await world.start()
    queue_ids = await live(world, 4)
    world.launcher.starting = RetryableError("the disk is busy")  # what begins takes long
    await world.turns(4)
    await pass_time(world, 900)
    found = await world.workflow(queue_ids[3])
    assert (found.status, found.waiting_for, found.failure) == (Status.RUNNING, TURN.format(LOADER), None)
    assert [len(one.attempts) for one in found.steps] == [0, 0]
    world.launcher.starting = None
    await all_begun(world, queue_ids)
    assert attempt(await world.workflow(queue_ids[3]), SINK).number == 1


async def test_a_manager_that_follows_begins_no_more_than_the_bound(world: World) -> None:
    queue_ids = await live(world, 8)
    await world.turns(4)
    for _ in range(3):
        await world.die()
        await world.start()
        await world.turns(4)
        assert started(world, SINK, queue_ids) == [0, 1]
        assert len(started(world, LOADER, queue_ids)) == 8
    await speak(world, queue_ids[0], "started", SINK)
    assert started(world, SINK, queue_ids) == [0, 1, 2]


async def test_when_the_machine_was_started_again_what_has_run_takes_turns_too(world: World) -> None:
    queue_ids = await live(world, 6)
    await world.turns(4)
    await all_begun(world, queue_ids)
    await world.die()
    for name in world.launcher.running():
        world.launcher.end(name)
    await world.start()
    await world.turns(6)
    assert len(started(world, SINK, queue_ids)) == 6 + 3, "all four may, beside one process for the loaders"
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
    assert len(world.launcher.started) == 2 + 1
    assert (await world.workflow(later[1])).waiting_for == TURN.format(LOADER)
    await world.manager.hand_over(first)
    await world.turns(3)
    shadow = step(await world.workflow(first), LOADER).shadow
    assert shadow is not None
    assert shadow.job in world.launcher.running()


async def test_one_that_cannot_be_reconciled_holds_up_no_other_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue_ids = await live(world, 6)
    await world.turns(4)
    broken = set(queue_ids[2:5])

    def failing(workflow: Workflow, *others: object) -> object:
        if workflow.queue_id in broken:
            raise ValueError("a fault of ours")
        return decide(workflow, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(reconciler, "decide", failing)
    for queue_id in queue_ids[:2]:
        await speak(world, queue_id, "started", SINK)
    await world.turns(2)
    assert started(world, SINK, queue_ids) == [0, 1, 5]
    broken.clear()
    world.later(120)
    await all_begun(world, queue_ids)
    assert sorted(started(world, SINK, queue_ids)) == [0, 1, 2, 3, 4, 5]
