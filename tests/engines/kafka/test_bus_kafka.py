"""Kafka keeps the contract of the bus, plain and secured, and what its topics of several partitions promise."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence

import pytest
from confluent_kafka import Producer as Client
from confluent_kafka.admin import NewPartitions, NewTopic

from streamforge_utils.adapters.kafka.kafka_bus import KafkaBus
from streamforge_utils.adapters.kafka.kafka_connection import Connection
from streamforge_utils.model.errors import PermanentError, RetryableError
from streamforge_utils.ports.bus import Bus, Consumer, Message, Producer, Received
from tests.contracts.bus import BusContract
from tests.contracts.bus_fixtures import BusFixtures, BusWithAdmin, Factory, MakeBus, numbered, read, values
from tests.contracts.bus_groups import BusDrainingContract, BusGroupContract
from tests.engines.kafka import buses
from tests.engines.kafka.broker import Broker


class Kafka(BusFixtures):
    patience_s = 15.0
    takeover_s = 15.0  # the session of a killed member lasts 6 s
    tells_size = False

    @pytest.fixture
    def broker(self) -> Broker:
        raise NotImplementedError("say which broker")

    @pytest.fixture
    def make_bus(self, broker: Broker) -> MakeBus:
        return lambda: KafkaBus(buses.connection(broker))

    @pytest.fixture
    def factory(self, broker: Broker) -> Factory:
        return buses.told(broker)

    @pytest.fixture
    async def wide(self, bus: BusWithAdmin, broker: Broker) -> AsyncIterator[str]:
        name = f"contract-wide-{secrets.token_hex(6)}"
        broker.create_topic(NewTopic(name, 4, 1))
        yield name
        await bus.delete_topic(name)


class Plain(Kafka):
    @pytest.fixture
    def broker(self, plain_broker: Broker) -> Broker:
        return plain_broker


class Secured(Kafka):
    @pytest.fixture
    def broker(self, secured_broker: Broker) -> Broker:
        return secured_broker


class PartitionContract(Kafka):
    """Topics of four partitions, which others have made; and what only Kafka refuses."""

    async def test_the_name_of_a_header_with_a_nul_is_refused(self, bus: BusWithAdmin, topic: str) -> None:
        with pytest.raises(PermanentError, match="NUL"):
            await (await bus.producer()).send(topic, [Message(None, b"", (("a\0b", b""),))])

    async def test_a_key_stays_in_its_partition_in_order_whoever_sends(
        self, bus: BusWithAdmin, other: BusWithAdmin, wide: str
    ) -> None:
        keys = [b"key-%d" % number for number in range(20)]
        producers = [await bus.producer(), await other.producer()]
        for round_ in range(6):
            await producers[round_ % 2].send(wide, [Message(key, b"%d" % round_) for key in keys])
        received = await read(await bus.consumer(wide), 120, self.patience_s)
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
        consumer = await bus.consumer(wide)
        received: list[Received] = []
        while len(received) < 100:
            found = await consumer.poll(7, self.patience_s)
            assert 1 <= len(found) <= 7
            received += found
        assert {message.partition for message in received} == {0, 1, 2, 3}
        for partition in range(4):
            mine = values([message for message in received if message.partition == partition])
            assert mine == sorted(mine)

    async def test_two_members_share_the_partitions(self, bus: BusWithAdmin, other: BusWithAdmin, wide: str) -> None:
        members = [await bus.consumer(wide, group="group"), await other.consumer(wide, group="group")]
        producer = await bus.producer()
        seen: list[set[int]] = [set(), set()]
        sent = 0
        # They share once each has read something that the other one has not, and everything was read by somebody.
        async with asyncio.timeout(self.patience_s):
            while not (seen[0] and seen[1]) or seen[0] | seen[1] != set(range(sent)):
                if not (seen[0] and seen[1]):
                    await producer.send(wide, numbered(8, first=sent, key=None))
                    sent += 8
                for member, mine in zip(members, seen, strict=True):
                    mine.update(values(await member.poll(100, 0.05)))

    async def test_a_position_passes_the_marks_of_transactions_and_stays_before_one_that_is_open(
        self, bus: BusWithAdmin, topic: str, broker: Broker
    ) -> None:
        producer = Client({**broker.client_config(), "transactional.id": topic})
        producer.init_transactions(120)
        consumer, member = await bus.consumer(topic), await bus.consumer(topic, group="g")

        async def passed(end: int) -> None:
            for one in (consumer, member):
                async with asyncio.timeout(self.patience_s):
                    while await one.position() != {0: end}:
                        await one.poll(10, 0.1)

        for end, finish in ((3, producer.commit_transaction), (6, producer.abort_transaction)):
            producer.begin_transaction()
            for _ in range(2):
                producer.produce(topic, b"x")
            producer.flush(120)
            await passed(end - 3)
            assert await bus.offsets(topic) == {0: (0, end - 1)}
            finish(20)
            await passed(end)

    async def test_a_partition_that_is_added_is_read_and_committed(
        self, bus: BusWithAdmin, wide: str, broker: Broker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        config, often = Connection.config, {"topic.metadata.refresh.interval.ms": 500}  # not once a minute
        monkeypatch.setattr(Connection, "config", lambda self, role: config(self, role) | often)
        member = await bus.consumer(wide, group="group")
        broker.admin_client().create_partitions([NewPartitions(wide, 5)])[wide].result(120)
        client, failures = Client(broker.client_config() | often), list[object]()
        async with asyncio.timeout(self.patience_s):
            while None not in failures:  # until the broker knows of it
                client.produce(wide, b"5", partition=4, on_delivery=lambda error, _: failures.append(error))
                client.flush(5)
            message = (await read(member, 1, self.patience_s))[0]
            await member.commit({message.partition: 1})
        assert (message.partition, (await bus.lag(wide, "group")).records) == (4, 0)

    async def test_a_late_commit_of_a_partition_that_was_lost_is_refused(
        self, bus: BusWithAdmin, other: BusWithAdmin, wide: str
    ) -> None:
        _, first = await self._read_all(bus, wide)
        second, (message,) = await self._taken_away(first, other, wide, 1)
        partition, end = message.partition, message.offset + 1
        with pytest.raises(RetryableError, match="another member"):
            await first.commit({partition: 10})
        await second.commit({partition: end})
        left = (await bus.lag(wide, "group")).records
        await first.commit({partition: end})  # needs no commit any more: the group has come as far
        with pytest.raises(RetryableError, match="another member"):
            await first.commit({partition: end + 1})
        assert (await bus.lag(wide, "group")).records == left

    async def test_a_late_commit_of_a_partition_that_came_back_changes_nothing(
        self, bus: BusWithAdmin, other: BusWithAdmin, wide: str
    ) -> None:
        producer, first = await self._read_all(bus, wide)
        second, taken = await self._taken_away(first, other, wide, 2)
        partition, end = taken[-1].partition, taken[-1].offset + 1
        await second.commit({partition: end})
        await first.commit({partition: end - 1})  # while it is the other one's
        await second.close()
        again = await self._come_back(producer, first, wide, partition)
        assert min(message.offset for message in again) == end
        ranges = (await bus.lag(wide, "group")).ranges
        assert ranges[partition][0] == end
        for outdated in (end - 1, end - 1, 0):  # none of them makes the next one count
            await first.commit({partition: outdated})
            assert (await bus.lag(wide, "group")).ranges == ranges
        await first.commit({partition: again[-1].offset + 1})
        assert (await bus.lag(wide, "group")).ranges.get(partition, (again[-1].offset + 1,))[0] > end
        await first.commit({partition: end})  # it reads here again, and says where it goes on
        assert (await bus.lag(wide, "group")).ranges[partition][0] == end

    async def _read_all(self, bus: Bus, topic: str) -> tuple[Producer, Consumer]:
        """A member of a group that has read all of 40 messages in any partitions, and their producer."""
        producer = await bus.producer()
        await producer.send(topic, numbered(40, key=None))
        member = await bus.consumer(topic, group="group")
        await read(member, 40, self.patience_s)
        return producer, member

    async def _taken_away(
        self, owner: Consumer, other: Bus, topic: str, count: int
    ) -> tuple[Consumer, Sequence[Received]]:
        """A member that joined the group of `owner`, which has read everything, and `count` messages that it took.

        All of them lie in one partition.
        """
        member = await other.consumer(topic, group="group")
        taken: dict[int, list[Received]] = {}
        give_up = asyncio.get_running_loop().time() + self.patience_s
        while asyncio.get_running_loop().time() < give_up:
            for message in await member.poll(1, 0.2):
                taken.setdefault(message.partition, []).append(message)
                if len(taken[message.partition]) == count:
                    return member, taken[message.partition]
            assert not await owner.poll(1, 0)  # it hands partitions over only while it polls
        raise AssertionError("the second member was given no partition")

    async def _come_back(self, producer: Producer, member: Consumer, topic: str, partition: int) -> Sequence[Received]:
        """What `member` reads first of `partition`, which another member has left."""
        give_up = asyncio.get_running_loop().time() + self.patience_s
        while asyncio.get_running_loop().time() < give_up:
            await producer.send(topic, numbered(8, first=40, key=None))
            received = [m for m in await member.poll(1000, 0.2) if m.partition == partition]
            if received:
                return received
        raise AssertionError("the partition did not come back")


@pytest.mark.long
class TestPlainKafkaBus(Plain, BusContract):
    pass


@pytest.mark.long
class TestPlainKafkaBusGroups(Plain, BusGroupContract):
    pass


@pytest.mark.long
class TestPlainKafkaBusPartitions(Plain, PartitionContract):
    pass


class TestSecuredKafkaBus(Secured, BusContract):
    pass


class TestSecuredKafkaBusGroups(Secured, BusGroupContract):
    pass


class TestSecuredKafkaBusPartitions(Secured, PartitionContract):
    pass


class TestPlainKafkaBusDraining(Plain, BusDrainingContract):
    pass
