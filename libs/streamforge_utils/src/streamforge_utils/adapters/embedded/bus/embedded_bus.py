"""The embedded bus: topics as SQLite files in a directory, for any number of processes of one machine.

What `send` has confirmed survives the death of any process. Power loss: `rolling` topics and commits are on the disk
when the call returns; of `consumed` topics the last moments may be lost and are read from their source again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from streamforge_utils.adapters.bus_clients import ClientBus, Subscription
from streamforge_utils.adapters.embedded import sqlite
from streamforge_utils.adapters.embedded.bus.consumer import EmbeddedConsumer
from streamforge_utils.adapters.embedded.bus.files import TopicFiles
from streamforge_utils.adapters.embedded.bus.producer import EmbeddedProducer, OpenTopics
from streamforge_utils.adapters.lane import Lane
from streamforge_utils.ports.bus import Lag, TopicSpec
from streamforge_utils.ports.clock import Clock, SystemClock
from streamforge_utils.ports.instrumentation import NullObserver, Observer

FULL_TIMEOUT_S = 300.0


class EmbeddedBus(ClientBus[EmbeddedProducer, EmbeddedConsumer]):
    """Implements `Bus` and `BusAdmin` on the files under `directory`, which is made on first use.

    full_timeout_s: how long `send` waits at a topic's cap without any progress of its readers before it raises
    TopicFull. Raises ConfigError if SQLite is too old.
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
        super().__init__(Lane("bus"))
        self._files = TopicFiles(directory)
        self._clock = clock or SystemClock()
        self._observer = observer or NullObserver()
        self._full_timeout_s = full_timeout_s
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

    async def lag(self, topic: str, group: str) -> Lag:
        return await self._lane.run(self._lag, topic, group)

    def _trim(self, topic: str, groups: Sequence[str]) -> None:
        if groups:
            held = self._topics.get(topic)
            held.log.trim(held.groups.slowest(groups))

    def _lag(self, topic: str, group: str) -> Lag:
        held = self._topics.get(topic)
        end = held.log.end()
        oldest = held.log.oldest(min(held.groups.committed(group) or 0, end))
        if oldest is None or oldest >= end:  # or it came after the end was read
            return Lag(0)
        return Lag(end - oldest, {0: (oldest, end)})
