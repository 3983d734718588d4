"""A whole StreamForge on one machine: the test exchange and a manager as processes, with the manager's workers.

Everything is bounded and everything that was started is ended by its process id; what is left over fails the test.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx

from tests import backends, cleanenv
from tests.chaos import processes
from tests.e2e.exchangeprocess import Exchange as Exchange
from tests.e2e.exchangeprocess import Row as Row
from tests.e2e.exchangeprocess import exchange as exchange
from tests.limits import LIMIT_S

Json = dict[str, Any]
T = TypeVar("T")

ENDED = ("finished", "interrupted", "error")
CSV_HEADER = (
    "symbol,interval,open_time,open,high,low,close,volume,close_time,quote_asset_volume,number_of_trades,"
    "taker_buy_base_asset_volume,taker_buy_quote_asset_volume"
)
LOADER, SINK = "loader-api-candles", "arango-candles"
SLOW = "slow:ms=400,path=klines"
"""Makes a page of candles take so long that a workflow of a year is still running when a test looks."""
HELD = "held:after=15,path=klines"
"""Keeps a workflow of more pages of candles half loaded, however slow the machine, until faults are lifted."""
MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000

IMPATIENT = {
    "STREAMFORGE_HEARTBEAT_SECONDS": "0.2",
    "STREAMFORGE_BACKOFF_SECONDS": "0.05",
    "STREAMFORGE_BACKOFF_CAP_SECONDS": "0.2",
    "STREAMFORGE_MAX_ASKING_FAILURES": "3",
    "STREAMFORGE_REQUEST_ATTEMPTS": "3",
    "STREAMFORGE_REQUEST_BACKOFF_SECONDS": "0.05",
    "STREAMFORGE_REQUEST_TIMEOUT_SECONDS": "60",
    "STREAMFORGE_START_SECONDS": f"{LIMIT_S:g}",
    "STREAMFORGE_STOP_SECONDS": "60",
    "STREAMFORGE_LIVE_STOP_SECONDS": "300",
}
"""Settings of a manager that waits for nothing longer than a test can.

