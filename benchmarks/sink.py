"""The sink against writing the documents that it makes straight to the same store, in batches of the same size."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import msgspec

from benchmarks.common.bench import Bench
from benchmarks.common.fresh import fresh
from benchmarks.common.measuring import Line, Section, Size, in_turn, median, per_second
from benchmarks.common.pages import PAGE, MemoryExchange, fetch
from benchmarks.common.processes import exchange
from benchmarks.common.workflow import EMBEDDED, SINK, Workflow, digest_of, live, read_all
from streamforge import wiring
from streamforge_utils.model.kinds.candles import encode_candle, stored_document
from streamforge_utils.model.messages import EOS_KEY, EndOfStream, encode_marker
from streamforge_utils.ports.bus import Message
from streamforge_utils.ports.store import Document, Store
from streamforge_utils.runtime.server_settings import KafkaSettings
from streamforge_utils.runtime.topic_reader import BATCH_RECORDS

PAGES = {Size.FULL: 526, Size.QUICK: 60, Size.TINY: 2}
ROUNDS = {Size.FULL: 5, Size.QUICK: 3, Size.TINY: 1}


class Stored(msgspec.Struct, frozen=True):
    """What a run stored. digest: of keys, versions and bodies in the collection."""

    records: int
    seconds: float
    size: int
    digest: str


def run(bench: Bench) -> Section:
    """Measure it."""
    pages, rounds = PAGES[bench.size], ROUNDS[bench.size]
    with bench.folder() as folder:
        with exchange() as url:
            fetch(url, pages, folder / "pages")
        fresh(fill, str(folder))
        number = iter(range(10_000))

        def new(function: Callable[[str, str, int], Stored]) -> Stored:
            return fresh(function, str(folder), f"run{next(number):03d}", pages * PAGE)

        runs = {
            "raw": partial(bench.undisturbed, partial(new, raw)),
            "sink": partial(bench.undisturbed, partial(new, ours)),
        }
        found = in_turn(rounds, runs, lambda name, s: bench.say(f"{name}: {per_second(s.records, s.seconds)}"))
    if len({(stored.records, stored.digest) for stored in (*found["raw"], *found["sink"])}) != 1:
        raise RuntimeError("the sink did not store the same documents as the raw client")
    rates = {name: median([s.records / s.seconds for s in stored]) for name, stored in found.items()}
    size = found["raw"][0].size / found["raw"][0].records
    return Section(
        title="Sink",
        how=(
            f"Raw: documents that were made beforehand go to the store in batches of {BATCH_RECORDS}. Sink: the "
            "worker's whole life in its process (connecting, `started`, reading the topic, decoding, checking, "
            "converting, storing, committing, the terminal event), from a topic that was filled beforehand. Both store "
            "the same documents in a new collection, which is checked."
        ),
        lines=(
            Line(
                what="sink, share of raw batched writes to the same store",
                measured=100
                * median([r.seconds / s.seconds for r, s in zip(found["raw"], found["sink"], strict=True)]),
                unit="%",
                at_least=70,
            ),
        ),
        details=(
            f"{pages * PAGE:,} documents of {size:.0f} bytes a run, {rounds} runs of each in turn.",
            f"Median: raw {rates['raw']:,.0f}/s, sink {rates['sink']:,.0f}/s.",
        ),
    )


def fill(folder: str) -> int:
    """Fill the topic that every run reads, with the marker that ends it; returns how many records."""
    return asyncio.run(fill_from(Path(folder)))


async def fill_from(folder: Path, kafka: KafkaSettings = EMBEDDED) -> int:
    """Send the candles of the pages in `folder`, and the marker behind them; returns how many candles."""
    found = MemoryExchange(folder / "pages")
    workflow = Workflow(folder, found.count, kafka=kafka)
    bus = wiring.make_bus(workflow.data)
    await workflow.make_topics(bus)
    producer = await bus.producer()
    for page in await found.all():
        await producer.send(workflow.topic, [Message(candle.key.encode(), encode_candle(candle)) for candle in page])
    marker = EndOfStream(producer=workflow.loader_id, attempt=1, records=found.count, reason="finished")
    await producer.send(workflow.topic, [Message(EOS_KEY, encode_marker(marker))])
    await bus.close()
    return found.count


def raw(folder: str, code: str, records: int) -> Stored:
    """Store documents that are ready."""
    return asyncio.run(_raw(Path(folder), code, records))


async def _raw(folder: Path, code: str, records: int) -> Stored:
    source, workflow = Workflow(folder, records), Workflow(folder, records, code)
    bus = wiring.make_bus(source.data)
    received = await read_all(bus, source.topic, records)
    await bus.close()
    documents = [Document(*stored_document(message.key, message.value)) for message in received]
    batches = [documents[first : first + BATCH_RECORDS] for first in range(0, records, BATCH_RECORDS)]
    store = wiring.make_store(workflow.data)
    began = time.perf_counter()
    for batch in batches:
        await store.upsert(workflow.collection, batch)
    return await stored(store, workflow, records, time.perf_counter() - began)


def ours(folder: str, code: str, records: int) -> Stored:
    """Let the real sink store what lies on the topic, as a consumer group of its own."""
    return asyncio.run(_ours(Path(folder), code, records))


async def _ours(folder: Path, code: str, records: int) -> Stored:
    source, workflow = Workflow(folder, records), Workflow(folder, records, code)
    settings = workflow.settings(KAFKA_TOPIC=source.topic, STREAMFORGE_UPSTREAM=f"{source.loader_id}:1")
    seconds = await live(SINK, settings)
    return await stored(wiring.make_store(workflow.data), workflow, records, seconds)


async def stored(store: Store, workflow: Workflow, records: int, seconds: float) -> Stored:
    """What lies in the collection, which is then dropped."""
    found: Sequence[Document] = await store.read(workflow.collection, limit=records + 1)
    await store.drop(workflow.collection)
    await store.close()
    digest = digest_of([(f"{document.key} {document.version}".encode(), document.body) for document in found])
    return Stored(len(found), seconds, sum(len(document.body) for document in found), digest)
