"""The sink's work on FastStream and on Quix Streams, as their documentation has it done in batches.

Both are needed here only, and want other versions of what StreamForge uses: they live in an environment of their own
(`make bench-others`), in which nothing of this module's imports but the store and the model is to be found.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.common.processes import ROOT
from streamforge_utils.adapters.embedded.store.embedded_store import EmbeddedStore
from streamforge_utils.model.kinds.candles import KIND
from streamforge_utils.ports.columns import RecordColumns

PYTHON = ROOT / "build" / "bench-others" / "bin" / "python"
"""Of the environment that has them."""
PYTHONPATH = os.pathsep.join(str(ROOT / part) for part in ("", "src", "libs/streamforge_utils/src"))
BATCH = 5000
_LIMIT_S = 240.0


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done. store: the store's folder. records: how many there are before the end-of-stream marker."""

    servers: str
    topic: str
    group: str
    store: str
    collection: str
    records: int


class Keeper:
    """Stores what comes, and knows when all has."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._store = EmbeddedStore(Path(job.store))
        self.left = job.records

    async def keep(self, keys: Sequence[bytes | None], values: Sequence[bytes]) -> None:
        """Decode, check and convert as the sink does, and store; what lies behind the records is passed over."""
        keys, values = keys[: self.left], values[: self.left]
        if not keys:
            return
        records = KIND.records(keys, values)
        assert records is not None
        await self._store.upsert(self._job.collection, RecordColumns(KIND, records))
        self.left -= len(keys)

    async def close(self) -> None:
        """Let go of the store."""
        await self._store.close()


def faststream(job: Job) -> float:
    """A batch subscriber; the seconds from making the broker until all is stored."""
    return asyncio.run(_faststream(job))


async def _faststream(job: Job) -> float:
    from faststream.confluent import KafkaBroker

    keeper, stored = Keeper(job), asyncio.Event()

    async def as_it_came(message: Any) -> list[tuple[bytes, bytes]]:
        return [(one.key(), one.value()) for one in message.raw_message]

    began = time.perf_counter()
    # Its own decoding and checking of types would come on top.
    broker = KafkaBroker(job.servers, apply_types=False, decoder=as_it_came, logger=None)

    async def handle(batch: list[tuple[bytes, bytes]]) -> None:
        await keeper.keep([key for key, _ in batch], [value for _, value in batch])
        if not keeper.left:
            stored.set()

    broker.subscriber(job.topic, group_id=job.group, batch=True, max_records=BATCH, auto_offset_reset="earliest")(
        handle
    )
    await broker.start()
    try:
        async with asyncio.timeout(_LIMIT_S):
            await stored.wait()
        return time.perf_counter() - began
    finally:
        await broker.stop()
        await keeper.close()


def quix(job: Job) -> float:
    """A batching sink that is flushed every `BATCH` messages; the seconds from making it until all is stored."""
    from quixstreams import Application
    from quixstreams.sinks import BatchingSink, SinkBatch

    logging.disable(logging.INFO)
    loop = asyncio.new_event_loop()
    keeper = Keeper(job)
    ended = [0.0]

    class Sink(BatchingSink):  # type: ignore[misc]  # the package is not installed where types are checked
        def write(self, batch: SinkBatch) -> None:
            items = list(batch)
            loop.run_until_complete(keeper.keep([item.key for item in items], [item.value for item in items]))
            if not keeper.left:
                ended[0] = time.perf_counter()

    began = time.perf_counter()
    application = Application(
        job.servers,
        consumer_group=job.group,
        auto_offset_reset="earliest",
        commit_every=BATCH,
        auto_create_topics=False,
        state_dir=f"{job.store}-state",  # else a folder of the place it is run from
        loglevel=None,
    )
    topic = application.topic(job.topic, key_deserializer="bytes", value_deserializer="bytes")
    application.dataframe(topic).sink(Sink())
    application.run(count=job.records, timeout=_LIMIT_S)
    loop.run_until_complete(keeper.close())
    loop.close()
    if keeper.left:
        raise RuntimeError(f"{keeper.left} records were not stored")
    return ended[0] - began
