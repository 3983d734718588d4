"""What the tests of guides share: commands as a person types them, and a manager that is asked for everything."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx


def streamforge(folder: Path, environ: Mapping[str, str], *arguments: str, data: str = "build/data") -> str:
    command = [str(folder / ".venv" / "bin" / "streamforge"), *arguments, "--data", data]
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def refused(folder: Path, environ: Mapping[str, str], *arguments: str) -> str:
    command = [str(folder / ".venv" / "bin" / "streamforge"), *arguments]
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=150)
    assert done.returncode != 0, done.stdout
    return done.stderr


def load(folder: Path, environ: Mapping[str, str], symbol: str, time_range: str) -> None:
    streamforge(folder, environ, "load", symbol, "api_candles_1h", time_range, "--exchange", "test")


@contextmanager
def manager(folder: Path, environ: Mapping[str, str], data: str) -> Iterator[httpx.Client]:
    command = [str(folder / ".venv" / "bin" / "streamforge"), "up", "--data", data, "--exchange", "test", "--port", "0"]
    with subprocess.Popen([*command, "--json"], cwd=folder, env=environ, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            with httpx.Client(base_url=json.loads(process.stdout.readline())["url"], timeout=60) as client:
                yield client
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)


def everything(folder: Path, environ: Mapping[str, str], data: str = "build/data") -> dict[str, Any]:
    """All that a program can ask a manager of: workflows with their steps, their events, coverage, records."""
    with manager(folder, environ, data) as client:
        return _asked(client)


def _asked(client: httpx.Client) -> dict[str, Any]:
    names = [queue["queue_id"] for queue in client.get("/queues").json()["queues"]]
    workflows = [client.get(f"/queues/{name}").json() for name in names]
    collections = sorted({workflow["collection"] for workflow in workflows})
    csv = {"Accept": "text/csv"}
    return {
        "workflows": workflows,
        "events": {name: client.get(f"/queues/{name}/events").json()["events"] for name in names},
        "coverage": [client.get(f"/coverage/{symbol}/api_candles_1h").json() for symbol in ("BTCUSDT", "ETHUSDT")],
        "records": {
            name: client.get(f"/collections/{name}/records", headers=csv, params={"limit": 10_000}).text.splitlines()[
                1:
            ]
            for name in collections
        },
    }
