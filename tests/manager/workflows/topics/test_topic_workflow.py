"""A workflow that stores a topic of another producer, from the request to the proof; a test plays its sink."""

from __future__ import annotations

from typing import Any, cast

import msgspec
import pytest

from streamforge.manager.engine.document import Status
from streamforge.manager.engine.refusals import NotNow
from streamforge.manager.use_cases import KeyReused
from streamforge.manager.workflows.series.model import loaded_series
from streamforge.manager.workflows.topics.model import topic_of
from streamforge.manager.workflows.topics.proof import prove_topic
from streamforge.manager.workflows.topics.requests import TARGET, TopicRequest
from streamforge_utils.model import names
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.errors import InvalidInput, RetryableError
from streamforge_utils.ports.bus import Consumer, TopicSpec
from tests.doubles.memorybus import MemoryBus
from tests.manager.support import World, accepted, attempt, said
from tests.manager.workflows.topics.topic_rig import (
    TOPIC,
    begun,
    counts,
    finish,
    job,
    mark,
    proof_of_topic,
    store,
    world_with_topic,
    write,
)


@pytest.fixture
async def world() -> World:
    return await world_with_topic()


async def test_every_message_is_found_stored_or_dead_and_the_topic_is_left_alone(world: World) -> None:
    mark(world)
    workflow = await begun(world)
    environment = job(world).environment
    assert environment["KAFKA_TOPIC"] == TOPIC
    assert environment["STREAMFORGE_OFFSETS"] == "0:0:9"
    assert environment["STREAMFORGE_UNTIL"] == "end"
    assert environment["TYPE"] == "json"
    assert "STREAMFORGE_UPSTREAM" not in environment
    write(world, b'{"later":1}')
    await store(world, 9)
    workflow = await finish(world, workflow)
    assert workflow.status is Status.FINISHED
    assert counts(workflow) == {"stored": 7, "dead": 1, "markers": 1}
    assert (proof_of_topic(workflow).expected, proof_of_topic(workflow).stored) == (8, 7)
    assert world.store.flushed == [workflow.collection]
    letters = names.dlq_topic(workflow.topic)
    assert await world.bus.topics() == sorted([TOPIC, "queue-control", "queue-events", letters])
    await world.turns(3, seconds=100)
    assert letters not in await world.bus.topics()
    await world.manager.remove(workflow.queue_id)
    assert len(world.bus.messages(TOPIC)) == 10
    assert await world.bus.offsets(TOPIC) == {0: (0, 10)}


async def test_nothing_of_it_asks_the_exchange_or_is_said_in_the_coverage(world: World) -> None:
    world.exchange.failing = AssertionError("the exchange was asked")  # type: ignore[attr-defined]
    workflow = await begun(world)
    await store(world)
    workflow = await finish(world, workflow)
    report = await world.manager.coverage(workflow.queue_id)
    assert (report.span, report.segments, report.complete) == (None, (), True)
    assert [one async for one in world.deps.coverage.all()] == []
    page = await world.manager.find(type="json")
    assert [one.queue_id for one in page.workflows] == [workflow.queue_id]


async def test_what_is_missing_is_read_again_under_another_group(world: World) -> None:
    workflow = await begun(world)
    await store(world, lose=3)
    workflow = await finish(world, workflow)
    assert workflow.status is Status.RUNNING
    assert (proof_of_topic(workflow).missing, proof_of_topic(workflow).partitions[0].missing_from) == (1, 3)
    assert job(world).environment["STREAMFORGE_GROUP"].endswith("-arango-connector-2")
    await store(world)
    workflow = await finish(world, workflow)
    assert (workflow.status, workflow.repairs) == (Status.FINISHED, 1)
    # Read twice, refused twice: it is one dead letter.
    assert counts(workflow) == {"stored": 7, "dead": 1}


async def test_what_is_missing_for_good_is_an_error_that_names_the_offset(world: World) -> None:
    workflow = await begun(world)
    for _ in range(world.policy.max_repairs + 1):
        await store(world, lose=4)
        workflow = await finish(world, workflow)
    assert workflow.status is Status.ERROR
    assert workflow.failure is not None
    assert "partition 0 from offset 4" in workflow.failure.reason
    await world.manager.retry(workflow.queue_id)
    await world.turns(3)
    assert (await world.workflow(workflow.queue_id)).status is Status.RUNNING


