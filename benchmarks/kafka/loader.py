"""The loader against `produce_batch` of the same bytes to the same broker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from benchmarks.common.bench import Bench
from benchmarks.common.fresh import fresh
from benchmarks.common.measuring import Line, Section, Size, in_turn, median, per_second
from benchmarks.common.pages import PAGE, MemoryExchange, fetch
from benchmarks.common.processes import exchange
from benchmarks.common.workflow import LOADER, Workflow, live
from benchmarks.kafka.engine import broker
from benchmarks.loader import UNHINDERED, OnExchange, Written, ratio, written
from streamforge import wiring
from streamforge_utils.model.kinds.candles import encode_candle
from streamforge_utils.runtime.life.server_settings import KafkaSettings

PAGES = {Size.FULL: 526, Size.QUICK: 526, Size.TINY: 2}
ROUNDS = {Size.FULL: 5, Size.QUICK: 3, Size.TINY: 1}
BATCH = 10_000
"""Messages in one `produce_batch`; more of them are no faster."""

_FLUSH_LIMIT_S = 60.0


def run(bench: Bench) -> Section:
    """Measure it."""
    pages, rounds = PAGES[bench.size], ROUNDS[bench.size]
    with bench.folder() as folder, broker(bench) as kafka:
        path = folder / "pages"
        with exchange() as url:
            fetch(url, pages, path)
        numbers = iter(range(100_000))

        def new(function: Callable[[str, str, str], Written]) -> Written:
            return fresh(function, str(path), kafka.bootstrap_servers, f"l{next(numbers):05d}")

        # A broker's first messages meet code that Java has not compiled yet.
        for function in (raw, ours):
            new(function)
        runs = {
            "produce_batch": lambda: bench.undisturbed(lambda: new(raw)),
            "loader": lambda: bench.undisturbed(lambda: new(ours)),
        }
        found = in_turn(rounds, runs, lambda name, w: bench.say(f"{name}: {per_second(w.records, w.seconds)}"))
    if len({(one.records, one.digest) for one in (*found["produce_batch"], *found["loader"])}) != 1:
        raise RuntimeError("the loader did not write the same bytes as produce_batch")
    rates = {name: median([one.records / one.seconds for one in runs]) for name, runs in found.items()}
    first = found["produce_batch"][0]
    return Section(
        title="Kafka: loader",
        how=(
            "`produce_batch`: records that were encoded beforehand, idempotent, acks=all, lz4, in batches of "
            f"{BATCH:,}, as fast as the client takes them; from making the client until the broker has confirmed all. "
            "Loader: the worker's whole life in its process (connecting, `started`, decoding and checking the pages, "
            "building, encoding, sending, the end-of-stream marker, the terminal event), with pages that lie in memory "
            "as they came over the wire. Both put the same bytes on a new topic, which is checked. The broker (plain, "
            "one node) runs on the same cores; one run of each warms it up."
        ),
        lines=(
            Line(
                what="Kafka: loader, share of produce_batch",
                measured=ratio(found["produce_batch"], found["loader"]),
                unit="%",
                at_least=50,
            ),
        ),
        details=(
            f"{pages * PAGE:,} records of {first.size / first.records:.0f} bytes a run, {rounds} runs of each in turn.",
            f"Median: produce_batch {rates['produce_batch']:,.0f}/s, loader {rates['loader']:,.0f}/s.",
        ),
    )


def raw(pages: str, servers: str, code: str) -> Written:
    """Write records that are ready, by the client alone."""
    return asyncio.run(_raw(Path(pages), KafkaSettings(bootstrap_servers=servers), code))


async def _raw(path: Path, kafka: KafkaSettings, code: str) -> Written:
    records: list[dict[str, Any]] = [
        {"key": candle.key.encode(), "value": encode_candle(candle)}
        for page in await MemoryExchange(path).all()
        for candle in page
    ]
    workflow = Workflow(path.parent, len(records), code, kafka=kafka)
    bus = wiring.make_bus(workflow.data)
    await workflow.make_topics(bus)
    began = time.perf_counter()
    produce(kafka, workflow.topic, records)
    return await written(bus, workflow, len(records), time.perf_counter() - began)


def produce(kafka: KafkaSettings, topic: str, records: list[dict[str, Any]]) -> None:
    """Send all; returns when the broker has confirmed them. Raises RuntimeError."""
    producer = Producer(
        {
            "bootstrap.servers": kafka.bootstrap_servers,
            "enable.idempotence": True,
            "acks": "all",
            "compression.type": "lz4",
            "batch.size": 1_000_000,
            "queue.buffering.max.messages": len(records) + 1,
            "queue.buffering.max.kbytes": 2_000_000,
        }
    )
    failed: list[object] = []

    def note(error: object, _: object) -> None:
        if error is not None:
            failed.append(error)

    for first in range(0, len(records), BATCH):
        batch = records[first : first + BATCH]
        producer.produce_batch(topic, batch, on_delivery=note)
        failed += [record["_error"] for record in batch if "_error" in record]
        producer.poll(0)
    if left := producer.flush(_FLUSH_LIMIT_S):
        raise RuntimeError(f"{left} messages were not confirmed within {_FLUSH_LIMIT_S:.0f} s")
    if failed:
        raise RuntimeError(f"{len(failed)} messages could not be sent: {failed[0]}")


def ours(pages: str, servers: str, code: str) -> Written:
    """Let the real loader write them, on an exchange that answers from memory."""
    return asyncio.run(_ours(Path(pages), KafkaSettings(bootstrap_servers=servers), code))


async def _ours(path: Path, kafka: KafkaSettings, code: str) -> Written:
    found = MemoryExchange(path)
    workflow = Workflow(path.parent, found.count, code, kafka=kafka)
    bus = wiring.make_bus(workflow.data)
    await workflow.make_topics(bus)
    seconds = await live(LOADER, workflow.settings(**UNHINDERED), OnExchange(found))
    return await written(bus, workflow, found.count, seconds)
