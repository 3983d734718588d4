"""How soon the manager lists workflows when it remembers many."""

from __future__ import annotations

import asyncio
import http.client
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import msgspec

from benchmarks.common.bench import Bench
from benchmarks.common.measuring import Line, Section, Size, percentile
from benchmarks.common.processes import ROOT, ended, exchange, manager, peak_resident_mb
from benchmarks.common.stored_workflows import ENDS, SYMBOLS, TYPES, fill
from streamforge.manager.engine.document import Status
from tests.cleanenv import environment

WORKFLOWS = {Size.FULL: 10_000, Size.QUICK: 1000, Size.TINY: 30}
LIVE = {Size.FULL: 1000, Size.QUICK: 200, Size.TINY: 10}
READERS = {Size.FULL: 20, Size.QUICK: 20, Size.TINY: 3}
PAUSE_S = 0.05
"""Between two requests beside readers: these take their turns meanwhile."""
REQUESTS = {Size.FULL: 300, Size.QUICK: 100, Size.TINY: 10}
OF_BATCHES = (
    "/batches?limit=100",
    "/batches/BATCH",
    "/batches/BATCH/members?limit=100",
    "/queues?limit=100&batch=BATCH",
)

Query = dict[str, str | int]


def run(bench: Bench) -> Section:
    """Measure it."""
    count, requests = WORKFLOWS[bench.size], REQUESTS[bench.size]
    with bench.folder() as folder, exchange() as url:
        data = folder / "data"
        batches = asyncio.run(fill(data, count, own_symbols=True)).batches
        bench.say(f"{count} workflows are stored")
        with manager(data, url) as address:
            seconds, listed = _ask(address, requests)
            searching, _ = _ask(address, requests, query_of=_search)
            of_batches = _ask_batches(address, batches, requests)
    live, readers = LIVE[bench.size], READERS[bench.size]
    with bench.folder() as folder, exchange() as url:
        beside = _beside_readers(folder / "data", url, live, readers, requests)
    bench.say(f"{live} live workflows, {readers} readers: {beside.events:.0f} events a second")
    p50, p95, p99, most = (1000 * percentile(seconds, percent) for percent in (50, 95, 99, 100))
    batch_p95 = {path: 1000 * percentile(found, 95) for path, found in of_batches.items()}
    of_all = [one for found in of_batches.values() for one in found]
    return Section(
        title="Listing workflows",
        how=(
            f"`GET /queues` of a real manager that remembers {count:,} workflows, {requests} requests on one "
            "connection: without a filter and with filters by status, symbol and type and all of them, pages of 20 and "
            "100, first pages and deep ones in turn; the same for searches by what symbols and queue_ids begin with."
        ),
        lines=(
            Line(what=f"GET /queues, p95, {count:,} workflows stored", measured=p95, unit="ms", below=50),
            Line(
                what=f"GET /queues?search=, p95, {count:,} workflows of {count // 2:,} symbols",
                measured=1000 * percentile(searching, 95),
                unit="ms",
                below=50,
            ),
            Line(
                what=f"GET /queues, p95, {live:,} live workflows and {readers} readers of the feed",
                measured=1000 * percentile(beside.seconds, 95),
                unit="ms",
                below=50,
            ),
            Line(what="most memory of that manager", measured=beside.most_mb, unit="MB", below=350),
            *(
                Line(what=f"GET {path}, p95, {count:,} workflows of batches", measured=p95, unit="ms", below=50)
                for path, p95 in batch_p95.items()
            ),
        ),
        details=(
            f"Readers: each worker of {live:,} workflows speaks every 3 s, and each reader got {beside.events:.0f} "
            f"events a second at least; p50 {1000 * percentile(beside.seconds, 50):.1f} ms, at most "
            f"{1000 * max(beside.seconds):.1f} ms. The workers' jobs only seem to run.",
            f"The workflows belong to {len(batches)} batches, one of them of half of all; lists and pages of these in "
            f"turn, {len(of_all)} requests: p50 {1000 * percentile(of_all, 50):.1f} ms, at most "
            f"{1000 * percentile(of_all, 100):.1f} ms.",
            f"p50 {p50:.1f} ms, p95 {p95:.1f} ms, p99 {p99:.1f} ms, at most {most:.1f} ms; "
            f"{listed / requests:.0f} workflows an answer.",
        ),
    )


