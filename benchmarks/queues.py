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
from streamforge import wiring
from streamforge.manager.batch import Batch, Member, MemberStatus, Totals, batch_id, end_of
from streamforge.manager.persistence.batch_store import BatchStore
from streamforge.manager.persistence.workflow_store import WorkflowStore
from streamforge.manager.requests import check, workflow_of
from streamforge.manager.service import StartRequest
from streamforge.manager.workflow import Attempt, Failure, Part, Plan, Proof, Status, StepStatus, Workflow
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.messages import Progress
from streamforge_utils.model.names import CODE_ALPHABET, CODE_LENGTH, job_name
from streamforge_utils.runtime.settings import DataSettings
from tests.cleanenv import environment

WORKFLOWS = {Size.FULL: 10_000, Size.QUICK: 1000, Size.TINY: 30}
LIVE = {Size.FULL: 1000, Size.QUICK: 200, Size.TINY: 10}
READERS = {Size.FULL: 20, Size.QUICK: 20, Size.TINY: 3}
PAUSE_S = 0.05
"""Between two requests beside readers: these take their turns meanwhile."""
REQUESTS = {Size.FULL: 300, Size.QUICK: 100, Size.TINY: 10}
SYMBOLS = ("BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT")
TYPES = ("api_candles_1m", "api_candles_1h", "api_candles_1d")
ENDS = {Status.FINISHED: 90, Status.INTERRUPTED: 5, Status.ERROR: 5}
DAY_MS = 86_400_000
A_BATCH = 500
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
        batches = asyncio.run(_fill(data, count, bench))
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


async def _fill(data: Path, count: int, bench: Bench) -> list[str]:
    """Store workflows that have ended, and the batches that they belong to, through the manager's own repositories.

    Returns the names of the batches.
    """
    draws = random.Random(1)
    store = wiring.make_store(DataSettings(data_dir=data))
    workflows = WorkflowStore(store)
    now_ms = time.time_ns() // 1_000_000
    began = time.perf_counter()
    whole = [_ended(number, draws, now_ms - (count - number) * 1000) for number in range(count)]
    half = count // 2
    names: list[str] = []
    for first, last in [(0, half), *((start, min(start + A_BATCH, count)) for start in range(half, count, A_BATCH))]:
        batch, members = _batch(whole[first:last], draws)
        for workflow in whole[first:last]:
            await workflows.create(msgspec.structs.replace(workflow, batch=batch.batch_id))
        await BatchStore(store).create(batch, members)
        names.append(batch.batch_id)
    await store.close()
    bench.say(f"{count} workflows stored in {time.perf_counter() - began:.1f} s")
    return names


def _batch(workflows: Sequence[Workflow], draws: random.Random) -> tuple[Batch, list[Member]]:
    """The batch of these workflows, as it is after its end."""
    members = [
        Member(
            symbol=one.symbol,
            status=MemberStatus(one.status.value),
            queue_id=one.queue_id,
            expected=1440,
            stored=1440,
            reason="" if one.failure is None else one.failure.reason,
        )
        for one in workflows
    ]
    latest, totals = workflows[-1], Totals.of(members)
    code = "".join(draws.choice(CODE_ALPHABET) for _ in range(CODE_LENGTH))
    batch = Batch(
        batch_id=batch_id(latest.type, latest.span.start_ms, code),
        created_ms=latest.created_ms,
        exchange_now_ms=latest.created_ms,
        type=latest.type,
        requested=latest.requested,
        span=latest.span,
        asked="*USDT",
        size=len(members),
        status=end_of(totals),
        began_ms=latest.created_ms,
        ended_ms=latest.ended_ms,
        totals=totals,
    )
    return batch, members


def _ended(number: int, draws: random.Random, created_ms: int) -> Workflow:
    """A workflow as it is after its end; its topics stay for now, as those of one that has just ended do."""
    day = f"20{18 + number % 6}-{1 + number // 6 % 12:02d}-{1 + number // 72 % 28:02d}"
    symbol = draws.choice(SYMBOLS)
    if number % 2:
        symbol = f"C{number}USDT"  # for searches: a symbol of its own
    request = StartRequest(symbol=symbol, type=draws.choice(TYPES), time_range=day)
    code = "".join(draws.choice(CODE_ALPHABET) for _ in range(CODE_LENGTH))
    workflow = workflow_of(check(request, created_ms), code=code, now_ms=created_ms, exchange_now_ms=created_ms)
    (status,) = draws.choices(list(ENDS), weights=list(ENDS.values()))
    ended_ms = created_ms + 4000
    steps = tuple(
        msgspec.structs.replace(
            step,
            status=StepStatus(status.value),
            attempts=(
                Attempt(
                    number=1,
                    job=job_name(step.target, workflow.symbol, workflow.queue_id, 1),
                    planned_ms=created_ms,
                    ranges=(str(workflow.span),),
                    observed=True,
                    started_ms=created_ms + 300,
                    seen_ms=ended_ms,
                    progressed_ms=ended_ms,
                    progress=Progress(records=1440, position=workflow.span.end_ms - 60_000, share=1.0, rate=4321.5),
                    message=status.value,
                    terminal_event=status.value,
                    exit_code=1 if status is Status.ERROR else 0,
                    ended_ms=ended_ms,
                    outcome=status.value,
                ),
            ),
        )
        for step in workflow.steps
    )
    stored = Segment(
        start_ms=workflow.span.start_ms,
        end_ms=workflow.span.end_ms,
        verdict=Verdict.STORED,
        collection=workflow.collection,
        records=1440,
    )
    return msgspec.structs.replace(
        workflow,
        status=status,
        steps=steps,
        plan=Plan(exchange_now_ms=created_ms, parts=(Part(span=workflow.span),), expected=1440),
        proof=Proof(round=1, checked_ms=ended_ms, expected=1440, stored=1440, segments=(stored,)),
        surveyed=True,
        failure=Failure(reason="the exchange failed", next_step="try again") if status is Status.ERROR else None,
        ended_ms=ended_ms,
    )


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