async def test_an_empty_topic_needs_no_worker(world: World) -> None:
    await world.bus.create_topic(TopicSpec(name="empty"))
    started = await world.manager.start_topic(TopicRequest(topic="empty"))
    await world.turns(4)
    assert (await world.workflow(started.workflow.queue_id)).status is Status.FINISHED
    assert world.launcher.started == []


@pytest.mark.parametrize(("until", "ends_as"), [("stop", Status.FINISHED), ("end", Status.INTERRUPTED)])
async def test_a_stop_is_the_end_of_one_that_waits_for_it_and_interrupts_the_others(
    world: World, until: str, ends_as: Status
) -> None:
    workflow = await begun(world, until=until)
    await store(world, 3)
    await world.manager.stop(workflow.queue_id)
    await world.turns(2)
    assert world.commands("stop")
    workflow = await finish(world, workflow, "interrupted")
    assert workflow.status is ends_as
    assert counts(workflow) == {"stored": 3, **({"unread": 5} if until == "end" else {})}
    if until == "end":
        write(world, b'{"later":1}')
        await world.manager.retry(workflow.queue_id)
        await world.turns(3)
        assert job(world).environment["STREAMFORGE_OFFSETS"] == "0:0:8"
        await store(world, 8)
        workflow = await finish(world, workflow)
        assert workflow.status is Status.FINISHED


async def test_a_marker_and_a_count_end_with_what_is_committed(world: World) -> None:
    for until in ("marker:shop", "count:4"):
        workflow = await begun(world, until=until)
        assert job(world).environment["STREAMFORGE_UNTIL"] == until
        await store(world, 4)
        workflow = await finish(world, workflow)
        assert workflow.status is Status.FINISHED
        assert counts(workflow) == {"stored": 4}


@pytest.mark.parametrize("again", [True, False])
async def test_a_topic_that_is_deleted_in_the_middle_is_an_error_also_where_another_of_its_name_holds_more(
    world: World, again: bool
) -> None:
    workflow = await begun(world)
    await world.bus.delete_topic(TOPIC)
    if again:
        await world.bus.create_topic(TopicSpec(name=TOPIC))
        write(world, *(b'{"new":%d}' % n for n in range(20)))
        await store(world)
    workflow = await finish(world, workflow)
    await world.turns(20, seconds=100)
    workflow = await world.workflow(workflow.queue_id)
    assert workflow.status is Status.ERROR
    assert workflow.failure is not None
    assert ("made again" if again else "no topic orders") in workflow.failure.reason
    await world.manager.retry(workflow.queue_id)
    await world.turns(4)
    workflow = await world.workflow(workflow.queue_id)
    assert workflow.status is Status.ERROR
    assert workflow.failure is not None
    assert ("new workflow" if again else "make it") in workflow.failure.next_step


async def test_a_proof_that_is_not_given_what_it_has_to_compare_says_so_and_proves_nothing(world: World) -> None:
    class Silent(MemoryBus):
        async def consumer(self, topic: str, **how: Any) -> Consumer:
            consumer: Any = await super().consumer(topic, **how)
            if topic == TOPIC:
                consumer._next = lambda most: []
            return cast("Consumer", consumer)

    workflow = await begun(world)
    await store(world)
    topic, bus = topic_of(workflow), Silent()
    assert topic is not None
    bus.log = world.bus.log
    with pytest.raises(RetryableError, match="8 offsets that the proof has still to compare"):
        await prove_topic(msgspec.structs.replace(world.deps, bus=bus), workflow, topic)


