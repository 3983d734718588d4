"""Dead letters on the real broker: over a slow connection, in a topic of many, and of the largest record there is."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from streamforge.manager.dead_letters.store import DeadLetterReader
from streamforge.manager.engine.document import Workflow
from streamforge_utils.adapters.kafka.kafka_bus import KafkaBus
from streamforge_utils.adapters.kafka.kafka_consumer import KafkaConsumer
from streamforge_utils.model import names
from streamforge_utils.ports.bus import Message, Received
from streamforge_utils.runtime.output.topic_specs import data_topic, dead_letters_topic
from tests.engines.kafka import buses
from tests.engines.kafka.broker import Broker
from tests.engines.proxy import Proxy
from tests.manager.support import SINK, accepted

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


def stall_the_first_poll(bus: KafkaBus, proxy: Proxy) -> None:
    """Have the proxy pass nothing on during the first second of the first poll."""
    consumer = bus.consumer
    stalled = asyncio.Event()

    async def made(topic: str, **how: Any) -> KafkaConsumer:
        found = await consumer(topic, **how)
        poll = found.poll

        async def stalling(max_messages: int, timeout_s: float) -> Sequence[Received]:
            if not stalled.is_set():
                stalled.set()
                proxy.stall()
                asyncio.get_running_loop().call_later(1.0, proxy.heal)
            return await poll(max_messages, timeout_s)

        found.poll = stalling  # type: ignore[method-assign]
        return found

    bus.consumer = made  # type: ignore[method-assign]


async def test_a_slow_connection_does_not_look_like_no_dead_letters(
    bus: KafkaBus, proxied: KafkaBus, plain_proxy: Proxy, workflow: Workflow
) -> None:
    sent = [Message(b"k", b"v%d" % n) for n in range(5)]
    await (await bus.producer()).send(names.dlq_topic(workflow.topic), sent)
    stall_the_first_poll(proxied, plain_proxy)
    found = await DeadLetterReader(proxied, proxied).read(workflow, limit=10)
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
