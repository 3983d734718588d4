"""A bus in memory that keeps the port's promises within one process: topics of one partition, a switch to fail."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Mapping, Sequence

from streamforge_utils.model.errors import PermanentError, RetryableError, TooLarge
from streamforge_utils.ports.bus import (
    Consumer,
    Lag,
    Message,
    Producer,
    Received,
    Retention,
    Start,
    TopicSpec,
)

_LEGAL = re.compile(r"[A-Za-z0-9._-]{1,249}")
_LARGEST = 1_000_000
_TURN_S = 0.002
"""The longest that a poll really waits: tests do not wait for what does not come."""


def _system_ms() -> int:
    return time.time_ns() // 1_000_000


class MemoryBus:
    """failing: what every call raises. log: the messages of each topic. committed: of each topic and group.
    starts: the offset of the oldest message of each topic that was trimmed; what lies before it is not read.

    now_ms: what stamps the messages, unix milliseconds. longest_poll_s: the longest that a poll waits, by the loop's
    time.
    """

    def __init__(self, *, now_ms: Callable[[], int] = _system_ms, longest_poll_s: float = _TURN_S) -> None:
        self.now_ms = now_ms
        self.longest_poll_s = longest_poll_s
        self.failing: Exception | None = None
        self.log: dict[str, list[Received]] = {}
        self.specs: dict[str, TopicSpec] = {}
        self.committed: dict[tuple[str, str], int] = {}
        self.starts: dict[str, int] = {}
        self.sent = asyncio.Event()
        self._members: dict[tuple[str, str], list[_Consumer]] = {}
        self._made: list[_Consumer] = []
        self._topics_made = 0
        self._identities: dict[str, str] = {}

    async def producer(self, *, bulk: bool = False) -> Producer:
        return _Producer(self)

    async def consumer(
        self,
        topic: str,
        *,
        group: str | None = None,
        start: Start = Start.EARLIEST,
        start_time_ms: int | None = None,
        ahead_bytes: int | None = None,
    ) -> Consumer:
        self.check()
        if group is not None and (start is not Start.EARLIEST or start_time_ms is not None):
            raise PermanentError("a consumer of a group begins at its committed offset, or at the beginning")
        consumer = _Consumer(self, topic, group, self._first(topic, group, start, start_time_ms))
        self._made.append(consumer)
        if group is not None:
            self._members.setdefault((topic, group), []).append(consumer)
        return consumer

    async def close(self) -> None:
        for consumer in self._made:
            await consumer.close()

    async def create_topic(self, spec: TopicSpec) -> None:
        self.check()
        if _LEGAL.fullmatch(spec.name) is None or spec.name in (".", ".."):
            raise PermanentError(f"{spec.name[:80]!r} is no legal name of a topic")
        if spec.name not in self.log:
            self.log[spec.name] = []
            self._topics_made += 1
            self._identities[spec.name] = str(self._topics_made)
        self.specs.setdefault(spec.name, spec)

    async def delete_topic(self, name: str) -> None:
        self.check()
        self.log.pop(name, None)
        self.starts.pop(name, None)
        self.specs.pop(name, None)
        self.committed = {key: offset for key, offset in self.committed.items() if key[0] != name}

    async def topics(self) -> Sequence[str]:
        self.check()
        return sorted(self.log)

    async def trim(self, topic: str, groups: Sequence[str]) -> None:
        self.check()
        self.messages(topic)
        floor = min((self.committed.get((topic, group), 0) for group in groups), default=0)
        self.starts[topic] = max(floor, self.starts.get(topic, 0))

    async def identity(self, topic: str) -> str:
        self.messages(topic)
        return self._identities.get(topic, "")

    async def offsets(self, topic: str) -> Mapping[int, tuple[int, int]]:
        self.check()
        end = len(self.messages(topic))
        return {0: (min(self.starts.get(topic, 0), end), end)}

    async def size(self, topic: str) -> int | None:
        self.check()
        there = self.messages(topic)[self.starts.get(topic, 0) :]
        return sum(len(message.key or b"") + len(message.value) for message in there)

    async def lag(self, topic: str, group: str) -> Lag:
        self.check()
        offset = self.committed.get((topic, group))
        committed = {} if offset is None else {0: offset}
        left = self.messages(topic)[max(offset or 0, self.starts.get(topic, 0)) :]
        return Lag(len(left), {0: (left[0].offset, left[-1].offset + 1)} if left else {}, committed)

    def messages(self, topic: str) -> list[Received]:
        """What lies on the topic."""
        if topic not in self.log:
            raise PermanentError(f"there is no topic {topic}")
        return self.log[topic]

    def append(self, topic: str, *messages: Message) -> None:
        """Send at once."""
        log = self.messages(topic)
        now_ms = self.now_ms()
        for message in messages:
            log.append(Received(topic, 0, len(log), message.key, message.value, now_ms, message.headers))
        self.changed()

    def full(self, topic: str) -> bool:
        """Whether a producer has to wait for the topic's readers."""
        log, spec = self.messages(topic), self.specs.get(topic)
        if spec is None or spec.retention is not Retention.CONSUMED:
            return False
        slowest = min((self.committed.get((topic, group), 0) for group in spec.readers), default=len(log))
        return sum(len(message.key or b"") + len(message.value) for message in log[slowest:]) >= spec.max_bytes

    def owner(self, topic: str, group: str) -> object:
        """The member of the group that reads the topic."""
        return next(iter(self._members.get((topic, group), [])), None)

    def leave(self, consumer: _Consumer) -> None:
        """The consumer is no member of anything any more."""
        for members in self._members.values():
            if consumer in members:
                members.remove(consumer)
        self.changed()

    def changed(self) -> None:
        """Wake who waits."""
        self.sent.set()
        self.sent = asyncio.Event()

    def check(self) -> None:
        if self.failing is not None:
            raise self.failing

    def _first(self, topic: str, group: str | None, start: Start, start_time_ms: int | None) -> int:
        log = self.messages(topic)
        if start_time_ms is not None:
            return next((message.offset for message in log if message.timestamp_ms >= start_time_ms), len(log))
        if group is not None:
            return self.committed.get((topic, group), 0)
        return 0 if start is Start.EARLIEST else len(log)


