"""loader-producer against writing the bytes that it makes straight to the same bus."""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import msgspec

from benchmarks.common.bench import Bench
from benchmarks.common.exchange import SYMBOL
from benchmarks.common.fresh import fresh
from benchmarks.common.measuring import Line, Section, Size, in_turn, median, per_second
from benchmarks.common.processes import peak_resident_mb
from benchmarks.common.workflow import Workflow, digest_of, live, read_all
from streamforge import wiring
from streamforge_utils.model.kinds.registry import series_of
from streamforge_utils.model.timeranges import TimeRange, parse_time_range
from streamforge_utils.ports.columns import MessageColumns
from streamforge_utils.runtime.life.context import MessageBus
from streamforge_utils.runtime.life.settings import ArchiveSettings, DataSettings, ExchangeSettings
from streamforge_utils.runtime.life.worker_process import tune_interpreter
from streamforge_utils.runtime.output.topic_writer import BATCH_RECORDS
from tests.doubles.archivefiles import put_rows
from tests.doubles.archivehost import ArchiveHost, archive_host

LOADER = "loader-producer"
TRADES, KLINES = "api_trades", "api_candles_1s"
ROUNDS = {Size.FULL: 5, Size.QUICK: 3, Size.TINY: 1}
DAYS = {
    Size.FULL: {TRADES: (4, 500_000), KLINES: (12, 86_400)},
    Size.QUICK: {TRADES: (2, 200_000), KLINES: (4, 86_400)},
    Size.TINY: {TRADES: (2, 1000), KLINES: (2, 1000)},
}
"""Files of days, and the rows of each."""

LONG_FILE = {Size.FULL: (500_000, 4_000_000), Size.QUICK: (200_000, 800_000), Size.TINY: (1000, 2000)}
"""Trades in one file: its memory is to be the same."""

MOST_MB = 150
FLAT = 1.15
"""Times the memory that is called the same: buffers of the interpreter and of SQLite fill up with the first rows."""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """What a run wrote. cpu_seconds: of its process, all threads. peak_mb: resident, at most. size: in bytes."""

    records: int
    seconds: float
    cpu_seconds: float
    peak_mb: float
    size: int
    digest: str


def run(bench: Bench) -> Section:
    """Measure it."""
    lines: list[Line] = []
    details: list[str] = []
    peak_mb = 0.0
    for type_name, least in ((TRADES, 250_000), (KLINES, 200_000)):
        days, rows = DAYS[bench.size][type_name]
        what = "trades" if type_name == TRADES else "candles"
        with hosted(type_name, days, rows) as url:
            runs = {
                "raw": partial(bench.undisturbed, partial(fresh, raw, url, type_name, days)),
                "loader": partial(bench.undisturbed, partial(fresh, ours, url, type_name, days, True)),
                "loader, all cores": partial(bench.undisturbed, partial(fresh, ours, url, type_name, days, False)),
            }
            found = in_turn(
                ROUNDS[bench.size],
                runs,
                lambda name, run, what=what: bench.say(f"{what}, {name}: {per_second(run.records, run.cpu_seconds)}"),  # type: ignore[misc]
            )
        if len({(one.records, one.digest) for runs in found.values() for one in runs}) != 1:
            raise RuntimeError("the loader did not write the same bytes as the raw client")
        rates = {name: median([one.records / one.cpu_seconds for one in runs]) for name, runs in found.items()}
        share = median([r.cpu_seconds / o.cpu_seconds for r, o in zip(found["raw"], found["loader"], strict=True)])
        peak_mb = max(peak_mb, *(one.peak_mb for one in found["loader"]))
        lines += [
            Line(what=f"{what} from zips to the bus, on one core", measured=rates["loader"], unit="/s", at_least=least),
            Line(what="the same, by processor time on all cores", measured=rates["loader, all cores"], unit="/s"),
            Line(what=f"{what} from zips to the bus, share of raw writes", measured=100 * share, unit="%"),
        ]
        one = found["raw"][0]
        details.append(
            f"{one.records:,} {what} of {one.size / one.records:.0f} bytes in {days} files; raw {rates['raw']:,.0f}/s, "
            f"loader {rates['loader']:,.0f}/s of a core; "
            f"{median([o.records / o.seconds for o in found['loader, all cores']]):,.0f}/s by the clock on all cores."
        )
    shorter, longer = LONG_FILE[bench.size]
    peaks = {rows: peak_of_file(bench, rows) for rows in (shorter, longer)}
    lines += [
        Line(what="memory of the loader, at most", measured=max(peak_mb, *peaks.values()), unit="MB", below=MOST_MB),
        Line(
            what=f"the same, a file of {longer:,} trades against one of {shorter:,}",
            measured=peaks[longer] / peaks[shorter],
            unit="times",
            below=FLAT,
        ),
    ]
    return Section(
        title="Archive",
        how=(
            f"Raw: records made beforehand go to the bus, by the same producer, in batches of {BATCH_RECORDS}. "
            "Loader: the worker's whole life in its process: listing, download, SHA-256, unpacking, checking each row, "
            "building the records, sending. The archive is another process. Both put the same bytes on the topic, "
            "which is checked. Rates are by the processor time of all threads, of a process that is confined to one "
            "core. Without that, threads that run on two threads of a core slow each other, and take more processor "
            "time: the rate of all cores."
        ),
        lines=tuple(lines),
        details=tuple(details),
    )


