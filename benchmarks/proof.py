"""How much memory and time a proof needs to count very many stored trades."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from functools import partial
from pathlib import Path

import msgspec

from benchmarks.common.bench import Bench
from benchmarks.common.exchange import SYMBOL
from benchmarks.common.fresh import Fresh
from benchmarks.common.measuring import Line, Section, Size, per_second, slope
from benchmarks.common.pages import OBSERVED_MS
from benchmarks.common.processes import peak_resident_mb
from benchmarks.common.workflow import START_MS
from benchmarks.growth import LINEAR
from streamforge import wiring
from streamforge.manager.coverage.record_count import survey
from streamforge_utils.adapters.embedded.store.collection_files import Catalogue
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.kinds.registry import kind_of, series_of
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.runtime.life.settings import DataSettings

MILLION = 1_000_000
TRADES = {
    Size.FULL: (MILLION, 5 * MILLION, 20 * MILLION),
    Size.QUICK: (200_000, 400_000, MILLION),
    Size.TINY: (1000, 2000),
}
WHOLE = {**TRADES, Size.FULL: (MILLION, 20 * MILLION, 100 * MILLION)}
"""Of the benchmark that is run by name only: it takes 20 GB of disk."""
HOLE_EVERY = {Size.FULL: MILLION, Size.QUICK: 50_000, Size.TINY: 500}
AT_ONCE = 250_000
"""Rows of a transaction, while the store is filled."""
EVERY_MS = 36
"""Between two trades: 2.4 million a day."""
FIRST_ID = 3_735_000_000
SERIES = series_of(SYMBOL, "api_trades")
COLLECTION = "trades_bench"
MOST_MB = 150
FLAT_MB = 0.5
"""Growth per million trades that is called flat: 50 MB for 100 million."""

_FILL = """
WITH RECURSIVE n (i) AS (SELECT ?1 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?2)
INSERT INTO documents (key, version, body)
SELECT printf('%s%012d', ?3, ?4 + i), ?5, CAST(printf(
    '{"symbol":"BTCUSDT","trade_id":%d,"price":60000.5,"quantity":0.00138,"timestamp":%d,"is_buyer_maker":true}',
    ?4 + i, ?6 + i * ?7) AS BLOB)
FROM n WHERE i % ?8 != ?8 / 2
"""

_fresh = Fresh(limit_s=3600.0)


class Counted(msgspec.Struct, frozen=True):
    """What a count found. cpu_seconds: of its process. peak_mb: resident, at most."""

    stored: int
    holes: int
    seconds: float
    cpu_seconds: float
    peak_mb: float


def run(bench: Bench) -> Section:
    """Measure it."""
    return measured(bench, TRADES[bench.size])


def run_whole(bench: Bench) -> Section:
    """Measure it with 100 million trades."""
    return measured(bench, WHOLE[bench.size])


def measured(bench: Bench, sizes: tuple[int, ...]) -> Section:
    """Count stores of these sizes, ascending: each is the one before with more."""
    hole_every, found = HOLE_EVERY[bench.size], dict[int, Counted]()
    with bench.folder() as folder:
        filled = 0
        for size in sizes:
            fill(folder, range(filled, size), hole_every)
            filled = size
            bench.say(f"{size:,} trades are stored")
            one = found[size] = bench.undisturbed(partial(_fresh, count, str(folder), size))
            bench.say(f"{one.seconds:.1f} s, {one.peak_mb:.0f} MB, {per_second(size, one.seconds)}")
            if (one.stored, one.holes) != (size - size // hole_every, size // hole_every):
                raise RuntimeError(f"of {size} trades {one.stored} and {one.holes} holes were counted")
    (before, shorter), (most, longest) = list(found.items())[-2:]
    return Section(
        title=f"Proof of {most:,} trades",
        how=(
            "What a proof and a verification do with a range of trades: `survey` reads every key of the embedded store "
            f"and names each hole, of which there is one in {hole_every:,} trades, in a new process. The rows are "
            "written by SQL beforehand, in the adapter's own table. Memory: the most that is resident in 10⁶ bytes; "
            "growth: by least squares over the sizes."
        ),
        lines=(
            Line(what=f"memory of a proof, {most:,} trades", measured=longest.peak_mb, unit="MB", below=MOST_MB),
            Line(
                what="growth of a proof's memory per million trades",
                measured=slope([(size / MILLION, one.peak_mb) for size, one in found.items()]),
                unit="MB",
                below=FLAT_MB,
            ),
            Line(
                what=f"processor time of a proof per trade, {most:,} against {before:,}",
                measured=(longest.cpu_seconds / most) / (shorter.cpu_seconds / before),
                unit="times",
                below=LINEAR,
            ),
        ),
        details=tuple(
            f"{size:,} trades: {one.peak_mb:.0f} MB, {one.seconds:.2f} s, {per_second(size, one.seconds)}."
            for size, one in found.items()
        ),
    )


def fill(folder: Path, numbers: range, hole_every: int) -> None:
    """Store trades with these numbers, but for the holes."""
    catalogue = Catalogue(folder / wiring.STORE / "documents")
    (folder / wiring.STORE).mkdir(parents=True, exist_ok=True)
    prefix = kind_of(SERIES).prefix(SERIES)
    for first in range(numbers.start, numbers.stop, AT_ONCE):
        bounds = (first, min(first + AT_ONCE, numbers.stop))
        values = (*bounds, prefix, FIRST_ID, OBSERVED_MS, START_MS, EVERY_MS, hole_every)

        def work(connection: sqlite3.Connection, values: tuple[object, ...] = values) -> None:
            connection.execute(_FILL, values)

        catalogue.write(COLLECTION, work)
    catalogue.close()


def count(folder: str, size: int) -> Counted:
    """Count so many trades as a proof does."""
    return asyncio.run(_count(Path(folder), size))


async def _count(folder: Path, size: int) -> Counted:
    store = wiring.make_store(DataSettings(data_dir=folder))
    span = TimeRange(START_MS, START_MS + size * EVERY_MS)
    place = Segment(start_ms=span.start_ms, end_ms=span.end_ms, verdict=Verdict.STORED, collection=COLLECTION)
    began, cpu = time.perf_counter(), time.process_time()
    found = await survey(store, SERIES, span, range(FIRST_ID, FIRST_ID + size), [place], None)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    await store.close()
    return Counted(
        stored=sum(one.records for one in found if one.verdict is Verdict.STORED),
        holes=sum(one.verdict is not Verdict.STORED for one in found),
        seconds=seconds,
        cpu_seconds=cpu,
        peak_mb=peak_resident_mb(os.getpid()),
    )
