"""What happens to a running bus: the CA is renewed, the broker goes away, the network is cut, a topic stays full."""

from __future__ import annotations

import asyncio
import shutil
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import NewTopic

from streamforge_utils.adapters.kafka import kafka_consumer
from streamforge_utils.adapters.kafka.kafka_bus import KafkaBus
from streamforge_utils.model.errors import PermanentError, RetryableError, TopicFull
from streamforge_utils.ports.bus import Message, Producer, Received, Retention, TopicSpec
from streamforge_utils.ports.clock import SystemClock
from streamforge_utils.ports.retry import retry
from tests.contracts.bus_fixtures import numbered, read, values
from tests.doubles.observer import RecordingObserver
from tests.engines.kafka import buses
from tests.engines.kafka.broker import Broker
from tests.engines.tls import Authority

PATIENCE_S = 240.0


@pytest.fixture(scope="module")
def breakable_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A secured broker for this module alone."""
    broker = Broker(tmp_path_factory.mktemp("breakable-broker"), secured=True)
    yield broker
    broker.kill()


@pytest.fixture
def own_broker(breakable_broker: Broker) -> Broker:
    """A secured broker without topics that a test may do anything to."""
    if not breakable_broker.running:
        breakable_broker.start()
    breakable_broker.clear()
    return breakable_broker


@pytest.fixture
async def bus(own_broker: Broker, tmp_path: Path) -> AsyncIterator[KafkaBus]:
    """A bus whose CA file is a copy, which is replaced when the test says so."""
    assert own_broker.ca_path is not None
    shutil.copy(own_broker.ca_path, tmp_path / "trusted.crt")
    bus = KafkaBus(buses.connection(own_broker, ca=tmp_path / "trusted.crt"))
    yield bus
    await bus.close()


async def send(producer: Producer, topic: str, messages: list[Message]) -> None:
    """Send, as a worker does: again while that may help."""
    await retry(lambda: producer.send(topic, messages), clock=SystemClock(), patience_s=PATIENCE_S)


@pytest.mark.long
@pytest.mark.unreachable
async def test_while_the_broker_is_away_each_call_reports_it_and_a_renewed_ca_is_trusted_by_the_next_connection(
    own_broker: Broker, bus: KafkaBus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # At once: that the client of the looks is answered must not hide that the consumer's own is not.
    monkeypatch.setattr(kafka_consumer, "LOOK_EVERY_S", 0.0)
    await bus.create_topic(TopicSpec(name="t"))
    producer, member = await bus.producer(), await bus.consumer("t", group="group")
    reader = await bus.consumer("t")
    await producer.send("t", numbered(3))
    assert values(await read(member, 3, PATIENCE_S)) == [0, 1, 2]
    assert values(await read(reader, 3, PATIENCE_S)) == [0, 1, 2]
    await member.commit({0: 3})

    await asyncio.to_thread(own_broker.stop)
    with pytest.raises(RetryableError, match=r"KAFKA_BOOTSTRAP_SERVERS|do not answer"):
        await read(reader, 1, PATIENCE_S)
    with pytest.raises(RetryableError):
        await bus.topics()
    own_broker.trust(Authority.create("the renewed authority"))
    await asyncio.to_thread(own_broker.start)
    with pytest.raises(RetryableError, match="not signed by the CA"):
        await bus.topics()  # the file is still the old one: waiting for it may help
    assert own_broker.ca_path is not None
    shutil.copy(own_broker.ca_path, tmp_path / "new.crt")
    (tmp_path / "new.crt").replace(tmp_path / "trusted.crt")

    await retry(bus.topics, clock=SystemClock(), patience_s=PATIENCE_S)
    await send(producer, "t", numbered(3, first=3))
    for consumer in (reader, member):
        found = await retry(lambda c=consumer: read(c, 3, 60), clock=SystemClock(), patience_s=PATIENCE_S)  # type: ignore[misc]
        assert sorted(set(values(found))) == [3, 4, 5]
    await retry(lambda: member.commit({0: 6}), clock=SystemClock(), patience_s=PATIENCE_S)
    assert (await bus.lag("t", "group")).records == 0


async def test_a_broker_that_is_killed_and_comes_back_loses_nothing_confirmed(
    own_broker: Broker, bus: KafkaBus
) -> None:
    await bus.create_topic(TopicSpec(name="t", retention=Retention.CONSUMED, readers=("group",)))
    producer, member = await bus.producer(), await bus.consumer("t", group="group")
    confirmed: set[int] = set()
    stored: set[int] = set()
    clock = SystemClock()
    some = asyncio.Event()

    async def produce() -> None:
        for first in range(0, 40_000, 500):
            await send(producer, "t", numbered(500, first=first))
            confirmed.update(range(first, first + 500))
            if first >= 2000:
                some.set()

    async def consume() -> None:
        while len(stored) < 40_000:
            batch = await retry(lambda: member.poll(5000, 1.0), clock=clock, patience_s=PATIENCE_S)
            stored.update(values(batch))
            if batch:
                last = {0: batch[-1].offset + 1}
                await retry(lambda last=last: member.commit(last), clock=clock, patience_s=PATIENCE_S)  # type: ignore[misc]

    async with asyncio.timeout(600):
        working = asyncio.gather(produce(), consume())
        await some.wait()
        await asyncio.to_thread(own_broker.kill)
        assert len(confirmed) < 40_000
        await asyncio.to_thread(own_broker.start)
        await working
    assert confirmed == stored == set(range(40_000))
    assert (await bus.lag("t", "group")).records == 0


async def test_what_cannot_be_read_is_told_after_what_can_and_counted(plain_broker: Broker) -> None:
    counted = RecordingObserver()
    bus = KafkaBus(buses.connection(plain_broker), observer=counted)
    name = f"damaged-{uuid.uuid4().hex[:8]}"
    try:
        await bus.create_topic(TopicSpec(name=name, retention=Retention.CONSUMED))
        producer = await bus.producer(bulk=True)
        for first in range(0, 300, 100):  # a batch each
            await producer.send(name, numbered(100, first=first))
        (segment,) = (plain_broker.folder / "data" / f"{name}-0").glob("*.log")
        damage(segment, batch=1)
        reader = await bus.consumer(name)
        assert values(await read(reader, 100, PATIENCE_S)) == list(range(100))
        with pytest.raises(PermanentError, match=f"read topic {name}: a message in it cannot be read"):
            await read(reader, 1, PATIENCE_S)
        assert {name for name in counted.counts if "error" in name} == {"bus_read_errors{error=_BAD_COMPRESSION}"}
        await bus.delete_topic(name)
    finally:
        await bus.close()


def damage(segment: Path, *, batch: int) -> None:
    """Overwrite the compressed records of a batch of a topic's file."""
    data = segment.read_bytes()
    start = 0
    for _ in range(batch):
        start += int.from_bytes(data[start + 8 : start + 12], "big") + 12
    end = start + int.from_bytes(data[start + 8 : start + 12], "big") + 12
    records = start + 61 + 8  # after the batch's head and the codec's
    with segment.open("r+b") as file:
        file.seek(records)
        file.write(b"\xff" * (end - records))


async def test_stalled_and_reset_connections_are_survived(secured_broker: Broker) -> None:
    name = f"proxied-{uuid.uuid4().hex[:8]}"
    with secured_broker.proxy() as proxy:
        bus = KafkaBus(buses.connection(secured_broker, proxied=True))
        try:
            await bus.create_topic(TopicSpec(name=name))
            producer, reader = await bus.producer(), await bus.consumer(name)
            found: list[Received] = []
            for first in range(0, 30, 3):
                await send(producer, name, numbered(3, first=first))
                if first % 2:
                    await asyncio.to_thread(proxy.reset)
                found += await retry(lambda: read(reader, 3, 10), clock=SystemClock(), patience_s=PATIENCE_S)
            assert list(dict.fromkeys(values(found))) == list(range(30))
        finally:
            await bus.close()


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
            plain_broker.create_topic(NewTopic(name, 1, 1))
        await bus.create_topic(spec)
        producer = await bus.producer()
        with pytest.raises(TopicFull, match=f"{name} is full .*{reader} is .* behind"):
            # More than is sent before the cap is asked for.
            await producer.send(name, [Message(b"key", bytes(1000))] * 2000)
        await bus.delete_topic(name)
    finally:
        await bus.close()
