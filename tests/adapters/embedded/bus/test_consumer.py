"""A waiting consumer is woken by a named pipe, or looks by itself where there is none; an idle one does little.

What it does is counted by second of a clock of the test's, not of the machine.
"""

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
from streamforge_utils.model.errors import PermanentError
from streamforge_utils.ports.bus import Consumer, TopicSpec
from streamforge_utils.ports.clock import SystemClock
from tests.contracts.bus_fixtures import numbered, values
from tests.contracts.remote_process import line, remote
from tests.limits import LIMIT_S

SECONDS = 10
"""Each of them is one poll, as a sink asks."""

LOOKS = 2
"""A second, where changes are notified."""

LOOKS_SHARED = 10
"""A second, where members of a group watch each other."""

LOOKS_UNNOTIFIED = 200
"""A second, where the file system has no named pipes."""


class VirtualClock:
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

    def __init__(self, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch) -> None:
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
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def work(clock: VirtualClock, monkeypatch: pytest.MonkeyPatch) -> Work:
    return Work(clock, monkeypatch)


@pytest.fixture
async def bus(tmp_path: Path, clock: VirtualClock) -> AsyncIterator[EmbeddedBus]:
    bus = EmbeddedBus(tmp_path, clock=clock)
    await bus.create_topic(TopicSpec(name="data"))
    yield bus
    await bus.close()


async def read_all(bus: EmbeddedBus, consumer: Consumer) -> None:
    """The topic has something, which is read; what follows is idleness."""
    await (await bus.producer()).send("data", numbered(3))
    async with asyncio.timeout(LIMIT_S):
        assert values(await consumer.poll(10, 1.0)) == [0, 1, 2]
    await consumer.poll(1, 1.0)


@pytest.mark.parametrize("group", [None, "group"])
async def test_an_idle_consumer_looks_twice_a_second_and_into_no_log(
    bus: EmbeddedBus, work: Work, clock: VirtualClock, group: str | None
) -> None:
    consumer = await bus.consumer("data", group=group)
    await read_all(bus, consumer)
    await work.idle(consumer)
    assert (work.fetches, work.lives, work.notified) == (0, 0, 0)
    assert clock.wakes <= SECONDS * LOOKS
    # One look of the poll that begins, and one after each wait, at the two files of the topic.
    assert work.versions <= SECONDS * (LOOKS + 1) * 2
    assert work.calls <= SECONDS * (LOOKS + 1) * 200


async def test_what_is_notified_costs_one_look_and_then_nothing(
    bus: EmbeddedBus, work: Work, clock: VirtualClock
) -> None:
    """A pipe that nobody empties would wake its reader for ever."""
    consumer = await bus.consumer("data", group="group")
    await read_all(bus, consumer)
    other, producer = await bus.consumer("data", group="other"), await bus.producer()
    for number in range(5):
        await producer.send("data", numbered(1, first=number))
        assert values(await consumer.poll(10, 1.0)) == [number]
        await other.commit({0: number})
    await work.idle(consumer, 1)
    assert work.fetches == 1, "the end of the log is found once"
    await work.idle(consumer)
    assert (work.fetches, work.notified) == (0, 0)
    assert clock.wakes <= SECONDS * LOOKS


@pytest.mark.parametrize("owner", [True, False], ids=["with the partitions", "without any"])
async def test_idle_members_of_a_group_look_for_each_other_ten_times_a_second(
    bus: EmbeddedBus, work: Work, clock: VirtualClock, owner: bool
) -> None:
    members = [await bus.consumer("data", group="group") for _ in range(2)]
    await read_all(bus, members[0])
    for member in members:
        await member.poll(1, 1.0)
    await work.idle(members[0 if owner else 1])
    looks = SECONDS * (LOOKS_SHARED + 1)
    assert clock.wakes <= looks
    assert work.fetches <= looks
    assert 0 < work.lives <= looks
    assert work.versions <= looks * 6
    assert work.calls <= looks * 600


