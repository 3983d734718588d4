"""The bus on Kafka: producers, consumers and topics of one connection."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from streamforge_utils.adapters.bus_clients import FULL_TIMEOUT_S, ClientBus, Subscription
from streamforge_utils.adapters.kafka.kafka_connection import Connection
from streamforge_utils.adapters.kafka.kafka_consumer import KafkaConsumer
from streamforge_utils.adapters.kafka.kafka_producer import CapKeeper, KafkaProducer
from streamforge_utils.adapters.kafka.topics import Admin, TopicCache
from streamforge_utils.ports.bus import Lag, TopicSpec
from streamforge_utils.ports.clock import Clock
from streamforge_utils.ports.instrumentation import Observer


class KafkaBus(ClientBus[KafkaProducer, KafkaConsumer]):
    """Implements `Bus` and `BusAdmin`. Nothing is connected before it is used."""

    def __init__(
        self,
        connection: Connection,
        *,
        clock: Clock | None = None,
        observer: Observer | None = None,
        full_timeout_s: float = FULL_TIMEOUT_S,
    ) -> None:
        super().__init__(clock, observer, full_timeout_s)
        self._connection = connection
        self._admin = Admin(connection)
        self._topics = TopicCache(self._admin, self._lane)

    def _new_producer(self, bulk: bool, on_close: Callable[[KafkaProducer], None]) -> KafkaProducer:
        caps = CapKeeper(self._admin, self._lane, self._clock, self._observer, self._full_timeout_s)
        return KafkaProducer(self._connection, self._topics, caps, self._observer, on_close, compressed=bulk)

    def _new_consumer(self, subscription: Subscription, on_close: Callable[[KafkaConsumer], None]) -> KafkaConsumer:
        return KafkaConsumer(self._connection, self._admin, self._topics, self._observer, subscription, on_close)

    def _release(self) -> None:
        self._admin.close()

    async def close(self) -> None:
        self._admin.hurry()
        await super().close()

    async def create_topic(self, spec: TopicSpec) -> None:
        await self._lane.run(self._admin.create, spec)

    async def delete_topic(self, name: str) -> None:
        await self._lane.run(self._admin.delete, name)
        self._topics.forget(name)

    async def topics(self) -> Sequence[str]:
        return await self._lane.run(self._admin.names)

    async def trim(self, topic: str, groups: Sequence[str]) -> None:
        await self._lane.run(self._trim, topic, groups)

    async def identity(self, topic: str) -> str:
        return await self._lane.run(lambda: self._topics.check(topic).identity)

    async def offsets(self, topic: str) -> Mapping[int, tuple[int, int]]:
        return await self._lane.run(self._offsets, topic)

    async def size(self, topic: str) -> int | None:
        """See `BusAdmin.size`: its clients cannot ask for it."""
        await self._lane.run(lambda: self._topics.check(topic))
        return None

    async def lag(self, topic: str, group: str) -> Lag:
        return await self._lane.run(self._lag, topic, group)

    def _trim(self, topic: str, groups: Sequence[str]) -> None:
        found = self._topics.check(topic)
        committed = [self._admin.committed(found, group) for group in groups]
        starts = self._admin.starts(found)
        floors = {number: min((one.get(number, 0) for one in committed), default=0) for number in starts}
        self._admin.trim(found, {number: floor for number, floor in floors.items() if floor > starts[number]})

    def _offsets(self, topic: str) -> Mapping[int, tuple[int, int]]:
        found = self._topics.check(topic)
        starts = self._admin.starts(found)
        return {number: (min(starts.get(number, 0), end), end) for number, end in self._admin.ends(found).items()}

    def _lag(self, topic: str, group: str) -> Lag:
        found = self._topics.check(topic)
        committed, starts = self._admin.committed(found, group), self._admin.starts(found)
        ranges: dict[int, tuple[int, int]] = {}
        for partition, end in self._admin.ends(found).items():  # last: what is sent meanwhile counts
            oldest = max(starts.get(partition, 0), committed.get(partition, 0))
            if oldest < end:
                ranges[partition] = (oldest, end)
        return Lag(sum(end - first for first, end in ranges.values()), ranges, committed)
