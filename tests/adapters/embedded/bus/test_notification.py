"""A consumer that waits is woken by a named pipe, and looks by itself where there is none."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from streamforge_utils.adapters.embedded.bus.embedded_bus import EmbeddedBus
from streamforge_utils.model.errors import PermanentError
from streamforge_utils.ports.bus import TopicSpec
from streamforge_utils.ports.clock import SystemClock
from tests.contracts.bus import numbered, values
from tests.contracts.bus_remote import line, remote
from tests.limits import LIMIT_S


class Still(SystemClock):
    """Nobody who sleeps on it wakes by himself."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.Event().wait()


async def test_a_waiting_consumer_is_notified_of_a_message_and_of_the_end_of_its_topic(tmp_path: Path) -> None:
    bus, other = EmbeddedBus(tmp_path, clock=Still()), EmbeddedBus(tmp_path)
    await bus.create_topic(TopicSpec(name="topic"))
    consumer, producer = await bus.consumer(["topic"]), await other.producer()
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
    owner = await other.consumer(["topic"], group="group")
    waiting = await bus.consumer(["topic"], group="group")
    polling = asyncio.create_task(waiting.poll(10, 3600))
    await asyncio.sleep(0)
    await owner.close()
    async with asyncio.timeout(LIMIT_S):
        assert values(await polling) == [0]
    await bus.close()
    await other.close()


async def test_the_pipe_of_a_killed_consumer_is_removed_by_the_next_message(tmp_path: Path) -> None:
    bus = EmbeddedBus(tmp_path)
    await bus.create_topic(TopicSpec(name="topic"))
    producer = await bus.producer()
    folder = tmp_path / "topics" / "topic"
    async with remote(("tests.contracts.test_bus_embedded:make", str(tmp_path)), "member", "topic", "g", "x") as killed:
        assert await line(killed) == "ready"
        assert len(list(folder.glob("waiting-*"))) == 1
        killed.kill()
        await killed.wait()
    consumer = await bus.consumer(["topic"])
    await producer.send("topic", numbered(1))
    assert len(list(folder.glob("waiting-*"))) == 1
    assert values(await consumer.poll(10, 0)) == [0]
    await bus.close()
    assert list(folder.glob("*waiting-*")) == []


async def test_without_named_pipes_a_consumer_looks_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: str, mode: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.mkfifo", refused)
    bus = EmbeddedBus(tmp_path)
    await bus.create_topic(TopicSpec(name="topic"))
    consumer = await bus.consumer(["topic"])
    polling = asyncio.create_task(consumer.poll(10, 3600))
    await asyncio.sleep(0)
    await (await bus.producer()).send("topic", numbered(1))
    async with asyncio.timeout(LIMIT_S):
        assert values(await polling) == [0]
    await bus.close()
