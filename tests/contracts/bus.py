"""What every bus promises of messages and topics; what it promises of groups is in `bus_groups`.

A subclass says only how to make one: `make_bus` here, `factory` in another process.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import secrets
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamforge_utils.model.errors import PermanentError, RetryableError
from streamforge_utils.model.names import dlq_topic
from streamforge_utils.ports.bus import Consumer, Message, Received, Start, TopicSpec
from streamforge_utils.ports.columns import MessageColumns, columns_of
from streamforge_utils.runtime.output.topic_specs import data_topic, dead_letters_topic
from streamforge_utils.runtime.output.topic_writer import CUT_BYTES, REASON_BYTES, DeadLetterQueue
from tests.contracts.bus_fixtures import BusFixtures, BusWithAdmin, Factory, MakeBus, numbered, read, values
from tests.contracts.remote_process import line, remote
from tests.doubles.instruments import instruments
from tests.limits import LIMIT_S

_HEADER_NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=10)
"""Without NUL, at which Kafka's usual clients end a name."""


class BusContract(BusFixtures):
    """Messages, and topics: made, listed and deleted, their limits and what is left to read of them."""

    async def test_messages_arrive_in_order_with_their_offsets(self, bus: BusWithAdmin, topic: str) -> None:
        producer = await bus.producer()
        consumer = await bus.consumer(topic)
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
        received = await read(await bus.consumer(topic), 1500, self.patience_s)
        assert [Message(message.key, message.value) for message in received] == messages
        assert (columns_of(received).keys, columns_of(received).values) == (columns.keys, columns.values)

    async def test_fleeting_messages_lie_in_order_among_the_others(self, bus: BusWithAdmin, topic: str) -> None:
        producer = await bus.producer()
        for number in range(6):
            await producer.send(topic, numbered(2, first=2 * number), fleeting=number % 2 == 0)
        assert values(await read(await bus.consumer(topic), 12, self.patience_s)) == list(range(12))

    async def test_any_size_of_poll_gives_the_same(self, bus: BusWithAdmin, topic: str) -> None:
        producer = await bus.producer()
        await producer.send(topic, numbered(2000))
        for at_once in (1, 7, 999, 1000, 1001, 5000):
            count = 20 if at_once == 1 else 2000
            consumer = await bus.consumer(topic)
            assert values(await read(consumer, count, self.patience_s, at_once=at_once)) == list(range(count))
            await consumer.close()

    async def test_an_empty_poll_ends_at_its_timeout(self, bus: BusWithAdmin, topic: str) -> None:
        consumer = await bus.consumer(topic)
        await (await bus.producer()).send(topic, [])
        assert list(await consumer.poll(10, 0)) == []
        assert list(await consumer.poll(10, 0.05)) == []

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
        consumer = await bus.consumer(topic, start=Start.LATEST)
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
        received = await read(await bus.consumer(topic), 750, self.patience_s)
        assert [message.offset for message in received] == list(range(750))
        for number in range(5):
            mine = values([message for message in received if message.key == b"%d" % number])
            assert sorted(mine) == sorted([*range(50)] * 3)

    async def test_what_is_confirmed_in_one_process_is_seen_in_another(
        self, bus: BusWithAdmin, topic: str, factory: Factory
    ) -> None:
        consumer = await bus.consumer(topic)
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

    async def test_start_at_a_time(self, bus: BusWithAdmin, topic: str) -> None:
        producer = await bus.producer()
        times: list[int] = []
        reader = await bus.consumer(topic)
        for number in range(6):
            await producer.send(topic, numbered(2, first=2 * number))
            times.append((await read(reader, 2, self.patience_s))[0].timestamp_ms)
            while len(times) > 1 and times[-1] == times[-2]:  # two sends within one millisecond
                times.pop()
        for time_ms in times:
            consumer = await bus.consumer(topic, start_time_ms=time_ms)
            (message,) = await read(consumer, 1, self.patience_s)
            assert message.timestamp_ms == time_ms > 1_700_000_000_000
            await consumer.close()
        late = await bus.consumer(topic, start_time_ms=times[-1] + 60_000)
        await producer.send(topic, numbered(1, first=99))
        assert values(await read(late, 1, self.patience_s)) == [99]
        early = await bus.consumer(topic, start_time_ms=0)
        assert values(await read(early, 13, self.patience_s)) == [*range(12), 99]

    async def test_seek_back_and_forth(self, bus: BusWithAdmin, topic: str) -> None:
        await (await bus.producer()).send(topic, numbered(2500))
        consumer = await bus.consumer(topic)
        assert values(await read(consumer, 1200, self.patience_s, at_once=70)) == list(range(1200))
        await consumer.seek(0, 3)
        assert values(await read(consumer, 2, self.patience_s)) == [3, 4]
        await consumer.seek(0, 2490)
        assert values(await read(consumer, 10, self.patience_s)) == list(range(2490, 2500))
        await consumer.seek(0, 0)
        assert values(await read(consumer, 2500, self.patience_s)) == list(range(2500))

    async def test_a_position_moves_with_what_is_given_and_past_offsets_without_a_message(
        self, bus: BusWithAdmin, topic: str
    ) -> None:
        producer = await bus.producer()
        for first in (0, 10):
            await producer.send(topic, numbered(10, first=first))
        reader, member = await bus.consumer(topic), await bus.consumer(topic, group="g")
        assert (await reader.position(), await member.position()) == ({0: 0}, {0: 0})
        await read(reader, 4, self.patience_s, at_once=3)
        assert await reader.position() == {0: 4}
        for consumer in (reader, member):
            await consumer.seek(0, 17)
            assert await consumer.position() == {0: 17}
            await read(consumer, 3, self.patience_s)
            assert await consumer.position() == {0: 20}
        await member.commit({0: 3})
        await member.close()
        again = await bus.consumer(topic, group="g")
        assert await again.position() == {0: 3}
        await reader.close()
        done = await bus.consumer(topic, group="done")
        await read(done, 20, self.patience_s)
        await done.commit({0: 20})
        await bus.trim(topic, ["done"])
        late = await bus.consumer(topic, group="late")
        assert await late.position() == {0: 0}, "what was trimmed was not passed by a poll"
        async with asyncio.timeout(self.patience_s):
            while await late.position() != {0: 20}:
                assert not await late.poll(10, 0.1)

    async def test_a_cancelled_poll_loses_nothing(self, bus: BusWithAdmin, topic: str) -> None:
        producer = await bus.producer()
        consumer = await bus.consumer(topic)
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
        consumer = await bus.consumer(topic)
        while not received or received[-1].value != b"99":
            received += await consumer.poll(100, self.patience_s)
        assert values(received) == sorted(set(values(received)))

    async def test_closing_twice_is_harmless_and_the_bus_closes_what_it_made(
        self, make_bus: MakeBus, topic: str
    ) -> None:
        bus = make_bus()
        producer, consumer = await bus.producer(), await bus.consumer(topic, group="group")
        await producer.close()
        await producer.close()
        await bus.close()
        await bus.close()
        with pytest.raises((PermanentError, RetryableError)):
            await consumer.poll(1, 0)

    async def test_an_unknown_topic_is_a_permanent_error(self, bus: BusWithAdmin) -> None:
        with pytest.raises(PermanentError, match="nobody-made-this"):
            await bus.consumer("nobody-made-this")
        producer = await bus.producer()
        with pytest.raises(PermanentError, match="nobody-made-this"):
            await producer.send("nobody-made-this", numbered(1))
        with pytest.raises(PermanentError, match="nobody-made-this"):
            await bus.lag("nobody-made-this", "group")
        with pytest.raises(PermanentError):
            await bus.offsets("nobody-made-this")
        with pytest.raises(PermanentError):
            await bus.identity("nobody-made-this")
        with pytest.raises(PermanentError):
            await bus.size("nobody-made-this")

    async def test_it_tells_what_the_messages_of_a_topic_take_or_that_it_cannot(self, bus: BusWithAdmin) -> None:
        topic = f"contract-{secrets.token_hex(6)}"
        await bus.create_topic(data_topic(topic, ("group",)))
        noise = random.Random(1)
        sizes = [await bus.size(topic)]
        await (await bus.producer()).send(topic, [Message(b"key", noise.randbytes(1000)) for _ in range(50)])
        sizes.append(await bus.size(topic))
        reader = await bus.consumer(topic, group="group")
        await read(reader, 50, self.patience_s)
        await reader.commit({0: 50})
        await bus.trim(topic, ["group"])
        sizes.append(await bus.size(topic))
        await bus.delete_topic(topic)
        if not self.tells_size:
            assert sizes == [None, None, None]
            return
        empty, full, trimmed = sizes
        assert (empty, trimmed) == (0, 0)
        assert 50_000 <= (full or 0) < 60_000

    @pytest.mark.parametrize("name", ["", ".", "..", "a b", "a/b", "../a", "ключ", "a\n", "a\0b", "x" * 250, "a:b"])
    async def test_an_illegal_topic_name_is_a_permanent_error(self, bus: BusWithAdmin, name: str) -> None:
        with pytest.raises(PermanentError):
            await bus.create_topic(TopicSpec(name=name))

    async def test_a_message_that_is_too_large_is_a_permanent_error(self, bus: BusWithAdmin, topic: str) -> None:
        producer = await bus.producer()
        with pytest.raises(PermanentError, match=r"\b20000\d\d\b"):
            await producer.send(topic, [Message(b"large", b"x" * 2_000_000)])
        await producer.send(topic, [Message(b"fits", b"x" * 900_000)])
        (message,) = await read(await bus.consumer(topic), 1, self.patience_s)
        assert (message.key, message.offset) == (b"fits", 0)

    async def test_the_largest_record_that_a_data_topic_takes_can_become_a_dead_letter(self, bus: BusWithAdmin) -> None:
        name = f"contract-{secrets.token_hex(6)}-{'x' * 200}"
        dead = dlq_topic(name)
        await bus.create_topic(data_topic(name, ("g",)))
        await bus.create_topic(dead_letters_topic(dead, ("g",)))
        producer = await bus.producer()
        noise = random.Random(1).randbytes(2_000_000)
        taken, too_large = [900_000], 2_000_000
        await producer.send(name, [Message(b"key", noise[: taken[0]])])
        while too_large - taken[-1] > 1:
            size = (taken[-1] + too_large) // 2
            try:
                await producer.send(name, [Message(b"key", noise[:size])])
                taken.append(size)
            except PermanentError:
                too_large = size
        found = await read(await bus.consumer(name), len(taken), self.patience_s)
        largest = found[-1]
        assert [len(message.value) for message in found] == taken
        letters = DeadLetterQueue(producer, bus, name, "g", instruments(), attempt=1)
        foreign = Received("orders", 3, 7, b"k" * 100_000, noise * 2, 5)
        await letters.send((foreign, "no JSON"), (largest, "ж" * 100_000))
        cut, letter = await read(await bus.consumer(dead), 2, self.patience_s)
        assert (cut.key, cut.value) == (foreign.key and foreign.key[:CUT_BYTES], noise[:CUT_BYTES] + b"\n[cut]")
        told = {name: value.decode() for name, value in cut.headers}
        assert (told["topic"], told["partition"], told["offset"], told["size"]) == ("orders", "3", "7", "4000000")
        assert told["sha256"] == hashlib.sha256(foreign.value).hexdigest()
        assert told["reason"] == (
            f"too large for a dead letter, of its 4000000 bytes (SHA-256 {told['sha256']}) the first are kept; no JSON"
        )
        assert (letter.key, letter.value) == (b"key", noise[: taken[-1]])
        headers = dict(letter.headers)
        assert headers["reason"].decode() == "ж" * (REASON_BYTES // 2)
        assert (headers["topic"].decode(), headers["offset"]) == (name, b"%d" % largest.offset)
        await bus.delete_topic(name)
        await bus.delete_topic(dead)

    async def test_lag_says_where_it_lies_and_a_consumer_that_reads_little_gives_the_same(
        self, bus: BusWithAdmin, wide: str
    ) -> None:
        assert (await bus.lag(wide, "g")).ranges == {}
        await (await bus.producer()).send(wide, [Message(b"k%d" % n, b"%d" % n * 1000) for n in range(400)])
        member = await bus.consumer(wide, group="g")
        received = await read(member, 400, self.patience_s)
        counts = Counter(message.partition for message in received)
        assert (await bus.lag(wide, "g")).ranges == {number: (0, count) for number, count in counts.items()}
        for number, count in counts.items():
            await member.commit({number: count if number % 2 else 3})
        offsets = await bus.offsets(wide)
        assert {number: one for number, one in offsets.items() if one != (0, 0)} == {
            number: (0, count) for number, count in counts.items()
        }
        lag = await bus.lag(wide, "g")
        assert lag.ranges == {number: (3, count) for number, count in counts.items() if number % 2 == 0}
        assert lag.records == sum(end - begin for begin, end in lag.ranges.values())
        little = await bus.consumer(wide, start=Start.LATEST, ahead_bytes=1000)
        for number in counts:
            await little.seek(number, 0)
        again = await read(little, 400, self.patience_s, at_once=7)
        assert {(m.partition, m.offset, m.value) for m in again} == {(m.partition, m.offset, m.value) for m in received}

    async def test_creating_twice_is_harmless(self, bus: BusWithAdmin, other: BusWithAdmin, topic: str) -> None:
        await (await bus.producer()).send(topic, numbered(3))
        await bus.create_topic(TopicSpec(name=topic))
        await other.create_topic(TopicSpec(name=topic, max_bytes=1))
        assert values(await read(await bus.consumer(topic), 3, self.patience_s)) == [0, 1, 2]

    async def test_topics_are_listed_and_names_that_differ_in_anything_are_different_topics(
        self, bus: BusWithAdmin
    ) -> None:
        stem = secrets.token_hex(5)
        names = [f"Ab-{stem}", f"ab-{stem}", f"{stem}{'x' * 230}a", f"{stem}{'x' * 230}b", f".{stem}", f"{stem}."]
        names.append(f"Long.{'X_y-' * 59}{stem[:6]}")
        producer = await bus.producer()
        for name in names:
            await bus.create_topic(TopicSpec(name=name))
            await producer.send(name, [Message(None, name.encode())])
        listed = await bus.topics()
        assert set(names) <= set(listed)
        assert list(listed) == sorted(listed)
        for name in names:
            (message,) = await read(await bus.consumer(name), 1, self.patience_s)
            assert message.value == name.encode()
            await bus.delete_topic(name)
        assert not set(names) & set(await bus.topics())

    async def test_a_deleted_topic_is_gone_and_says_so(self, bus: BusWithAdmin, topic: str) -> None:
        producer = await bus.producer()
        consumer = await bus.consumer(topic)
        await producer.send(topic, numbered(3))
        await bus.delete_topic(topic)
        await bus.delete_topic(topic)
        with pytest.raises(PermanentError, match=topic):
            await producer.send(topic, numbered(1))
        with pytest.raises(PermanentError, match=topic):
            await read(consumer, 1000, self.patience_s)

    async def test_a_topic_made_again_begins_empty(self, bus: BusWithAdmin, other: BusWithAdmin, topic: str) -> None:
        old = await other.producer()
        await old.send(topic, numbered(10))
        consumer = await bus.consumer(topic, group="group")
        await read(consumer, 10, self.patience_s)
        await consumer.commit({0: 10})
        await consumer.close()
        before = await bus.identity(topic)
        assert before == await other.identity(topic)
        await bus.delete_topic(topic)
        await bus.create_topic(TopicSpec(name=topic))
        assert await other.identity(topic) not in (before, "")
        await old.send(topic, numbered(2, first=100))
        again = await bus.consumer(topic, group="group")
        received = await read(again, 2, self.patience_s)
        assert [(m.offset, m.value) for m in received] == [(0, b"100"), (1, b"101")]


async def _into(consumer: Consumer, received: list[Received]) -> None:
    while True:
        received += await consumer.poll(10, LIMIT_S)
