"""The loader against writing the bytes that it makes straight to the same bus."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from pathlib import Path

import msgspec

from benchmarks.common.bench import Bench
from benchmarks.common.fresh import fresh
from benchmarks.common.measuring import Line, Section, Size, in_turn, median, per_second
from benchmarks.common.pages import PAGE, MemoryExchange, fetch
from benchmarks.common.processes import exchange, finish, worker
from benchmarks.common.workflow import LOADER, Workflow, digest_of, live, read_all
from streamforge import wiring
from streamforge_utils.model.kinds.candles import encode_candle
from streamforge_utils.ports.bus import Message
from streamforge_utils.ports.clock import Clock
from streamforge_utils.ports.exchange import Exchange
from streamforge_utils.ports.instrumentation import Observer
from streamforge_utils.ports.object_store import ObjectStore
from streamforge_utils.ports.store import Store
from streamforge_utils.ports.stream import Stream
from streamforge_utils.runtime.life.context import MessageBus
from streamforge_utils.runtime.life.settings import DataSettings, ExchangeSettings
from streamforge_utils.runtime.life.worker_process import tune_interpreter

PAGES = {Size.FULL: 500, Size.QUICK: 60, Size.TINY: 2}
ROUNDS = {Size.FULL: 5, Size.QUICK: 3, Size.TINY: 1}
UNHINDERED = {"STREAMFORGE_EXCHANGE_URL": "http://memory.invalid"}
"""The exchange is none that limits weight; nobody reads here, and the topic has room for all."""
LIMIT_S = 120.0


class Written(msgspec.Struct, frozen=True):
    """What a run wrote. digest: of keys and values on the topic; empty where it was not looked at."""

    records: int
    seconds: float
    size: int = 0
    digest: str = ""


def run(bench: Bench) -> Section:
    """Measure it."""
    pages, rounds = PAGES[bench.size], ROUNDS[bench.size]
    with bench.folder() as folder, exchange() as url:
        path = folder / "pages"
        fetch(url, pages, path)
        runs = {
            "raw": partial(bench.undisturbed, partial(fresh, raw, str(path))),
            "loader": partial(bench.undisturbed, partial(fresh, ours, str(path))),
            "process": partial(bench.undisturbed, partial(whole_process, bench, url, pages * PAGE)),
        }
        found = in_turn(rounds, runs, lambda name, w: bench.say(f"{name}: {per_second(w.records, w.seconds)}"))
    if len({(written.records, written.digest) for written in (*found["raw"], *found["loader"])}) != 1:
        raise RuntimeError("the loader did not write the same bytes as the raw client")
    rates = {name: median([w.records / w.seconds for w in written]) for name, written in found.items()}
    size = found["raw"][0].size / found["raw"][0].records
    return Section(
        title="Loader",
        how=(
            "Raw: records that were encoded beforehand go to the bus, by the same producer, in batches of 1000. "
            "Loader: the worker's whole life in its process (connecting, `started`, decoding and checking the pages, "
            "building, encoding, sending, the end-of-stream marker, the terminal event), with pages that lie in memory "
            "as they came over the wire. Both put the same bytes on the topic, which is checked. Loader process: the "
            "same as a process of its own, from its start to its end, that asks the test exchange on the other core."
        ),
        lines=(
            Line(
                what="loader, share of raw writes to the same bus",
                measured=ratio(found["raw"], found["loader"]),
                unit="%",
                at_least=60,
            ),
            Line(
                what="loader process with HTTP, share of raw writes",
                measured=ratio(found["raw"], found["process"]),
                unit="%",
            ),
        ),
        details=(
            f"{pages * PAGE:,} records of {size:.0f} bytes a run, {rounds} runs of each in turn.",
            f"Median: raw {rates['raw']:,.0f}/s, loader {rates['loader']:,.0f}/s, "
            f"loader process with HTTP {rates['process']:,.0f}/s.",
        ),
    )


def ratio(raw: list[Written], ours: list[Written]) -> float:
    """The median over the rounds of ours / raw, in percent."""
    return 100 * median([r.seconds / o.seconds for r, o in zip(raw, ours, strict=True)])


def raw(pages: str) -> Written:
    """Write records that are ready."""
    return asyncio.run(_raw(Path(pages)))


async def _raw(path: Path) -> Written:
    batches = [
        [Message(candle.key.encode(), encode_candle(candle)) for candle in page]
        for page in await MemoryExchange(path).all()
    ]
    with Bench(Size.TINY).folder() as folder:
        workflow = Workflow(folder, len(batches) * PAGE)
        bus = wiring.make_bus(workflow.data)
        await workflow.make_topics(bus)
        producer = await bus.producer()
        tune_interpreter()  # as the loader's process does
        began = time.perf_counter()
        for batch in batches:
            await producer.send(workflow.topic, batch)
        seconds = time.perf_counter() - began
        return await written(bus, workflow, len(batches) * PAGE, seconds)


def ours(pages: str) -> Written:
    """Let the real loader write them, on an exchange that answers from memory."""
    return asyncio.run(_ours(Path(pages)))


async def _ours(path: Path) -> Written:
    found = MemoryExchange(path)
    with Bench(Size.TINY).folder() as folder:
        workflow = Workflow(folder, found.count)
        bus = wiring.make_bus(workflow.data)
        await workflow.make_topics(bus)
        seconds = await live(LOADER, workflow.settings(**UNHINDERED), OnExchange(found))
        return await written(bus, workflow, found.count, seconds)


def whole_process(bench: Bench, exchange_url: str, records: int) -> Written:
    """Run the loader as a process against the test exchange, from its start to its end."""
    with bench.folder() as folder:
        workflow = Workflow(folder, records)
        asyncio.run(_prepare(workflow))
        settings = workflow.settings(**{**UNHINDERED, "STREAMFORGE_EXCHANGE_URL": exchange_url})
        began = time.perf_counter()
        finish(worker(LOADER, settings), LIMIT_S)
        return Written(records, time.perf_counter() - began)


async def _prepare(workflow: Workflow) -> None:
    bus = wiring.make_bus(workflow.data)
    await workflow.make_topics(bus)
    await bus.close()


async def written(bus: MessageBus, workflow: Workflow, records: int, seconds: float) -> Written:
    """What lies on the workflow's topic, which is then deleted."""
    parts = [(message.key or b"", message.value) for message in await read_all(bus, workflow.topic, records)]
    await bus.delete_topic(workflow.topic)
    await bus.close()
    return Written(records, seconds, sum(len(key) + len(value) for key, value in parts), digest_of(parts))


class OnExchange:
    """The real wiring, but for the exchange."""

    def __init__(self, found: Exchange) -> None:
        self._found = found

    def make_bus(self, settings: DataSettings, *, clock: Clock, observer: Observer) -> MessageBus:
        return wiring.make_bus(settings, clock=clock, observer=observer)

    def make_store(self, settings: DataSettings, *, observer: Observer) -> Store:
        return wiring.make_store(settings, observer=observer)

    def make_archive(self, *settings: object, **ports: object) -> None:
        """There is none."""

    def make_stream(self, *settings: object, **ports: object) -> Stream:
        raise NotImplementedError

    def make_object_store(self, *settings: object) -> ObjectStore:
        raise NotImplementedError

    def make_exchange(self, settings: ExchangeSettings, *, clock: Clock, observer: Observer) -> Exchange:
        return self._found
