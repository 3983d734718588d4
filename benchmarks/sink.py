"""The sink against writing the documents that it makes straight to the same store, in batches of the same size."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.common.bench import Bench
from benchmarks.common.exchange import SYMBOL
from benchmarks.common.fresh import fresh
from benchmarks.common.measuring import Line, Section, Size, in_turn, median, per_second
from benchmarks.common.pages import OBSERVED_MS, PAGE, MemoryExchange, fetch
from benchmarks.common.processes import exchange
from benchmarks.common.workflow import (
    EMBEDDED,
    MINUTE_MS,
    SINK,
    START_MS,
    TOPIC_BYTES,
    TYPE,
    Workflow,
    digest_of,
    live,
    read_all,
)
from streamforge import wiring
from streamforge_utils.model.kinds.registry import kind_of, series_of
from streamforge_utils.model.messages import EOS_KEY, EndOfStream, encode_marker
from streamforge_utils.ports.bus import Message
from streamforge_utils.ports.store import Document, Store
from streamforge_utils.runtime.input.worker_input import BATCH_RECORDS
from streamforge_utils.runtime.life.server_settings import KafkaSettings
from streamforge_utils.runtime.life.worker_process import tune_interpreter

PAGES = {Size.FULL: 526, Size.QUICK: 60, Size.TINY: 2}
TRADES_SINK = "arango-trades"
ROUNDS = {Size.FULL: 5, Size.QUICK: 3, Size.TINY: 1}


class Stored(msgspec.Struct, frozen=True):
    """What a run stored. digest: of keys, versions and bodies in the collection."""

    records: int
    seconds: float
    size: int
    digest: str


TYPES = {TYPE: "sink", "api_trades": "sink of trades", "api_agg_trades": "sink of aggregated trades"}


def run(bench: Bench) -> Section:
    """Measure it."""
    rounds, records = ROUNDS[bench.size], PAGES[bench.size] * PAGE
    lines: list[Line] = []
    details: list[str] = []
    for type_name, what in TYPES.items():
        found = _measured(bench, type_name, what, rounds, records)
        rates = {name: median([s.records / s.seconds for s in stored]) for name, stored in found.items()}
        share = median([r.seconds / s.seconds for r, s in zip(found["raw"], found["sink"], strict=True)])
        lines.append(
            Line(
                what=f"{what}, share of raw batched writes to the same store",
                measured=100 * share,
                unit="%",
                at_least=70,
            )
        )
        size = found["raw"][0].size / records
        details.append(
            f"{type_name}: {records:,} documents of {size:.0f} bytes a run, {rounds} runs of each in turn; median: raw "
            f"{rates['raw']:,.0f}/s, sink {rates['sink']:,.0f}/s."
        )
    return Section(
        title="Sink",
        how=(
            f"Raw: documents that were made beforehand go to the store in batches of {BATCH_RECORDS}. Sink: the "
            "worker's whole life in its process (connecting, `started`, reading the topic, decoding, checking, "
            "converting, storing, committing, the terminal event), from a topic that was filled beforehand. Both store "
            "the same documents in a new collection, which is checked."
        ),
        lines=tuple(lines),
        details=tuple(details),
    )


def _measured(bench: Bench, type_name: str, what: str, rounds: int, records: int) -> dict[str, list[Stored]]:
    """The runs with records of one type. Raises RuntimeError if they did not store the same."""
    number = iter(range(10_000))
    with bench.folder() as folder:
        if type_name == TYPE:
            with exchange() as url:
                fetch(url, records // PAGE, folder / "pages")
        fresh(fill, str(folder), type_name, records)

        def new(function: Callable[[str, str, int, str], Stored]) -> Stored:
            return fresh(function, str(folder), f"run{next(number):03d}", records, type_name)

        runs = {name: partial(bench.undisturbed, partial(new, one)) for name, one in (("raw", raw), ("sink", ours))}
        found = in_turn(rounds, runs, lambda name, s: bench.say(f"{what}, {name}: {per_second(s.records, s.seconds)}"))
    if len({(stored.records, stored.digest) for stored in (*found["raw"], *found["sink"])}) != 1:
        raise RuntimeError(f"the {what} did not store the same documents as the raw client")
    return found


def fill(folder: str, type_name: str = TYPE, records: int = 0) -> int:
    """Fill the topic that every run reads, with the marker that ends it; returns how many records.

    Candles are those of the pages in `folder`, all of them; trades are made.
    """
    return asyncio.run(fill_from(Path(folder), type_name=type_name, records=records))


async def fill_from(folder: Path, kafka: KafkaSettings = EMBEDDED, *, type_name: str = TYPE, records: int = 0) -> int:
    """As `fill`, on any bus."""
    pages: Iterable[Sequence[Any]]
    if type_name == TYPE:
        pages = await MemoryExchange(folder / "pages").all()
        records = PAGE * len(pages)
    else:
        chance = random.Random(14)
        pages = (made(type_name, range(first, first + PAGE), chance) for first in range(0, records, PAGE))
    return await send(Workflow(folder, records, kafka=kafka), pages)


async def send(workflow: Workflow, pages: Iterable[Sequence[Any]], topic_bytes: int = TOPIC_BYTES) -> int:
    """Make the workflow's topics, send it these records, and the marker behind them; returns how many records."""
    records, bus = 0, wiring.make_bus(workflow.data)
    await workflow.make_topics(bus, topic_bytes)
    producer = await bus.producer()
    for page in pages:
        messages = [Message(record.key.encode(), msgspec.json.encode(record)) for record in page]
        await producer.send(workflow.topic, messages)
        records += len(messages)
    marker = EndOfStream(producer=workflow.loader_id, attempt=1, records=records, reason="finished")
    await producer.send(workflow.topic, [Message(EOS_KEY, encode_marker(marker))])
    await bus.close()
    return records


