"""A workflow's whole life in the loop, and what goes on beside it: budget and retention."""

from __future__ import annotations

import ast
import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args
from unittest.mock import AsyncMock

import pytest

from streamforge.manager import engine, execution
from streamforge.manager.engine.document import Status
from streamforge.manager.engine.execution.dispatcher import TRIED, begin_at_zero
from streamforge.manager.engine.lifecycle.actions import Action
from streamforge.manager.policy import Policy
from streamforge.manager.workflows.series.model import loaded_series
from streamforge_utils.model import names
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.ports.bus import Message, TopicSpec
from streamforge_utils.ports.instrumentation import NullObserver
from streamforge_utils.ports.store import State
from tests.doubles.manualclock import ManualClock
from tests.manager.execution.world import OPENS, create, finish, launched, never, store_bars, unanswered
from tests.manager.support import LOADER, NOW, POLICY, SINK, World, accepted, attempt, job_named, planned, replace, said


async def test_from_request_to_proof(world: World) -> None:
    queue_id = await create(world, accepted())
    await world.turns(3)
    workflow = await world.workflow(queue_id)
    assert sorted(world.launcher.running()) == [attempt(workflow, SINK).job, attempt(workflow, LOADER).job]
    assert (
        world.launcher.specs[attempt(workflow, LOADER).job].environment["STREAMFORGE_RANGES"] == "2024-08-01:2024-08-02"
    )
    assert set(world.bus.log) >= {workflow.topic, names.dlq_topic(workflow.topic)}
    assert [command["target"] for command in world.commands("start")].count(LOADER) == 1
    store_bars(world, workflow)
    finish(world, workflow)
    await world.turns(3)
    workflow = await world.workflow(queue_id)
    assert workflow.status is Status.FINISHED
    assert [s.verdict.value for s in (await world.manager.coverage(queue_id)).segments] == ["stored"]
    assert not world.deps.workflows.live


@pytest.mark.parametrize("expected", [None, "test exchange, seed 7"])
async def test_a_worker_is_told_which_exchange_must_answer(world: World, expected: str | None) -> None:
    world.identity.expected = expected
    queue_id = await create(world, accepted())
    await world.turns(3)
    environment = world.launcher.specs[attempt(await world.workflow(queue_id), LOADER).job].environment
    assert environment.get("STREAMFORGE_EXCHANGE_IDENTITY") == expected


async def test_coverage_says_stored_only_of_what_survives_power_loss(world: World) -> None:
    workflow = await launched(world)
    store_bars(world, workflow)
    finish(world, workflow)
    world.store.flush = unanswered  # type: ignore[method-assign]
    await world.turns(3)
    assert await world.deps.coverage.of(loaded_series(workflow)) == ()
    assert not (await world.workflow(workflow.queue_id)).ended
    del world.store.flush
    await world.turns(3)
    assert world.store.flushed == [workflow.collection]
    assert [s.verdict.value for s in await world.deps.coverage.of(loaded_series(workflow))] == ["stored"]
    assert (await world.workflow(workflow.queue_id)).status is Status.FINISHED


async def test_a_hole_that_is_ours_is_loaded_again(world: World) -> None:
    workflow = await launched(world)
    store_bars(world, workflow, [*OPENS[:700], *OPENS[703:]])
    finish(world, workflow)
    await world.turns(4)
    workflow = await world.workflow(workflow.queue_id)
    assert (workflow.status, workflow.repairs) == (Status.RUNNING, 1)
    environment = world.launcher.specs[attempt(workflow, LOADER).job].environment
    assert environment["STREAMFORGE_RANGES"] == "2024-08-01T11:40Z:2024-08-01T11:43Z"
    upstream = world.launcher.specs[attempt(workflow, SINK).job].environment["STREAMFORGE_UPSTREAM"]
    assert upstream == "loader-api-candles__abc123:2"
    store_bars(world, workflow)
    finish(world, workflow)
    await world.turns(4)
    assert (await world.workflow(workflow.queue_id)).status is Status.FINISHED


