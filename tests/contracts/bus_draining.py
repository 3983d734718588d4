"""The contract of a bus, as far as a sink relies on it that stores the rest of a topic before it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from streamforge_utils.model.markers import EOS_KEY, EndOfStream, encode_marker
from streamforge_utils.ports.bus import Consumer, Message, TopicPartition
from streamforge_utils.ports.clock import Clock
from streamforge_utils.runtime.input import Input
from streamforge_utils.runtime.settings import Upstream
from tests.contracts.bus_fixtures import BusFixtures, BusWithAdmin, numbered, read
from tests.doubles.instruments import instruments
from tests.limits import LIMIT_S

GROUP = "group"


class BusDrainingContract(BusFixtures):
    """What is on the topic when it is asked for is read to its end, and counted."""

    @pytest.fixture
    async def part(self, bus: BusWithAdmin, topic: str) -> AsyncIterator[Input]:
        """The input of a sink."""
        consumer = await bus.consumer([topic], group=GROUP)
        yield new_input(bus, topic, consumer)
        await consumer.close()

    async def test_a_drained_input_ends_with_the_log(self, bus: BusWithAdmin, topic: str, part: Input) -> None:
        await (await bus.producer()).send(topic, numbered(7000))
        part.drain(upstream_ended=True)
        assert await drained(part) == list(range(7000))
        assert (part.drained, await part.left()) == (True, 0)
        assert (await bus.lag(topic, GROUP)).records == 0

    async def test_a_drained_input_goes_on_where_another_member_has_committed(
        self, bus: BusWithAdmin, topic: str
    ) -> None:
        await (await bus.producer()).send(topic, numbered(10))
        first = await bus.consumer([topic], group=GROUP)
        assert len(await read(first, 4, self.patience_s)) == 4
        await first.commit({TopicPartition(topic, 0): 4})
        await first.close()
        part = new_input(bus, topic, await bus.consumer([topic], group=GROUP))
        part.drain(upstream_ended=True)
        assert await drained(part) == [4, 5, 6, 7, 8, 9]

    async def test_a_drained_input_ends_at_the_marker_of_a_loader_that_was_stopped(
        self, bus: BusWithAdmin, topic: str, part: Input
    ) -> None:
        producer = await bus.producer()
        await producer.send(topic, numbered(3))
        part.drain(upstream_ended=False)
        reading = asyncio.create_task(drained(part))
        marker = EndOfStream(producer="loader", attempt=1, records=3, reason="interrupted")
        await producer.send(topic, [*numbered(2, first=3), Message(EOS_KEY, encode_marker(marker))])
        assert await reading == [0, 1, 2, 3, 4]
        assert await part.left() == 0

    async def test_an_empty_topic_is_drained_at_once(self, part: Input) -> None:
        part.drain(upstream_ended=True)
        assert await drained(part) == []
        assert part.drained

    async def test_what_is_left_is_counted(self, bus: BusWithAdmin, topic: str, part: Input) -> None:
        await (await bus.producer()).send(topic, numbered(10))
        assert await part.left() == 10
        async with asyncio.timeout(LIMIT_S):
            async for batch in part:
                await part.done(batch[:1])
                break
        assert await part.left() == 9
        await (await bus.producer()).send(topic, numbered(5, first=10))
        assert await part.left() == 14


def new_input(
    bus: BusWithAdmin, topic: str, consumer: Consumer, *, group: str = GROUP, clock: Clock | None = None
) -> Input:
    """The input of a sink whose only loader is `loader`."""
    return Input(
        consumer,
        bus,
        topic,
        group,
        [Upstream("loader")],
        instruments(clock),
    )


async def drained(part: Input) -> list[int]:
    """What is read to the end."""
    found: list[int] = []
    async with asyncio.timeout(LIMIT_S):
        async for batch in part:
            found += [int(message.value) for message in batch]
            await part.done(batch)
    return found
