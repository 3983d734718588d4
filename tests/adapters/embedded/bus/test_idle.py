"""What consumers do that have nothing to read: counted by second of a clock of the test's, not of the machine."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from types import FrameType

import pytest

from streamforge_utils.adapters.embedded import sqlite
from streamforge_utils.adapters.embedded.bus import groups
from streamforge_utils.adapters.embedded.bus.consumer import EmbeddedConsumer
from streamforge_utils.adapters.embedded.bus.embedded_bus import EmbeddedBus
from streamforge_utils.adapters.embedded.bus.notification import Waiter
from streamforge_utils.ports.bus import Consumer, TopicPartition, TopicSpec
from tests.contracts.bus import numbered, values
from tests.limits import LIMIT_S

TOPICS = ["control", "data"]
SECONDS = 10
"""Each of them is one poll, as a sink asks."""

LOOKS = 2
"""A second, where changes are notified."""

LOOKS_SHARED = 10
"""A second, where members of a group watch each other."""

LOOKS_UNNOTIFIED = 200
"""A second, where the file system has no named pipes."""


class Clock:
    """It passes only when somebody begins to sleep on it. wakes: how often somebody did."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.wakes = 0

    def now_ms(self) -> int:
        return 1_700_000_000_000 + round(self.seconds * 1000)

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> Coroutine[None, None, None]:
        self.wakes += 1
        self.seconds += seconds  # already now: who is woken before it sleeps comes to an end, too
        return asyncio.sleep(0)


class Work:
    """What was done. versions: looks whether a file has changed. fetches: visits of a log by the consumer's thread.

    lives: looks whether another member lives. notified: how often a pipe was read. calls: of functions, Python's and
    C's, in the loop's thread.
    """

    def __init__(self, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
        self._clock = clock
        self.versions = self.fetches = self.lives = self.notified = self.calls = 0
        self._count(monkeypatch, sqlite, "data_version", "versions")
        self._count(monkeypatch, EmbeddedConsumer, "_fetch", "fetches")
        self._count(monkeypatch, groups, "is_alive", "lives")
        self._count(monkeypatch, Waiter, "drain", "notified")

    def _count(self, monkeypatch: pytest.MonkeyPatch, where: object, name: str, what: str) -> None:
        called = getattr(where, name)

        def counting(*arguments: object, **named: object) -> object:
            setattr(self, what, getattr(self, what) + 1)
            return called(*arguments, **named)

        monkeypatch.setattr(where, name, counting)

    async def idle(self, consumer: Consumer, seconds: int = SECONDS) -> None:
        """Poll for so long, and forget what was done before."""
        self.versions = self.fetches = self.lives = self.notified = self.calls = self._clock.wakes = 0
        began = self._clock.seconds
        async with asyncio.timeout(LIMIT_S):
            sys.setprofile(self._profile)
            try:
                for _ in range(seconds):
                    assert not await consumer.poll(1, 1.0)
            finally:
                sys.setprofile(None)
        assert self._clock.seconds - began == pytest.approx(seconds, rel=0.01)

    def _profile(self, frame: FrameType, event: str, argument: object) -> None:
        self.calls += event in ("call", "c_call")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def work(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Work:
    return Work(clock, monkeypatch)


@pytest.fixture
async def bus(tmp_path: Path, clock: Clock) -> AsyncIterator[EmbeddedBus]:
    bus = EmbeddedBus(tmp_path, clock=clock)
    for topic in TOPICS:
        await bus.create_topic(TopicSpec(name=topic))
    yield bus
    await bus.close()


async def read_all(bus: EmbeddedBus, consumer: Consumer) -> None:
    """Both topics have something, which is read and committed; what follows is idleness."""
    producer = await bus.producer()
    for topic in TOPICS:
        await producer.send(topic, numbered(3))
    found: list[int] = []
    async with asyncio.timeout(LIMIT_S):
        while len(found) < 6:
            found += values(await consumer.poll(10, 1.0))
    assert sorted(found) == [0, 0, 1, 1, 2, 2]
    await consumer.poll(1, 1.0)


@pytest.mark.parametrize("group", [None, "group"])
async def test_an_idle_consumer_looks_twice_a_second_and_into_no_log(
    bus: EmbeddedBus, work: Work, clock: Clock, group: str | None
) -> None:
    consumer = await bus.consumer(TOPICS, group=group)
    await read_all(bus, consumer)
    await work.idle(consumer)
    assert (work.fetches, work.lives, work.notified) == (0, 0, 0)
    assert clock.wakes <= SECONDS * LOOKS
    # One look of the poll that begins, and one after each wait, at the two files of each topic.
    assert work.versions <= SECONDS * (LOOKS + 1) * 2 * len(TOPICS)
    assert work.calls <= SECONDS * (LOOKS + 1) * 200


async def test_what_is_notified_costs_one_look_and_then_nothing(bus: EmbeddedBus, work: Work, clock: Clock) -> None:
    """A pipe that nobody empties would wake its reader for ever."""
    consumer = await bus.consumer(TOPICS, group="group")
    await read_all(bus, consumer)
    other, producer = await bus.consumer(["data"], group="other"), await bus.producer()
    for number in range(5):
        await producer.send("data", numbered(1, first=number))
        assert values(await consumer.poll(10, 1.0)) == [number]
        await other.commit({TopicPartition("data", 0): number})
    await work.idle(consumer, 1)
    assert work.fetches == 1, "the end of the log is found once"
    await work.idle(consumer)
    assert (work.fetches, work.notified) == (0, 0)
    assert clock.wakes <= SECONDS * LOOKS


@pytest.mark.parametrize("owner", [True, False], ids=["with the partitions", "without any"])
async def test_idle_members_of_a_group_look_for_each_other_ten_times_a_second(
    bus: EmbeddedBus, work: Work, clock: Clock, owner: bool
) -> None:
    members = [await bus.consumer(TOPICS, group="group") for _ in range(2)]
    await read_all(bus, members[0])
    for member in members:
        await member.poll(1, 1.0)
    await work.idle(members[0 if owner else 1])
    looks = SECONDS * (LOOKS_SHARED + 1)
    assert clock.wakes <= looks
    assert work.fetches <= looks
    assert 0 < work.lives <= looks * len(TOPICS)
    assert work.versions <= looks * 6 * len(TOPICS)
    assert work.calls <= looks * 600


async def test_without_named_pipes_an_idle_consumer_looks_less_and_less_often_and_into_no_log(
    bus: EmbeddedBus, work: Work, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: str, mode: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.mkfifo", refused)
    consumer = await bus.consumer(TOPICS, group="group")
    await read_all(bus, consumer)
    await work.idle(consumer)
    await work.idle(consumer)
    assert (work.fetches, work.lives, work.notified) == (0, 0, 0)
    assert clock.wakes <= SECONDS * (LOOKS_UNNOTIFIED + 1)
    assert work.versions <= SECONDS * (LOOKS_UNNOTIFIED + 2) * 2 * len(TOPICS)
    assert work.calls <= SECONDS * (LOOKS_UNNOTIFIED + 2) * 300
