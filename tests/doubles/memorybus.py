"""A bus in memory: topics of one partition. `failing` makes it unavailable."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from streamforge_utils.model.errors import PermanentError
from streamforge_utils.ports.bus import Consumer, Lag, Message, Producer, Received, Start, TopicPartition, TopicSpec


class MemoryBus:
    """failing: what every call raises. log: the messages of each topic. committed: of each topic and group."""

    def __init__(self) -> None:
        self.failing: Exception | None = None
        self.log: dict[str, list[Received]] = {}
        self.specs: dict[str, TopicSpec] = {}
        self.committed: dict[tuple[str, str], int] = {}
        self.sent = asyncio.Event()

    async def producer(self) -> Producer:
        return _Producer(self)

    async def consumer(
        self,
        topics: Sequence[str],
        *,
        group: str | None = None,
        start: Start = Start.EARLIEST,
        start_time_ms: int | None = None,
    ) -> Consumer:
        self.check()
        (topic,) = topics
        self.messages(topic)
        return _Consumer(self, topic, group)

    async def close(self) -> None:
        pass

    async def create_topic(self, spec: TopicSpec) -> None:
        self.check()
        self.log.setdefault(spec.name, [])
        self.specs.setdefault(spec.name, spec)

    async def delete_topic(self, name: str) -> None:
        self.check()
        self.log.pop(name, None)
        self.specs.pop(name, None)
        self.committed = {key: offset for key, offset in self.committed.items() if key[0] != name}

    async def topics(self) -> Sequence[str]:
        self.check()
        return sorted(self.log)

    async def lag(self, topic: str, group: str) -> Lag:
        self.check()
        return Lag(len(self.messages(topic)) - self.committed.get((topic, group), 0), 0.0)

    def messages(self, topic: str) -> list[Received]:
        """What lies on the topic."""
        if topic not in self.log:
            raise PermanentError(f"there is no topic {topic}")
        return self.log[topic]

    def append(self, topic: str, *messages: Message) -> None:
        """Send at once."""
        log = self.messages(topic)
        for message in messages:
            log.append(Received(topic, 0, len(log), message.key, message.value, 0, message.headers))
        self.sent.set()
        self.sent = asyncio.Event()

    def check(self) -> None:
        if self.failing is not None:
            raise self.failing


class _Producer:
    def __init__(self, bus: MemoryBus) -> None:
        self._bus = bus

    async def send(self, topic: str, messages: Sequence[Message]) -> None:
        await asyncio.sleep(0)
        self._bus.check()
        self._bus.append(topic, *messages)

    async def close(self) -> None:
        pass


class _Consumer:
    def __init__(self, bus: MemoryBus, topic: str, group: str | None) -> None:
        self._bus = bus
        self._topic = topic
        self._group = group
        self._next = 0 if group is None else bus.committed.get((topic, group), 0)

    async def poll(self, max_messages: int, timeout_s: float) -> Sequence[Received]:
        await asyncio.sleep(0)
        self._bus.check()
        found = self._bus.messages(self._topic)[self._next :][:max_messages]
        if not found:
            try:
                await asyncio.wait_for(self._bus.sent.wait(), min(timeout_s, 0.002))
            except TimeoutError:
                return []
            found = self._bus.messages(self._topic)[self._next :][:max_messages]
        self._next += len(found)
        return found

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        self._bus.check()
        for partition, offset in offsets.items():
            self._bus.committed[partition.topic, self._group or ""] = offset

    async def seek(self, partition: TopicPartition, offset: int) -> None:
        self._next = offset

    async def close(self) -> None:
        pass
