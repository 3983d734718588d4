"""The sink against a bare loop of the client, and against what others do the same work with."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from pathlib import Path

from confluent_kafka import Consumer

from benchmarks.common.bench import Bench
from benchmarks.common.fresh import fresh
from benchmarks.common.measuring import Line, Section, Size, in_turn, median, per_second
from benchmarks.common.pages import PAGE, fetch
from benchmarks.common.processes import exchange
from benchmarks.common.workflow import SINK, Workflow, live
from benchmarks.kafka import others
from benchmarks.kafka.engine import broker
from benchmarks.sink import Stored, fill_from, stored
from streamforge import wiring
from streamforge_utils.runtime.life.server_settings import KafkaSettings

PAGES = {Size.FULL: 526, Size.QUICK: 200, Size.TINY: 2}
ROUNDS = {Size.FULL: 5, Size.QUICK: 3, Size.TINY: 1}
NAMES = {"loop": "bare loop", "sink": "sink", "faststream": "FastStream", "quix": "Quix Streams"}


def run(bench: Bench) -> Section:
    """Measure it. Raises RuntimeError where FastStream and Quix Streams are not installed."""
    if not others.PYTHON.exists():
        raise RuntimeError(
            "FastStream and Quix Streams, with which the sink is compared, are missing: make bench-others"
        )
    pages, rounds = PAGES[bench.size], ROUNDS[bench.size]
    records = pages * PAGE
    with bench.folder() as folder, broker(bench) as kafka:
        with exchange() as url:
            fetch(url, pages, folder / "pages")
        fresh(fill, str(folder), kafka.bootstrap_servers)
        numbers = iter(range(100_000))

        def new(name: str) -> Stored:
            source = Workflow(folder, records, kafka=kafka)
            workflow = Workflow(folder, records, f"s{next(numbers):05d}", kafka=kafka)
            job = others.Job(
                servers=kafka.bootstrap_servers,
                topic=source.topic,
                group=workflow.group,
                store=str(folder / wiring.STORE),
                collection=workflow.collection,
                records=records,
            )
            if name == "loop":
                seconds = fresh(loop, job)
            elif name == "sink":
                seconds = fresh(sink, settings_of(workflow, source))
            else:
                function = others.faststream if name == "faststream" else others.quix
                seconds = fresh.by(others.PYTHON, others.PYTHONPATH)(function, job)
            return asyncio.run(stored(wiring.make_store(workflow.data), workflow, records, seconds))

        for name in ("loop", "sink"):
            new(name)  # a broker's first messages meet code that Java has not compiled yet
        runs = {name: partial(bench.undisturbed, partial(new, name)) for name in NAMES}
        found = in_turn(rounds, runs, lambda name, s: bench.say(f"{name}: {per_second(s.records, s.seconds)}"))
    if len({(one.records, one.digest) for them in found.values() for one in them}) != 1:
        raise RuntimeError("not all stored the same documents")
    shares = {
        name: 100 * median([b.seconds / one.seconds for b, one in zip(found["loop"], them, strict=True)])
        for name, them in found.items()
    }
    rates = {name: median([one.records / one.seconds for one in them]) for name, them in found.items()}
    return Section(
        title="Kafka: sink",
        how=(
            f"A bare loop of `consume` ({others.BATCH:,} messages), decoding, checking, converting and a batched "
            "write to the embedded store, that commits nothing, against the sink's whole life in its process "
            "(connecting, `started`, the same work, committing, the terminal event). FastStream's batch subscriber and "
            "Quix Streams' batching sink do the same with the same functions; their own decoding is switched off. Each "
            "is a new consumer group in a new process and counts from making its client until all is stored. All "
            "store the same documents in a new collection, which is checked. The broker (plain, one node) runs on the "
            "same cores."
        ),
        lines=(
            Line(what="Kafka: sink, share of a bare loop", measured=shares["sink"], unit="%", at_least=70),
            Line(what="Kafka: FastStream, share of a bare loop", measured=shares["faststream"], unit="%"),
            Line(what="Kafka: Quix Streams, share of a bare loop", measured=shares["quix"], unit="%"),
        ),
        details=(
            f"{records:,} records a run, {rounds} runs of each in turn.",
            f"Median: {', '.join(f'{shown} {rates[name]:,.0f}/s' for name, shown in NAMES.items())}.",
        ),
    )


def fill(folder: str, servers: str) -> int:
    """Fill the topic that every run reads, with the marker that ends it; returns how many records."""
    return asyncio.run(fill_from(Path(folder), KafkaSettings(bootstrap_servers=servers)))


def loop(job: others.Job) -> float:
    """The bare loop; the seconds that it took."""
    return asyncio.run(_loop(job))


async def _loop(job: others.Job) -> float:
    keeper = others.Keeper(job)
    began = time.perf_counter()
    consumer = Consumer(
        {
            "bootstrap.servers": job.servers,
            "group.id": job.group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([job.topic])
    while keeper.left:
        messages = consumer.consume(others.BATCH, 0.2)
        await keeper.keep([message.key() for message in messages], [message.value() or b"" for message in messages])
    seconds = time.perf_counter() - began
    consumer.close()
    await keeper.close()
    return seconds


def settings_of(workflow: Workflow, source: Workflow) -> dict[str, str]:
    """Of the sink of `workflow` that reads the topic of `source`."""
    return workflow.settings(KAFKA_TOPIC=source.topic, STREAMFORGE_UPSTREAM=f"{source.loader_id}:1")


def sink(settings: dict[str, str]) -> float:
    """The real sink; the seconds of its life."""
    return asyncio.run(live(SINK, settings))
