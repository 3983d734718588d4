"""The end of a topic: an attempt goes on behind it, but not behind what a round before has written."""

from __future__ import annotations

import pytest

from streamforge_utils.model.messages import EOS_KEY
from streamforge_utils.ports.bus import Message, TopicSpec
from streamforge_utils.runtime.topic_tail import TopicTail
from tests.doubles.memorybus import MemoryBus


@pytest.mark.parametrize(("since_ms", "there"), [(0, [b"1", b"2", b"3"]), (2000, [b"2", b"3"]), (3001, [])])
async def test_only_what_was_sent_since_then_counts(since_ms: int, there: list[bytes]) -> None:
    now_ms = 1000
    bus = MemoryBus(now_ms=lambda: now_ms)
    await bus.create_topic(TopicSpec(name="t"))
    for key in (b"1", b"2", b"3"):
        bus.append("t", Message(key, b"{}"))
        now_ms += 1000
    bus.append("t", Message(EOS_KEY, b"{}"))
    assert [one.key for one in await TopicTail(bus, "t", since_ms).read()] == there
