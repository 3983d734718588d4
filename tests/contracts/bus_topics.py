"""What every bus promises of topics: made, listed and deleted, their limits and what is left to read of them."""

from __future__ import annotations

import random
import secrets
from collections import Counter

import pytest

from streamforge_utils.model.errors import PermanentError
from streamforge_utils.model.names import dlq_topic
from streamforge_utils.ports.bus import (
    Message,
    Start,
    TopicPartition,
    TopicSpec,
)
from streamforge_utils.runtime.dead_letter_queue import REASON_BYTES, DeadLetterQueue
from streamforge_utils.runtime.topic_specs import data_topic, dead_letters_topic
from tests.contracts.bus_fixtures import BusFixtures, BusWithAdmin, numbered, read, values
from tests.doubles.instruments import instruments


class BusTopicContract(BusFixtures):
    """Topics."""

    async def test_an_unknown_topic_is_a_permanent_error(self, bus: BusWithAdmin) -> None:
        with pytest.raises(PermanentError, match="nobody-made-this"):
            await bus.consumer(["nobody-made-this"])
        producer = await bus.producer()
        with pytest.raises(PermanentError, match="nobody-made-this"):
            await producer.send("nobody-made-this", numbered(1))
        with pytest.raises(PermanentError, match="nobody-made-this"):
            await bus.lag("nobody-made-this", "group")

    @pytest.mark.parametrize("name", ["", ".", "..", "a b", "a/b", "../a", "ключ", "a\n", "a\0b", "x" * 250, "a:b"])
    async def test_an_illegal_topic_name_is_a_permanent_error(self, bus: BusWithAdmin, name: str) -> None:
        with pytest.raises(PermanentError):
            await bus.create_topic(TopicSpec(name=name))

    async def test_a_message_that_is_too_large_is_a_permanent_error(self, bus: BusWithAdmin, topic: str) -> None:
        producer = await bus.producer()
        with pytest.raises(PermanentError, match=r"\b20000\d\d\b"):
            await producer.send(topic, [Message(b"large", b"x" * 2_000_000)])
        await producer.send(topic, [Message(b"fits", b"x" * 900_000)])
        (message,) = await read(await bus.consumer([topic]), 1, self.patience_s)
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
        found = await read(await bus.consumer([name]), len(taken), self.patience_s)
        largest = found[-1]
        assert [len(message.value) for message in found] == taken
        letters = DeadLetterQueue(producer, bus, name, "g", instruments(), attempt=1)
        await letters.send((largest, "ж" * 100_000))
        (letter,) = await read(await bus.consumer([dead]), 1, self.patience_s)
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
        member = await bus.consumer([wide], group="g")
        received = await read(member, 400, self.patience_s)
        counts = Counter(message.partition for message in received)
        assert (await bus.lag(wide, "g")).ranges == {number: (0, count) for number, count in counts.items()}
        for number, count in counts.items():
            await member.commit({TopicPartition(wide, number): count if number % 2 else 3})
        lag = await bus.lag(wide, "g")
        assert lag.ranges == {number: (3, count) for number, count in counts.items() if number % 2 == 0}
        assert lag.records == sum(end - begin for begin, end in lag.ranges.values())
        little = await bus.consumer([wide], start=Start.LATEST, ahead_bytes=1000)
        for number in counts:
            await little.seek(TopicPartition(wide, number), 0)
        again = await read(little, 400, self.patience_s, at_once=7)
        assert {(m.partition, m.offset, m.value) for m in again} == {(m.partition, m.offset, m.value) for m in received}

    async def test_creating_twice_is_harmless(self, bus: BusWithAdmin, other: BusWithAdmin, topic: str) -> None:
        await (await bus.producer()).send(topic, numbered(3))
        await bus.create_topic(TopicSpec(name=topic))
        await other.create_topic(TopicSpec(name=topic, partitions=5))
        assert values(await read(await bus.consumer([topic]), 3, self.patience_s)) == [0, 1, 2]

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
            (message,) = await read(await bus.consumer([name]), 1, self.patience_s)
            assert message.value == name.encode()
            await bus.delete_topic(name)
        assert not set(names) & set(await bus.topics())

    async def test_a_deleted_topic_is_gone_and_says_so(self, bus: BusWithAdmin, topic: str) -> None:
        producer = await bus.producer()
        consumer = await bus.consumer([topic])
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
        consumer = await bus.consumer([topic], group="group")
        await read(consumer, 10, self.patience_s)
        await consumer.commit({TopicPartition(topic, 0): 10})
        await consumer.close()
        await bus.delete_topic(topic)
        await bus.create_topic(TopicSpec(name=topic))
        await old.send(topic, numbered(2, first=100))
        again = await bus.consumer([topic], group="group")
        received = await read(again, 2, self.patience_s)
        assert [(m.offset, m.value) for m in received] == [(0, b"100"), (1, b"101")]
