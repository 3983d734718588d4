"""How many dead letters each workflow has, and why."""

from __future__ import annotations

import pytest

from streamforge.manager.dead_letters import counts as dead_letter_counts
from streamforge.manager.dead_letters.answers import LetterCounts, ReasonCount
from streamforge.manager.dead_letters.counts import DeadLetterCounts
from streamforge.manager.engine.document import Workflow
from streamforge_utils.model import names
from streamforge_utils.ports.bus import Message
from tests.doubles.manualclock import ManualClock
from tests.manager.execution.world import launched
from tests.manager.support import NOW, SINK, World, planned


@pytest.fixture
async def world() -> World:
    world = World(clock=ManualClock(NOW))
    await world.start()
    return world


def refuse(world: World, workflow: Workflow, *reasons: str) -> None:
    topic = names.dlq_topic(workflow.topic)
    world.bus.append(topic, *(Message(None, b"v", (("reason", reason.encode()),)) for reason in reasons))


async def test_workflows_with_dead_letters_are_told_with_their_reasons(world: World) -> None:
    first, second = await launched(world), await launched(world, planned(code="abd000"))
    await launched(world, planned(code="abe000"))
    bad = "not a record of candles: x"
    refuse(world, first, bad, "too large for a dead letter, y", "not a record of candles: z")
    refuse(world, second, *[bad] * 4)
    world.bus.committed[names.dlq_topic(second.topic), names.consumer_group(second.queue_id, SINK)] = 4
    world.bus.log[names.dlq_topic("wf-gone-api_candles_1m-20240801-abc123-data")] = []
    counts = DeadLetterCounts(world.deps)
    page = await counts.page()
    told = LetterCounts(
        queue_id=first.queue_id,
        symbol="BTCUSDT",
        type="api_candles_1m",
        status="running",
        outstanding=3,
        counted=3,
        reasons=[
            ReasonCount(code="not-a-record", count=2, example="not a record of candles: z"),
            ReasonCount(code="too-large", count=1, example="too large for a dead letter, y"),
        ],
    )
    assert (page.workflows, page.cursor) == ([told], None)
    refuse(world, second, bad)
    assert [(one.queue_id, one.outstanding) for one in (await counts.page()).workflows] == [
        (first.queue_id, 3),
        (second.queue_id, 1),
    ]


async def test_pages_follow_each_other_and_look_at_a_bounded_number_of_topics(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    several = [await launched(world, planned(code=f"abc00{n}")) for n in range(4)]
    for one in (several[0], several[1], several[3]):
        refuse(world, one, "x")
    counts, found, cursor = DeadLetterCounts(world.deps), list[list[str]](), None
    monkeypatch.setattr(dead_letter_counts, "EXAMINED", 2)
    for limit in (1, 2, 2):
        page = await counts.page(cursor=cursor, limit=limit)
        found.append([one.queue_id for one in page.workflows])
        cursor = page.cursor
    ids = [one.queue_id for one in several]
    assert (found, cursor) == ([[ids[0]], [ids[1]], [ids[3]]], None)


async def test_letters_are_read_again_only_where_others_wait(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letter_counts, "COUNTED", 2)
    workflow = await launched(world)
    refuse(world, workflow, "a", "b", "c")
    counts, reads = DeadLetterCounts(world.deps), list[int]()
    read = world.deps.dead_letters.read

    async def noted(*of: object, **how: object) -> object:
        reads.append(1)
        return await read(*of, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(world.deps.dead_letters, "read", noted)
    for _ in range(3):
        (one,) = (await counts.page()).workflows
        assert (one.outstanding, one.counted, one.reasons[0].example) == (3, 2, "b")
    assert len(reads) == 1
    refuse(world, workflow, "d")
    (one,) = (await counts.page()).workflows
    assert (one.outstanding, len(reads)) == (4, 2)
