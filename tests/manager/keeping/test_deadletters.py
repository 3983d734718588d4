from __future__ import annotations

from streamforge.manager.keeping.deadletters import DeadLetters
from streamforge_utils.model import names
from streamforge_utils.ports.bus import Message, TopicSpec
from tests.doubles.memorybus import MemoryBus
from tests.manager.support import SINK, accepted

WORKFLOW = accepted()
TOPIC = names.dlq_topic(WORKFLOW.topic)
GROUP = names.consumer_group(WORKFLOW.queue_id, SINK)


def letter(number: int, headers: tuple[tuple[str, bytes], ...] = ()) -> Message:
    return Message(b"k%d" % number, b"v%d" % number, headers)


async def test_there_are_none_before_the_topic_is_made() -> None:
    bus = MemoryBus()
    found = DeadLetters(bus, bus)
    assert await found.outstanding(WORKFLOW) == 0
    assert await found.read(WORKFLOW, limit=5) == []


async def test_they_carry_where_they_came_from_and_why() -> None:
    bus = MemoryBus()
    await bus.create_topic(TopicSpec(name=TOPIC))
    headers = {
        "reason": "not a candle",
        "topic": WORKFLOW.topic,
        "partition": "0",
        "offset": "17",
        "attempt": "2",
        "time": "5",
    }
    bus.append(TOPIC, letter(1, tuple((name, text.encode()) for name, text in headers.items())), letter(2))
    bus.append(TOPIC, letter(3, (("offset", b"x"), ("reason", b"\xff"))))
    found = await DeadLetters(bus, bus).read(WORKFLOW, limit=10)
    assert [(d.key, d.value) for d in found] == [(b"k1", b"v1"), (b"k2", b"v2"), (b"k3", b"v3")]
    first, bare, odd = found
    assert (first.reason, first.topic, first.offset, first.attempt, first.time_ms) == (
        "not a candle",
        WORKFLOW.topic,
        17,
        2,
        5,
    )
    assert (bare.reason, bare.topic, bare.offset, bare.attempt) == ("", TOPIC, 1, 0)
    assert (odd.offset, odd.reason) == (2, "\ufffd")


async def test_only_those_that_nobody_replayed_are_outstanding_the_oldest_first() -> None:
    bus = MemoryBus()
    await bus.create_topic(TopicSpec(name=TOPIC))
    bus.append(TOPIC, *(letter(n) for n in range(3000)))
    bus.committed[TOPIC, GROUP] = 2900
    found = DeadLetters(bus, bus)
    assert await found.outstanding(WORKFLOW) == 100
    assert [d.value for d in await found.read(WORKFLOW, limit=2)] == [b"v2900", b"v2901"]
    bus.committed[TOPIC, GROUP] = 3000
    assert await found.read(WORKFLOW, limit=2) == []
