"""Workflows that go on while something disturbs them, a watcher of them, and what must be true of them afterwards."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import msgspec

from tests import backends
from tests.chaos import processes
from tests.chaos.rig import ANSWER_WITHIN_S, Api, ManagerKeeper, clean_up
from tests.chaos.verdict import assert_history, assert_stored

AT_ONCE = 4
LOOK_EVERY_S = 0.05
SEEDS = [int(text) for text in os.environ.get("STREAMFORGE_CHAOS_SEEDS", "1,2").split(",")]
"""Which schedules of breaks."""
ROUNDS = int(os.environ.get("STREAMFORGE_CHAOS_BREAKS", "1"))
"""How many rounds of breaks each of them has; more for a soak."""

BREAKING = {
    "STREAMFORGE_HEARTBEAT_SECONDS": "0.2",
    "STREAMFORGE_SILENT_SECONDS": "12",
    "STREAMFORGE_STUCK_SECONDS": "30",
    "STREAMFORGE_TOTAL_WEIGHT_PER_MINUTE": "100000",
}
"""Settings of a manager whose bus or store is broken."""


class Survivors(NamedTuple):
    """The workflows, all ended. disturbed_s: how long they were disturbed; took_s: until the last had ended."""

    workflows: dict[str, Any]
    disturbed_s: float
    took_s: float

    def summary(self, rows: int) -> str:
        """For a person. rows: how many were stored."""
        attempts = sum(len(step["attempts"]) for workflow in self.workflows.values() for step in workflow["steps"])
        return (
            f"in {self.disturbed_s:.0f} s, ended after {self.took_s:.0f} s; {len(self.workflows)} workflows, "
            f"{attempts} attempts, {rows} rows, {sum(one['repairs'] for one in self.workflows.values())} repairs, "
            f"{dict(Counter(one['type'] for one in self.workflows.values()))}, "
            f"{sum(part['source'] == 'archive' for one in self.workflows.values() for part in one['parts'])} from files"
        )


@asynccontextmanager
async def running(keeper: ManagerKeeper, story: Callable[[], Sequence[str]]) -> AsyncIterator[None]:
    """The manager is up; afterwards nothing of it is left. story: what a failure should tell beside the log's end."""
    try:
        await keeper.up()
        yield
    except BaseException as error:
        for note in (*story(), f"the manager's log ends with:\n{await keeper.autopsy()}"):
            error.add_note(note)
        raise
    finally:
        await clean_up(keeper)


