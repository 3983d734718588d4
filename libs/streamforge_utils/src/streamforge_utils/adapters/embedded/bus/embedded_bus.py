"""The embedded bus: topics as SQLite files in a directory, for any number of processes of one machine.

What `send` has confirmed survives SIGKILL of any process. Power loss: `rolling` topics and commits are on the disk
when the call returns; of `consumed` topics the last moments may be lost and are read from their source again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from streamforge_utils.adapters.bus_clients import FULL_TIMEOUT_S, ClientBus, Subscription, topic_full
from streamforge_utils.adapters.call_thread import Lane
from streamforge_utils.adapters.embedded import sqlite
from streamforge_utils.adapters.embedded.bus.batch_format import BATCH_BYTES, Batch, pack
from streamforge_utils.adapters.embedded.bus.consumer import EmbeddedConsumer
from streamforge_utils.adapters.embedded.bus.files import OpenTopics, TopicFiles
from streamforge_utils.adapters.embedded.wal_copier import FailedCopies
from streamforge_utils.model.errors import TopicFull
from streamforge_utils.ports.bus import Lag, Message, TopicSpec
from streamforge_utils.ports.clock import Clock
from streamforge_utils.ports.columns import MessageColumns
from streamforge_utils.ports.instrumentation import Observer

MESSAGE_LIMIT_BYTES = 1024 * 1024
"""Of one message with its key and, beyond `HEADERS_BYTES`, its headers."""

_FULL_PAUSE_S = 0.02


class EmbeddedProducer:
    """Implements `Producer`. A `send` is one transaction unless the topic's cap makes it wait."""

    def __init__(
        self,
        files: TopicFiles,
        clock: Clock,
        observer: Observer,
        full_timeout_s: float,
        on_close: Callable[[EmbeddedProducer], None],
    ) -> None:
        self._on_close = on_close
        self._clock = clock
        self._observer = observer
        self._full_timeout_s = full_timeout_s
        self._lane = Lane("bus-producer")
        self._topics = OpenTopics(files)
        self._locks: dict[str, asyncio.Lock] = {}

    async def open(self) -> None:
        """Nothing is opened before the first `send` to its topic."""

    async def send(self, topic: str, messages: Sequence[Message], *, fleeting: bool = False) -> None:
        if not messages:
            return
        if not isinstance(messages, MessageColumns):
            messages = list(messages)
        async with self._locks.setdefault(topic, asyncio.Lock()):
            batches, done = await self._lane.run(self._first, topic, messages, fleeting)
            if done < len(batches):
                await self._rest(topic, batches[done:])
        self._observer.count("bus_messages_sent", len(messages), topic=topic)

    async def close(self) -> None:
        self._on_close(self)
        await self._lane.close(self._topics.close)

    async def _rest(self, topic: str, batches: list[Batch]) -> None:
        """Append what did not fit as its readers make room."""
        self._observer.waiting(f"the topic {topic} is full: its readers have to catch up")
        try:
            give_up = self._clock.monotonic() + self._full_timeout_s
            while batches:
                await self._clock.sleep(_FULL_PAUSE_S)
                done = await self._lane.run(self._append, topic, batches)
                if done:
                    batches = batches[done:]
                    give_up = self._clock.monotonic() + self._full_timeout_s
                elif self._clock.monotonic() >= give_up:
                    raise await self._lane.run(self._full, topic)
        finally:
            self._observer.waiting(None)

    def _first(self, topic: str, messages: Sequence[Message], fleeting: bool) -> tuple[list[Batch], int]:
        batch_bytes = min(BATCH_BYTES, self._topics.get(topic).log.spec.max_bytes // 8)
        batches = pack(topic, messages, batch_bytes=batch_bytes, message_limit=MESSAGE_LIMIT_BYTES)
        return batches, self._append(topic, batches, fleeting)

    def _append(self, topic: str, batches: Sequence[Batch], fleeting: bool = False) -> int:
        held = self._topics.get(topic)
        readers = held.log.spec.readers
        return held.log.append(batches, self._clock.now_ms(), lambda: held.groups.slowest(readers), fleeting=fleeting)

    def _full(self, topic: str) -> TopicFull:
        held = self._topics.get(topic)
        spec, end = held.log.spec, held.log.end()
        behind = {reader: end - (held.groups.committed(reader) or 0) for reader in spec.readers}
        return topic_full(topic, spec.max_bytes, self._full_timeout_s, behind)


class EmbeddedBus(ClientBus[EmbeddedProducer, EmbeddedConsumer]):
    """Implements `Bus` and `BusAdmin` on the files under `directory`, which is made on first use.

    Raises ConfigError if SQLite is too old.
    """

    def __init__(
        self,
        directory: Path,
        *,
        clock: Clock | None = None,
        observer: Observer | None = None,
        full_timeout_s: float = FULL_TIMEOUT_S,
    ) -> None:
        sqlite.require_version()
        super().__init__(clock, observer, full_timeout_s)
        self._files = TopicFiles(directory, FailedCopies(observer))
        self._topics = OpenTopics(self._files)

    def _new_producer(self, bulk: bool, on_close: Callable[[EmbeddedProducer], None]) -> EmbeddedProducer:
        return EmbeddedProducer(self._files, self._clock, self._observer, self._full_timeout_s, on_close)

    def _new_consumer(
        self, subscription: Subscription, on_close: Callable[[EmbeddedConsumer], None]
    ) -> EmbeddedConsumer:
        return EmbeddedConsumer(self._files, self._clock, self._observer, subscription, on_close)

    def _release(self) -> None:
        self._topics.close()

    async def create_topic(self, spec: TopicSpec) -> None:
        await self._lane.run(self._files.create, spec)

    async def delete_topic(self, name: str) -> None:
        await self._lane.run(self._files.delete, name)

    async def topics(self) -> Sequence[str]:
        return await self._lane.run(self._files.names)

    async def trim(self, topic: str, groups: Sequence[str]) -> None:
        await self._lane.run(self._trim, topic, groups)

    async def identity(self, topic: str) -> str:
        return await self._lane.run(lambda: self._topics.get(topic).log.path.name)

    async def offsets(self, topic: str) -> Mapping[int, tuple[int, int]]:
        return await self._lane.run(self._offsets, topic)

    async def size(self, topic: str) -> int | None:
        return await self._lane.run(lambda: self._topics.get(topic).log.size())

    async def lag(self, topic: str, group: str) -> Lag:
        return await self._lane.run(self._lag, topic, group)

    def _trim(self, topic: str, groups: Sequence[str]) -> None:
        if groups:
            held = self._topics.get(topic)
            held.log.trim(held.groups.slowest(groups))

    def _offsets(self, topic: str) -> Mapping[int, tuple[int, int]]:
        log = self._topics.get(topic).log
        end, oldest = log.end(), log.oldest(0)
        return {0: (end if oldest is None else min(oldest, end), end)}

    def _lag(self, topic: str, group: str) -> Lag:
        held = self._topics.get(topic)
        end = held.log.end()
        offset = held.groups.committed(group)
        committed = {} if offset is None else {0: offset}
        oldest = held.log.oldest(min(offset or 0, end))
        if oldest is None or oldest >= end:  # or it came after the end was read
            return Lag(0, committed=committed)
        return Lag(end - oldest, {0: (oldest, end)}, committed)
