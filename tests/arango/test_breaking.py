"""The server is killed and restarted with its data, and fails in every way it can, in the middle of workflows.

Nothing stored is lost, nothing is there twice, nothing is stuck, and `finished` is true: what is stored is the
exchange's own series.

An odd seed is told on 3.12, an even one on 3.11, where statements compare versions.

STREAMFORGE_CHAOS_SEEDS: which schedules (1,2 by default). STREAMFORGE_CHAOS_BREAKS: how many rounds each of them has.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from tests import storeenv
from tests.arango import servers
from tests.arango.breaker import Breaker
from tests.chaos import processes
from tests.chaos.rig import Api, ManagerKeeper, clean_up, exchange_process
from tests.chaos.watcher import Watcher
from tests.chaos.workload import check_workflows, keep_busy
from tests.doubles import arangoprocess
from tests.doubles.arangoprocess import ArangoProcess

SEEDS = [int(text) for text in os.environ.get("STREAMFORGE_CHAOS_SEEDS", "1,2").split(",")]
ROUNDS = int(os.environ.get("STREAMFORGE_CHAOS_BREAKS", "1"))
END_WITHIN_S = 120.0

SETTINGS = {
    "STREAMFORGE_HEARTBEAT_SECONDS": "0.2",
    "STREAMFORGE_SILENT_SECONDS": "12",
    "STREAMFORGE_STUCK_SECONDS": "30",
    "STREAMFORGE_TOTAL_WEIGHT_PER_MINUTE": "100000",
}


@pytest.fixture
def double(seed: int, tmp_path: Path) -> Iterator[ArangoProcess]:
    """A double that may be broken; managers and workers know no other store."""
    version = "3.12.10" if seed % 2 else "3.11.14"
    with (
        arangoprocess.running(tmp_path / "double", version=version) as found,
        storeenv.instead(servers.databases(found)),
    ):
        yield found


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=20) as client:
        yield client


@pytest.mark.timeout(300 + 120 * ROUNDS)
@pytest.mark.parametrize("seed", SEEDS)
async def test_a_broken_server_costs_nothing(
    seed: int, double: ArangoProcess, tmp_path: Path, client: httpx.AsyncClient
) -> None:
    breaker = Breaker(double, seed, rounds=ROUNDS)
    async with exchange_process("--seed", "7", "--fault", "slow:ms=300,path=klines") as exchange:
        settings = {**SETTINGS, "STREAMFORGE_EXCHANGE_URL": exchange}
        keeper = ManagerKeeper(tmp_path / "data", tmp_path / "manager.log", settings)
        try:
            await keeper.up()
            await _run(seed, keeper, breaker, client, exchange)
        except BaseException as error:
            error.add_note(f"repeat it with STREAMFORGE_CHAOS_SEEDS={seed} STREAMFORGE_CHAOS_BREAKS={ROUNDS}")
            error.add_note(f"done: {breaker.done}")
            error.add_note(f"the manager's log ends with:\n{await keeper.autopsy()}")
            raise
        finally:
            await clean_up(keeper)


async def _run(seed: int, keeper: ManagerKeeper, breaker: Breaker, client: httpx.AsyncClient, exchange: str) -> None:
    api, watcher = Api(keeper, client), Watcher(keeper)
    queue_ids: list[str] = []
    began = time.monotonic()
    breaking = asyncio.create_task(breaker.run(), name="breaker")
    working = asyncio.create_task(keep_busy(api, seed, queue_ids, at_once=2), name="work")
    watching = asyncio.create_task(watcher.watch_processes())
    try:
        done, _ = await asyncio.wait({breaking, working, watching}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            await task
        assert breaking in done, "there was no work left to be disturbed"
        broken_s = time.monotonic() - began
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        (await client.delete(f"{exchange}/control/faults")).raise_for_status()
        workflows = await api.until_ended(queue_ids, END_WITHIN_S)
        took_s = time.monotonic() - began
    finally:
        for task in (breaking, working, watching):
            task.cancel()
        await asyncio.gather(breaking, working, watching, return_exceptions=True)
    rows = await check_workflows(keeper, api, client, exchange, workflows)
    assert watcher.overlaps == []
    assert not (keeper.data / "store").exists(), "something lies in the embedded store"
    assert await keeper.down() == 0
    assert processes.of_data(keeper.data) == []
    attempts = sum(len(step["attempts"]) for workflow in workflows.values() for step in workflow["steps"])
    print(
        f"\nseed {seed}: {breaker.done} in {broken_s:.0f} s, ended after {took_s:.0f} s; {len(workflows)} workflows, "
        f"{attempts} attempts, {rows} rows, {sum(w['repairs'] for w in workflows.values())} repairs"
    )