async def test_a_manager_that_is_killed_at_any_moment_comes_to_the_same_end(world: World) -> None:
    for number in range(12):
        world.store.documents.clear()
        started = await world.manager.start_topic(TopicRequest(topic=TOPIC, collection=f"c{number}"))
        queue_id = started.workflow.queue_id
        stored = False
        for turn in range(16):
            if turn in (number, number + 1):
                await world.die()
                await world.start()
            await world.turns(1)
            if not stored and queue_id in {spec.queue_id for spec in world.launcher.specs.values()}:
                await store(world)
                now = await world.workflow(queue_id)
                world.say(said(now, TARGET, "finished"))
                world.launcher.end(attempt(now, TARGET).job, exit_code=0)
                stored = True
        workflow = await world.workflow(queue_id)
        assert (number, workflow.status) == (number, Status.FINISHED)
        assert counts(workflow) == {"stored": 7, "dead": 1}
        assert len(workflow.steps[0].attempts) == 1


@pytest.mark.parametrize(
    ("fields", "field", "told"),
    [
        ({"topic": "order"}, "topic", "did you mean orders"),
        ({"topic": "nothing like it"}, "topic", "no name of a topic"),
        ({"topic": ".."}, "topic", "no name of a topic"),
        ({"topic": "x" * 250}, "topic", "no name of a topic"),
        ({"topic": "queue-control"}, "topic", "StreamForge's or the broker's own"),
        ({"topic": "wf-btcusdt-api_trades-20240801-abc123-data"}, "topic", "own"),
        ({"topic": "__consumer_offsets"}, "topic", "own"),
        ({"until": "later"}, "until", "`end`, `stop`"),
        ({"symbol": "a b"}, "symbol", "characters"),
        ({"collection": "1st"}, "collection_name", "begin with a letter"),
        ({"collection": "streamforge_x"}, "collection_name", "ours"),
        ({"collection": "candles_of_somebody"}, "collection_name", "holds records of a series"),
        ({"json_schema": {"type": "nothing"}}, "json_schema", "not acceptable"),
        ({"json_schema": {"$ref": "http://127.0.0.1:9/x"}}, "json_schema", "nothing is fetched"),
        ({"parameters": {"patience": 1}}, "parameters", "not known"),
        ({"parameters": {"store_patience_seconds": -1}}, "parameters", "at least 0"),
        ({"image": "a b"}, "image", "no name of an image"),
    ],
)
async def test_a_request_that_cannot_work_is_refused_by_its_field_and_nothing_is_kept(
    world: World, fields: dict[str, Any], field: str, told: str
) -> None:
    segment = Segment(start_ms=0, end_ms=1000, verdict=Verdict.STORED, collection="candles_of_somebody")
    await world.deps.coverage.lay_over(loaded_series(accepted()), [segment])
    with pytest.raises(InvalidInput, match=told) as refused:
        await world.manager.start_topic(TopicRequest(**{"topic": TOPIC, **fields}))
    assert refused.value.field == field
    assert (await world.manager.find()).workflows == []


async def test_the_same_key_gives_the_same_workflow_and_another_request_is_refused(world: World) -> None:
    request = TopicRequest(topic=TOPIC, json_schema={"required": ["n"]})
    first = await world.manager.start_topic(request, idempotency_key="k")
    again = await world.manager.start_topic(request, idempotency_key="k")
    assert (again.replayed, again.workflow.queue_id) == (True, first.workflow.queue_id)
    with pytest.raises(KeyReused):
        await world.manager.start_topic(TopicRequest(topic=TOPIC), idempotency_key="k")


async def test_documents_are_removed_only_where_they_are_certainly_its_own(world: World) -> None:
    first = await begun(world, collection="shop")
    await store(world)
    first = await finish(world, first)
    second = await begun(world, collection="shop")
    await store(world)
    second = await finish(world, second)
    with pytest.raises(NotNow, match="held documents before"):
        await world.manager.remove(second.queue_id, data=True)
    with pytest.raises(NotNow, match="stores into collection shop, too"):
        await world.manager.remove(first.queue_id, data=True)
    await world.manager.remove(second.queue_id)
    removed = await world.manager.remove(first.queue_id, data=True)
    assert removed.records_removed == 6
    assert "shop" not in world.store.documents


async def test_two_that_store_the_same_topic_do_not_wait_for_each_other(world: World) -> None:
    await begun(world)
    await begun(world)
    assert len(world.launcher.running()) == 2