class Beside(msgspec.Struct, frozen=True):
    """What was measured beside readers: seconds of each request, the manager's memory, and the events that the reader
    with the fewest got in a second."""

    seconds: list[float]
    most_mb: float
    events: float


def _beside_readers(data: Path, url: str, live: int, readers: int, requests: int) -> Beside:
    command = [sys.executable, "-m", "benchmarks.common.live_manager", str(data), url, str(live)]
    with ended(subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, env=environment())) as serving:
        assert serving.stdout is not None
        address = str(json.loads(serving.stdout.readline())["url"])
        command = [sys.executable, "-m", "benchmarks.common.crowd", str(data), address, str(readers)]
        crowd = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, env=environment())
        with ended(crowd):
            assert crowd.stdout is not None
            assert crowd.stdin is not None
            if crowd.stdout.readline() != b"ready\n":
                raise RuntimeError("the readers of the feed did not begin")
            began = time.monotonic()
            seconds, _ = _ask(address, requests, pause_s=PAUSE_S)
            crowd.stdin.close()
            counts = json.loads(crowd.stdout.readline())
        return Beside(seconds, peak_resident_mb(serving.pid), min(counts) / (time.monotonic() - began))


def _ask(
    address: str, requests: int, *, pause_s: float = 0.0, query_of: Callable[[random.Random], Query] | None = None
) -> tuple[list[float], int]:
    """The seconds of each request, and how many workflows were listed in all. query_of: of first pages."""
    draws = random.Random(2)
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=30)
    seconds: list[float] = []
    listed = 0
    query: Query = {}
    cursor: str | None = None
    while len(seconds) < requests:
        if cursor is None or draws.random() < 0.1:
            query = (query_of or _query)(draws)
        else:
            query["cursor"] = cursor
        time.sleep(pause_s)
        began = time.perf_counter()
        connection.request("GET", "/queues?" + urlencode(query))
        answer = connection.getresponse()
        body = answer.read()
        seconds.append(time.perf_counter() - began)
        if answer.status != 200:
            raise RuntimeError(f"GET /queues?{urlencode(query)}: HTTP {answer.status} {body[:500]!r}")
        page = json.loads(body)
        listed += len(page["queues"])
        cursor = page["cursor"]
    connection.close()
    if listed == 0:
        raise RuntimeError("no workflow was listed")
    return seconds, listed


def _ask_batches(address: str, batches: Sequence[str], requests: int) -> dict[str, list[float]]:
    """The seconds of each request, by what was asked for; half of them are about the largest batch, the first one."""
    draws = random.Random(3)
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=30)
    seconds: dict[str, list[float]] = {path: [] for path in OF_BATCHES}
    following: dict[str, str] = {}
    for number in range(requests):
        asked = OF_BATCHES[number % len(OF_BATCHES)]
        name = draws.choice((batches[0], draws.choice(batches)))
        path = following.pop(asked, asked).replace("BATCH", name)
        began = time.perf_counter()
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        seconds[asked].append(time.perf_counter() - began)
        if answer.status != 200:
            raise RuntimeError(f"GET {path}: HTTP {answer.status} {body[:500]!r}")
        cursor = json.loads(body).get("cursor")
        if cursor is not None and draws.random() < 0.9:
            following[asked] = f"{path.partition('&cursor')[0]}&{urlencode({'cursor': cursor})}"
    connection.close()
    return seconds


def _query(draws: random.Random) -> Query:
    """The first page of some listing."""
    filters: Query = {
        "status": draws.choice([*ENDS, Status.RUNNING]).value,
        "symbol": draws.choice(SYMBOLS),
        "type": draws.choice(TYPES),
    }
    kept = draws.choice([(), ("status",), ("symbol",), ("type",), ("status", "symbol"), ("status", "symbol", "type")])
    return {"limit": draws.choice([20, 100]), **{name: filters[name] for name in kept}}


def _search(draws: random.Random) -> Query:
    """The first page of some search: half of the symbols begin with C."""
    query: Query = {"limit": draws.choice([20, 100]), "search": draws.choice(["c", "C1", "btc", "e", "wf-b", "wf-c12"])}
    return query | draws.choice([{}, {"status": Status.ERROR.value}])
