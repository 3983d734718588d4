"""How soon a worker's process speaks."""

from __future__ import annotations

import asyncio
import time
from itertools import count
from pathlib import Path

import msgspec

from benchmarks.common.bench import Bench
from benchmarks.common.measuring import Line, Section, Size, median
from benchmarks.common.processes import ended, exchange, worker
from benchmarks.common.workflow import EMBEDDED, LOADER, SINK, Workflow
from streamforge import wiring
from streamforge_utils.model.messages import decode_event
from streamforge_utils.ports.bus import Consumer, Start
from streamforge_utils.runtime.life.context import MessageBus
from streamforge_utils.runtime.life.server_settings import KafkaSettings
from streamforge_utils.runtime.life.settings import EVENTS_TOPIC

STARTS = {Size.FULL: 10, Size.QUICK: 3, Size.TINY: 1}
LIMIT_S = 20.0
_NUMBERS = count()


class Spoken(msgspec.Struct, frozen=True):
    """Seconds from a process's start until its `started` was heard, and until its first record was on the topic."""

    started: float
    record: float | None = None


def run(bench: Bench) -> Section:
    """Measure it."""
    starts = STARTS[bench.size]
    with exchange() as url:
        sinks, loaders = bench.undisturbed(lambda: measured(bench, url))
    first_records = [spoken.record for spoken in loaders if spoken.record is not None]
    return Section(
        title="Start",
        how=(
            "From the start of the worker's process until its `started` event is read from the bus by another process. "
            f"Median of {starts}, in turn. Bytecode is cached, as it is in an image. The loader connects to the "
            "exchange after `started`; when its first record is on the topic says that the HTTP client is loaded, too."
        ),
        lines=(
            Line(what="sink: process to `started`", measured=median([s.started for s in sinks]), unit="s", below=0.6),
            Line(
                what="loader: process to `started`", measured=median([s.started for s in loaders]), unit="s", below=0.8
            ),
            Line(
                what="loader: process to first record, over HTTP", measured=median(first_records), unit="s", below=0.8
            ),
        ),
        details=(
            f"Slowest: sink {max(s.started for s in sinks):.2f} s, loader {max(s.started for s in loaders):.2f} s, "
            f"first record {max(first_records):.2f} s.",
        ),
    )


def measured(bench: Bench, url: str, kafka: KafkaSettings = EMBEDDED) -> tuple[list[Spoken], list[Spoken]]:
    """Start sinks and loaders in turn, each on topics of its own."""
    with bench.folder() as folder:
        return asyncio.run(_measured(bench, folder, url, kafka))


async def _measured(bench: Bench, folder: Path, url: str, kafka: KafkaSettings) -> tuple[list[Spoken], list[Spoken]]:
    sinks, loaders = [], []
    starts = STARTS[bench.size]
    for number in range(starts):
        workflow = Workflow(folder, 1000, f"s{next(_NUMBERS):05d}", kafka=kafka)
        bus = wiring.make_bus(workflow.data)
        await workflow.make_topics(bus)
        events = await bus.consumer(EVENTS_TOPIC, start=Start.LATEST)
        sinks.append(await _start(SINK, workflow, events))
        settings = {"STREAMFORGE_EXCHANGE_URL": url}
        loaders.append(await _start(LOADER, workflow, events, bus, **settings))
        await bus.close()
        bench.say(f"{number + 1}/{starts}: sink {sinks[-1].started:.2f} s, loader {loaders[-1].started:.2f} s")
    return sinks, loaders


async def _start(
    target: str, workflow: Workflow, events: Consumer, bus: MessageBus | None = None, **settings: str
) -> Spoken:
    records = None if bus is None else await bus.consumer(workflow.topic)
    began = time.perf_counter()
    with ended(worker(target, workflow.settings(**settings))):
        async with asyncio.timeout(LIMIT_S):
            while not any(decode_event(message.value).event == "started" for message in await events.poll(10, 1.0)):
                pass
            started = time.perf_counter() - began
            if records is None:
                return Spoken(started)
            while not await records.poll(1, 1.0):
                pass
            first = time.perf_counter() - began
    while await events.poll(1000, 0.1):
        pass
    return Spoken(started, first)
