"""A workflow without a manager: its names, its topics, and its workers, in this process or in their own."""

from __future__ import annotations

import asyncio
import hashlib
import io
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.common.exchange import SYMBOL
from benchmarks.common.processes import UNLIMITED_WEIGHT
from streamforge import wiring
from streamforge.workers import definition
from streamforge_utils.model.names import consumer_group, data_topic, dlq_topic, queue_id, telemetry_id
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.bus import BusAdmin, Received, Retention, TopicSpec
from streamforge_utils.runtime.life.context import MessageBus, Wiring
from streamforge_utils.runtime.life.server_settings import ArangoSettings, KafkaSettings
from streamforge_utils.runtime.life.settings import CONTROL_TOPIC, EVENTS_TOPIC, DataSettings
from streamforge_utils.runtime.life.supervisor import Supervisor
from streamforge_utils.runtime.life.worker_process import load_worker, tune_interpreter
from streamforge_utils.runtime.telemetry.logs import make_log

LOADER, SINK = "loader-api-candles", "arango-candles"
TYPE = "api_candles_1m"
START_MS = 1_388_534_400_000
"""2014-01-01"""
MINUTE_MS = 60_000
EMBEDDED = KafkaSettings()
"""No brokers: the embedded bus."""
FILES = ArangoSettings()
"""No server: the embedded store."""
TOPIC_BYTES = 4_000_000_000
"""More than any benchmark writes: no writer ever waits for a reader because the topic is full."""


def minutes(count: int) -> TimeRange:
    """The range of so many 1m candles."""
    return TimeRange(START_MS, START_MS + count * MINUTE_MS)


class Workflow:
    """A workflow of one loader and one sink on the data directory `data`.

    code: six characters that tell it apart. kafka, arango: bus and store, where those are not the embedded ones.
    type_name, loader, sink: what it loads, and who does, where that is not history of candles.
    """

    def __init__(
        self,
        data: Path,
        candles: int,
        code: str = "bench0",
        *,
        kafka: KafkaSettings = EMBEDDED,
        arango: ArangoSettings = FILES,
        type_name: str = TYPE,
        loader: str = LOADER,
        sink: str = SINK,
    ) -> None:
        self.data = DataSettings(data_dir=data, kafka=kafka, arango=arango)
        self.span = minutes(candles)
        self.type_name = type_name
        self.queue_id = queue_id(SYMBOL, type_name, START_MS, code)
        self.topic = data_topic(self.queue_id)
        self.collection = f"candles_{code}"
        self.group = consumer_group(self.queue_id, sink)
        self.loader_id = telemetry_id(loader, self.queue_id)
        self.sink_id = telemetry_id(sink, self.queue_id)

    def settings(self, **more: str) -> dict[str, str]:
        """The environment of its workers."""
        return {
            "QUEUE_ID": self.queue_id,
            "SYMBOL": SYMBOL,
            "TYPE": self.type_name,
            "TIME_RANGE": str(self.span),
            "KAFKA_TOPIC": self.topic,
            "COLLECTION_NAME": self.collection,
            "STREAMFORGE_DATA_DIR": str(self.data.folder),
            "STREAMFORGE_UPSTREAM": f"{self.loader_id}:1",
            "STREAMFORGE_DOWNSTREAM": self.group,
            "STREAMFORGE_METRICS_PORT": "0",
            # Not Binance, of which nobody may ask so much: what asks over HTTP names its test exchange.
            "STREAMFORGE_EXCHANGE_URL": "http://127.0.0.1:9",
            "STREAMFORGE_WEIGHT_PER_MINUTE": str(UNLIMITED_WEIGHT),
            **self.data.kafka.environment(),
            **self.data.arango.environment(),
            **more,
        }

    async def make_topics(self, admin: BusAdmin, topic_bytes: int = TOPIC_BYTES) -> None:
        """Its topics, as the manager makes them, that of the data with this cap."""
        for name in (CONTROL_TOPIC, EVENTS_TOPIC, dlq_topic(self.topic)):
            await admin.create_topic(TopicSpec(name=name))
        await admin.create_topic(
            TopicSpec(name=self.topic, retention=Retention.CONSUMED, max_bytes=topic_bytes, readers=(self.group,))
        )


async def live(
    target: str, settings: Mapping[str, str], wired: Wiring = wiring, until: asyncio.Event | None = None
) -> float:
    """Live a worker's whole life in this process, from connecting to the terminal event; the seconds that it took.

    until: a worker without an end is stopped then. Raises RuntimeError with its log if it ended other than well.
    """
    kind = definition(target)
    log = io.StringIO()
    read, parameters = load_worker(kind, settings)
    supervisor = Supervisor(kind, read, parameters, wired, log=make_log(form="json", stream=log))
    tune_interpreter()
    began = time.perf_counter()
    stopping = None if until is None else asyncio.create_task(_stop(supervisor, until))
    code = await supervisor.run()
    seconds = time.perf_counter() - began
    if stopping is not None:
        stopping.cancel()
    if code != 0 and (until is None or not until.is_set()):
        raise RuntimeError(f"{target} ended with exit code {code}: {log.getvalue()[-2000:]}")
    return seconds


async def _stop(supervisor: Supervisor[Any], until: asyncio.Event) -> None:
    await until.wait()
    supervisor.stop.by_signal(signal.SIGTERM)


async def read_all(bus: MessageBus, topic: str, count: int) -> Sequence[Received]:
    """The first `count` messages of `topic`. Raises RuntimeError if there are fewer."""
    consumer = await bus.consumer(topic)
    found: list[Received] = []
    while len(found) < count and (batch := await consumer.poll(count - len(found), 1.0)):
        found.extend(batch)
        await asyncio.sleep(0)
    await consumer.close()
    if len(found) < count:
        raise RuntimeError(f"topic {topic} holds {len(found)} messages, not {count}")
    return found


def digest_of(parts: Sequence[tuple[bytes, bytes]]) -> str:
    """One text for the content, to see that two ways did the same."""
    digest = hashlib.sha256()
    for key, value in parts:
        digest.update(key)
        digest.update(value)
    return digest.hexdigest()