def made(type_name: str, numbers: range, chance: random.Random) -> list[Any]:
    """Records of a type: trades with these ids, or the candles of these minutes."""
    series = series_of(SYMBOL, type_name)
    kind, found = kind_of(series), list[Any]()
    for number in numbers:
        price, quantity = f"{60_000 + chance.randint(0, 200_000) / 100:.8f}", f"{chance.randint(1, 99_999) / 1e5:.8f}"
        position, changes = number, {"price": price, "quantity": quantity}
        if type_name == TYPE:
            position, changes = START_MS + number * MINUTE_MS, {"high": price, "volume": quantity}
        record = kind.imitation(series, position)
        found.append(msgspec.structs.replace(record, version=OBSERVED_MS, **changes))
    return found


def raw(folder: str, code: str, records: int, type_name: str = TYPE) -> Stored:
    """Store documents that are ready."""
    return asyncio.run(_raw(Path(folder), code, records, type_name))


async def _raw(folder: Path, code: str, records: int, type_name: str) -> Stored:
    source, workflow = Workflow(folder, records), Workflow(folder, records, code)
    bus = wiring.make_bus(source.data)
    received = await read_all(bus, source.topic, records)
    await bus.close()
    convert = kind_of(series_of(SYMBOL, type_name)).document
    documents = [Document(*convert(message.key, message.value)) for message in received]
    batches = [documents[first : first + BATCH_RECORDS] for first in range(0, records, BATCH_RECORDS)]
    store = wiring.make_store(workflow.data)
    tune_interpreter()  # as the sink's process does
    began = time.perf_counter()
    for batch in batches:
        await store.upsert(workflow.collection, batch)
    return await stored(store, workflow, records, time.perf_counter() - began)


def ours(folder: str, code: str, records: int, type_name: str = TYPE) -> Stored:
    """Let the real sink store what lies on the topic, as a consumer group of its own."""
    return asyncio.run(_ours(Path(folder), code, records, type_name))


async def _ours(folder: Path, code: str, records: int, type_name: str) -> Stored:
    source, workflow = Workflow(folder, records), Workflow(folder, records, code)
    upstream = f"{source.loader_id}:1"
    settings = workflow.settings(TYPE=type_name, KAFKA_TOPIC=source.topic, STREAMFORGE_UPSTREAM=upstream)
    seconds = await live(SINK if type_name == TYPE else TRADES_SINK, settings)
    return await stored(wiring.make_store(workflow.data), workflow, records, seconds)


async def stored(store: Store, workflow: Workflow, records: int, seconds: float) -> Stored:
    """What lies in the collection, which is then dropped."""
    found: Sequence[Document] = await store.read(workflow.collection, limit=records + 1)
    await store.drop(workflow.collection)
    await store.close()
    digest = digest_of([(f"{document.key} {document.version}".encode(), document.body) for document in found])
    return Stored(len(found), seconds, sum(len(document.body) for document in found), digest)
