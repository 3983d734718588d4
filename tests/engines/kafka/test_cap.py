"""The cap of a topic on the real broker: full for too long is told as such, and a cap is noted in the end."""

from __future__ import annotations

import uuid

import pytest
from confluent_kafka.admin import NewTopic

from streamforge_utils.adapters.kafka.kafka_bus import KafkaBus
from streamforge_utils.model.errors import TopicFull
from streamforge_utils.ports.bus import Message, Retention, TopicSpec
from tests.engines.kafka import buses
from tests.engines.kafka.broker import Broker

MESSAGES = [Message(b"key", bytes(1000))] * 2000
"""More than a topic of 64 KiB holds, and than a producer sends before it asks for a cap."""


def capped(name: str) -> TopicSpec:
    return TopicSpec(name=name, retention=Retention.CONSUMED, max_bytes=64 * 1024, readers=(f"{name}-reader",))


async def test_a_topic_that_stays_full_is_told_as_full(plain_broker: Broker) -> None:
    bus = KafkaBus(buses.connection(plain_broker), full_timeout_s=0.5)
    spec = capped(f"wf-full-{uuid.uuid4().hex[:8]}")
    try:
        await bus.create_topic(spec)
        producer = await bus.producer()
        with pytest.raises(TopicFull, match=f"{spec.name} is full .*{spec.readers[0]} is .* behind"):
            await producer.send(spec.name, MESSAGES)
        await bus.delete_topic(spec.name)
    finally:
        await bus.close()


async def test_whoever_asks_for_a_topic_that_was_made_without_its_cap_notes_it(plain_broker: Broker) -> None:
    bus = KafkaBus(buses.connection(plain_broker), full_timeout_s=0.5)
    spec = capped(f"wf-cut-{uuid.uuid4().hex[:8]}")
    # As by a manager that was killed between making the topic and noting its cap.
    plain_broker.admin_client().create_topics([NewTopic(spec.name, 1, 1)])[spec.name].result(20)
    try:
        await bus.create_topic(spec)
        producer = await bus.producer()
        with pytest.raises(TopicFull):
            await producer.send(spec.name, MESSAGES)
        await bus.delete_topic(spec.name)
    finally:
        await bus.close()
