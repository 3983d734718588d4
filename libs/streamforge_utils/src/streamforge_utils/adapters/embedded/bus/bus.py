"""The embedded bus: topics as SQLite files in a directory, for any number of processes of one machine.

What `send` has confirmed survives the death of any process. Power loss: `rolling` topics and commits are on the disk
when the call returns; of `consumed` topics the last moments may be lost and are read from their source again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from streamforge_utils.adapters.embedded import sqlite
from streamforge_utils.adapters.embedded.bus.consumer import EmbeddedConsumer
from streamforge_utils.adapters.embedded.bus.files import TopicFiles
from streamforge_utils.adapters.embedded.bus.producer import EmbeddedProducer, OpenTopics
from streamforge_utils.adapters.lane import Lane
from streamforge_utils.model.errors import PermanentError
from streamforge_utils.ports.bus import Lag, Start, TopicSpec
from streamforge_utils.ports.clock import Clock, SystemClock
from streamforge_utils.ports.instrumentation import NullObserver, Observer

MESSAGE_LIMIT_BYTES = 1024 * 1024
FULL_TIMEOUT_S = 300.0


class EmbeddedBus:
    """Implements `Bus` and `BusAdmin` on the files under `directory`, which is made on first use.

    message_limit: bytes of one message with key and, beyond `HEADERS_BYTES`, headers. full_timeout_s: how long
    `send` waits at a topic's cap without any progress of its readers before it raises RetryableError. busy_limit_s: how
    long a call waits for another process's write to the same topic. Raises ConfigError if SQLite is too old.
    """

    def __init__(
        self,
        directory: Path,
        *,
        clock: Clock | None = None,
        observer: Observer | None = None,
        message_limit: int = MESSAGE_LIMIT_BYTES,
        full_timeout_s: float = FULL_TIMEOUT_S,
        busy_limit_s: float = sqlite.BUSY_LIMIT_S,
    ) -> None:
        sqlite.require_version()
        self._files = TopicFiles(directory, busy_limit_s)
        self._clock = clock or SystemClock()
        self._observer = observer or NullObserver()
        self._message_limit = message_limit
        self._full_timeout_s = full_timeout_s
        self._lane = Lane("bus-admin")
        self._topics = OpenTopics(self._files)
        self._made: set[EmbeddedProducer | EmbeddedConsumer] = set()

    async def producer(self, *, bulk: bool = False) -> EmbeddedProducer:
        self._require_open()
        producer = EmbeddedProducer(
            self._files,
            self._clock,
            self._observer,
            message_limit=self._message_limit,
            full_timeout_s=self._full_timeout_s,
            on_close=self._made.discard,
        )
        self._made.add(producer)
        return producer

    async def consumer(
        self,
        topics: Sequence[str],
        *,
        group: str | None = None,
        start: Start = Start.EARLIEST,
        start_time_ms: int | None = None,
        ahead_bytes: int | None = None,
    ) -> EmbeddedConsumer:
        self._require_open()
        consumer = EmbeddedConsumer(
            self._files, self._clock, self._observer, topics, group, self._made.discard, ahead_bytes=ahead_bytes
        )
        try:
            await consumer.open(start, start_time_ms)
        except BaseException:
            await consumer.close()
            raise
        self._made.add(consumer)
        return consumer

    async def close(self) -> None:
        closing = [*(made.close() for made in list(self._made)), self._lane.close(self._topics.close)]
        self._made.clear()
        errors = [error for error in await asyncio.gather(*closing, return_exceptions=True) if error is not None]
        if errors:
            raise errors[0]

    async def create_topic(self, spec: TopicSpec) -> None:
        await self._lane.run(self._files.create, spec)

    async def delete_topic(self, name: str) -> None:
        await self._lane.run(self._files.delete, name)

    async def topics(self) -> Sequence[str]:
        return await self._lane.run(self._files.names)

    async def trim(self, topic: str, groups: Sequence[str]) -> None:
        await self._lane.run(self._trim, topic, groups)

    async def lag(self, topic: str, group: str) -> Lag:
        return await self._lane.run(self._lag, topic, group)

    def _trim(self, topic: str, groups: Sequence[str]) -> None:
        if groups:
            held = self._topics.get(topic)
            held.log.trim(held.groups.slowest(groups, len(held.log.ends())))

    def _lag(self, topic: str, group: str) -> Lag:
        held = self._topics.get(topic)
        committed = held.groups.committed(group)
        ranges: dict[int, tuple[int, int]] = {}
        for partition, end in held.log.ends().items():
            oldest = held.log.oldest(partition, min(committed.get(partition, 0), end))
            if oldest is not None and oldest < end:  # else it came after the end was read
                ranges[partition] = (oldest, end)
        return Lag(sum(end - first for first, end in ranges.values()), ranges)

    def _require_open(self) -> None:
        if self._lane.closed:
            raise PermanentError("the bus is closed")
