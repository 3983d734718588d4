"""How soon a picture of a series is there, by how many records it stands for, and how large it is."""

from __future__ import annotations

import asyncio
import http.client
import time
from urllib.parse import urlsplit

import msgspec

from benchmarks.common.bench import Bench
from benchmarks.common.measuring import Line, Section, Size, per_second, percentile
from benchmarks.common.processes import exchange, manager
from benchmarks.common.stored_candles import fill, symbol_of
from streamforge.manager.bars.answers import Bars

CANDLES = {Size.FULL: (10_000, 5_000_000), Size.QUICK: (10_000, 1_000_000), Size.TINY: (2000, 60_000)}
REQUESTS = {Size.FULL: 100, Size.QUICK: 30, Size.TINY: 5}
LIMIT_S = 300.0
CACHED_MS, COLD_S, TIMES = 50, 10, 1.1


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
        asyncio.run(fill(data, sizes))
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


def _path(size: int) -> str:
    return f"/series/{symbol_of(size)}/api_candles_1m/bars"


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
