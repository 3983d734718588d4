"""Work for those who are disturbed at it: workflow after workflow, and what must be true of all of them afterwards."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec

from tests import storeenv
from tests.chaos import processes
from tests.chaos.rig import Api, ManagerKeeper
from tests.chaos.verdict import assert_covered, assert_history, assert_rows

AT_ONCE = 4


def requests(seed: int) -> Iterator[dict[str, Any]]:
    """One request after another, each of its own collection: 13,000 to 45,000 candles."""
    draw = random.Random(f"requests {seed}")
    months = [f"{year}-{month:02d}" for year in (2022, 2023) for month in range(1, 13)]
    starts = [
        (symbol, interval, month) for symbol in ("BTC", "ETH", "BNB", "SOL") for interval in (1, 3) for month in months
    ]
    for symbol, interval, month in draw.sample(starts, len(starts)):
        yield {
            "symbol": f"{symbol}USDT",
            "type": f"api_candles_{interval}m",
            "time_range": month,
            # One page at a time, so that there is something to kill for a while.
            "parameters": {"loader-api-candles": {"concurrency": 1}},
        }


async def keep_busy(api: Api, seed: int, started: list[str], *, at_once: int = AT_ONCE) -> None:
    """Until cancelled: as soon as one of `at_once` workflows has ended, start another. started: their queue_ids."""
    running: list[str] = []
    for number, request in enumerate(requests(seed)):
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
    store = storeenv.make_store(keeper.data)
    try:
        for queue_id, workflow in workflows.items():
            assert_covered(workflow, await api.ask("GET", f"/queues/{queue_id}/coverage"))
            assert_history(workflow, await api.events(queue_id))
            assert (await api.ask("GET", f"/queues/{queue_id}/dlq"))["dead_letters"] == []
            rows += await assert_rows(store, client, exchange, workflow)
    finally:
        await store.close()
    listed = await api.ask("GET", "/queues", params={"limit": 1000})
    assert {one["queue_id"] for one in listed["queues"]} == set(workflows), "a request was accepted twice"
    _check_jobs(keeper.data, workflows)
    log = keeper.log.read_text(errors="replace")
    assert "Traceback" not in log
    return rows


def _check_jobs(data: Path, workflows: Mapping[str, Mapping[str, Any]]) -> None:
    """Every job belongs to an attempt, every attempt that spoke had a job, and one ended before the next was begun."""
    specs = {path.parent.name: msgspec.json.decode(path.read_bytes()) for path in (data / "jobs").glob("*/spec.json")}
    steps = [step for workflow in workflows.values() for step in workflow["steps"]]
    attempts = {attempt["job"]: attempt for step in steps for attempt in step["attempts"]}
    assert set(specs) <= set(attempts), "a job that no workflow knows"
    assert {job for job, attempt in attempts.items() if attempt["started_at"] is not None} <= set(specs)
    assert processes.live_jobs(data) == []
    for step in steps:
        for before, after in zip(step["attempts"], step["attempts"][1:], strict=False):
            if after["job"] in specs:
                begun = specs[after["job"]]["started_ms"]
                assert _moment(before["ended_at"]) <= datetime.fromtimestamp(begun / 1000, UTC), (before, begun)


def _moment(text: str) -> datetime:
    """A time as the API writes it; as texts they do not sort: one without a fraction comes behind those with one."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)  # a midnight is a date alone
