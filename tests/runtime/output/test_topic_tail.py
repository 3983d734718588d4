"""The last records of a topic, on the embedded bus."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamforge_utils.adapters.embedded.bus.embedded_bus import EmbeddedBus
from streamforge_utils.model.errors import PermanentError
from streamforge_utils.model.messages import EOS_KEY
from streamforge_utils.ports.bus import Message, Retention, TopicSpec
from streamforge_utils.runtime.output.topic_tail import RECORDS, TopicTail
from tests.doubles.instruments import instruments
from tests.doubles.memorybus import MemoryBus


async def tail_of(folder: Path, *keys: bytes, trimmed: int = 0, most: int = RECORDS) -> list[bytes | None]:
    """The keys of the tail of a topic with these messages, of which a group has read so many that may go."""
    bus = EmbeddedBus(folder)
    await bus.create_topic(TopicSpec(name="t", retention=Retention.CONSUMED, readers=("g",)))
    producer = await bus.producer()
    await producer.send("t", [Message(key, b"{}") for key in keys])
    if trimmed:
        consumer = await bus.consumer("t", group="g")
        await consumer.poll(trimmed, 1.0)
        await consumer.commit({0: trimmed})
        await bus.trim("t", ["g"])
    tail = TopicTail(bus, "t", instruments())
    found = await (tail.read() if most == RECORDS else tail.look(most))
    await bus.close()
    return [one.key for one in found]


async def test_markers_are_left_out(tmp_path: Path) -> None:
    assert await tail_of(tmp_path, b"1", EOS_KEY, b"2", EOS_KEY) == [b"1", b"2"]


async def test_a_topic_without_records_has_none(tmp_path: Path) -> None:
    assert await tail_of(tmp_path / "a") == []
    assert await tail_of(tmp_path / "b", EOS_KEY) == []


async def test_only_the_last_ones_are_read(tmp_path: Path) -> None:
    keys = [b"%d" % number for number in range(3 * RECORDS)]
    assert await tail_of(tmp_path / "a", *keys) == keys[-RECORDS:]
    assert await tail_of(tmp_path / "b", *keys, most=3) == keys[-3:]


async def test_what_was_trimmed_is_not_waited_for(tmp_path: Path) -> None:
    keys = [b"%d" % number for number in range(10)]
    found = await tail_of(tmp_path / "a", *keys, trimmed=7)
    assert found[-3:] == keys[-3:]
    assert set(await tail_of(tmp_path / "b", *keys, trimmed=10)) <= set(keys)


async def test_a_topic_that_is_not_there_is_named(tmp_path: Path) -> None:
    bus = EmbeddedBus(tmp_path)
    with pytest.raises(PermanentError, match="nowhere"):
        await TopicTail(bus, "nowhere", instruments()).read()
    await bus.close()


@pytest.mark.parametrize(("since_ms", "there"), [(0, [b"1", b"2", b"3"]), (2000, [b"2", b"3"]), (3001, [])])
async def test_what_was_sent_in_the_round_before_does_not_count(since_ms: int, there: list[bytes]) -> None:
    now_ms = 1000
    bus = MemoryBus(now_ms=lambda: now_ms)
    await bus.create_topic(TopicSpec(name="t"))
    for key in (b"1", b"2", b"3"):
        bus.append("t", Message(key, b"{}"))
        now_ms += 1000
    assert [one.key for one in await TopicTail(bus, "t", instruments(), since_ms).read()] == there
