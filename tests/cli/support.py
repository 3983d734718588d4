"""What the tests of the command line share: running it in this process or as one, and the exchange it loads from."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streamforge.cli.main import main
from streamforge.cli.session import Where
from streamforge.manager import answers
from streamforge.manager.api.app import create_app
from streamforge.manager.api.http_server import serve
from tests.chaos.processes import live_jobs
from tests.cleanenv import environment
from tests.limits import LIMIT_S
from tests.manager.memory_service import MemoryService

Json = dict[str, Any]
MINUTE_MS, HOUR_MS = 60_000, 3_600_000
START_MS = 1_722_470_400_000  # 2024-08-01
TYPE = "api_candles_1m"
HOUR = "2024-08-01:2024-08-01T01:00Z"
YEARS = "2020:2024"
COLLECTION = "btcusdt_api_candles_1m_2024_08_01"
CSV_HEADER = (
    "symbol,interval,open_time,open,high,low,close,volume,close_time,quote_asset_volume,number_of_trades,"
    "taker_buy_base_asset_volume,taker_buy_quote_asset_volume"
)
COMMAND = (sys.executable, "-m", "streamforge.cli")
_WITHOUT_OVERRIDE = """
import ctypes, os, sys
if os.geteuid() == 0 and ctypes.CDLL(None, use_errno=True).prctl(24, 1, 0, 0, 0):  # PR_CAPBSET_DROP CAP_DAC_OVERRIDE
    sys.exit("root's right to write everywhere cannot be dropped: " + os.strerror(ctypes.get_errno()))
os.execv(sys.argv[1], sys.argv[1:])
"""
UNPRIVILEGED = (sys.executable, "-c", _WITHOUT_OVERRIDE, *COMMAND)
"""The command of a user that the permissions of files bind, root as well."""


def workflow_answer(*, span: tuple[str, int, int] = ("2024-08", 0, 60_000), **fields: Any) -> answers.Started:
    """A workflow as the API answers it. span: as it was asked for, start and end (ms)."""
    requested, start_ms, end_ms = span
    found = {
        "queue_id": "wf-1",
        "status": "finished",
        "symbol": "BTCUSDT",
        "type": TYPE,
        "time_range": {"requested": requested, "start": "", "end": "", "start_ms": start_ms, "end_ms": end_ms},
        "created_at": "2024-08-01T00:00:00Z",
        "progress": {},
        "topic": "t",
        "collection": "c",
        "links": dict.fromkeys(answers.Links.__struct_fields__, "/"),
        **fields,
    }
    return msgspec.convert(found, answers.Started)


class Ran(msgspec.Struct, frozen=True):
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Json:
        """Its stdout, which must be one JSON object and nothing else."""
        found: Json = json.loads(self.out)
        return found

    def ok(self) -> Ran:
        """Itself, if it worked."""
        assert self.code == 0, (self.code, self.out, self.err)
        assert "Traceback" not in self.err
        return self


class Cli:
    """The command in this process, on one data directory and exchange."""

    def __init__(self, capsys: pytest.CaptureFixture[str], data: Path, exchange: str | None = None) -> None:
        self._capsys = capsys
        self.data = data
        self.exchange = exchange

    def __call__(self, *arguments: str, where: bool = True) -> Ran:
        self._capsys.readouterr()
        given = list(arguments)
        if where:
            given += ["--data", str(self.data)]
            if self.exchange is not None and arguments[0] in ("load", "doctor", "symbols"):
                given += ["--exchange", self.exchange]
        code = main(given)
        out, err = self._capsys.readouterr()
        return Ran(code, out, err)

    def load(self, *arguments: str) -> Json:
        """Load, and what `--json` says of it."""
        return self("load", *arguments, "--json").ok().json

    def stored(self) -> int:
        """How many records the only workflow of the folder has stored."""
        queues = self("queues", "--json").ok().json["queues"]
        return int(queues[0]["progress"]["records_stored"]) if queues else 0


@asynccontextmanager
async def serving(service: MemoryService) -> AsyncIterator[Where]:
    """A server on `service`, as a command names it."""
    server = await serve(create_app(service), port=0)
    try:
        yield Where(server=server.url)
    finally:
        await server.close()


@contextmanager
def process(*arguments: str, command: Sequence[str] = COMMAND, **more: str) -> Iterator[subprocess.Popen[str]]:
    """The command as a process of its own session, ended at the end of the block."""
    started = subprocess.Popen(
        [*command, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(**more),
        start_new_session=True,
    )
    try:
        yield started
    finally:
        if started.poll() is None:
            started.kill()
        started.communicate(timeout=LIMIT_S)


def ready(started: subprocess.Popen[str]) -> Json:
    """The JSON of the first line on stdout: where it serves."""
    assert started.stdout is not None
    told: Json = json.loads(started.stdout.readline())
    return told


@contextmanager
def manager(data: Path, url: str) -> Iterator[tuple[subprocess.Popen[str], Json]]:
    """`up` on the folder, with the exchange at `url`, and where it serves."""
    with process("up", "--data", str(data), "--exchange", url, "--port", "0", "--json") as started:
        yield started, ready(started)


def finished(started: subprocess.Popen[str], within_s: float = LIMIT_S) -> Ran:
    """Wait for the end of the command."""
    out, err = started.communicate(timeout=within_s)
    return Ran(started.returncode, out, err)


def completed(*command: str) -> Ran:
    """The command as a process, once it has ended."""
    with process(*command) as started:
        return finished(started)


@contextmanager
def loading(
    data: Path, url: str, *more: str, what: tuple[str, ...] = ("BTCUSDT", TYPE, YEARS)
) -> Iterator[subprocess.Popen[str]]:
    with process("load", *what, "--data", str(data), "--exchange", url, *more) as started:
        yield started


def workers_of(data: Path) -> list[int]:
    """The processes of the folder's jobs."""
    return [pid for job in live_jobs(data) for pid in (job.worker, job.shim) if pid is not None]


