"""How soon a picture of a series is there, by how many records it stands for, and how large it is."""

from __future__ import annotations

import asyncio
import http.client
import sqlite3
import time
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from benchmarks.common.bench import Bench
from benchmarks.common.measuring import Line, Section, Size, per_second, percentile
from benchmarks.common.pages import OBSERVED_MS
from benchmarks.common.processes import exchange, manager
from streamforge import wiring
from streamforge.manager.bar_answers import Bars
from streamforge.manager.persistence.coverage_store import CoverageStore
from streamforge_utils.adapters.embedded.store.collection_files import Catalogue
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.kinds.registry import kind_of, series_of
from streamforge_utils.runtime.settings import DataSettings

CANDLES = {Size.FULL: (10_000, 5_000_000), Size.QUICK: (10_000, 1_000_000), Size.TINY: (2000, 60_000)}
REQUESTS = {Size.FULL: 100, Size.QUICK: 30, Size.TINY: 5}
AT_ONCE = 250_000
"""Rows of a transaction, while the store is filled."""
START_MS = 1_420_070_400_000  # 2015-01-01
MINUTE_MS = 60_000
LIMIT_S = 300.0
CACHED_MS, COLD_S, TIMES = 50, 10, 1.1

_FILL = """
WITH RECURSIVE n (i) AS (SELECT ?1 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?2)
INSERT INTO documents (key, version, body)
SELECT printf('%s%d', ?3, ?4 + i * 60000), ?5, CAST(printf(
    '{"symbol":"%s","interval":"1m","open_time":%d,"open":%d.01,"high":%d.5,"low":%d.25,"close":%d.75,'
    || '"volume":%d.13279,"close_time":%d,"quote_asset_volume":654690.621546,"number_of_trades":816,'
    || '"taker_buy_base_asset_volume":3.28471,"taker_buy_quote_asset_volume":212232.3605153}',
    ?6, ?4 + i * 60000, 60000 + i % 997, 61000 + i % 991, 59000 + i % 983, 60000 + (i + 1) % 997, i % 89,
    ?4 + i * 60000 + 59999) AS BLOB)
FROM n
"""


class Asked(msgspec.Struct, frozen=True):
    """What came of asking for a picture until it was whole. first_s: until the first answer. bytes: of the last."""

    first_s: float
    whole_s: float
    requests: int
    bars: Bars
    bytes: int


def run(bench: Bench) -> Section:
    """Measure it."""
    sizes, found = CANDLES[bench.size], dict[int, Asked]()
    with bench.folder() as folder, exchange() as url:
        data = folder / "data"
        asyncio.run(_fill(data, sizes))
        bench.say(f"{sum(sizes):,} candles are stored")
        with manager(data, url) as address:
            for size in sizes:
                one = found[size] = _ask(address, _path(size))
                bench.say(f"{size:,}: first {one.first_s:.2f} s, all {one.whole_s:.2f} s, {one.requests} requests")
                if sum(n or 0 for n in one.bars.n) != size:
                    raise RuntimeError(f"of {size} candles {sum(n or 0 for n in one.bars.n)} are in the bars")
            few, most = sizes
            again = [_ask(address, _path(most)) for _ in range(REQUESTS[bench.size])]
    cached_ms = [1000 * one.whole_s for one in again]
    cold = found[most]
    return Section(
        title="Pictures of a series",
        how=(
            f"`GET /series/SYMBOL/api_candles_1m/bars` of a real manager that has {most:,} candles of one symbol and "
            f"{few:,} of another, written by SQL beforehand in the adapter's own table. Cold: the first request, and "
            f"the same again as the answer says, until nothing is computed any more. Cached: {len(again)} requests "
            "after that, each on a connection of its own."
        ),
        lines=(
            Line(what=f"bars of {most:,} candles, cold", measured=cold.whole_s, unit="s", below=COLD_S),
            Line(what="the same, kept, p95", measured=percentile(cached_ms, 95), unit="ms", below=CACHED_MS),
            Line(
                what=f"bytes of the answer, against {few:,} candles",
                measured=cold.bytes / found[few].bytes,
                unit="times",
                below=TIMES,
            ),
        ),
        details=(
            f"{most:,} candles: the first answer after {1000 * cold.first_s:.0f} ms, all after {cold.whole_s:.2f} s "
            f"({per_second(most, cold.whole_s)}) and {cold.requests} requests: {len(cold.bars.time)} bars of "
            f"{cold.bars.interval}, {cold.bytes / 1000:.0f} kB.",
            f"{few:,} candles: {1000 * found[few].whole_s:.0f} ms, {len(found[few].bars.time)} bars of "
            f"{found[few].bars.interval}, {found[few].bytes / 1000:.0f} kB.",
            f"Kept: p50 {percentile(cached_ms, 50):.1f} ms, at most {max(cached_ms):.1f} ms.",
        ),
    )


def _symbol(size: int) -> str:
    return f"C{size}USDT"


def _path(size: int) -> str:
    return f"/series/{_symbol(size)}/api_candles_1m/bars"


async def _fill(data: Path, sizes: tuple[int, ...]) -> None:
    """Store the candles, and what the coverage says of them."""
    folder = data / wiring.STORE
    folder.mkdir(parents=True)
    catalogue = Catalogue(folder / "documents")
    store = wiring.make_store(DataSettings(data_dir=data))
    for size in sizes:
        series = series_of(_symbol(size), "api_candles_1m")
        for first in range(0, size, AT_ONCE):
            values = (first, min(first + AT_ONCE, size), kind_of(series).prefix(series), START_MS, OBSERVED_MS)

            def work(connection: sqlite3.Connection, values: tuple[object, ...] = (*values, series.symbol)) -> None:
                connection.execute(_FILL, values)

            catalogue.write(_collection(size), work)
        end_ms = START_MS + size * MINUTE_MS
        whole = Segment(start_ms=START_MS, end_ms=end_ms, verdict=Verdict.STORED, collection=_collection(size))
        await CoverageStore(store).lay_over(series, [whole])
    catalogue.close()
    await store.close()


def _collection(size: int) -> str:
    return f"c{size}usdt_api_candles_1m_2015_01_01"


def _ask(address: str, path: str) -> Asked:
    """Ask until nothing is computed any more."""
    began, first_s, requests = time.perf_counter(), 0.0, 0
    while True:
        connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=LIMIT_S)
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        seconds, requests = time.perf_counter() - began, requests + 1
        if answer.status != 200:
            raise RuntimeError(f"GET {path}: HTTP {answer.status} {body[:500]!r}")
        first_s = first_s or seconds
        bars = msgspec.json.decode(body, type=Bars)
        if not bars.computing:
            return Asked(first_s, seconds, requests, bars, len(body))
        if seconds > LIMIT_S:
            raise RuntimeError(f"GET {path}: {bars.computing} bars are not computed after {seconds:.0f} s")
        time.sleep(float(answer.headers["Retry-After"]))