What limits others is longer than anything takes on a busy machine: only what a test does counts as a fault.
"""


class Manager:
    """A manager as a process on a data directory; `api` speaks to it."""

    def __init__(
        self,
        data: Path,
        exchange_url: str,
        settings: Mapping[str, str] | None = None,
        *,
        module: str = "streamforge.manager",
    ) -> None:
        self.data = data
        self.module = module
        self._environment = cleanenv.environment() | {
            "STREAMFORGE_DATA_DIR": str(data),
            "STREAMFORGE_EXCHANGE_URL": exchange_url,
            "STREAMFORGE_PORT": "0",
            "STREAMFORGE_METRICS_PORT": "0",
            **backends.environment(data),
            **IMPATIENT,
            **(settings or {}),
        }
        self._process: subprocess.Popen[bytes] | None = None
        self.start_took_s = 0.0
        self.killed = False
        self._log = data.with_name(data.name + ".log")
        self.api = httpx.Client()
        self.start()

    @property
    def pid(self) -> int:
        """The process id of the manager."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, and wait until it serves; `start_took_s` is how long that took."""
        began = time.monotonic()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self.module],
                env=self._environment,
                stdout=log,
                stderr=log,
            )
        server = self.data / "server.json"

        def url() -> str | None:
            assert self._process is not None
            assert self._process.poll() is None, self.log()
            try:
                found = json.loads(server.read_text())
            except (OSError, ValueError):
                return None
            return str(found["url"]) if found["pid"] == self.pid else None

        address = eventually(url, "the manager serves")
        self.start_took_s = time.monotonic() - began
        self.api.close()
        # A connection each: one that is kept may be closed by the server just as the next request goes out.
        alone = httpx.Limits(max_keepalive_connections=0)
        self.api = httpx.Client(base_url=address, timeout=LIMIT_S, limits=alone)

    def stop(self) -> int:
        """End it in order; its exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(LIMIT_S)

    def kill(self) -> None:
        """End it at once; its workers go on."""
        self.killed = True
        assert self._process is not None
        self._process.kill()
        self._process.wait(LIMIT_S)

    def died(self) -> int:
        """Wait for its end, which somebody else brings about; the exit code."""
        self.killed = True
        assert self._process is not None
        return self._process.wait(backends.patience(LIMIT_S))

    def log(self) -> str:
        """What it wrote last."""
        return self._log.read_text(errors="replace")[-6000:]

    def orphans(self) -> list[str]:
        """What it wrote of jobs that worked though no workflow asked for them any more."""
        return [line for line in self._log.read_text(errors="replace").splitlines() if "no current attempt" in line]

    def close(self) -> list[int]:
        """End it and what is left of its workers; the process ids of those."""
        self.api.close()
        assert self._process is not None
        if self._process.poll() is None:
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(LIMIT_S)
        left = workers_of(self.data)
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        return left

    # Asking

    def idle(self) -> bool:
        """Whether it serves and every workflow has ended."""
        try:
            found = self.api.get("/queues", params={"limit": 1000}).raise_for_status().json()
        except (httpx.HTTPError, RuntimeError):
            return False
        return all(workflow["status"] in ENDED for workflow in found["queues"])

    def start_load(self, symbol: str, type_name: str, time_range: str, **more: object) -> Json:
        """Start a workflow; the answer."""
        body = {"symbol": symbol, "type": type_name, "time_range": time_range, **more}
        answer = self.api.post("/queues/start", json=body)
        assert answer.status_code == 202, answer.text
        found: Json = answer.json()
        return found

    def load(self, symbol: str, type_name: str, time_range: str, **more: object) -> Json:
        """Start a workflow and wait for its end."""
        return self.wait(self.start_load(symbol, type_name, time_range, **more)["queue_id"])

    def show(self, queue_id: str) -> Json:
        """The workflow."""
        found: Json = self.api.get(f"/queues/{queue_id}").raise_for_status().json()
        return found

    def wait(self, queue_id: str, statuses: Iterable[str] = ENDED, limit_s: float = LIMIT_S) -> Json:
        """Wait until the workflow has one of `statuses`."""
        wanted = tuple(statuses)

        def there() -> Json | None:
            found = self.show(queue_id)
            return found if found["status"] in wanted else None

        return eventually(there, f"{queue_id} is {' or '.join(wanted)}", limit_s, lambda: self.story(queue_id))

    def finished(self, queue_id: str) -> Json:
        """Wait for the end of the workflow, which must have `finished`."""
        workflow = self.wait(queue_id)
        assert workflow["status"] == "finished", self.story(queue_id)
        return workflow

    def loaded(self, symbol: str, type_name: str, time_range: str, **more: object) -> Json:
        """Start a workflow and wait until it has `finished`."""
        return self.finished(self.start_load(symbol, type_name, time_range, **more)["queue_id"])

    def until(self, queue_id: str, what: str, holds: Callable[[Json], bool], *, limit_s: float = LIMIT_S) -> Json:
        """Wait until `holds` of the workflow."""

        def there() -> Json | None:
            found = self.show(queue_id)
            return found if holds(found) else None

        return eventually(there, what, limit_s, lambda: self.story(queue_id))

    def half_loaded(self, symbol: str, time_range: str) -> str:
        """Start a workflow of 1m candles and wait until its sink has stored some."""
        queue_id = str(self.start_load(symbol, "api_candles_1m", time_range)["queue_id"])
        self.until(queue_id, "some is stored", lambda found: bool(step(found, SINK)["records"]))
        return queue_id

    def kill_worker(self, queue_id: str, target: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to the worker of the last attempt of a step."""
        os.kill(worker_pid(self.data, latest(self.show(queue_id), target)["job"]), number)

    def post(self, path: str, expected: int = 202) -> Json:
        """POST without a body."""
        answer = self.api.post(path)
        assert answer.status_code == expected, answer.text
        found: Json = answer.json()
        return found

    def events(self, queue_id: str) -> list[Json]:
        """The history."""
        page = self.api.get(f"/queues/{queue_id}/events").raise_for_status().json()
        return [stored["event"] for stored in page["events"]]

    def coverage(self, queue_id: str) -> list[Json]:
        """The segments of the workflow's range."""
        found = self.api.get(f"/queues/{queue_id}/coverage").raise_for_status().json()
        segments: list[Json] = found["segments"]
        return segments

    def stopped(self, queue_id: str) -> Json:
        """Stop the workflow, which must have `finished` then."""
        self.post(f"/queues/{queue_id}/stop")
        return self.finished(queue_id)

    def records(self, collection: str, **which: str) -> list[Json]:
        """All records of a collection."""
        query = {"limit": "all", "format": "jsonl", **which}
        answer = self.api.get(f"/collections/{collection}/records", params=query).raise_for_status()
        return [json.loads(line) for line in answer.text.splitlines()]

    def csv(self, collection: str, time_range: str | None = None) -> list[str]:
        """The lines of the export of a collection."""
        query = {"limit": "all", "format": "csv"} | ({"time_range": time_range} if time_range else {})
        answer = self.api.get(f"/collections/{collection}/records", params=query)
        assert answer.is_success, f"{answer.text}\n{self.log()[-20_000:]}"
        return answer.text.splitlines()

    def story(self, queue_id: str) -> str:
        """What became of a workflow, for a person."""
        try:
            workflow = self.show(queue_id)
            events = self.events(queue_id)[-12:]
        except httpx.HTTPError as error:
            return f"{error!r}\n{self.log()}"
        lines = [f"{name}: {workflow[name]}" for name in ("status", "waiting_for", "failure", "progress", "repairs")]
        for one in workflow["steps"]:
            lines += [f"{one['target']} {one['status']}", *(f"  {attempt}" for attempt in one["attempts"])]
        return "\n".join([*lines, *map(str, events), self.log()[-1500:]])


