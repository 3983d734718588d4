"""What a helper process and columns gain a sink: the same work without them, with very many records.

Run by name only: it takes ten minutes, and 13 GB of disk.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from functools import partial
from itertools import starmap
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.common.bench import Bench
from benchmarks.common.fresh import Fresh
from benchmarks.common.measuring import Line, Section, Size, in_turn, median, per_second
from benchmarks.common.workflow import SINK, TYPE, Workflow, live
from benchmarks.sink import made, send
from streamforge import wiring
from streamforge_utils.adapters.embedded.bus.consumer import EmbeddedConsumer
from streamforge_utils.ports.bus import Received
from streamforge_utils.ports.store import Document
from streamforge_utils.runtime.sink import sinks

RECORDS = {Size.FULL: 10_000_000, Size.QUICK: 300_000, Size.TINY: 2000}
ROUNDS = {Size.FULL: 1, Size.QUICK: 3, Size.TINY: 1}
BLOCK = 1000
TOPIC_BYTES = 20_000_000_000
WHOLE = "as it is"

_fresh = Fresh(limit_s=3600.0)


def _without_helper() -> None:
    sinks.Offloader.start_helper = lambda self: None  # type: ignore[method-assign]


def _without_columns() -> None:
    poll = EmbeddedConsumer.poll

    async def messages(self: EmbeddedConsumer, max_messages: int, timeout_s: float) -> Sequence[Received]:
        return list(await poll(self, max_messages, timeout_s))

    def documents(*columns: Sequence[Any], encoded: bool) -> list[Document]:
        return list(starmap(Document, zip(*columns, strict=True)))

    EmbeddedConsumer.poll = messages  # type: ignore[method-assign]
    vars(sinks)["DocumentColumns"] = documents


LEFT_OUT: dict[str, Callable[[], None]] = {
    WHOLE: lambda: None,
    "without the helper process: a thread converts": _without_helper,
    "without columns: a message or document is an object of its own": _without_columns,
}


class Stored(msgspec.Struct, frozen=True):
    """What a run stored."""

    records: int
    seconds: float


def run(bench: Bench) -> Section:
    """Measure it. Raises RuntimeError if not every record was stored."""
    records, rounds = RECORDS[bench.size], ROUNDS[bench.size]
    number = iter(range(1000))
    with bench.folder() as folder:
        _fresh(fill, str(folder), records)
        bench.say(f"{records:,} records are on the topic")

        def new(left_out: str) -> Stored:
            return _fresh(ours, str(folder), f"run{next(number):03d}", records, left_out)

        runs = {name: partial(bench.undisturbed, partial(new, name)) for name in LEFT_OUT}
        found = in_turn(rounds, runs, lambda name, s: bench.say(f"{name}: {per_second(s.records, s.seconds)}"))
    if {stored.records for them in found.values() for stored in them} != {records}:
        raise RuntimeError("a sink did not store every record")
    rates = {name: median([s.records / s.seconds for s in them]) for name, them in found.items()}
    return Section(
        title="Columns and helper",
        how=(
            f"The sink's whole life in its process with {records:,} candles on a topic that was filled beforehand, "
            f"{rounds} runs of each in turn; without one of its means it does the same work."
        ),
        lines=tuple(
            Line(what=f"sink {name}, share of its speed", measured=100 * rate / rates[WHOLE], unit="%")
            for name, rate in rates.items()
            if name != WHOLE
        ),
        details=tuple(f"Median {name}: {rate:,.0f}/s." for name, rate in rates.items()),
    )


def fill(folder: str, records: int) -> int:
    """Fill the topic that every run reads, block by block; returns how many records."""
    chance = random.Random(14)
    blocks = (made(TYPE, range(first, min(first + BLOCK, records)), chance) for first in range(0, records, BLOCK))
    return asyncio.run(send(Workflow(Path(folder), records), blocks, TOPIC_BYTES))


def ours(folder: str, code: str, records: int, left_out: str) -> Stored:
    """Let the sink store what lies on the topic, without what is named; what it stored is dropped."""
    LEFT_OUT[left_out]()
    return asyncio.run(_ours(Path(folder), code, records))


async def _ours(folder: Path, code: str, records: int) -> Stored:
    source, workflow = Workflow(folder, records), Workflow(folder, records, code)
    settings = workflow.settings(KAFKA_TOPIC=source.topic, STREAMFORGE_UPSTREAM=f"{source.loader_id}:1")
    seconds = await live(SINK, settings)
    store = wiring.make_store(workflow.data)
    count = await store.count(workflow.collection)
    await store.drop(workflow.collection)
    await store.close()
    return Stored(count, seconds)
