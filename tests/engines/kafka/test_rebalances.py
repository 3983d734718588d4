"""Members of a group while its partitions are shared out again: nothing is lost, and one thread uses each client."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from typing import Any

import confluent_kafka
import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from streamforge_utils.adapters.kafka import kafka_consumer as consumer_module
from streamforge_utils.adapters.kafka.kafka_bus import KafkaBus
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.ports.bus import Consumer, Message, Received
from tests.contracts.bus_fixtures import numbered, read, values
from tests.contracts.bus_groups import new_input
from tests.doubles.clock import FakeClock
from tests.engines.kafka import buses
from tests.engines.kafka.broker import Broker

PATIENCE_S = 180.0
LOST = [
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError._ASSIGNMENT_LOST,
]


@pytest.fixture
async def bus(plain_broker: Broker) -> AsyncIterator[KafkaBus]:
    found = KafkaBus(buses.connection(plain_broker))
    yield found
    await found.close()


@pytest.fixture
async def topic(bus: KafkaBus, plain_broker: Broker) -> AsyncIterator[str]:
    """A topic of four partitions."""
    name = f"shared-{uuid.uuid4().hex[:8]}"
    plain_broker.create_topic(NewTopic(name, 4, 1))
    yield name
    await bus.delete_topic(name)


def ends(batch: list[Received]) -> dict[int, int]:
    return {one.partition: one.offset + 1 for one in batch}


@pytest.mark.parametrize("code", LOST)
async def test_a_refused_commit_takes_no_partition_away(
    bus: KafkaBus, topic: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = [code]

    class Refused(confluent_kafka.Consumer):
        def commit(self, *arguments: Any, **named: Any) -> Any:
            if refusals:
                raise KafkaException(KafkaError(refusals.pop()))
            return super().commit(*arguments, **named)

    monkeypatch.setattr(consumer_module, "Client", Refused)
    producer = await bus.producer()
    member = await bus.consumer(topic, group=f"group-{topic}")
    await producer.send(topic, numbered(40, key=None))
    received = await read(member, 40, PATIENCE_S)
    with pytest.raises(RetryableError):
        await member.commit(ends(received))
    await producer.send(topic, numbered(40, first=40, key=None))
    received += await read(member, 40, PATIENCE_S)
    assert sorted(values(received)) == list(range(80))
    await member.commit(ends(received))
    assert (await bus.lag(topic, f"group-{topic}")).records == 0


async def test_while_members_come_and_go_everything_is_delivered(
    bus: KafkaBus, plain_broker: Broker, topic: str
) -> None:
    group = f"group-{topic}"
    seen: set[int] = set()
    sent = 0
    over = asyncio.Event()

    async def work(member: Consumer, done: Callable[[int], bool]) -> None:
        """Read and commit until `done`, which is told how many this member has read."""
        read_here = 0
        while not done(read_here):
            batch = list(await member.poll(50, 0.05))
            read_here += len(batch)
            seen.update(values(batch))
            if batch:
                with suppress(RetryableError):  # it is read again, here or there
                    await member.commit(ends(batch))

    async def produce() -> None:
        nonlocal sent
        producer = await bus.producer()
        while not over.is_set():
            await producer.send(topic, numbered(200, first=sent, key=None))
            sent += 200
            await asyncio.sleep(0.01)

    async def come_and_go() -> None:
        for _ in range(6):
            other = KafkaBus(buses.connection(plain_broker))
            await work(await other.consumer(topic, group=group), lambda count: count >= 500)
            await other.close()
        over.set()

    staying = await bus.consumer(topic, group=group)
    async with asyncio.timeout(600):
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(produce())
            tasks.create_task(come_and_go())
            tasks.create_task(work(staying, lambda _: over.is_set()))
        await work(staying, lambda _: len(seen) == sent)
    assert seen == set(range(sent))


async def shared(member: Consumer, other: Consumer, places: int) -> list[Received]:
    """What `other` reads once some partitions have gone from `member`, which has read all, to it."""
    taken: list[Received] = []
    async with asyncio.timeout(PATIENCE_S):
        while len({one.partition for one in taken}) < places:
            assert not await member.poll(100, 0.05)
            taken += await other.poll(100, 0.05)
    return taken


async def owns_all(broker: Broker, group: str, member: Consumer, partitions: int) -> list[Received]:
    """What the member reads until all partitions are its own again."""
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    received: list[Received] = []
    async with asyncio.timeout(PATIENCE_S):
        while True:
            received += await member.poll(100, 0.05)
            described = await asyncio.to_thread(lambda: admin.describe_consumer_groups([group])[group].result())
            if [len(one.assignment.topic_partitions) for one in described.members] == [partitions]:
                return received + list(await member.poll(100, 0.5))


async def test_a_sink_goes_on_where_another_one_has_committed_what_it_read(
    bus: KafkaBus, plain_broker: Broker, topic: str
) -> None:
    """It repeats no commit of what it read before the partitions were taken away, and counts rightly what is left.

    The other one keeps the partitions until it has committed, so that a refusal would last; by the input's clock its
    patience takes no time.
    """
    group = f"group-{topic}"
    producer = await bus.producer()
    await producer.send(topic, [Message(b"key %d" % number, b"%d" % number) for number in range(40)])
    member = await bus.consumer(topic, group=group)
    clock, commits, commit = FakeClock(), list[Mapping[int, int]](), member.commit

    async def counted(offsets: Mapping[int, int]) -> None:
        commits.append(offsets)
        await commit(offsets)

    member.commit = counted  # type: ignore[method-assign]
    part = new_input(bus, topic, member, group=group, clock=clock)
    batches = aiter(part)
    read_before: list[Received] = []
    async with asyncio.timeout(PATIENCE_S):
        while len(read_before) < 40:
            read_before += await anext(batches)
    guest_bus = KafkaBus(buses.connection(plain_broker))
    guest = await guest_bus.consumer(topic, group=group)
    taken = await shared(member, guest, 2)
    lost = {one.partition for one in taken}
    keys = {one.partition: one.key for one in read_before if one.partition in lost}
    await producer.send(topic, [Message(key, b"%d" % (40 + at)) for at, key in enumerate(keys.values())])
    total = 40 + len(keys)
    async with asyncio.timeout(PATIENCE_S):
        while not {40, 41} <= set(values(taken)):
            taken += await guest.poll(100, 0.05)
    await guest.commit(ends(taken))
    await part.done(read_before)
    expected = [ends(read_before)]
    await guest_bus.close()
    assert not await owns_all(plain_broker, group, member, 4)
    await producer.send(topic, [Message(key, b"%d" % (total + at)) for at, key in enumerate(keys.values())])
    part.drain(upstream_ended=True)
    rest: list[Received] = []
    async for batch in batches:
        rest += batch
        await part.done(batch)
        expected.append(ends(list(batch)))
    assert (commits, clock.slept) == (expected, [])
    assert sorted(values(rest)) == [total + at for at in range(len(keys))]
    assert (part.drained, (await bus.lag(topic, group)).records) == (True, 0)


async def test_what_a_refused_commit_gives_up_is_read_again_where_the_partition_comes_back(
    bus: KafkaBus, plain_broker: Broker, topic: str
) -> None:
    group = f"group-{topic}"
    await (await bus.producer()).send(topic, numbered(40, key=None))
    member = await bus.consumer(topic, group=group)
    read_before = await read(member, 40, PATIENCE_S)
    guest_bus = KafkaBus(buses.connection(plain_broker))
    taken = await shared(member, await guest_bus.consumer(topic, group=group), 2)
    lost = {one.partition for one in taken}
    with pytest.raises(RetryableError, match="now belongs to another member"):
        await member.commit({p: end for p, end in ends(read_before).items() if p in lost})
    await guest_bus.close()  # nothing of it is committed
    again = await owns_all(plain_broker, group, member, 4)
    async with asyncio.timeout(PATIENCE_S):
        while len(again) < len([one for one in read_before if one.partition in lost]):
            again += await member.poll(100, 0.05)
    assert sorted(values(again)) == sorted(values([one for one in read_before if one.partition in lost]))
    await member.commit(ends(read_before))
    assert (await bus.lag(topic, group)).records == 0


async def test_one_thread_uses_the_client_whatever_is_asked_at_the_same_time(
    bus: KafkaBus, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: dict[str, set[int]] = {}

    class Watched(confluent_kafka.Consumer):
        def __getattribute__(self, name: str) -> Any:
            threads.setdefault(name, set()).add(threading.get_ident())
            return super().__getattribute__(name)

    monkeypatch.setattr(consumer_module, "Client", Watched)
    producer = await bus.producer()
    member = await bus.consumer(topic, group=f"group-{topic}")
    received: list[Received] = []

    async def poll() -> None:
        while len(received) < 400:
            received.extend(await member.poll(20, 5.0))

    async def commit() -> None:
        while len(received) < 400:
            if received:
                await member.commit(ends(received))
            await asyncio.sleep(0.001)

    async with asyncio.timeout(PATIENCE_S):
        working = asyncio.gather(poll(), commit())
        for first in range(0, 400, 20):
            await producer.send(topic, numbered(20, first=first, key=None))
        await working
        await member.commit(ends(received))  # meanwhile there may have been no time for one
        await member.seek(0, 0)
    await member.close()
    assert {"poll", "commit", "seek", "close", "subscribe"} <= set(threads)
    assert len(set().union(*threads.values())) == 1, threads
    assert sorted(values(received)) == list(range(400))
