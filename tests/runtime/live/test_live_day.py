"""A day of a live workflow on the files of one machine: its topic stays small, the store grows by the data alone.

    make test ARGS="tests/runtime/live/test_live_day.py -s"

prints the bytes.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import structlog

from streamforge_utils.adapters.embedded.bus.embedded_bus import EmbeddedBus
from streamforge_utils.adapters.embedded.store.embedded_store import EmbeddedStore
from streamforge_utils.adapters.embedded.wal_copier import COPY_BYTES, START_OVER_BYTES
from streamforge_utils.model.daily_collections import Placement
from streamforge_utils.model.kinds import trades
from streamforge_utils.model.topic_reading import Upstream
from streamforge_utils.ports.bus import Message
from streamforge_utils.ports.store import Answer, Document
from streamforge_utils.runtime.input.dead_letter_replay import Choice, ReplaySettings
from streamforge_utils.runtime.input.worker_input import Input
from streamforge_utils.runtime.output.topic_specs import data_topic
from streamforge_utils.runtime.sink.sinks import SinkParameters, sink
from tests.doubles.instruments import instruments
from tests.doubles.manualclock import ManualClock
from tests.limits import LIMIT_S
from tests.runtime.live.test_live_stop import nothing_refused
from tests.runtime.sink.test_day_division import trade

NOON_MS = 1_722_513_600_000
"""1 August 2024."""
HOUR_MS = 3_600_000
AN_HOUR = 3_600
"""Trades."""
WAL_BYTES = 17_000_000
"""What SQLite keeps at most beside a topic of what it has written."""
TOPIC, GROUP = "wf-data", "wf-sink"


def taken(folder: Path, pattern: str = "*") -> int:
    """Bytes of all files in it that the pattern fits."""
    return sum(path.stat().st_size for path in folder.rglob(pattern) if path.is_file())


async def test_after_a_day_the_bus_takes_what_it_took_after_an_hour(tmp_path: Path) -> None:
    bus, store = EmbeddedBus(tmp_path / "bus"), EmbeddedStore(tmp_path / "store")
    await bus.create_topic(data_topic(TOPIC, (GROUP,)))
    made = instruments(ManualClock(NOON_MS))
    consumer, producer = await bus.consumer(TOPIC, group=GROUP), await bus.producer(bulk=True)

    async def upsert(collection: str, documents: list[Document], *, patience_s: float) -> list[Answer]:
        return [*await store.upsert(collection, documents)]

    ctx: Any = SimpleNamespace(
        store=store,
        input=Input(consumer, bus, TOPIC, GROUP, [Upstream("loader")], made),
        dead_letters=SimpleNamespace(send=nothing_refused),
        choice=Choice(ReplaySettings(), "sink"),
        parameters=SinkParameters(),
        kind=trades.KIND,
        log=structlog.get_logger(),
        placement=Placement("btcusdt_ws_trades", daily=True),
        upsert=upsert,
    )
    storing = asyncio.create_task(sink(ctx))
    buses, stores, number, size = list[int](), list[int](), 0, len(trade(0, NOON_MS)[1])
    bus_logs = logs = 0
    try:
        async with asyncio.timeout(LIMIT_S):
            for hour in range(24):
                begin_ms = NOON_MS + hour * HOUR_MS
                messages = [Message(*trade(number + n, begin_ms + n * 1000)) for n in range(AN_HOUR)]
                number += AN_HOUR
                await producer.send(TOPIC, messages)
                while (await bus.lag(TOPIC, GROUP)).records:
                    assert not storing.done()
                    await asyncio.sleep(0.01)
                await bus.trim(TOPIC, [GROUP])  # as the manager does now and then
                # Apart: how much a log holds depends on when a reader lets it be copied.
                buses.append(taken(tmp_path / "bus", "*.db"))
                bus_logs = max(bus_logs, taken(tmp_path / "bus", "*-wal"))
                stores.append(taken(tmp_path / "store", "*.db"))
                logs = max(logs, taken(tmp_path / "store", "*-wal"))
        days = [name for name in await store.names() if name.startswith("btcusdt")]
        counts = [await store.count(name) for name in days]
    finally:
        storing.cancel()
        await asyncio.gather(storing, return_exceptions=True)
        for one in (consumer, producer, bus, store):
            await one.close()
    print(f"\n{number:,} trades; the bus after 1 and 24 hours: {buses[0]:,}, {buses[-1]:,} bytes; ", end="")
    print(f"the store: {stores[0]:,}, {stores[-1]:,}")
    assert dict(zip(days, counts, strict=True)) == {
        "btcusdt_ws_trades_20240801": 12 * AN_HOUR,
        "btcusdt_ws_trades_20240802": 12 * AN_HOUR,
    }
    sent = size * number
    assert bus_logs < WAL_BYTES
    assert max(buses[12:]) < max(buses[:12]) + sent / 24  # less than an hour has brought
    assert stores[-1] - stores[0] < 1.5 * sent
    assert logs < 2 * (START_OVER_BYTES + 2 * COPY_BYTES)  # of two days
