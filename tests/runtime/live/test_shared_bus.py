"""The members of a basket read the commands of one reader, and send their events by one producer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from streamforge_utils.model.errors import RetryableError
from streamforge_utils.ports.bus import Consumer, Message, Producer, TopicSpec
from streamforge_utils.ports.clock import SystemClock
from streamforge_utils.runtime.live.shared_bus import SharedBus
from tests.doubles.memorybus import MemoryBus

TOPIC = "queue-control"


class _Bus(MemoryBus):
    """Counts what is made."""

    def __init__(self) -> None:
        self.time_ms = 1000
        super().__init__(now_ms=lambda: self.time_ms)
        self.consumers = self.producers = 0

    async def consumer(self, topic: str, **fields: Any) -> Consumer:
        self.consumers += 1
        return await super().consumer(topic, **fields)

    async def producer(self, *, bulk: bool = False) -> Producer:
        self.producers += 1
        return await super().producer(bulk=bulk)


class _Hasty(SystemClock):
    """A clock of one who does not wait."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0.001)


async def made() -> tuple[_Bus, SharedBus]:
    bus = _Bus()
    await bus.create_topic(TopicSpec(name=TOPIC))
    return bus, SharedBus(bus, TOPIC, 1000, _Hasty())


async def _next(consumer: Consumer) -> bytes:
    """The next message, however often the bus is away before."""
    while True:
        try:
            (found,) = await consumer.poll(10, 5)
            return found.value
        except RetryableError:
            continue


async def test_every_member_reads_every_command_since_its_launch_whenever_it_begins() -> None:
    bus, shared = await made()
    producer = await bus.producer()
    first = await shared.member().consumer(TOPIC, start_time_ms=1000)
    await producer.send(TOPIC, [Message(b"k", b"one")])
    assert [one.value for one in await first.poll(10, 5)] == [b"one"]
    bus.time_ms = 2000
    await producer.send(TOPIC, [Message(b"k", b"two")])
    assert [one.value for one in await first.poll(10, 5)] == [b"two"]
    late = [await shared.member().consumer(TOPIC, start_time_ms=since) for since in (1000, 2000)]
    assert [[m.value for m in await one.poll(10, 5)] for one in late] == [[b"one", b"two"], [b"two"]]
    assert bus.consumers == 1
    assert await first.poll(10, 0.01) == []
    await shared.close()


async def test_a_failure_of_the_reader_is_that_of_each_once_and_it_goes_on() -> None:
    bus, shared = await made()
    members = [await shared.member().consumer(TOPIC, start_time_ms=1000) for _ in range(2)]
    bus.failing = RetryableError("away")
    for member in members:
        with pytest.raises(RetryableError, match="away"):
            await member.poll(10, 5)
    bus.failing = None
    await (await bus.producer()).send(TOPIC, [Message(b"k", b"one")])
    assert [await _next(member) for member in members] == [b"one", b"one"]
    await shared.close()


async def test_events_go_by_one_producer_and_records_by_one_of_each_member() -> None:
    bus, shared = await made()
    members = [shared.member() for _ in range(3)]
    events = await asyncio.gather(*(member.producer() for member in members))
    assert bus.producers == 1
    records = [await member.producer(bulk=True) for member in members]
    assert bus.producers == 4
    await members[0].close()
    await events[0].close()
    for producer in (events[1], records[1]):
        await producer.send(TOPIC, [Message(b"k", b"one")])
    await shared.close()


async def test_other_topics_are_read_by_readers_of_their_own() -> None:
    bus, shared = await made()
    await bus.create_topic(TopicSpec(name="other"))
    member = shared.member()
    consumers = [await member.consumer("other", start_time_ms=1), await member.consumer(TOPIC, group="g")]
    assert bus.consumers == 2
    for one in consumers:
        await one.close()
    await shared.close()