async def test_what_waits_for_a_slot_gets_it_in_turn() -> None:
    world = World(clock=ManualClock(NOW), policy=Policy(max_running=1))
    await world.start()
    ids = [await create(world, accepted(f"00000{n}", created_ms=NOW + n)) for n in range(3)]
    await world.turns(2)
    assert [(await world.workflow(i)).status.value for i in ids] == ["running", "pending", "pending"]
    await world.die()
    await world.start()
    await world.manager.stop(ids[0])
    await world.turns(50)
    assert [(await world.workflow(i)).status.value for i in ids] == ["interrupted", "running", "pending"]
    await world.die()


async def test_loaders_are_told_their_share_again_until_it_was_sent(world: World) -> None:
    one = await launched(world, planned(code="aaaaaa"))
    assert world.commands("budget") == []
    send = world.reconciler.executor.send
    world.reconciler.executor.send = unanswered  # type: ignore[method-assign]
    two = await create(world, planned(code="bbbbbb"))
    for _ in range(2):
        with pytest.raises(RetryableError):
            await world.turns()
    world.reconciler.executor.send = send  # type: ignore[method-assign]
    await world.turns(2)
    sent = [(c["queue_id"], c["attempt"], c["payload"]["weight_per_minute"]) for c in world.commands("budget")]
    assert sent == [(one.queue_id, 1, POLICY.weight_per_minute // 2)]
    loader = attempt(await world.workflow(two), LOADER).job
    assert world.launcher.specs[loader].environment["STREAMFORGE_WEIGHT_PER_MINUTE"] == "2100"
    await world.die()
    await world.start()
    sends, calls = world.deps.producer.send, list[int]()

    async def counted(topic: str, messages: Sequence[Message], **more: Any) -> None:
        calls.append(sum(b'"budget"' in message.value for message in messages))
        await sends(topic, messages, **more)

    world.deps.producer.send = counted  # type: ignore[method-assign]
    await world.turns(2)
    assert len(world.commands("budget")) == 3, "a manager that remembers nothing tells both"
    assert [number for number in calls if number] == [2], "at once"


async def test_topics_and_jobs_of_the_past_are_removed(world: World) -> None:
    workflow = await launched(world)
    store_bars(world, workflow)
    finish(world, workflow)
    await world.turns(3)
    await world.turns(2, seconds=3_700)
    workflow = await world.workflow(workflow.queue_id)
    assert workflow.topic_removed
    assert set(world.bus.log) == {"queue-control", "queue-events", names.dlq_topic(workflow.topic)}
    assert world.launcher.known == {}
    await world.turns(2, seconds=7 * 86_400)
    assert (await world.workflow(workflow.queue_id)).dlq_removed
    assert set(world.bus.log) == {"queue-control", "queue-events"}


async def test_a_workflow_that_memory_lacks_is_found(world: World) -> None:
    lost = World()
    lost.store = world.store
    await lost.start()
    queue_id = await create(lost, accepted())
    await world.turns(3, seconds=61)
    assert (await world.workflow(queue_id)).status is Status.RUNNING


async def test_what_was_heard_is_not_lost_when_another_change_comes_first(world: World) -> None:
    workflow = await launched(world)
    put = world.store.put

    async def overtaken(kind: str, id: str, body: bytes, **fields: Any) -> State:
        world.store.put = put  # type: ignore[method-assign]
        state = world.store.states[kind, id]
        await put(kind, id, state.body, expected=state.revision, labels=state.labels)  # as another one wrote it
        return await put(kind, id, body, **fields)

    world.say(said(workflow, SINK, "finished"))
    world.store.put = overtaken  # type: ignore[method-assign]
    await world.turns()
    assert attempt(await world.workflow(workflow.queue_id), SINK).terminal_event == "finished"


async def test_topics_are_made_once_for_first_attempts_and_again_for_a_later_one(world: World) -> None:
    create_topic = world.bus.create_topic

    async def make(topic: TopicSpec) -> None:
        await asyncio.sleep(0)  # both steps are being launched meanwhile
        await create_topic(topic)

    made = AsyncMock(side_effect=make)
    world.bus.create_topic = made  # type: ignore[method-assign]
    await world.start()
    workflow = await launched(world)
    topics = [workflow.topic, names.dlq_topic(workflow.topic)]
    assert [call.args[0].name for call in made.await_args_list] == topics
    made.reset_mock()
    world.launcher.end(attempt(workflow, SINK).job, signal=9)
    await world.turns(3)
    assert attempt(await world.workflow(workflow.queue_id), SINK).number == 2
    assert [call.args[0].name for call in made.await_args_list] == topics, "they may be what it lacked"


async def test_jobs_that_no_workflow_wants_are_ended_and_counted_once_however_long_it_takes(world: World) -> None:
    workflow = await launched(world)
    another = attempt(workflow, LOADER).job + "-2"
    world.launcher.known["job-lost"] = job_named("job-lost", target=SINK, queue_id="wf-lost")
    world.launcher.known[another] = replace(world.launcher.known[attempt(workflow, LOADER).job], name=another)
    world.launcher.obedient = False
    await world.turns(8)
    assert world.observer.counts["orphans_ended_total"] == 2
    assert set(world.launcher.stopped) == {"job-lost", another}
    assert world.launcher.stopped.count("job-lost") > 1, "it is asked again and again"


async def test_a_launcher_that_sees_nothing_is_told_of_and_loses_nothing(world: World) -> None:
    workflow = await launched(world)
    world.launcher.unseen = "the API server cannot be reached"
    world.say(said(workflow, LOADER, "loading", records=7))
    await world.turns(4)
    workflow = await world.workflow(workflow.queue_id)
    assert workflow.waiting_for == "the launcher: the API server cannot be reached"
    assert attempt(workflow, LOADER).progress.records == 7, "what workers say is heard"
    assert world.observer.gauges["launcher_unseen_seconds"] == 3.0
    world.launcher.unseen = ""
    await world.turns()
    assert (await world.workflow(workflow.queue_id)).waiting_for == ""
    assert world.observer.gauges["launcher_unseen_seconds"] == 0


async def test_jobs_that_take_long_to_end_hold_up_no_launch(world: World) -> None:
    """As all those of a node that does not answer."""
    world.launcher.stop = never  # type: ignore[method-assign]
    for number in range(40):
        name = f"job-lost-{number}"
        world.launcher.known[name] = job_named(name, target=SINK, queue_id="wf-lost")
    await world.turns(2)
    queue_id = await create(world, planned())
    await world.turns(2)
    workflow = await world.workflow(queue_id)
    assert set(world.launcher.started) == {attempt(workflow, target).job for target in (LOADER, SINK)}


async def test_a_clock_that_is_set_in_the_middle_of_a_look_makes_nobody_silent(world: World) -> None:
    """Nor does a manager that is held up there."""
    workflow = await launched(world)
    append = world.deps.history.append

    async def held_up(events: Any) -> None:
        assert isinstance(world.clock, ManualClock)
        world.deps.history.append = append  # type: ignore[method-assign]
        world.clock.advance(86_400)
        await append(events)

    world.deps.history.append = held_up  # type: ignore[method-assign]
    await world.turns(5)
    workflow = await world.workflow(workflow.queue_id)
    assert [attempt(workflow, target).stop_reason for target in (LOADER, SINK)] == ["", ""]
    assert world.launcher.stopped == []


def test_each_has_the_labels_with_which_it_is_counted_later() -> None:
    shown: dict[str, set[str]] = {}

    class Noting(NullObserver):
        def count(self, name: str, amount: float = 1, /, **labels: str) -> None:
            assert amount == 0
            shown[name] = set(labels)

    begin_at_zero(Noting())
    counted = {ast.literal_eval(node.args[0]): {keyword.arg for keyword in node.keywords} for node in counts()}
    assert shown == {name: counted[name] for name in shown}
    assert shown.keys() == {
        "reconcile_failures_total",
        "workflow_failures_total",
        "orphans_ended_total",
        "missing_records_total",
        "workflow_changes_total",
        "action_failures_total",
    }


def counts() -> list[ast.Call]:
    """Every place where the manager's loop counts something."""
    folders = [Path(one.__path__[0]) for one in (engine, execution)]
    trees = [ast.parse(path.read_text("utf-8")) for folder in folders for path in folder.rglob("*.py")]
    return [
        node
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and ast.unparse(node.func).removeprefix("self._") == "deps.observer.count"
    ]


def test_every_action_has_words_for_who_waits_for_it() -> None:
    assert TRIED.keys() == {action.__name__ for action in get_args(Action)}
