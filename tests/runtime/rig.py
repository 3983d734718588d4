"""A worker's whole life in the test's own process, on the real embedded bus and store with switches for faults."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec

from streamforge import wiring
from streamforge_utils.adapters.embedded.bus.embedded_bus import EmbeddedBus
from streamforge_utils.adapters.embedded.store.embedded_store import EmbeddedStore
from streamforge_utils.model.messages import (
    EOS_KEY,
    Command,
    EndOfStream,
    Event,
    Progress,
    decode_event,
    decode_marker,
    encode_command,
    encode_marker,
    progress_of,
)
from streamforge_utils.ports.archive import Archive
from streamforge_utils.ports.bus import Message, Received, TopicSpec
from streamforge_utils.ports.clock import Clock, SystemClock
from streamforge_utils.ports.exchange import Exchange, History
from streamforge_utils.ports.instrumentation import Observer
from streamforge_utils.ports.object_store import ObjectStore
from streamforge_utils.ports.store import Store
from streamforge_utils.ports.stream import Stream
from streamforge_utils.runtime.life.context import Context, MessageBus
from streamforge_utils.runtime.life.environment import secrets_of
from streamforge_utils.runtime.life.object_settings import ObjectSettings
from streamforge_utils.runtime.life.settings import ArchiveSettings, DataSettings, ExchangeSettings
from streamforge_utils.runtime.life.supervisor import Supervisor
from streamforge_utils.runtime.life.worker_definition import Definition, Role, Use
from streamforge_utils.runtime.life.worker_process import load_worker
from streamforge_utils.runtime.live.stream_settings import StreamSettings
from streamforge_utils.runtime.telemetry.logs import Redactor, make_log
from tests.doubles.candles import GridExchange
from tests.doubles.faulty import FaultyBus, FaultyStore
from tests.limits import LIMIT_S

P = TypeVar("P", bound=msgspec.Struct)

QUEUE = "wf-btcusdt-api_candles_1m-20240801-abc123"
TOPIC = f"{QUEUE}-data"
DLQ = f"{TOPIC}-dlq"
CONTROL, EVENTS = "queue-control", "queue-events"
LOADER = "loader-api-candles__abc123"
COLLECTION = "btcusdt_api_candles_1m_2024_08_01"


class NoParameters(msgspec.Struct, frozen=True, kw_only=True):
    pass


Ctx = Context[NoParameters]


async def nothing(ctx: Ctx) -> None:
    """Work that is done at once."""


async def forever(ctx: Ctx) -> None:
    """Work that is never done."""
    await asyncio.Event().wait()


def worker(
    run: Callable[[Ctx], Any], *uses: Use, role: Role = Role.LOADER, target: str = "dummy"
) -> Definition[NoParameters]:
    return Definition(
        target=target,
        summary="a worker of a test",
        role=role,
        types=("api_candles_",),
        parameters=NoParameters,
        uses=frozenset(uses),
        run=run,
    )


class Rig:
    """bus, store: as the worker gets them, new ones behind the same switches for each life.

    exchange: of candles; other_exchange goes before it.
    seen, stored: a bus and a store for what the test itself sends and reads.
    """

    def __init__(self, folder: Path, clock: Clock | None = None) -> None:
        self.folder = folder
        self.clock = clock or SystemClock()
        self.seen: MessageBus = EmbeddedBus(folder / "bus")
        self.bus = FaultyBus(EmbeddedBus(folder / "bus"))
        self.stored: Store = EmbeddedStore(folder / "store")
        self.store = FaultyStore(EmbeddedStore(folder / "store"))
        self.lives = 0
        self.exchange = GridExchange()
        self.other_exchange: Exchange | None = None
        self.exchange_error: Exception | None = None
        self.logs = io.StringIO()
        self.environment: dict[str, str] = {
            "QUEUE_ID": QUEUE,
            "SYMBOL": "BTCUSDT",
            "TYPE": "api_candles_1m",
            "TIME_RANGE": "2024-08-01",
            "KAFKA_TOPIC": TOPIC,
            "COLLECTION_NAME": COLLECTION,
            "STREAMFORGE_DATA_DIR": str(folder),
            "STREAMFORGE_UPSTREAM": f"{LOADER}:1",
            "STREAMFORGE_METRICS_PORT": "0",
            "STREAMFORGE_STOP_GRACE_SECONDS": "60",
            "STREAMFORGE_HEARTBEAT_SECONDS": "0.05",
        }

    # Wiring

    def make_bus(self, settings: DataSettings, *, clock: Clock, observer: Observer) -> MessageBus:
        self.lives += 1
        if self.lives > 1:
            self.bus.bus = EmbeddedBus(self.folder / "bus")
        return cast("MessageBus", self.bus)

    def make_store(self, settings: DataSettings, *, observer: Observer) -> Store:
        if self.lives > 1:
            self.store.store = EmbeddedStore(self.folder / "store")
        return cast("Store", self.store)

    def make_exchange(self, settings: ExchangeSettings, *, clock: Clock, observer: Observer) -> Exchange:
        if self.exchange_error is not None:
            raise self.exchange_error
        return self.exchange if self.other_exchange is None else self.other_exchange

    def make_archive(
        self,
        settings: ArchiveSettings,
        data: DataSettings,
        exchange: ExchangeSettings,
        *,
        history: History | None,
        clock: Clock,
        observer: Observer,
    ) -> Archive | None:
        return wiring.make_archive(settings, data, exchange, history=history, clock=clock, observer=observer)

    def make_stream(
        self, settings: StreamSettings, exchange: ExchangeSettings, *, clock: Clock, observer: Observer
    ) -> Stream:
        return wiring.make_stream(settings, exchange, clock=clock, observer=observer)

    def make_object_store(self, settings: ObjectSettings, data: DataSettings) -> ObjectStore:
        return wiring.make_object_store(settings, data)

    # What a test does

    async def prepare(self) -> None:
        for topic in (TOPIC, CONTROL, EVENTS):
            await self.seen.create_topic(TopicSpec(name=topic))

    def supervisor(self, definition: Definition[P]) -> Supervisor[P]:
        settings, parameters = load_worker(definition, self.environment)
        log = make_log(form="json", debug=True, stream=self.logs, redactor=Redactor(secrets_of(settings)))
        return Supervisor(definition, settings, parameters, self, log=log, clock=self.clock, version="9.9.9")

    async def live(self, definition: Definition[P]) -> int:
        async with asyncio.timeout(LIMIT_S):
            return await self.supervisor(definition).run()

    async def command(self, command: str, **fields: Any) -> None:
        said = Command(command=command, queue_id=QUEUE, timestamp=self.clock.now_ms() / 1000)
        await self.send(CONTROL, [Message(QUEUE.encode(), encode_command(msgspec.structs.replace(said, **fields)))])

    async def send(self, topic: str, messages: Sequence[Message]) -> None:
        producer = await self.seen.producer()
        await producer.send(topic, messages)
        await producer.close()

    async def close_stream(self, *, attempt: int = 1, reason: Any = "finished", producer: str = LOADER) -> None:
        marker = EndOfStream(producer=producer, attempt=attempt, records=0, reason=reason)
        await self.send(TOPIC, [Message(EOS_KEY, encode_marker(marker))])

    async def read(self, topic: str) -> list[Received]:
        """Everything that lies in `topic`."""
        if topic not in await self.seen.topics():
            return []
        consumer = await self.seen.consumer(topic)
        found: list[Received] = []
        while batch := await consumer.poll(10_000, 0):  # no wait: a worker that goes on would give no end
            found.extend(batch)
        await consumer.close()
        return found

    async def events(self) -> list[Event]:
        return [decode_event(message.value) for message in await self.read(EVENTS)]

    async def until_event(self, kind: str, count: int = 1) -> list[Event]:
        """The events so far, once `count` of that kind are there."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                events = await self.events()
                if sum(event.event == kind for event in events) >= count:
                    return events

    async def close(self) -> None:
        await self.bus.close()
        await self.store.close()
        await self.seen.close()
        await self.stored.close()


async def until(condition: Callable[[], bool], running: asyncio.Task[None] | None = None) -> None:
    """Return once `condition()` is true. running: what is to make it true, which must not end before.

    Raises TimeoutError, and what `running` ended with.
    """
    async with asyncio.timeout(LIMIT_S):
        while not condition():
            if running is not None and running.done():
                await running
                raise AssertionError(f"{running.get_name()} ended before")
            await asyncio.sleep(0.001)


def words(events: Sequence[Event]) -> list[str]:
    """What was said, without heartbeats and pongs."""
    return [event.event for event in events if event.event not in ("loading", "pong")]


def last(events: Sequence[Event]) -> tuple[Event, Progress]:
    return events[-1], progress_of(events[-1])


def headers(message: Received) -> Mapping[str, str]:
    return {name: value.decode() for name, value in message.headers}


async def markers(rig: Rig) -> list[EndOfStream]:
    """The ends of stream on the data topic."""
    return [decode_marker(m.value) for m in await rig.read(TOPIC) if m.key == EOS_KEY]
