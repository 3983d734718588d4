"""Sending to embedded topics."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from streamforge_utils.adapters.bus_clients import topic_full
from streamforge_utils.adapters.embedded.bus.files import OpenTopic, TopicFiles
from streamforge_utils.adapters.embedded.bus.log import gone
from streamforge_utils.adapters.embedded.bus.packed import BATCH_BYTES, Batch, pack
from streamforge_utils.adapters.lane import Lane
from streamforge_utils.model.errors import PermanentError, TopicFull
from streamforge_utils.ports.bus import Message
from streamforge_utils.ports.clock import Clock
from streamforge_utils.ports.columns import MessageColumns
from streamforge_utils.ports.instrumentation import Observer

MESSAGE_LIMIT_BYTES = 1024 * 1024
"""Of one message with its key and, beyond `HEADERS_BYTES`, its headers."""

_FULL_PAUSE_S = 0.02


class OpenTopics:
    """The topics that a thread has open, a limited number; one that was deleted and created again is opened again."""

    def __init__(self, files: TopicFiles, limit: int = 32) -> None:
        self._files = files
        self._limit = limit
        self._open: dict[str, OpenTopic] = {}

    def get(self, name: str) -> OpenTopic:
        """The topic, open. Raises PermanentError if there is none."""
        topic = self._open.pop(name, None)
        if topic is not None and topic.log.deleted:
            topic.close()
            topic = None
            try:
                topic = self._files.open(name)
            except PermanentError as error:
                raise gone(name) from error
        if topic is None:
            topic = self._files.open(name)
        self._open[name] = topic
        if len(self._open) > self._limit:
            self._open.pop(next(iter(self._open))).close()
        return topic

    def close(self) -> None:
        while self._open:
            self._open.popitem()[1].close()


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
