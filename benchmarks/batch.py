"""How long a batch of many symbols takes, from the request to the proof of all."""

from __future__ import annotations

import http.client
import json
import os
import time
from typing import Any
from urllib.parse import urlsplit

from benchmarks.common.bench import Bench
from benchmarks.common.measuring import Line, Section, Size
from benchmarks.common.processes import UNLIMITED_WEIGHT, exchange, manager

SYMBOLS = {Size.FULL: 500, Size.QUICK: 60, Size.TINY: 4}
LIMIT_S = 900.0
_EVERY_S = 0.25
_DAY = "2014-06-01"
_CANDLES = 1440


def run(bench: Bench) -> Section:
    """Measure it."""
    count = SYMBOLS[bench.size]
    seconds, cpu_s = bench.undisturbed(lambda: _loaded(bench, count))
    limit = 120.0 if bench.size is Size.FULL else None
    return Section(
        title="A batch",
        how=(
            f"`POST /batches` with a pattern that {count} symbols fit and a day of 1m candles, to a real manager with "
            "the embedded bus, store and launcher, until every symbol is proven. The test exchange is a process of the "
            "same machine."
        ),
        lines=(
            Line(what=f"a batch of {count} symbols, a day of 1m candles each", measured=seconds, unit="s", below=limit),
        ),
        details=(
            f"{count / seconds:.1f} symbols a second, {cpu_s / count * 1000:.0f} ms of processor time for each, the "
            "exchange's included.",
        ),
    )


def _loaded(bench: Bench, count: int) -> tuple[float, float]:
    """Seconds until all is proven, and the processor time that all processes took for it."""
    before = _cpu_s()
    with bench.folder() as folder, exchange(count) as url:
        settings = {"STREAMFORGE_TOTAL_WEIGHT_PER_MINUTE": str(UNLIMITED_WEIGHT)}
        with manager(folder / "data", url, **settings) as address:
            began = time.perf_counter()
            body = {"symbols": ["*USDT"], "type": "api_candles_1m", "time_range": _DAY}
            batch = _asked(address, "POST", "/batches", body)
            while batch["ended_at"] is None:
                if time.perf_counter() - began > LIMIT_S:
                    raise RuntimeError(f"the batch does not end: {batch}")
                time.sleep(_EVERY_S)
                batch = _asked(address, "GET", f"/batches/{batch['batch_id']}")
            seconds = time.perf_counter() - began
            _require_single_attempts(address, batch["batch_id"])
    stored = batch["progress"]["records_stored"]
    if batch["status"] != "finished" or batch["counts"]["finished"] != count or stored != count * _CANDLES:
        raise RuntimeError(f"not all of the batch is proven: {batch}")
    bench.say(f"{count} symbols in {seconds:.1f} s")
    return seconds, _cpu_s() - before


def _require_single_attempts(address: str, batch_id: str) -> None:
    """Raises RuntimeError where a step ran more than once, although nothing failed."""
    page = f"/queues?batch={batch_id}&limit=200"
    found = _asked(address, "GET", page)
    while found["queues"]:
        for queue in found["queues"]:
            for step in _asked(address, "GET", queue["links"]["self"])["steps"]:
                if len(step["attempts"]) != 1:
                    raise RuntimeError(f"{queue['queue_id']}: a step has not run once: {step}")
        if found["cursor"] is None:
            return
        found = _asked(address, "GET", f"{page}&cursor={found['cursor']}")


def _cpu_s() -> float:
    """The processor time of all ended children, and of theirs."""
    times = os.times()
    return times.children_user + times.children_system


def _asked(address: str, method: str, path: str, body: object = None) -> dict[str, Any]:
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=60)
    sent = None if body is None else json.dumps(body)
    connection.request(method, path, sent, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    found: dict[str, Any] = json.loads(answer.read())
    connection.close()
    if answer.status >= 300:
        raise RuntimeError(f"{method} {path}: HTTP {answer.status} {found}")
    return found