def line(started: subprocess.Popen[str], holds: str, within_s: float = LIMIT_S) -> str:
    """Read stderr until a line holds `holds`."""
    assert started.stderr is not None
    deadline = time.monotonic() + within_s
    seen = []
    while time.monotonic() < deadline:
        ready, _, _ = select.select([started.stderr], [], [], max(0.0, deadline - time.monotonic()))
        text = started.stderr.readline() if ready else ""
        if holds in text:
            return text
        if not text and started.poll() is not None:
            break
        seen.append(text)
    raise AssertionError(f"no line held {holds!r}: {seen}, exit code {started.poll()}")


def until(what: Callable[[], bool], within_s: float = LIMIT_S) -> None:
    """Wait until `what` is true."""
    deadline = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.05)


@contextmanager
def exchange(*arguments: str) -> Iterator[str]:
    """The URL of a test exchange with the clock of the machine."""
    command = (sys.executable, "-m", "streamforge.cli", "exchange", "--json", "--no-limits", *arguments)
    started = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield ready(started)["url"]
    finally:
        started.send_signal(signal.SIGTERM)
        started.communicate(timeout=LIMIT_S)


def lift_faults(url: str) -> None:
    """Let the test exchange answer without faults."""
    urllib.request.urlopen(urllib.request.Request(f"{url}/control/faults", method="DELETE"), timeout=LIMIT_S).close()


def oracle(url: str, start_ms: int, end_ms: int, symbol: str = "BTCUSDT", interval: str = "1m") -> list[list[Any]]:
    """The candles as the exchange really has them."""
    query = f"symbol={symbol}&interval={interval}&startTime={start_ms}&endTime={end_ms}"
    with urllib.request.urlopen(f"{url}/oracle/klines?{query}", timeout=LIMIT_S) as answer:
        rows: list[list[Any]] = json.loads(answer.read())
    return rows


def expected(rows: list[list[Any]], symbol: str = "BTCUSDT", interval: str = "1m") -> list[Json]:
    """The oracle's rows as an export must give them: each number the double nearest to the exchange's text."""
    return [
        {
            "symbol": symbol,
            "interval": interval,
            "open_time": row[0],
            "open": float(row[1]),
            "high": float(row[2]),
            "low": float(row[3]),
            "close": float(row[4]),
            "volume": float(row[5]),
            "close_time": row[6],
            "quote_asset_volume": float(row[7]),
            "number_of_trades": row[8],
            "taker_buy_base_asset_volume": float(row[9]),
            "taker_buy_quote_asset_volume": float(row[10]),
        }
        for row in rows
    ]


def on_a_terminal(command: Sequence[str], **more: str) -> str:
    """What a command that worked wrote to the terminal that all three of its streams are."""
    import pty

    ours, theirs = pty.openpty()
    more.setdefault("COLUMNS", "100")
    env = environment(TERM="xterm-256color", **more)
    started = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=env, start_new_session=True, close_fds=True
    )
    os.close(theirs)
    written = bytearray()
    deadline = time.monotonic() + LIMIT_S
    try:
        while time.monotonic() < deadline:
            ready, _, _ = select.select([ours], [], [], 0.2)
            if ready:
                try:
                    part = os.read(ours, 65536)
                except OSError:  # how Linux says that the other side is closed
                    break
                if not part:
                    break
                written += part
            elif started.poll() is not None:
                break
        assert started.wait(LIMIT_S) == 0, written.decode("utf-8", "replace")
    finally:
        if started.poll() is None:
            started.kill()
            started.wait(LIMIT_S)
        os.close(ours)
    return written.decode("utf-8", "replace")
