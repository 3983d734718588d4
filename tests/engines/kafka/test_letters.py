"""Dead letters on the real broker: over a slow connection, in a topic of many, and of the largest record there is."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest

from streamforge.manager.persistence.dead_letter_reader import DeadLetterReader
from streamforge.manager.workflow import Workflow
from streamforge_utils.adapters.kafka.kafka_bus import KafkaBus
from streamforge_utils.model import names
from streamforge_utils.ports.bus import Consumer, Message, Received, TopicPartition
from streamforge_utils.runtime.topic_specs import data_topic, dead_letters_topic
from tests.engines.kafka import buses
from tests.engines.kafka.broker import Broker
from tests.engines.proxy import Proxy
from tests.manager.support import SINK, accepted

pytestmark = pytest.mark.timeout(180)
MIB = 1024 * 1024
NOISE = random.Random(1)


@pytest.fixture
async def bus(plain_broker: Broker) -> AsyncIterator[KafkaBus]:
    found = KafkaBus(buses.connection(plain_broker))
    yield found
    await found.close()


@pytest.fixture
async def proxied(plain_broker: Broker, plain_proxy: Proxy) -> AsyncIterator[KafkaBus]:
    found = KafkaBus(buses.connection(plain_broker, proxied=True))
    yield found
    await found.close()


@pytest.fixture
async def workflow(bus: KafkaBus) -> AsyncIterator[Workflow]:
    """One with its topics."""
    found = accepted(f"{NOISE.getrandbits(24):06x}")
    dead, group = names.dlq_topic(found.topic), names.consumer_group(found.queue_id, SINK)
    await bus.create_topic(data_topic(found.topic, (group,)))
    await bus.create_topic(dead_letters_topic(dead, (group,)))
    yield found
    await bus.delete_topic(found.topic)
    await bus.delete_topic(dead)


class Stalling:
    """The bus behind a proxy that passes nothing on during the first second of the first poll."""

    def __init__(self, bus: KafkaBus, proxy: Proxy) -> None:
        self._bus = bus
        self.proxy = proxy
        self.stalled = False

    async def producer(self, *, bulk: bool = False) -> Any:
        raise AssertionError("nothing is sent")

    async def consumer(self, topics: Sequence[str], **how: Any) -> Consumer:
        return _Stalled(self, await self._bus.consumer(topics, **how))

    async def close(self) -> None:
        raise AssertionError("it is the test's")


class _Stalled:
    def __init__(self, bus: Stalling, consumer: Consumer) -> None:
        self._bus = bus
        self.seek, self.close = consumer.seek, consumer.close
        self._consumer = consumer

    async def poll(self, max_messages: int, timeout_s: float) -> Sequence[Received]:
        if not self._bus.stalled:
            self._bus.stalled = True
            self._bus.proxy.stall()
            asyncio.get_running_loop().call_later(1.0, self._bus.proxy.heal)
        return await self._consumer.poll(max_messages, timeout_s)

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        raise AssertionError("who only looks commits nothing")


async def test_a_slow_connection_does_not_look_like_no_dead_letters(
    bus: KafkaBus, proxied: KafkaBus, plain_proxy: Proxy, workflow: Workflow
) -> None:
    sent = [Message(b"k", b"v%d" % n) for n in range(5)]
    await (await bus.producer()).send(names.dlq_topic(workflow.topic), sent)
    found = await DeadLetterReader(Stalling(proxied, plain_proxy), proxied).read(workflow, limit=10)
    assert [letter.value for letter in found.letters] == [message.value for message in sent]
    assert found.outstanding == 5


async def test_one_of_many_is_read_without_the_others(
    bus: KafkaBus, proxied: KafkaBus, plain_proxy: Proxy, workflow: Workflow
) -> None:
    producer = await bus.producer()
    for _ in range(32):
        await producer.send(names.dlq_topic(workflow.topic), [Message(b"k", NOISE.randbytes(MIB))])
    before = plain_proxy.passed_bytes
    page = await DeadLetterReader(proxied, proxied).read(workflow, limit=1)
    assert (len(page.letters), len(page.letters[0].value), page.outstanding) == (1, MIB, 32)
    assert plain_proxy.passed_bytes - before < 6 * MIB