class _Producer:
    def __init__(self, bus: MemoryBus) -> None:
        self._bus = bus

    async def send(self, topic: str, messages: Sequence[Message], *, fleeting: bool = False) -> None:
        await asyncio.sleep(0)
        self._bus.check()
        for message in messages:
            size = len(message.key or b"") + len(message.value)
            if size > _LARGEST:
                raise TooLarge(f"a message of {size} bytes is too large for {topic}")
        for message in messages:
            while self._bus.full(topic):
                await self._bus.sent.wait()
            self._bus.append(topic, message)
        self._bus.messages(topic)

    async def close(self) -> None:
        pass


class _Consumer:
    """place: the next offset."""

    def __init__(self, bus: MemoryBus, topic: str, group: str | None, place: int) -> None:
        self._bus = bus
        self._topic = topic
        self._group = group
        self._place = place
        self._owned = group is None or bus.owner(topic, group) is None
        self._closed = False

    async def poll(self, max_messages: int, timeout_s: float) -> Sequence[Received]:
        await asyncio.sleep(0)
        found = self._next(max_messages)
        if not found:
            try:
                async with asyncio.timeout(min(timeout_s, self._bus.longest_poll_s)):
                    await self._bus.sent.wait()
            except TimeoutError:
                return []
            found = self._next(max_messages)
        return found

    async def commit(self, offsets: Mapping[int, int]) -> None:
        self._bus.check()
        if self._group is None:
            raise PermanentError("a consumer without a group cannot commit")
        for offset in offsets.values():
            if self._bus.owner(self._topic, self._group) is not self:
                if offset <= self._bus.committed.get((self._topic, self._group), -1):
                    continue
                raise RetryableError(f"{self._topic} belongs to another member of {self._group}")
            self._bus.committed[self._topic, self._group] = offset
        self._bus.changed()

    async def seek(self, partition: int, offset: int) -> None:
        self._place = offset

    async def position(self) -> Mapping[int, int]:
        return {0: self._place} if self._mine() else {}

    async def close(self) -> None:
        self._closed = True
        self._bus.leave(self)

    def _next(self, max_messages: int) -> list[Received]:
        if not self._mine():
            return []
        log = self._bus.messages(self._topic)
        self._place = max(self._place, self._bus.starts.get(self._topic, 0))
        found = log[self._place :][:max_messages]
        self._place += len(found)
        return found

    def _mine(self) -> bool:
        """Whether the topic is this member's to read."""
        self._bus.check()
        if self._closed:
            raise PermanentError("the consumer is closed")
        self._bus.messages(self._topic)
        if self._group is not None:
            mine = self._bus.owner(self._topic, self._group) is self
            if mine and not self._owned:  # taken over: from where the other one has committed
                self._place = self._bus.committed.get((self._topic, self._group), 0)
            self._owned = mine
        return self._owned
