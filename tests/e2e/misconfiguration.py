"""Services that are started with settings that cannot work."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.e2e import rig

LIMIT_S = 15.0
"""So soon a service has ended, on a machine that has a core for it."""

CONFIG, FAILED = 2, 1
"""Exit codes: another setting is needed; waiting may help."""

Environ = dict[str, str]
Ended = subprocess.CompletedProcess[str]

WORKER = {
    "QUEUE_ID": "wf-btcusdt-api_candles_1m-20240801-abc123",
    "SYMBOL": "BTCUSDT",
    "TYPE": "api_candles_1m",
    "TIME_RANGE": "2024-08-01",
    "KAFKA_TOPIC": "wf-btcusdt-api_candles_1m-20240801-abc123-data",
    "COLLECTION_NAME": "btcusdt_api_candles_1m_2024_08_01",
    "STREAMFORGE_UPSTREAM": "loader-api-candles__abc123",
}


def run(arguments: list[str], environ: Mapping[str, str], data: Path) -> tuple[Ended, float]:
    """Run a service to its end; with the seconds that took."""
    began = time.monotonic()
    where = {
        "STREAMFORGE_DATA_DIR": str(data),
        "STREAMFORGE_PORT": "0",
        "STREAMFORGE_METRICS_PORT": "0",
        "STREAMFORGE_LOG_FORMAT": "json",
    }
    done = rig.ended(*arguments, environ=where | dict(environ))
    return done, time.monotonic() - began


def worker(environ: Mapping[str, str], data: Path) -> tuple[Ended, float]:
    """Run a sink."""
    return run(["-m", "streamforge.workers", "arango-candles"], environ, data)


def doctor(environ: Mapping[str, str], data: Path) -> tuple[Ended, float]:
    """Run `doctor`, whose answer `checks` reads."""
    command = ["doctor", "--json", "--exchange", "test", "--data", str(data)]
    return run(["-m", "streamforge.cli", *command], environ, data)


def checks(ended: Ended) -> dict[str, Any]:
    """What `doctor` found, by part."""
    return {check["part"]: check for check in json.loads(ended.stdout)["checks"]}


def failing(ended: Ended) -> list[str]:
    """The parts that `doctor` found failing."""
    return [part for part, check in checks(ended).items() if check["verdict"] == "fails"]


def sentence_of_manager(ended: Ended) -> str:
    """The one line in which the manager says why it ended; nothing else of it is for programmers."""
    assert "Traceback" not in ended.stderr
    (line,) = [line for line in ended.stderr.splitlines() if line.startswith("queue-manager:")]
    return line


def sentence_of_worker(ended: Ended) -> str:
    """The last error in a worker's log."""
    lines = [json.loads(line) for line in ended.stderr.splitlines()]
    found: str = next(line["error"] for line in reversed(lines) if line.get("error"))
    return found


def lacking(text: str, says: tuple[str, ...]) -> list[str]:
    """What of `says` the text does not hold."""
    return [word for word in says if word not in text]
