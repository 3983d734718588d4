"""A whole StreamForge on one machine: the test exchange and a manager as processes, its workers theirs.

Everything is bounded and everything that was started is ended by its process id; what is left over fails the test.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx

from tests import busenv, cleanenv, storeenv
from tests.limits import LIMIT_S

Json = dict[str, Any]
T = TypeVar("T")
Row = list[int | str]
"""A candle as the exchange's API writes it."""

ENDED = ("finished", "interrupted", "error")
CSV_HEADER = (
    "symbol,interval,open_time,open,high,low,close,volume,close_time,quote_asset_volume,number_of_trades,"
    "taker_buy_base_asset_volume,taker_buy_quote_asset_volume"
)
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
}
"""Settings of a manager that waits for nothing longer than a test can.

What limits others is longer than anything takes on a busy machine: only what a test does counts as a fault.
"""


class Exchange:
    """The test exchange as a process."""

    def __init__(self, arguments: Sequence[str] = (), settings: Mapping[str, str] | None = None) -> None:
        command = [sys.executable, "-m", "streamforge.exchange", "--json", *arguments]
        environment = cleanenv.environment(**(settings or {}))
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise AssertionError(f"the exchange did not start: {self._process.communicate(timeout=LIMIT_S)[1]}")
        ready = json.loads(line)
        self.url: str = ready["url"]
        self.symbols: list[str] = ready["symbols"]
        self._client = httpx.Client(base_url=self.url, timeout=LIMIT_S)
        self._clock_moved = False

    def switch_on(self, fault: str) -> None:
        """Switch a fault on."""
        self._client.post("/control/faults", json={"fault": fault}).raise_for_status()

    def lift_faults(self) -> None:
        """No faults; what was counted stays."""
        self._client.delete("/control/faults").raise_for_status()

    def reset(self) -> None:
        """No faults, nothing counted, no ban, and the machine's time."""
        self.lift_faults()
        if self._clock_moved:
            self.set_clock(time.time_ns() // 1_000_000)
            self._clock_moved = False
        self._client.delete("/control/stats").raise_for_status()

    def set_clock(self, now_ms: int) -> None:
        """Let its clock show `now_ms` and run on from there, until `reset`."""
        self._client.post("/control/clock", json={"now_ms": now_ms}).raise_for_status()
        self._clock_moved = True

    def struck(self, fault: str) -> int:
        """How often a fault that is switched on has struck."""
        found = self._client.get("/control/faults").raise_for_status().json()["faults"]
        return next(int(one["struck"]) for one in found if one["fault"] == fault)

    def stats(self) -> Json:
        """What was counted."""
        found: Json = self._client.get("/control/stats").raise_for_status().json()
        return found

    def requests(self, path: str = "klines") -> int:
        """How many requests of one endpoint were answered, however."""
        return sum(self.stats()["requests"].get(f"/api/v3/{path}", {}).values())

    def oracle(self, symbol: str, interval: str, start_ms: int, end_ms: int) -> list[Row]:
        """What a client must end up with."""
        query: dict[str, str | int] = {
            "symbol": symbol,
            "interval": interval,
            "startTime": start_ms,
            "endTime": end_ms,
        }
        rows: list[Row] = self._client.get("/oracle/klines", params=query).raise_for_status().json()
        return rows

    def close(self) -> None:
        """End it."""
        self._client.close()
        self._process.terminate()
        try:
            self._process.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate(timeout=LIMIT_S)


class Manager:
    """A manager as a process on a data directory; `api` speaks to it."""

    def __init__(
        self,
        data: Path,
        exchange_url: str,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.data = data
        self._environment = cleanenv.environment() | {
            "STREAMFORGE_DATA_DIR": str(data),
            "STREAMFORGE_EXCHANGE_URL": exchange_url,
            "STREAMFORGE_PORT": "0",
            "STREAMFORGE_METRICS_PORT": "0",
            **busenv.environment(data),
            **storeenv.environment(data),
            **IMPATIENT,
            **(settings or {}),
        }
        self._process: subprocess.Popen[bytes] | None = None
        self.start_took_s = 0.0
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
                [sys.executable, "-m", "streamforge.manager"],
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
        self.api = httpx.Client(base_url=address, timeout=LIMIT_S)

    def stop(self) -> int:
        """End it in order; its exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(LIMIT_S)

    def kill(self) -> None:
        """End it at once; its workers go on."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(LIMIT_S)

    def log(self) -> str:
        """What it wrote last."""
        return self._log.read_text(errors="replace")[-6000:]

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

    def until(
        self,
        queue_id: str,
        what: str,
        holds: Callable[[Json], bool],
        *,
        limit_s: float = LIMIT_S,
        every_s: float = 0.05,
    ) -> Json:
        """Wait until `holds` of the workflow."""

        def there() -> Json | None:
            found = self.show(queue_id)
            return found if holds(found) else None

        return eventually(there, what, limit_s, lambda: self.story(queue_id), every_s)

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

    def csv(self, collection: str, time_range: str | None = None) -> list[str]:
        """The lines of the export of a collection."""
        query = {"limit": "all", "format": "csv"} | ({"time_range": time_range} if time_range else {})
        answer = self.api.get(f"/collections/{collection}/records", params=query)
        return answer.raise_for_status().text.splitlines()

    def story(self, queue_id: str) -> str:
        """What became of a workflow, for a person."""
        try:
            workflow = self.show(queue_id)
            events = self.events(queue_id)[-12:]
        except httpx.HTTPError as error:
            return f"{error!r}\n{self.log()}"
        lines = [f"{name}: {workflow[name]}" for name in ("status", "waiting_for", "failure", "progress", "repairs")]
        for step in workflow["steps"]:
            lines.append(f"{step['target']} {step['status']}")
            lines += [f"  {_telling(attempt)}" for attempt in step["attempts"]]
        lines += [str({name: value for name, value in event.items() if name in _TOLD}) for event in events]
        return "\n".join([*lines, self.log()[-1500:]])


_TOLD = ("event", "target", "attempt", "records_written", "error_message")


def _telling(found: Json) -> Json:
    return {name: value for name, value in found.items() if value not in (None, "", [])}


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
    every_s: float = 0.05,
) -> T:
    """Ask until the answer is not None; fails after `limit_s`, or what that is on a slower bus."""
    limit_s = busenv.patience(limit_s)
    give_up = time.monotonic() + limit_s
    while (found := probe()) is None:
        if time.monotonic() > give_up:
            raise AssertionError(f"within {limit_s:g} s not true: {what}\n{story()}")
        time.sleep(every_s)
    return found


def workers_of(data: Path) -> list[int]:
    """The worker processes of a data directory, by its job folders."""
    found = []
    for folder in (data / "jobs").glob("*"):
        for name in ("pid", "started"):
            try:
                pid = int((folder / name).read_text())
            except (OSError, ValueError):
                continue
            if not (folder / "exit").exists() and _is_worker(pid):
                found.append(pid)
    return sorted(set(found))


def worker_pid(data: Path, job: str) -> int:
    """The process id of a job's worker."""
    return int((data / "jobs" / job / "pid").read_text())


def _is_worker(pid: int) -> bool:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return not Path("/proc/self").exists() and subprocess.call(["ps", "-p", str(pid)]) == 0
    except OSError:
        return False
    return b"streamforge" in command


@contextmanager
def exchange(*arguments: str, **settings: str) -> Iterator[Exchange]:
    """A test exchange until the end of the block."""
    found = Exchange(arguments, settings)
    try:
        yield found
    finally:
        found.close()


@contextmanager
def manager(data: Path, exchange_url: str, **settings: str) -> Iterator[Manager]:
    """A manager until the end of the block, after which none of its workers may be alive."""
    found = Manager(data, exchange_url, settings)
    idle, left = False, list[int]()
    try:
        yield found
    finally:
        # A test that failed may leave a workflow behind that is still going on; its workers are ended all the same.
        idle = found.idle()
        left = found.close()
    assert not (idle and left), f"worker processes were left over: {left}\n{found.log()}"
