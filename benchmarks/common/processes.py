"""Real processes: the test exchange, a manager, workers; and how much memory they take."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.cleanenv import environment

ROOT = Path(__file__).resolve().parents[2]
UNLIMITED_WEIGHT = 100_000_000
"""Request weight a minute that nothing reaches: the exchange's limit is no property of ours."""

_READY_S = 120.0
_ENDS_S = 60.0
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """The process until the end of the block, which ends it if it still runs."""
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(_ENDS_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(_ENDS_S)
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


@contextmanager
def exchange(symbols: int = 1, trades_a_minute: int = 32, speed: float = 1.0) -> Iterator[str]:
    """The URL of a test exchange without limits, a new process. Raises RuntimeError if it does not start.

    speed: of its clock.
    """
    arguments = (str(symbols), str(trades_a_minute), str(speed))
    command = [sys.executable, "-m", "benchmarks.common.exchange", *arguments]
    with ended(subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, env=environment())) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"the test exchange did not start: exit code {process.wait(_ENDS_S)}")
        yield str(json.loads(line)["url"])


@contextmanager
def manager(data: Path, exchange_url: str, **settings: str) -> Iterator[str]:
    """The URL of a manager on `data`, a new process. Raises RuntimeError if it does not serve in time."""
    settings = {
        "STREAMFORGE_DATA_DIR": str(data),
        "STREAMFORGE_EXCHANGE_URL": exchange_url,
        "STREAMFORGE_PORT": "0",
        "STREAMFORGE_METRICS_PORT": "0",
        **settings,
    }
    log_path = data.with_name(data.name + ".log")
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "streamforge.manager"],
            stdout=log,
            stderr=log,
            cwd=ROOT,
            env=environment(**settings),
        )
    with ended(process):
        give_up = time.monotonic() + _READY_S
        while (url := _address(data / "server.json", process.pid)) is None:
            if process.poll() is not None or time.monotonic() > give_up:
                raise RuntimeError(f"the manager did not start: {log_path.read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)
        yield url


AS_LAUNCHED = ("-P", "-m", "streamforge.workers")


def worker(target: str, settings: Mapping[str, str], how: Sequence[str] = AS_LAUNCHED) -> subprocess.Popen[bytes]:
    """A worker's process. how: what the interpreter is told; as the launcher does it, if nothing else is said."""
    return subprocess.Popen(
        [sys.executable, *how, target],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(**settings),
    )


def finish(process: subprocess.Popen[bytes], limit_s: float) -> None:
    """Wait for its end. Raises RuntimeError if its exit code is not 0, or TimeoutExpired."""
    if (code := process.wait(limit_s)) != 0:
        raise RuntimeError(f"process {process.args!r} ended with exit code {code}")


def resident_mb(pid: int) -> float:
    """The memory that a process and its children have resident, in 10**6 bytes; 0 if there is none such any more.

    What they share counts for each of them.
    """
    if Path("/proc/self").exists():
        with contextlib.suppress(OSError, IndexError, ValueError):
            own = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES / 1e6
            return own + sum(resident_mb(child) for child in children_of(pid))
        return 0.0
    listed = subprocess.run(["/bin/ps", "-A", "-o", "pid=,ppid=,rss="], capture_output=True, text=True, check=False)
    found = [[int(word) for word in line.split()] for line in listed.stdout.splitlines()]
    return sum(rss for number, parent, rss in found if pid in (number, parent)) * 1024 / 1e6


def children_of(pid: int) -> list[int]:
    """The processes that a process has started and that have not ended; none where the system does not tell."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                found += map(int, (thread / "children").read_text().split())
    return found


def peak_resident_mb(pid: int) -> float:
    """The most memory that a process itself ever had resident, in 10**6 bytes; 0 where that is not told."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM:"))
    return 0.0


def cpu_seconds(pid: int) -> float:
    """The processor time that a process itself has taken, user and system; 0 where that is not told."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def _address(path: Path, pid: int) -> str | None:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return str(found["url"]) if found["pid"] == pid else None
