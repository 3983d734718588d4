"""The broker is killed, its network reset, stalled and cut, its disk full, in the middle of workflows.

Nothing confirmed is lost, nothing is stuck, and `finished` is true: what is stored is the exchange's own series.

STREAMFORGE_CHAOS_SEEDS: which schedules (1,2 by default). STREAMFORGE_CHAOS_BREAKS: how many rounds of breaks each of
them has (1; more for a soak).
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from tests import busenv
from tests.chaos import processes
from tests.chaos.rig import Api, ManagerKeeper, clean_up, exchange_process
from tests.chaos.watcher import Watcher
from tests.chaos.workload import check_workflows, keep_busy
from tests.engines.kafka.broker import Broker
from tests.engines.kafka.chaos.breaker import Breaker
from tests.engines.kafka.disk import SmallDisk
from tests.engines.proxy import Proxy

SEEDS = [int(text) for text in os.environ.get("STREAMFORGE_CHAOS_SEEDS", "1,2").split(",")]
ROUNDS = int(os.environ.get("STREAMFORGE_CHAOS_BREAKS", "1"))
BREAKS = ("kill", "reset", "stall", "cut", "reset", "stall", "full")
DISK_MB = 256
END_WITHIN_S = 180.0

SETTINGS = {
    "STREAMFORGE_HEARTBEAT_SECONDS": "0.2",
    "STREAMFORGE_SILENT_SECONDS": "12",
    "STREAMFORGE_STUCK_SECONDS": "30",
    "STREAMFORGE_TOTAL_WEIGHT_PER_MINUTE": "100000",
}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with SmallDisk(tmp_path / "disk", size_mb=DISK_MB) as found:
        yield found


@pytest.fixture
def broker(tmp_path: Path, disk: SmallDisk) -> Iterator[Broker]:
    """A secured broker that may be broken."""
    found = Broker(tmp_path / "broker", secured=True, disk=disk)
    found.start()
    try:
        yield found
    finally:
        found.kill()


@pytest.fixture
def proxy(broker: Broker) -> Iterator[Proxy]:
    """The way to the broker; managers and workers know no other."""
    with broker.proxy() as found, busenv.instead(broker.environment(proxied=True)):
        yield found


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=10) as client:
        yield client


@pytest.mark.long
@pytest.mark.timeout(360 + 180 * ROUNDS)
@pytest.mark.parametrize("seed", SEEDS)
async def test_a_broken_broker_costs_nothing(
    seed: int, broker: Broker, proxy: Proxy, disk: SmallDisk, tmp_path: Path, client: httpx.AsyncClient
) -> None:
    breaker = Breaker(broker, proxy, disk, seed, BREAKS * ROUNDS)
    async with exchange_process("--seed", "7", "--fault", "slow:ms=300,path=klines") as exchange:
        settings = {**SETTINGS, "STREAMFORGE_EXCHANGE_URL": exchange}
        keeper = ManagerKeeper(tmp_path / "data", tmp_path / "manager.log", settings)
        try:
            await keeper.up()
            await _run(seed, keeper, breaker, client, exchange)
        except BaseException as error:
            error.add_note(f"repeat it with STREAMFORGE_CHAOS_SEEDS={seed} STREAMFORGE_CHAOS_BREAKS={ROUNDS}")
            error.add_note(f"done: {breaker.done}")
            error.add_note(f"the broker's log ends with:\n{broker.log()[-1500:]}")
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
    watching = [asyncio.create_task(watcher.watch_processes()), asyncio.create_task(watcher.watch_api(client))]
    try:
        done, _ = await asyncio.wait({breaking, working, *watching}, return_when=asyncio.FIRST_COMPLETED)
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
        for task in (breaking, working, *watching):
            task.cancel()
        await asyncio.gather(breaking, working, *watching, return_exceptions=True)
    rows = await check_workflows(keeper, api, client, exchange, workflows)
    assert watcher.overlaps == []
    assert watcher.unanswered == []
    assert await keeper.down() == 0
    assert processes.of_data(keeper.data) == []
    attempts = sum(len(step["attempts"]) for workflow in workflows.values() for step in workflow["steps"])
    print(
        f"\nseed {seed}: {breaker.done} in {broken_s:.0f} s, ended after {took_s:.0f} s; {len(workflows)} workflows, "
        f"{attempts} attempts, {rows} rows, {sum(w['repairs'] for w in workflows.values())} repairs"
    )
