"""Connecting the parts that a worker uses, and closing them within a limit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec

from streamforge_utils.model.errors import ConfigError
from streamforge_utils.model.names import consumer_group
from streamforge_utils.ports.bus import Bus, BusAdmin, Consumer, Producer, TopicSpec
from streamforge_utils.ports.instrumentation import Observer
from streamforge_utils.runtime.input.offset_reader import OffsetReader
from streamforge_utils.runtime.input.worker_input import Input
from streamforge_utils.runtime.life.command_listener import CLOCK_SKEW_S
from streamforge_utils.runtime.life.context import Connections, MessageBus, Wiring
from streamforge_utils.runtime.life.settings import WorkerSettings
from streamforge_utils.runtime.life.worker_definition import Definition, Use
from streamforge_utils.runtime.output.topic_specs import talk_topic
from streamforge_utils.runtime.output.topic_tail import TopicTail
from streamforge_utils.runtime.output.topic_writer import DeadLetterQueue, Output
from streamforge_utils.runtime.telemetry.instruments import Instruments

PATIENCE_S = 4.0
"""After the first failure. Kafka takes 4.5 s to fail to connect: a wrong host is an error within 10 s."""

P = TypeVar("P", bound=msgspec.Struct)
T = TypeVar("T")
Closing = Callable[[], Awaitable[None]]


class Connector:
    """Makes what the definition uses, with patience; `close` releases all of it, the newest first."""

    def __init__(self, settings: WorkerSettings, wiring: Wiring, instruments: Instruments) -> None:
        self._settings = settings
        self._wiring = wiring
        self._instruments = instruments
        self._clock = instruments.clock
        self._observer: Observer = instruments.metrics
        self._closings: list[tuple[str, Closing]] = []
        self._topics: frozenset[str] = frozenset()

    async def bus(self) -> MessageBus:
        """The bus. Raises RetryableError once patience is spent, or ConfigError."""

        async def make() -> MessageBus:
            return self._wiring.make_bus(self._settings.data, clock=self._clock, observer=self._observer)

        bus = await self._patiently(make)
        self._closings.append(("bus", bus.close))
        return bus

    async def producer(self, bus: Bus, *, bulk: bool = False) -> Producer:
        """A producer; raises as `bus` does."""
        return await self._patiently(lambda: bus.producer(bulk=bulk))

    async def control(self, bus: MessageBus, launched_at: float) -> Consumer:
        """A consumer of the commands since the launch, less the clocks' skew; raises as `bus` does."""
        since_ms = int((launched_at - CLOCK_SKEW_S) * 1000)
        topic = self._settings.control_topic
        await self.ensure_topic(bus, talk_topic(topic))
        return await self._patiently(lambda: bus.consumer(topic, start_time_ms=since_ms))

    async def ensure_topic(self, admin: BusAdmin, topic: TopicSpec) -> None:
        """Make a topic if it does not exist; normally the manager has made it."""

        async def make() -> None:
            if not await self._is_there(admin, topic.name):
                await admin.create_topic(topic)

        await self._patiently(make)

    async def connections(self, definition: Definition[P], bus: MessageBus) -> Connections:
        """The parts that `definition` uses. Raises RetryableError, PermanentError or ConfigError (no data topic)."""
        settings, instruments = self._settings, self._instruments
        connections = Connections()
        if definition.makes_topic and definition.uses & {Use.INPUT, Use.OUTPUT}:
            # One that plays without a manager knows no readers: the topic may roll.
            await self.ensure_topic(bus, TopicSpec(name=settings.kafka_topic))
        if Use.EXCHANGE in definition.uses:

            async def make_exchange() -> None:
                exchange = self._wiring.make_exchange(settings.exchange, clock=self._clock, observer=self._observer)
                connections.exchange = exchange
                self._closings.append(("exchange", exchange.close))

            await self._patiently(make_exchange)
        if Use.ARCHIVE in definition.uses:
            connections.archive = archive = self._wiring.make_archive(
                settings.archive,
                settings.data,
                settings.exchange,
                history=connections.exchange,
                clock=self._clock,
                observer=self._observer,
            )
            if archive is None:
                raise ConfigError(
                    "settings: STREAMFORGE_ARCHIVE_URL is missing, and the exchange is not Binance: name the base URL "
                    "of its archive"
                )
            self._closings.append(("archive", archive.close))
        if Use.STREAM in definition.uses:
            connections.stream = stream = self._wiring.make_stream(
                settings.stream, settings.exchange, clock=self._clock, observer=self._observer
            )
            self._closings.append(("stream", stream.close))
        if Use.OBJECTS in definition.uses:
            connections.objects = objects = self._wiring.make_object_store(settings.objects, settings.data)
            self._closings.append(("objects", objects.close))
        if Use.STORE in definition.uses:

            async def make_store() -> None:
                store = self._wiring.make_store(settings.data, observer=self._observer)
                try:
                    await store.connect()
                except BaseException:
                    await store.close()
                    raise
                connections.store = store
                self._closings.append(("store", store.close))

            await self._patiently(make_store)
        if Use.OUTPUT in definition.uses:
            await self._require_topic(bus)
            connections.tail = TopicTail(bus, settings.kafka_topic, instruments, settings.time_range.start_ms)
            connections.output = Output(
                await self.producer(bus, bulk=True),
                bus,
                settings.kafka_topic,
                instruments,
                downstream=settings.downstream,
            )
        if Use.INPUT in definition.uses:
            group = settings.group or consumer_group(settings.queue_id, definition.target)
            await self._require_topic(bus)
            consumer = await self._patiently(lambda: bus.consumer(settings.kafka_topic, group=group))
            connections.dead_letters = DeadLetterQueue(
                await self.producer(bus),
                bus,
                settings.kafka_topic,
                group,
                instruments,
                attempt=settings.attempt,
                dead_letters=settings.dead_letters,
            )
            connections.input = self._input(consumer, bus, group)
        return connections

    def _input(self, consumer: Consumer, bus: MessageBus, group: str) -> Input:
        settings, instruments = self._settings, self._instruments
        topic = settings.kafka_topic
        if settings.until is not None and not settings.replay.on:
            return OffsetReader(consumer, bus, topic, group, settings.until, settings.offsets, instruments)
        return Input(consumer, bus, topic, group, settings.upstream, instruments, replay=settings.replay.on)

    async def _require_topic(self, admin: BusAdmin) -> None:
        """Raises ConfigError if the data topic is not there: its maker made it before this worker was launched."""
        topic = self._settings.kafka_topic
        if not await self._patiently(lambda: self._is_there(admin, topic)):
            raise ConfigError(
                f"settings: KAFKA_TOPIC: there is no topic {topic} (or no ACL to see it); name one that exists"
            )

    async def _is_there(self, admin: BusAdmin, topic: str) -> bool:
        if topic not in self._topics:  # all that a worker needs were made before it: they are listed once
            self._topics = frozenset(await admin.topics())
        return topic in self._topics

    async def close(self, limit_s: float) -> bool:
        """Close everything; False if something did not close within `limit_s` (seconds, each)."""
        clean = True
        while self._closings:
            name, closing = self._closings.pop()
            try:
                async with asyncio.timeout(limit_s):
                    await closing()
            except Exception as error:
                clean = clean and not isinstance(error, TimeoutError)
                self._instruments.log.warning("could not be closed", part=name, error=repr(error))
        return clean

    async def _patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        return await self._instruments.retry("connect", call, patience_s=PATIENCE_S)
