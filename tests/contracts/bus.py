"""What every bus promises; its half on groups is in `bus_groups`.

A subclass says only how to make one: `make_bus` here, `factory` in another process.
"""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamforge_utils.model.errors import PermanentError, RetryableError
from streamforge_utils.ports.bus import (
    Consumer,
    Message,
    Received,
    Start,
    TopicPartition,
)
from streamforge_utils.ports.columns import MessageColumns, columns_of
from tests.contracts.bus_fixtures import BusFixtures, BusWithAdmin, Factory, MakeBus, numbered, read, values
from tests.contracts.bus_groups import BusGroupContract
from tests.contracts.bus_remote import line, remote
from tests.contracts.bus_topics import BusTopicContract
from tests.limits import LIMIT_S

__all__ = [
    "BusContract",
    "BusFixtures",
    "BusGroupContract",
    "BusWithAdmin",
    "Factory",
    "MakeBus",
    "numbered",
    "read",
    "values",
]


_HEADER_NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=10)
"""Without NUL, at which Kafka's usual clients end a name."""


class BusContract(BusTopicContract):
    """Messages, and topics."""

    async def test_messages_arrive_in_order_with_their_offsets(self, bus: BusWithAdmin, topic: str) -> None:
        producer = await bus.producer()
        consumer = await bus.consumer([topic])
        await producer.send(topic, numbered(2500))
        await producer.send(topic, numbered(3, first=2500))
        received = await read(consumer, 2503, self.patience_s)
        assert values(received) == list(range(2503))
        assert [message.offset for message in received] == list(range(2503))
        assert {(message.topic, message.partition) for message in received} == {(topic, 0)}

    async def test_messages_in_columns_are_sent_and_read_as_they_are(self, bus: BusWithAdmin, topic: str) -> None:
        messages = [Message(None if n % 7 == 0 else b"key-%d" % n, b"%d" % n) for n in range(1500)]
        columns = MessageColumns([message.key for message in messages], [message.value for message in messages])
        await (await bus.producer(bulk=True)).send(topic, columns)
        received = await read(await bus.consumer([topic]), 1500, self.patience_s)
        assert [Message(message.key, message.value) for message in received] == messages
        assert columns_of(received).read() == (columns.keys, columns.values)

    async def test_fleeting_messages_lie_in_order_among_the_others(self, bus: BusWithAdmin, topic: str) -> None:
        producer = await bus.producer()
        for number in range(6):
            await producer.send(topic, numbered(2, first=2 * number), fleeting=number % 2 == 0)
        assert values(await read(await bus.consumer([topic]), 12, self.patience_s)) == list(range(12))

    async def test_any_size_of_poll_gives_the_same(self, bus: BusWithAdmin, topic: str) -> None:
        producer = await bus.producer()
        await producer.send(topic, numbered(2000))
        for at_once in (1, 7, 999, 1000, 1001, 5000):
            count = 20 if at_once == 1 else 2000
            consumer = await bus.consumer([topic])
            assert values(await read(consumer, count, self.patience_s, at_once=at_once)) == list(range(count))
            await consumer.close()

    async def test_an_empty_poll_ends_at_its_timeout(self, bus: BusWithAdmin, topic: str) -> None:
        consumer = await bus.consumer([topic])
        await (await bus.producer()).send(topic, [])
        assert list(await consumer.poll(10, 0)) == []
        assert list(await consumer.poll(10, 0.05)) == []

    async def test_a_key_stays_in_its_partition_in_order_whoever_sends(
        self, bus: BusWithAdmin, other: BusWithAdmin, wide: str
    ) -> None:
        keys = [b"key-%d" % number for number in range(20)]
        producers = [await bus.producer(), await other.producer()]
        for round_ in range(6):
            await producers[round_ % 2].send(wide, [Message(key, b"%d" % round_) for key in keys])
        received = await read(await bus.consumer([wide]), 120, self.patience_s)
        by_key: dict[bytes | None, list[Received]] = {}
        for message in received:
            by_key.setdefault(message.key, []).append(message)
        assert len(by_key) == 20
        for messages in by_key.values():
            assert values(messages) == [0, 1, 2, 3, 4, 5]
            assert len({message.partition for message in messages}) == 1
        assert {message.partition for message in received} == {0, 1, 2, 3}

    async def test_messages_without_a_key_are_spread_and_a_poll_gives_no_more_than_was_asked_for(
        self, bus: BusWithAdmin, wide: str
    ) -> None:
        producer = await bus.producer()
        for number in range(100):
            await producer.send(wide, numbered(1, first=number, key=None))
        consumer = await bus.consumer([wide])
        received: list[Received] = []
        while len(received) < 100:
            found = await consumer.poll(7, self.patience_s)
            assert 1 <= len(found) <= 7
            received += found
        assert {message.partition for message in received} == {0, 1, 2, 3}
        for partition in range(4):
            mine = values([message for message in received if message.partition == partition])
            assert mine == sorted(mine)

    @settings(
        max_examples=25,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
    )
    @given(
        messages=st.lists(
            st.builds(
                Message,
                st.none() | st.binary(max_size=50),
                st.binary(max_size=300),
                st.lists(st.tuples(_HEADER_NAMES, st.binary(max_size=20)), max_size=3).map(tuple),
            ),
            min_size=1,
            max_size=20,
        )
    )
    async def test_keys_values_and_headers_come_back_as_sent(
        self, bus: BusWithAdmin, topic: str, messages: list[Message]
    ) -> None:
        consumer = await bus.consumer([topic], start=Start.LATEST)
        producer = await bus.producer()
        await producer.send(topic, messages)
        received = await read(consumer, len(messages), self.patience_s)
        assert [Message(m.key, m.value, m.headers) for m in received] == messages
        await consumer.close()
        await producer.close()

    async def test_concurrent_sends_all_arrive_each_in_order(self, bus: BusWithAdmin, topic: str) -> None:
        producers = [await bus.producer() for _ in range(3)]
        await asyncio.gather(
            *(
                producer.send(topic, [Message(b"%d" % number, b"%d" % at) for at in range(50)])
                for producer in producers
                for number in range(5)
            )
        )
        received = await read(await bus.consumer([topic]), 750, self.patience_s)
        assert [message.offset for message in received] == list(range(750))
        for number in range(5):
            mine = values([message for message in received if message.key == b"%d" % number])
            assert sorted(mine) == sorted([*range(50)] * 3)

    async def test_what_is_confirmed_in_one_process_is_seen_in_another(
        self, bus: BusWithAdmin, topic: str, factory: Factory
    ) -> None:
        consumer = await bus.consumer([topic])
        async with (
            remote(factory, "read", topic, "3") as reader,
            remote(factory, "send", topic, "label", "4", "5") as sender,
        ):
            assert await line(reader) == "ready"
            assert [await line(sender) for _ in range(4)] == ["5", "10", "15", "20"]
            assert [await line(reader) for _ in range(3)] == ["0", "1", "2"]
            received = await read(consumer, 20, self.patience_s)
        assert values(received) == list(range(20))
        assert {message.key for message in received} == {b"label"}

    async def test_one_consumer_serves_several_topics_fairly(self, bus: BusWithAdmin, topic: str, wide: str) -> None:
        producer = await bus.producer()
        await producer.send(wide, numbered(20_000, key=None))
        await producer.send(topic, numbered(1))
        consumer = await bus.consumer([wide, topic])
        received = await read(consumer, 4000, self.patience_s, at_once=100)
        assert topic in {message.topic for message in received}

    async def test_start_at_a_time(self, bus: BusWithAdmin, topic: str) -> None:
        producer = await bus.producer()
        times: list[int] = []
        reader = await bus.consumer([topic])
        for number in range(6):
            await producer.send(topic, numbered(2, first=2 * number))
            times.append((await read(reader, 2, self.patience_s))[0].timestamp_ms)
            while len(times) > 1 and times[-1] == times[-2]:  # two sends within one millisecond
                times.pop()
        for time_ms in times:
            consumer = await bus.consumer([topic], start_time_ms=time_ms)
            (message,) = await read(consumer, 1, self.patience_s)
            assert message.timestamp_ms == time_ms > 1_700_000_000_000
            await consumer.close()
        late = await bus.consumer([topic], start_time_ms=times[-1] + 60_000)
        await producer.send(topic, numbered(1, first=99))
        assert values(await read(late, 1, self.patience_s)) == [99]
        early = await bus.consumer([topic], start_time_ms=0)
        assert values(await read(early, 13, self.patience_s)) == [*range(12), 99]

    async def test_seek_back_and_forth(self, bus: BusWithAdmin, topic: str) -> None:
        await (await bus.producer()).send(topic, numbered(2500))
        consumer = await bus.consumer([topic])
        place = TopicPartition(topic, 0)
        assert values(await read(consumer, 1200, self.patience_s, at_once=70)) == list(range(1200))
        await consumer.seek(place, 3)
        assert values(await read(consumer, 2, self.patience_s)) == [3, 4]
        await consumer.seek(place, 2490)
        assert values(await read(consumer, 10, self.patience_s)) == list(range(2490, 2500))
        await consumer.seek(place, 0)
        assert values(await read(consumer, 2500, self.patience_s)) == list(range(2500))

    async def test_a_cancelled_poll_loses_nothing(self, bus: BusWithAdmin, topic: str) -> None:
        producer = await bus.producer()
        consumer = await bus.consumer([topic])
        received: list[Received] = []
        for number in range(30):
            task = asyncio.create_task(_into(consumer, received))
            for _ in range(number % 7):
                await asyncio.sleep(0)
            await producer.send(topic, numbered(1, first=number))
            task.cancel()
            await asyncio.wait({task})
        received += await read(consumer, 30 - len(received), self.patience_s)
        assert values(received) == list(range(30))

    async def test_a_cancelled_send_leaves_the_producer_usable(self, bus: BusWithAdmin, topic: str) -> None:
        producer = await bus.producer()
        for number in range(20):
            task = asyncio.create_task(producer.send(topic, numbered(1, first=number)))
            for _ in range(number % 5):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait({task})
        await producer.send(topic, numbered(1, first=99))
        received: list[Received] = []
        consumer = await bus.consumer([topic])
        while not received or received[-1].value != b"99":
            received += await consumer.poll(100, self.patience_s)
        assert values(received) == sorted(set(values(received)))

    async def test_closing_twice_is_harmless_and_the_bus_closes_what_it_made(
        self, make_bus: MakeBus, topic: str
    ) -> None:
        bus = make_bus()
        producer, consumer = await bus.producer(), await bus.consumer([topic], group="group")
        await producer.close()
        await producer.close()
        await bus.close()
        await bus.close()
        with pytest.raises((PermanentError, RetryableError)):
            await consumer.poll(1, 0)


async def _into(consumer: Consumer, received: list[Received]) -> None:
    while True:
        received += await consumer.poll(10, LIMIT_S)
