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


@pytest.mark.parametrize("cut_short", [False, True])
async def test_a_topic_that_stays_full_is_reported_as_full_whoever_noted_its_cap(
    plain_broker: Broker, cut_short: bool
) -> None:
    bus = KafkaBus(buses.connection(plain_broker), full_timeout_s=0.5)
    name = f"wf-full-{uuid.uuid4().hex[:8]}"
    reader = f"{name}-reader"
    spec = TopicSpec(name=name, retention=Retention.CONSUMED, max_bytes=64 * 1024, readers=(reader,))
    try:
        if cut_short:  # as by a manager that was killed between making the topic and noting its cap
            plain_broker.admin_client().create_topics([NewTopic(name, 1, 1)])[name].result(20)
        await bus.create_topic(spec)
        producer = await bus.producer()
        with pytest.raises(TopicFull, match=f"{name} is full .*{reader} is .* behind"):
            await producer.send(name, MESSAGES)
        await bus.delete_topic(name)
    finally:
        await bus.close()
