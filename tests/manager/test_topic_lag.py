"""The topics of workflows: what they hold, who reads them, and how fast that changes."""

from __future__ import annotations

import pytest

from streamforge.manager import topic_lag
from streamforge.manager.engine.document import StepStatus
from streamforge.manager.engine.refusals import NotFound
from streamforge.manager.presentation import moment
from streamforge.manager.topic_answers import PartitionOffsets, Topic, TopicReader
from streamforge.manager.topic_lag import LOOK_LEAST_S, SORTED_FOR_S
from streamforge_utils.model import names
from streamforge_utils.model.errors import InvalidInput
from streamforge_utils.model.messages import EOS_KEY
from streamforge_utils.ports.bus import Message
from tests.doubles.manualclock import ManualClock
from tests.manager.execution.world import launched
from tests.manager.support import NOW, SINK, World, planned, replace


@pytest.fixture
async def world() -> World:
    world = World(clock=ManualClock(NOW))
    await world.start()
    return world


async def listed(world: World, **asked: object) -> list[str]:
    return [one.name for one in (await world.manager.topics.page(**asked)).topics]  # type: ignore[arg-type]


async def test_a_topic_tells_what_it_holds_and_how_far_each_reader_is(world: World) -> None:
    workflow = await launched(world)
    group = names.consumer_group(workflow.queue_id, SINK)
    world.bus.append(workflow.topic, *(Message(b"k", b"12345") for _ in range(10)))
    world.bus.committed[workflow.topic, group] = 4
    await world.bus.trim(workflow.topic, [group])
    assert await world.manager.topics.one(workflow.topic) == Topic(
        name=workflow.topic,
        kind="records",
        queue_id=workflow.queue_id,
        retention="consumed",
        limit_bytes=world.policy.data_topic_max_bytes,
        bytes=36,
        messages=6,
        partitions=[PartitionOffsets(partition=0, first=4, end=10)],
        readers=[
            TopicReader(
                group=group,
                queue_id=workflow.queue_id,
                step=SINK,
                running=True,
                seen_at=moment(NOW + 3000),
                committed={"0": 4},
                lag=6,
                rate=None,
            )
        ],
        lag=6,
        rate=None,
        rate_seconds=None,
    )


async def test_a_reader_tells_whether_it_runs_and_when_it_was_last_heard_of(world: World) -> None:
    workflow = await launched(world)

    async def reader(**of_attempt: int) -> tuple[bool, str | None]:
        step = workflow.step(SINK)
        assert step is not None
        assert step.attempt is not None
        heard = replace(step, attempts=(replace(step.attempt, **of_attempt),))
        await world.deps.workflows.change(workflow.queue_id, lambda found: found.with_step(heard))
        (one,) = (await world.manager.topics.one(workflow.topic)).readers
        return one.running, one.seen_at

    assert await reader(started_ms=NOW, seen_ms=NOW + 5) == (True, moment(NOW + 5))
    assert await reader(started_ms=NOW, seen_ms=NOW + 9, ended_ms=NOW + 9) == (False, moment(NOW + 9))


async def test_what_nobody_reads_any_more_is_not_to_be_read(world: World) -> None:
    workflow = await launched(world)
    group, letters = names.consumer_group(workflow.queue_id, SINK), names.dlq_topic(workflow.topic)
    world.bus.append(workflow.topic, *(Message(b"k", b"v") for _ in range(3)), Message(EOS_KEY, b"{}"))
    world.bus.append(letters, Message(b"k", b"v"))
    world.bus.committed[workflow.topic, group] = 3

    async def to_be_read() -> list[tuple[int | None, list[int]]]:
        looks = [await world.manager.topics.one(name) for name in (workflow.topic, letters)]
        return [(one.lag, [reader.lag for reader in one.readers]) for one in looks]

    assert await to_be_read() == [(1, [1]), (1, [1])]
    step = workflow.step(SINK)
    assert step is not None
    finished = replace(step, status=StepStatus.FINISHED)
    await world.deps.workflows.change(workflow.queue_id, lambda found: found.with_step(finished))
    assert await to_be_read() == [(0, [0]), (1, [1])], "letters wait for a replay"


