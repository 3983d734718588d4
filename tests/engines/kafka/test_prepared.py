"""A client that prepares measures a round trip, and no connecting: seen in the requests that the clients make."""

from __future__ import annotations

import uuid

import pytest

from streamforge_utils.adapters.kafka.kafka_bus import KafkaBus
from streamforge_utils.ports.bus import Start, TopicSpec
from tests.contracts.bus import numbered, read, values
from tests.engines.kafka import buses
from tests.engines.kafka.broker import Broker

PATIENCE_S = 30.0
CONNECTING = {17: "SaslHandshake", 18: "ApiVersions", 22: "InitProducerId", 36: "SaslAuthenticate"}
"""Requests by their number in Kafka's protocol that a client makes before it can do what it was asked for."""

pytestmark = pytest.mark.timeout(120)


def requests(said: list[bytearray]) -> list[int]:
    """The numbers of all requests that were made whole."""
    found = []
    for connection in said:
        at = 0
        while at + 6 <= len(connection):
            found.append(int.from_bytes(connection[at + 4 : at + 6], "big"))
            at += 4 + int.from_bytes(connection[at : at + 4], "big")
    return found


async def first_round_trip(broker: Broker, *, prepared: bool) -> set[str]:
    """What of `CONNECTING` is asked from being prepared, else from being made, until the first message is read."""
    name = f"prepared-{uuid.uuid4().hex[:8]}"
    proxy = broker.proxy()
    proxy.said = []
    with proxy:
        bus = KafkaBus(buses.connection(broker, proxied=True))
        try:
            await bus.create_topic(TopicSpec(name=name))
            reader = await bus.consumer([name], start=Start.LATEST)
            before = requests(proxy.said)
            producer = await bus.producer()
            if prepared:
                await reader.prepare()
                await producer.prepare(name)
                before = requests(proxy.said)
            await producer.send(name, numbered(1))
            assert values(await read(reader, 1, PATIENCE_S)) == [0]
            after = requests(proxy.said)
            await bus.delete_topic(name)
        finally:
            await bus.close()
    new = list(after)
    for one in before:
        new.remove(one)
    return {CONNECTING[number] for number in new if number in CONNECTING}


async def test_the_first_round_trip_of_who_is_prepared_connects_nothing(plain_broker: Broker) -> None:
    assert await first_round_trip(plain_broker, prepared=True) == set()
    # So this does see it.
    assert "InitProducerId" in await first_round_trip(plain_broker, prepared=False)
