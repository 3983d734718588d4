"""A random killer of loaders, sinks and the manager ends with 0 lost, 0 duplicated, 0 stuck.

STREAMFORGE_CHAOS_KILLS: how many signals hit (52 by default; more for a soak). STREAMFORGE_CHAOS_SEED: which schedule.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests import busenv
from tests.chaos import processes
from tests.chaos.killer import Killer
from tests.chaos.rig import Api, ManagerKeeper, clean_up, exchange_process
from tests.chaos.watcher import Watcher
from tests.chaos.workload import check_workflows, keep_busy
from tests.limits import LIMIT_S

KILLS = int(os.environ.get("STREAMFORGE_CHAOS_KILLS", "52"))
SEED = int(os.environ.get("STREAMFORGE_CHAOS_SEED", "1"))

FREEZES = 3
SILENT_S = 8.0
SLOW_MS = 400
MEMORY_MB = 350.0
DISK_BYTES = 64 * 1024 * 1024

SETTINGS = {
    "STREAMFORGE_HEARTBEAT_SECONDS": "0.2",
    "STREAMFORGE_SILENT_SECONDS": f"{SILENT_S:g}",
    "STREAMFORGE_STUCK_SECONDS": "20",
    "STREAMFORGE_START_SECONDS": "60",  # on a busy machine a worker takes long to its first word
    "STREAMFORGE_TOTAL_WEIGHT_PER_MINUTE": "100000",
}


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=LIMIT_S) as client:
        yield client


@pytest.mark.timeout(1800 + 6 * KILLS)
async def test_nothing_is_lost_duplicated_or_stuck(tmp_path: Path, client: httpx.AsyncClient) -> None:
    data = tmp_path / "data"
    async with exchange_process("--seed", "7", "--fault", f"slow:ms={SLOW_MS},path=klines") as exchange:
        keeper = ManagerKeeper(data, tmp_path / "manager.log", {**SETTINGS, "STREAMFORGE_EXCHANGE_URL": exchange})
        killer = Killer(keeper, SEED, kills=KILLS, freezes=FREEZES, absence_s=SILENT_S + 2)
        try:
            await keeper.up()
            await _run(keeper, killer, client, exchange)
        except BaseException as error:
            error.add_note(f"repeat it with STREAMFORGE_CHAOS_SEED={SEED} STREAMFORGE_CHAOS_KILLS={KILLS}")
            error.add_note(f"struck: {killer.struck}")
            error.add_note(f"the manager's log ends with:\n{await keeper.autopsy()}")
            raise
        finally:
            await clean_up(keeper)


async def _run(keeper: ManagerKeeper, killer: Killer, client: httpx.AsyncClient, exchange: str) -> None:
    api, watcher = Api(keeper, client), Watcher(keeper)
    queue_ids: list[str] = []
    began = time.monotonic()
    killing = asyncio.create_task(killer.run(), name="killer")
    working = asyncio.create_task(keep_busy(api, SEED, queue_ids), name="work")
    watching = [asyncio.create_task(watcher.watch_processes()), asyncio.create_task(watcher.watch_api(client))]
    try:
        done, _ = await asyncio.wait({killing, working, *watching}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            await task
        assert killing in done, "there was no work left to be hit"
        killed_s = time.monotonic() - began
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        (await client.delete(f"{exchange}/control/faults")).raise_for_status()
        workflows = await api.until_ended(queue_ids, LIMIT_S)
        took_s = time.monotonic() - began
    finally:
        for task in (killing, working, *watching):
            task.cancel()
        await asyncio.gather(killing, working, *watching, return_exceptions=True)
    rows = await check_workflows(keeper, api, client, exchange, workflows)
    assert watcher.overlaps == []
    assert watcher.unanswered == []
    assert killer.killed >= KILLS
    assert keeper.process is not None
    memory = processes.peak_memory_mb(keeper.process.pid)
    assert memory < MEMORY_MB
    _check_disk(keeper.data)
    assert await keeper.down() == 0
    assert processes.of_data(keeper.data) == []
    attempts = sum(len(step["attempts"]) for workflow in workflows.values() for step in workflow["steps"])
    hits = dict(killer.hits)
    print(
        f"\nseed {SEED}: {killer.killed} kills {hits} in {killed_s:.0f} s, ended after {took_s:.0f} s, checked after "
        f"{time.monotonic() - began:.0f} s; {len(workflows)} workflows, {attempts} attempts, {rows} rows, "
        f"{sum(w['repairs'] for w in workflows.values())} repairs; {watcher.looks} looks, {watcher.answered} answers, "
        f"the slowest {watcher.slowest_s:.2f} s; manager {memory:.0f} MB"
    )


def _check_disk(data: Path) -> None:
    """Nothing piles up: neither logs nor what killed processes leave behind."""
    if not busenv.embedded():
        assert not (data / "bus").exists()
        return
    for topic in (data / "bus" / "topics").iterdir():
        size = sum(path.stat().st_size for path in topic.iterdir())
        assert size < DISK_BYTES, f"{topic.name}: {size} bytes"
