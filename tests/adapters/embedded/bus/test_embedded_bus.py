"""What the embedded bus promises beyond the contract: caps, bounded files, time, and what it reports."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamforge_utils.adapters.embedded.bus import embedded_bus
from streamforge_utils.adapters.embedded.bus.batch_format import StoredBatch, pack, unpack
from streamforge_utils.adapters.embedded.bus.embedded_bus import EmbeddedBus
from streamforge_utils.model.errors import PermanentError, RetryableError
from streamforge_utils.ports.bus import HEADERS_BYTES, Message, Retention, TopicSpec
from streamforge_utils.ports.clock import SystemClock
from tests.contracts.bus_fixtures import numbered, read_rest, values
from tests.doubles.clock import FakeClock
from tests.doubles.observer import RecordingObserver
from tests.limits import LIMIT_S

BEGIN_MS = 1_700_000_000_000


class Notes(RecordingObserver):
    """waited: set once somebody waits."""

    def __init__(self) -> None:
        super().__init__()
        self.waited = asyncio.Event()

    def waiting(self, reason: str | None, until_ms: int | None = None, /) -> None:
        super().waiting(reason, until_ms)
        self.waited.set()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(BEGIN_MS)


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
async def bus(tmp_path: Path, clock: FakeClock, notes: Notes) -> AsyncIterator[EmbeddedBus]:
    bus = EmbeddedBus(tmp_path, clock=clock, observer=notes)
    yield bus
    await bus.close()


def size_of(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


async def test_a_message_carries_the_clock_at_its_sending(bus: EmbeddedBus, clock: FakeClock) -> None:
    await bus.create_topic(TopicSpec(name="topic"))
    producer = await bus.producer()
    for number in range(4):
        await producer.send("topic", numbered(2, first=2 * number))
        clock.advance(1)
    received = await read_rest(await bus.consumer("topic"))
    assert [m.timestamp_ms - BEGIN_MS for m in received] == [0, 0, 1000, 1000, 2000, 2000, 3000, 3000]
    for since, first in ((1000, 2), (1001, 4), (3000, 6), (-5, 0)):
        consumer = await bus.consumer("topic", start_time_ms=BEGIN_MS + since)
        assert values(await consumer.poll(1, 0)) == [first]


async def test_a_topic_that_stays_full_fails_the_send_and_names_the_reader(
    tmp_path: Path, clock: FakeClock, notes: Notes
) -> None:
    bus = EmbeddedBus(tmp_path, clock=clock, observer=notes, full_timeout_s=30)
    spec = TopicSpec(name="full", retention=Retention.CONSUMED, max_bytes=50_000, readers=("fast", "slow"))
    await bus.create_topic(spec)
    fast = await bus.consumer("full", group="fast")
    await fast.commit({0: 10})
    producer = await bus.producer()
    with pytest.raises(RetryableError, match=r"topic full is full \(50000 bytes\).*30 s: the group slow is \d+ mess"):
        await producer.send("full", [Message(None, b"x" * 1000)] * 100)
    assert notes.waits == [("the topic full is full: its readers have to catch up", None), (None, None)]
    # What was appended before stays in order, and the topic goes on once its reader has caught up.
    slow = await bus.consumer("full", group="slow")
    received = await read_rest(slow)
    assert 20 < len(received) < 60
    for consumer in (fast, slow):
        await consumer.commit({0: received[-1].offset + 1})
    await producer.send("full", numbered(1))
    assert (await slow.poll(10, 0))[0].offset == received[-1].offset + 1
    await bus.close()


async def test_a_send_that_is_cancelled_while_it_waits_at_the_cap_holds_nothing_back(
    bus: EmbeddedBus, notes: Notes
) -> None:
    for name in ("full", "free"):
        spec = TopicSpec(name=name, retention=Retention.CONSUMED, max_bytes=20_000, readers=("group",))
        await bus.create_topic(spec)
    producer, consumer = await bus.producer(), await bus.consumer("full", group="group")
    sending = asyncio.create_task(producer.send("full", [Message(None, b"x" * 1000)] * 50))
    async with asyncio.timeout(LIMIT_S):
        await notes.waited.wait()
    await producer.send("free", numbered(1))  # another topic does not wait
    sending.cancel()
    await asyncio.wait({sending})
    assert notes.waits[-1] == (None, None)
    received = await read_rest(consumer)
    await consumer.commit({0: received[-1].offset + 1})
    await producer.send("full", numbered(1))
    assert (await consumer.poll(1, 0))[0].offset == len(received)


async def test_the_file_of_a_consumed_topic_stays_bounded(tmp_path: Path) -> None:
    bus = EmbeddedBus(tmp_path)
    cap = 4 * 1024 * 1024
    await bus.create_topic(TopicSpec(name="data", retention=Retention.CONSUMED, max_bytes=cap, readers=("group",)))
    producer, consumer = await bus.producer(), await bus.consumer("data", group="group")
    largest = sent = 0

    async def send() -> None:
        nonlocal sent
        for _ in range(100):
            await producer.send("data", [Message(b"key", b"%06d" % (sent + n) + b"x" * 400) for n in range(1000)])
            sent += 1000

    sending = asyncio.create_task(send())
    expected = 0
    while expected < 100_000:
        received = await consumer.poll(5000, LIMIT_S)
        assert [m.offset for m in received] == list(range(expected, expected + len(received)))
        assert int(received[0].value[:6]) == expected
        expected += len(received)
        await consumer.commit({0: expected})
        largest = max(largest, size_of(tmp_path / "topics"))
    await sending
    assert largest < cap * 1.3 + 20 * 1024 * 1024  # the log, and its write-ahead log
    # One after the other: who closes a log last copies its write-ahead log into it.
    await consumer.close()
    await producer.close()
    await bus.close()
    assert size_of(tmp_path / "topics") < cap * 1.3


async def test_a_rolling_topic_drops_its_oldest_messages_and_tells_who_missed_them(
    tmp_path: Path, bus: EmbeddedBus, notes: Notes
) -> None:
    await bus.create_topic(TopicSpec(name="events", max_bytes=100_000))
    producer = await bus.producer()
    slow = await bus.consumer("events")
    for number in range(2000):
        await producer.send("events", [Message(None, b"%05d" % number + b"x" * 200)])
    received = await read_rest(slow)
    numbers = [int(m.value[:5]) for m in received]
    assert numbers == list(range(numbers[0], 2000))
    assert 250 < len(numbers) < 500
    assert notes.counts["bus_messages_skipped{topic=events}"] == numbers[0]
    assert size_of(tmp_path / "topics") < 12 * 1024 * 1024
    await slow.seek(0, 3)
    assert int((await slow.poll(1, 0))[0].value[:5]) == numbers[0]


async def test_a_rolling_topic_survives_a_send_larger_than_itself(bus: EmbeddedBus) -> None:
    await bus.create_topic(TopicSpec(name="events", max_bytes=10_000))
    producer = await bus.producer()
    await producer.send("events", [Message(None, b"%05d" % number + b"x" * 200) for number in range(200)])
    received = await read_rest(await bus.consumer("events"))
    assert received[-1].offset == 199
    assert 10 < len(received) < 50


async def test_a_limit_on_one_message_counts_its_key_and_too_many_headers(
    bus: EmbeddedBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded_bus, "MESSAGE_LIMIT_BYTES", 1000)
    await bus.create_topic(TopicSpec(name="topic"))
    producer = await bus.producer()
    room = HEADERS_BYTES - len("h")
    for message in (
        Message(b"k" * 1000, b""),
        Message(None, b"x" * 1000),
        Message(None, b"x" * 984, (("h", b"x" * (room + 1)),)),
    ):
        with pytest.raises(PermanentError, match=r"message 1 of 2 .* has \d+ bytes, more than the limit of 1000"):
            await producer.send("topic", [Message(None, b"small"), message])
    await producer.send("topic", [Message(None, b"x" * 984, (("h", b"x" * room),))])
    assert len(await (await bus.consumer("topic")).poll(10, 0)) == 1


async def test_a_poll_that_waits_ends_when_its_consumer_is_closed(tmp_path: Path) -> None:
    pausing = asyncio.Event()

    class Pausing(SystemClock):
        async def sleep(self, seconds: float) -> None:
            pausing.set()
            await super().sleep(seconds)

    bus = EmbeddedBus(tmp_path, clock=Pausing())
    await bus.create_topic(TopicSpec(name="topic"))
    consumer = await bus.consumer("topic")
    polling = asyncio.create_task(consumer.poll(10, 100 * LIMIT_S))
    async with asyncio.timeout(LIMIT_S):
        await pausing.wait()
    await consumer.close()
    async with asyncio.timeout(LIMIT_S):
        with pytest.raises(PermanentError, match="closed"):
            await polling
    await bus.close()


async def test_the_event_loop_stays_free_while_another_process_holds_the_log(tmp_path: Path) -> None:
    bus = EmbeddedBus(tmp_path)
    await bus.create_topic(TopicSpec(name="topic"))
    producer = await bus.producer()
    (path,) = (tmp_path / "topics" / "topic").glob("log-*.db")
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    sending = asyncio.create_task(producer.send("topic", numbered(1)))
    # A loop that stood still for it would go on once the producer has given up.
    for _ in range(20):
        await asyncio.sleep(0.001)
    assert not sending.done()
    blocker.execute("ROLLBACK")
    blocker.close()
    async with asyncio.timeout(LIMIT_S):
        await sending
    await bus.close()


@given(
    st.lists(st.builds(Message, st.none() | st.binary(max_size=5), st.binary(max_size=40)), max_size=60),
    st.integers(1, 300),
)
def test_batches_hold_every_message_once_in_order(messages: list[Message], batch_bytes: int) -> None:
    end, found = 0, list[Message]()
    for batch in pack("t", messages, batch_bytes=batch_bytes, message_limit=1000):
        end += batch.count
        received = unpack("t", StoredBatch(end - 1, batch.count, 1, batch.body), 0, "log")
        found += [Message(m.key, m.value, m.headers) for m in received]
        assert batch.count == 1 or batch.size <= batch_bytes
    assert found == messages