async def test_without_named_pipes_an_idle_consumer_looks_less_and_less_often_and_into_no_log(
    bus: EmbeddedBus, work: Work, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_pipes(monkeypatch)
    consumer = await bus.consumer("data", group="group")
    await read_all(bus, consumer)
    await work.idle(consumer)
    await work.idle(consumer)
    assert (work.fetches, work.lives, work.notified) == (0, 0, 0)
    assert clock.wakes <= SECONDS * (LOOKS_UNNOTIFIED + 1)
    assert work.versions <= SECONDS * (LOOKS_UNNOTIFIED + 2) * 2
    assert work.calls <= SECONDS * (LOOKS_UNNOTIFIED + 2) * 300


def refuse_pipes(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a file system without named pipes."""

    def refused(path: str, mode: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.mkfifo", refused)


class Still(SystemClock):
    """Nobody who sleeps on it wakes by himself."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.Event().wait()


async def test_a_waiting_consumer_is_notified_of_a_message_and_of_the_end_of_its_topic(tmp_path: Path) -> None:
    bus, other = EmbeddedBus(tmp_path, clock=Still()), EmbeddedBus(tmp_path)
    await bus.create_topic(TopicSpec(name="topic"))
    consumer, producer = await bus.consumer("topic"), await other.producer()
    async with asyncio.timeout(LIMIT_S):
        for number in range(50):
            polling = asyncio.create_task(consumer.poll(10, 3600))
            for _ in range(number % 5):
                await asyncio.sleep(0)
            await producer.send("topic", numbered(1, first=number))
            assert values(await polling) == [number]
        polling = asyncio.create_task(consumer.poll(10, 3600))
        await asyncio.sleep(0)
        await other.delete_topic("topic")
        with pytest.raises(PermanentError, match="topic was deleted"):
            await polling
    assert not (tmp_path / "topics" / "topic").exists()
    await bus.close()
    await other.close()


async def test_a_waiting_member_is_notified_that_another_one_left(tmp_path: Path) -> None:
    bus, other = EmbeddedBus(tmp_path, clock=Still()), EmbeddedBus(tmp_path)
    await bus.create_topic(TopicSpec(name="topic"))
    await (await other.producer()).send("topic", numbered(1))
    owner = await other.consumer("topic", group="group")
    waiting = await bus.consumer("topic", group="group")
    polling = asyncio.create_task(waiting.poll(10, 3600))
    await asyncio.sleep(0)
    await owner.close()
    async with asyncio.timeout(LIMIT_S):
        assert values(await polling) == [0]
    await bus.close()
    await other.close()


@pytest.mark.e2e
async def test_the_pipe_of_a_killed_consumer_is_removed_by_the_next_message(tmp_path: Path) -> None:
    bus = EmbeddedBus(tmp_path)
    await bus.create_topic(TopicSpec(name="topic"))
    producer = await bus.producer()
    folder = tmp_path / "topics" / "topic"
    async with remote(("tests.contracts.test_bus:make", str(tmp_path)), "member", "topic", "g", "x") as killed:
        assert await line(killed) == "ready"
        assert len(list(folder.glob("waiting-*"))) == 1
        killed.kill()
        await killed.wait()
    consumer = await bus.consumer("topic")
    await producer.send("topic", numbered(1))
    assert len(list(folder.glob("waiting-*"))) == 1
    assert values(await consumer.poll(10, 0)) == [0]
    await bus.close()
    assert list(folder.glob("*waiting-*")) == []


async def test_without_named_pipes_a_consumer_looks_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_pipes(monkeypatch)
    bus = EmbeddedBus(tmp_path)
    await bus.create_topic(TopicSpec(name="topic"))
    consumer = await bus.consumer("topic")
    polling = asyncio.create_task(consumer.poll(10, 3600))
    await asyncio.sleep(0)
    await (await bus.producer()).send("topic", numbered(1))
    async with asyncio.timeout(LIMIT_S):
        assert values(await polling) == [0]
    await bus.close()
