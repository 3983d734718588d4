"""A random killer of loaders, sinks and the manager ends with 0 lost, 0 duplicated, 0 stuck.

STREAMFORGE_CHAOS_KILLS: how many signals hit (52 by default; more for a soak). STREAMFORGE_CHAOS_SEED: which schedule.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests import busenv
from tests.chaos import processes
from tests.chaos.disturbance import disturb, running
from tests.chaos.killer import Killer
from tests.chaos.rig import Api, ManagerKeeper, exchange_process
from tests.chaos.watcher import Watcher
from tests.chaos.workload import check_workflows
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
        api, watcher = Api(keeper, client), Watcher(keeper)
        repeat = f"repeat it with STREAMFORGE_CHAOS_SEED={SEED} STREAMFORGE_CHAOS_KILLS={KILLS}"
        async with running(keeper, lambda: (repeat, f"struck: {killer.struck}")):
            survivors = await disturb(
                api,
                client,
                exchange,
                killer.run(),
                seed=SEED,
                watching=[watcher.watch_processes(), watcher.watch_api(client)],
                within_s=LIMIT_S,
            )
            rows = await check_workflows(keeper, api, client, exchange, survivors.workflows)
            assert watcher.overlaps == []
            assert watcher.unanswered == []
            assert killer.killed >= KILLS
            assert keeper.process is not None
            memory = processes.peak_memory_mb(keeper.process.pid)
            assert memory < MEMORY_MB
            _check_disk(keeper.data)
            assert await keeper.down() == 0
            assert processes.of_data(keeper.data) == []
            print(
                f"\nseed {SEED}: {killer.killed} kills {dict(killer.hits)} {survivors.summary(rows)}; "
                f"{watcher.looks} looks, {watcher.answered} answers, the slowest {watcher.slowest_s:.2f} s; "
                f"manager {memory:.0f} MB"
            )


def _check_disk(data: Path) -> None:
    """Nothing piles up: neither logs nor what killed processes leave behind."""
    if not busenv.embedded():
        assert not (data / "bus").exists()
        return
    for topic in (data / "bus" / "topics").iterdir():
        size = sum(path.stat().st_size for path in topic.iterdir())
        assert size < DISK_BYTES, f"{topic.name}: {size} bytes"