def step(workflow: Json, target: str) -> Json:
    """The step of a target."""
    found: Json = next(one for one in workflow["steps"] if one["target"] == target)
    return found


def latest(workflow: Json, target: str) -> Json:
    """The last attempt of a step."""
    found: Json = step(workflow, target)["attempts"][-1]
    return found


def assert_exact(exchange: Exchange, manager: Manager, workflow: Json) -> list[Row]:
    """What is stored of the workflow's range is exactly what the exchange has, and is proven so; the rows."""
    span, interval = workflow["time_range"], workflow["type"].rpartition("_")[2]
    rows = exchange.oracle(workflow["symbol"], interval, span["start_ms"], span["end_ms"])
    assert manager.csv(workflow["collection"]) == expected_csv(workflow["symbol"], interval, rows)
    assert workflow["coverage"]["complete"] is True
    assert workflow["progress"]["records_stored"] == len(rows)
    return rows


def expected_csv(symbol: str, interval: str, rows: Iterable[Row]) -> list[str]:
    """The lines of the export of `rows`: every number the double nearest to the exchange's text."""
    lines = [CSV_HEADER]
    for row in rows:
        o, h, low, c, v = (repr(float(cell)) for cell in row[1:6])
        quote, base, taker = (repr(float(row[n])) for n in (7, 9, 10))
        lines.append(f"{symbol},{interval},{row[0]},{o},{h},{low},{c},{v},{row[6]},{quote},{row[8]},{base},{taker}")
    return lines


def eventually(
    probe: Callable[[], T | None],
    what: str,
    limit_s: float = LIMIT_S,
    story: Callable[[], str] = lambda: "",
) -> T:
    """Ask until the answer is not None; fails after `limit_s`, or what that is on a slower bus."""
    limit_s = backends.patience(limit_s)
    give_up = time.monotonic() + limit_s
    while (found := probe()) is None:
        if time.monotonic() > give_up:
            raise AssertionError(f"within {limit_s:g} s not true: {what}\n{story()}")
        time.sleep(0.05)
    return found


def ended(*arguments: str, environ: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run `python ARGUMENTS` to its end, with no settings of StreamForge but those of `environ`."""
    return subprocess.run(
        [sys.executable, *arguments],
        env=cleanenv.environment() | dict(environ or {}),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def workers_of(data: Path) -> list[int]:
    """The processes of the jobs of a data directory that are alive."""
    found = {pid for job in processes.live_jobs(data) for pid in (job.worker, job.shim)}
    return sorted(pid for pid in found if pid is not None)


def worker_pid(data: Path, job: str) -> int:
    """The process id of a job's worker, which may do others, too."""
    basket = json.loads((data / "jobs" / job / "spec.json").read_text())["basket"]
    return int((data / "jobs" / (basket or job) / "pid").read_text())


@contextmanager
def manager(
    data: Path, exchange_url: str, *, module: str = "streamforge.manager", **settings: str
) -> Iterator[Manager]:
    """A manager until the end of the block, after which none of its workers may be alive."""
    found = Manager(data, exchange_url, settings, module=module)
    idle, left = False, list[int]()
    try:
        yield found
    finally:
        # A test that failed may leave a workflow behind that is still going on; its workers are ended all the same.
        idle = found.idle()
        left = found.close()
    assert not (idle and left), f"worker processes were left over: {left}\n{found.log()}"
    assert found.killed or not (orphans := found.orphans()), f"the manager began work twice: {orphans}"