async def disturb(
    api: Api,
    client: httpx.AsyncClient,
    exchange: str,
    disturbing: Coroutine[Any, Any, None],
    *,
    seed: int,
    at_once: int = AT_ONCE,
    archive: bool = False,
    watching: Sequence[Coroutine[Any, Any, None]],
    within_s: float,
) -> Survivors:
    """Keep the manager busy until `disturbing` is done, then let the workflows end on a quiet exchange.

    archive: as of `requests`. watching: looks at it all the time, and raises what must not be. within_s: for the end of
    the last workflow.
    """
    queue_ids: list[str] = []
    began = time.monotonic()
    disturber = asyncio.create_task(disturbing, name="disturbance")
    working = asyncio.create_task(keep_busy(api, seed, queue_ids, at_once=at_once, archive=archive), name="work")
    watchers = [asyncio.create_task(one, name="watcher") for one in watching]
    try:
        done, _ = await asyncio.wait({disturber, working, *watchers}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            await task
        assert disturber in done, "there was no work left to be disturbed"
        disturbed_s = time.monotonic() - began
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        (await client.delete(f"{exchange}/control/faults")).raise_for_status()
        workflows = await api.until_ended(queue_ids, within_s)
        return Survivors(workflows, disturbed_s, time.monotonic() - began)
    finally:
        for task in (disturber, working, *watchers):
            task.cancel()
        await asyncio.gather(disturber, working, *watchers, return_exceptions=True)


class Watcher:
    """overlaps: steps of which two attempts (or two processes of one) were seen alive at once. looks: how many."""

    def __init__(self, keeper: ManagerKeeper) -> None:
        self.overlaps: list[str] = []
        self.unanswered: list[str] = []
        self.answered = 0
        self.looks = 0
        self.slowest_s = 0.0
        self._keeper = keeper
        self._gone: set[str] = set()

    async def watch_processes(self) -> None:
        """Until cancelled."""
        while True:
            by_step = defaultdict(list)
            for job in processes.live_jobs(self._keeper.data, self._gone):
                if job.worker is not None:
                    by_step[(job.queue_id, job.target)].append(job)
            for step, jobs in by_step.items():
                if len(jobs) > 1:
                    self.overlaps.append(f"{step}: {jobs}")
            self.looks += 1
            await asyncio.sleep(LOOK_EVERY_S)

    async def watch_api(self, client: httpx.AsyncClient) -> None:
        """Until cancelled: a manager that is up, and was not killed meanwhile, answers in time."""
        loop = asyncio.get_running_loop()
        while True:
            generation, url = self._keeper.generation, self._keeper.url
            if url is not None:
                for path in ("/healthz", "/queues?limit=20"):
                    asked = loop.time()
                    trouble = await _trouble(client, url + path)
                    still_up = self._keeper.url == url and self._keeper.generation == generation
                    if trouble is None:
                        self.answered += 1
                        self.slowest_s = max(self.slowest_s, loop.time() - asked)
                    elif still_up:
                        self.unanswered.append(f"{path} after {loop.time() - asked:.1f} s: {trouble}")
            await asyncio.sleep(0.1)


async def _trouble(client: httpx.AsyncClient, url: str) -> str | None:
    try:
        answer = await client.get(url, timeout=ANSWER_WITHIN_S)
    except httpx.TransportError as error:
        return repr(error)
    return None if answer.status_code == 200 else f"{answer.status_code} {answer.text[:300]}"


TROUBLE = (
    *(f"slow:ms=400,path={path}" for path in ("klines", "aggTrades", "historicalTrades")),
    *("missing:rows=2,p=0.05", "short:rows=100,p=0.05", "empty:p=0.02", "disordered:p=0.2", "500:p=0.01"),
    *("drip:path=archive,bytes=60000,ms=60", "cut:path=archive,p=0.2", "503:path=listing,p=0.1"),
    *("archive-corrupt:p=0.1", "archive-checksum:p=0.1", "archive-rows:p=0.2", "archive-missing:p=0.1,listed=1"),
)
"""Faults of an exchange that is slow and now and then wrong: every request and every download takes a while."""


def requests(seed: int, *, archive: bool = False) -> Iterator[dict[str, Any]]:
    """One request after another, each of its own collection: 13,000 to 45,000 candles.

    archive: the exchange has one, so that trades are asked for too, and what is asked for may come from files.
    """
    draw = random.Random(f"requests {seed}")
    months = [f"{year}-{month:02d}" for year in (2022, 2023) for month in range(1, 13)]
    starts = [
        (symbol, type_name, month)
        for symbol in ("BTC", "ETH", "BNB", "SOL")
        for type_name in ("api_candles_1m", "api_candles_3m", *(("api_trades", "api_agg_trades") if archive else ()))
        for month in months
    ]
    for symbol, type_name, month in draw.sample(starts, len(starts)):
        of_candles = type_name.startswith("api_candles")
        source = draw.choice(("auto", "rest")) if archive else "auto"
        day = f"{month}-{draw.randint(10, 20)}"
        yield {
            "symbol": f"{symbol}USDT",
            "type": type_name,
            # By requests as many pages as a month of candles has.
            "time_range": month if of_candles else f"{day}T00:00:00Z:{day}T{12 if source == 'rest' else 23}:00:00Z",
            "source": source,
            # One page at a time, so that there is something to kill for a while.
            "parameters": {f"loader-api-{'candles' if of_candles else 'trades'}": {"concurrency": 1}},
        }


async def keep_busy(api: Api, seed: int, started: list[str], *, at_once: int = AT_ONCE, archive: bool = False) -> None:
    """Until cancelled: as soon as one of `at_once` workflows has ended, start another. started: their queue_ids."""
    running: list[str] = []
    for number, request in enumerate(requests(seed, archive=archive)):
        while len(running) >= at_once:
            await asyncio.sleep(0.3)
            running = [one for one in running if (await api.show(one))["ended_at"] is None]
        starting = asyncio.ensure_future(api.start(f"chaos-{seed}-{number}", **request))
        try:
            await asyncio.shield(starting)
        finally:
            # Cancelled while the manager accepts it: it is one of those that must end.
            started.append(await starting)
        running.append(started[-1])


async def check_workflows(
    keeper: ManagerKeeper,
    api: Api,
    client: httpx.AsyncClient,
    exchange: str,
    workflows: Mapping[str, Mapping[str, Any]],
) -> int:
    """All of them are finished, proven, and hold what the exchange has; each attempt spoke as it should. The rows."""
    rows = 0
    store = backends.make_store(keeper.data)
    try:
        for queue_id, workflow in workflows.items():
            assert_history(workflow, await api.events(queue_id))
            assert (await api.ask("GET", f"/queues/{queue_id}/dlq"))["dead_letters"] == []
            coverage = await api.ask("GET", f"/queues/{queue_id}/coverage")
            rows += await assert_stored(store, client, exchange, workflow, coverage)
    finally:
        await store.close()
    listed = await api.ask("GET", "/queues", params={"limit": 1000})
    assert {one["queue_id"] for one in listed["queues"]} == set(workflows), "a request was accepted twice"
    check_jobs(keeper.data, workflows)
    log = keeper.log.read_text(errors="replace")
    assert "Traceback" not in log
    return rows


def check_jobs(data: Path, workflows: Mapping[str, Mapping[str, Any]], *, overlap: str = " ") -> None:
    """Every job belongs to an attempt, every attempt that spoke had a job, and one ended before the next was begun.

    overlap: what targets begin with whose next attempt may begin before: it listens at first.
    """
    specs = {
        path.parent.name: msgspec.json.decode(path.read_bytes()) for path in (data / "jobs").glob("job-*/spec.json")
    }
    steps = [step for workflow in workflows.values() for step in workflow["steps"]]
    attempts = {attempt["job"]: attempt for step in steps for attempt in step["attempts"]}
    assert set(specs) <= set(attempts), "a job that no workflow knows"
    assert {job for job, attempt in attempts.items() if attempt["started_at"] is not None} <= set(specs)
    assert processes.live_jobs(data) == []
    for step in (one for one in steps if not one["target"].startswith(overlap)):
        for before, after in zip(step["attempts"], step["attempts"][1:], strict=False):
            if after["job"] in specs:
                begun = specs[after["job"]]["started_ms"]
                assert _moment(before["ended_at"]) <= datetime.fromtimestamp(begun / 1000, UTC), (before, begun)


def _moment(text: str) -> datetime:
    """A time as the API writes it; as texts they do not sort: one without a fraction comes behind those with one."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)  # a midnight is a date alone