def peak_of_file(bench: Bench, rows: int) -> float:
    """The memory of a loader that reads one file of trades, in MB."""
    with hosted(TRADES, 1, rows) as url:
        one = fresh(ours, url, TRADES, 1, True)
    bench.say(f"a file of {one.records:,} trades: {one.peak_mb:.0f} MB")
    return one.peak_mb


@contextmanager
def hosted(type_name: str, days: int, rows: int) -> Iterator[str]:
    """The URL of an archive with so many files, in a thread of this process."""
    ready, ended = threading.Event(), threading.Event()
    urls: list[str] = []

    async def serve() -> None:
        async with archive_host() as host:
            fill(host, type_name, days, rows)
            urls.append(host.url)
            ready.set()
            await asyncio.to_thread(ended.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    ready.wait()
    try:
        yield urls[0]
    finally:
        ended.set()
        thread.join()


def fill(host: ArchiveHost, type_name: str, days: int, rows: int) -> None:
    """Publish files that compress about as the exchange's do."""
    chance, series, made = random.Random(14), series_of(SYMBOL, type_name), 3_735_683_259
    for day in span_of(days):
        start_ms, step_ms = day.start_ms, 86_400_000 // rows
        lines = []
        for number in range(rows):
            time_ms = start_ms + number * step_ms
            price, quantity = 60_000 + chance.randint(0, 200_000) / 100, chance.randint(1, 99_999)
            if type_name == TRADES:
                quote = price * quantity / 100_000
                maker = chance.choice(("True", "False"))
                lines.append(f"{made},{price:.8f},{quantity / 1e5:.8f},{quote:.8f},{time_ms},{maker},True\n")
            else:
                volume = f"{quantity / 1e4:.8f},{time_ms + step_ms - 1},{price * quantity / 1e4:.8f},{quantity // 50}"
                prices = f"{price:.8f},{price + 1:.8f},{price - 1:.8f},{price:.8f}"
                lines.append(f"{time_ms},{prices},{volume},{quantity / 2e4:.8f},{price * quantity / 2e4:.8f},0\n")
            made += 1
        put_rows(host, series, str(day).partition(":")[0], "".join(lines).encode())


def span_of(days: int) -> list[TimeRange]:
    """The days."""
    first = parse_time_range("2024-08-01")
    length = first.end_ms - first.start_ms
    return [TimeRange(first.start_ms + n * length, first.end_ms + n * length) for n in range(days)]


def raw(url: str, type_name: str, days: int) -> Run:
    """Write records that are ready."""
    return asyncio.run(_raw(url, type_name, days))


async def _raw(url: str, type_name: str, days: int) -> Run:
    with Bench(Size.TINY).folder() as folder:
        settings, series = ArchiveSettings(url=url, cache_dir=folder / "archive"), series_of(SYMBOL, type_name)
        archive = wiring.make_archive(settings, DataSettings(data_dir=folder), ExchangeSettings())
        assert archive is not None
        keys, values = list[bytes | None](), list[bytes]()
        for span in span_of(days):
            for file in await archive.files(series, span):
                async for page in archive.records(series, await archive.verify(series, file)):
                    keys += page.keys
                    values += page.values
        await archive.close()
        workflow = Workflow(folder, len(values))
        bus = wiring.make_bus(workflow.data)
        await workflow.make_topics(bus)
        producer = await bus.producer(bulk=True)
        tune_interpreter()  # as the loader's process does
        _stay_on_one_core()
        began, cpu = time.perf_counter(), time.process_time()
        for start in range(0, len(values), BATCH_RECORDS):
            part = slice(start, start + BATCH_RECORDS)
            await producer.send(workflow.topic, MessageColumns(keys[part], values[part]))
        return await written(bus, workflow, len(values), time.perf_counter() - began, time.process_time() - cpu)


def ours(url: str, type_name: str, days: int, confined: bool) -> Run:
    """Let the real loader write them. confined: to one core."""
    if confined:
        _stay_on_one_core()
    return asyncio.run(_ours(url, type_name, days))


async def _ours(url: str, type_name: str, days: int) -> Run:
    with Bench(Size.TINY).folder() as folder:
        spans = span_of(days)
        workflow = Workflow(folder, 1)
        bus = wiring.make_bus(workflow.data)
        await workflow.make_topics(bus)
        span = TimeRange(spans[0].start_ms, spans[-1].end_ms)
        of_archive = {"STREAMFORGE_ARCHIVE_URL": url, "STREAMFORGE_ARCHIVE_SAMPLES": "none"}  # no exchange has the rows
        settings = workflow.settings(TYPE=type_name, TIME_RANGE=str(span), **of_archive)
        cpu = time.process_time()
        seconds = await live(LOADER, settings)
        cpu, peak_mb = time.process_time() - cpu, peak_resident_mb(os.getpid())
        lag = await bus.lag(workflow.topic, workflow.group)
        return await written(bus, workflow, lag.records - 1, seconds, cpu, peak_mb)


def _stay_on_one_core() -> None:
    if hasattr(os, "sched_setaffinity"):  # Linux
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


async def written(
    bus: MessageBus, workflow: Workflow, records: int, seconds: float, cpu_seconds: float, peak_mb: float = 0.0
) -> Run:
    """What lies on the workflow's topic, which is then deleted."""
    parts = [(message.key or b"", message.value) for message in await read_all(bus, workflow.topic, records)]
    await bus.delete_topic(workflow.topic)
    await bus.close()
    return Run(
        records=records,
        seconds=seconds,
        cpu_seconds=cpu_seconds,
        peak_mb=peak_mb,
        size=sum(len(key) + len(value) for key, value in parts),
        digest=digest_of(parts),
    )
