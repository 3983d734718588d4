"""Services that are started with settings that cannot work."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.e2e import rig

LIMIT = 24
"""So many laps, 15 s of a machine that has a core for it, and a service has ended."""

LAP_S = 0.5
"""A lap is this pause and a command that only tells its version, 0.65 s in all on such a machine. Both take as much
longer on a machine with other work to do as what is tried takes beside them."""

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


@contextmanager
def laps() -> Iterator[list[int]]:
    """Go round in laps during the block; one item for each that is over."""
    over, made = threading.Event(), list[int]()

    def go_round() -> None:
        while not over.wait(LAP_S):
            made.append(rig.ended("-m", "streamforge.cli", "--version").returncode)

    thread = threading.Thread(target=go_round)
    thread.start()
    try:
        yield made
    finally:
        over.set()
        thread.join()


def run(arguments: list[str], environ: Mapping[str, str], data: Path) -> tuple[Ended, int]:
    """Run a service to its end; with the laps that took."""
    where = {
        "STREAMFORGE_DATA_DIR": str(data),
        "STREAMFORGE_PORT": "0",
        "STREAMFORGE_METRICS_PORT": "0",
        "STREAMFORGE_LOG_FORMAT": "json",
    }
    with laps() as made:
        done = rig.ended(*arguments, environ=where | dict(environ))
    assert not any(made), "a lap did not even tell the version"
    return done, len(made)


def worker(environ: Mapping[str, str], data: Path) -> tuple[Ended, int]:
    """Run a sink."""
    return run(["-m", "streamforge.workers", "arango-candles"], environ, data)


def doctor(environ: Mapping[str, str], data: Path) -> tuple[Ended, int]:
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