async def test_topics_are_sorted_over_all_pages(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [await launched(world, planned(code=f"abd00{number}")) for number in range(4)]
    topics = [one.topic for one in found]
    for one, messages, read in zip(found, (2, 9, 5, 5), (0, 8, 1, 0), strict=True):
        world.bus.append(one.topic, *(Message(b"k", b"v") for _ in range(messages)))
        world.bus.committed[one.topic, names.consumer_group(one.queue_id, SINK)] = read

    async def order(sort: str, **asked: object) -> list[int]:
        return [topics.index(name) for name in await listed(world, kind="records", sort=sort, **asked)]

    assert await order("messages") == [1, 2, 3, 0]
    assert await order("lag") == [3, 2, 0, 1]
    assert await order("rate") == [0, 1, 2, 3], "no rate is known yet"
    world.later(LOOK_LEAST_S)
    world.bus.append(topics[2], Message(b"k", b"v"))
    assert await order("rate") == [2, 0, 1, 3], "as soon as one is"
    page = await world.manager.topics.page(kind="records", sort="lag", limit=2)
    assert page.cursor == topics[2]
    world.bus.append(topics[1], *(Message(b"k", b"v") for _ in range(50)))
    assert await order("lag", cursor=page.cursor) == [0, 1], "the pages of an order follow each other"
    world.later(SORTED_FOR_S + 1)
    assert await order("lag") == [1, 2, 3, 0]
    new = await launched(world, planned(code="abd009"))
    await world.bus.delete_topic(topics[3])
    assert await listed(world, kind="records", sort="lag") == [topics[1], topics[2], topics[0], new.topic]
    with pytest.raises(InvalidInput, match="cursor"):
        await order("lag", cursor=topics[3])
    monkeypatch.setattr(topic_lag, "MOST_SORTED", 3)
    with pytest.raises(InvalidInput, match="4 topics fit, and 3 at most are sorted by bytes: narrow them down"):
        await order("bytes")


async def test_rates_are_those_since_an_earlier_look(world: World) -> None:
    workflow = await launched(world)
    group, topics = names.consumer_group(workflow.queue_id, SINK), world.manager.topics

    async def rates(seconds: float, messages: int, committed: int) -> tuple[float | None, float | None, float | None]:
        world.later(seconds)
        world.bus.append(workflow.topic, *(Message(b"k", b"v") for _ in range(messages)))
        world.bus.committed[workflow.topic, group] = committed
        found = await topics.one(workflow.topic)
        return found.rate, found.readers[0].rate, found.rate_seconds

    assert await rates(0, 10, 4) == (None, None, None)
    assert await rates(LOOK_LEAST_S / 2, 10, 4) == (None, None, None), "too soon"
    assert await rates(2, 30, 14) == (16.0, 4.0, 2.5)
    assert await rates(LOOK_LEAST_S / 2, 0, 14) == (13.333, 3.333, 3.0), "since the same look"
    assert await rates(10, 0, 14) == (0.0, 0.0, 10.5)
    spec = world.bus.specs[workflow.topic]
    await world.bus.delete_topic(workflow.topic)
    with pytest.raises(NotFound, match=workflow.topic):
        await topics.one(workflow.topic)
    await world.bus.create_topic(spec)
    assert await rates(10, 5, 0) == (None, None, None), "it was made again"


async def test_pages_hold_the_topics_of_workflows_and_of_what_is_said(world: World) -> None:
    first, second = await launched(world), await launched(world, planned(code="abd000"))
    world.bus.log["strangers"] = []
    every = sorted(
        [
            "queue-control",
            "queue-events",
            *(f"{one.queue_id}-data{end}" for one in (first, second) for end in ("", "-dlq")),
        ]
    )
    assert await listed(world) == every
    page = await world.manager.topics.page(limit=4)
    assert ([one.name for one in page.topics], page.cursor) == (every[:4], every[3])
    assert await listed(world, cursor=page.cursor, limit=2) == every[4:]
    assert (await world.manager.topics.page(cursor=every[3], limit=2)).cursor is None
    assert await listed(world, queue_id=second.queue_id) == [f"{second.queue_id}-data", f"{second.queue_id}-data-dlq"]
    assert await listed(world, kind="dead-letters") == [name for name in every if name.endswith("-dlq")]
    assert await listed(world, search="ABD0", kind="records") == [f"{second.queue_id}-data"]
    assert await listed(world, search="queue-c") == ["queue-control"]
    kinds = {one.name: (one.kind, one.retention, one.lag) for one in (await world.manager.topics.page()).topics}
    assert kinds[f"{first.queue_id}-data-dlq"] == ("dead-letters", "consumed", 0)
    assert (kinds["queue-control"][:2], kinds["queue-events"]) == (("commands", "rolling"), ("events", "rolling", None))
    for name in ("strangers", "nothing"):
        with pytest.raises(NotFound, match=name):
            await world.manager.topics.one(name)


async def test_a_topic_that_goes_while_they_are_looked_at_is_left_out(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    workflow = await launched(world)
    there = await world.bus.topics()

    async def before() -> list[str]:
        return [*there]

    monkeypatch.setattr(world.bus, "topics", before)
    await world.bus.delete_topic(workflow.topic)
    assert await listed(world, queue_id=workflow.queue_id) == [f"{workflow.topic}-dlq"]
    with pytest.raises(NotFound, match="removed a moment ago"):
        await world.manager.topics.one(workflow.topic)
