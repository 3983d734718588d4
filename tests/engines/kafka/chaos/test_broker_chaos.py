"""The broker is killed, its network reset, stalled and cut, its disk full, in the middle of workflows.

Nothing confirmed is lost, nothing is stuck, and `finished` is true: what is stored is the exchange's own series.

STREAMFORGE_CHAOS_SEEDS: which schedules (1,2 by default). STREAMFORGE_CHAOS_BREAKS: how many rounds of breaks each of
them has (1; more for a soak).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from tests import busenv
from tests.chaos import processes
from tests.chaos.disturbance import BREAKING, ROUNDS, SEEDS, disturb, running
from tests.chaos.rig import Api, ManagerKeeper, exchange_process
from tests.chaos.watcher import Watcher
from tests.chaos.workload import check_workflows
from tests.engines.kafka.broker import Broker
from tests.engines.kafka.chaos.breaker import Breaker
from tests.engines.kafka.disk import SmallDisk
from tests.engines.proxy import Proxy

BREAKS = ("kill", "reset", "stall", "cut", "reset", "stall", "full")
DISK_MB = 256
END_WITHIN_S = 180.0


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
        settings = {**BREAKING, "STREAMFORGE_EXCHANGE_URL": exchange}
        keeper = ManagerKeeper(tmp_path / "data", tmp_path / "manager.log", settings)
        api, watcher = Api(keeper, client), Watcher(keeper)

        def story() -> list[str]:
            repeat = f"repeat it with STREAMFORGE_CHAOS_SEEDS={seed} STREAMFORGE_CHAOS_BREAKS={ROUNDS}"
            return [repeat, f"done: {breaker.done}", f"the broker's log ends with:\n{broker.log()[-1500:]}"]

        async with running(keeper, story):
            survivors = await disturb(
                api,
                client,
                exchange,
                breaker.run(),
                seed=seed,
                at_once=2,
                watching=[watcher.watch_processes(), watcher.watch_api(client)],
                within_s=END_WITHIN_S,
            )
            rows = await check_workflows(keeper, api, client, exchange, survivors.workflows)
            assert watcher.overlaps == []
            assert watcher.unanswered == []
            assert await keeper.down() == 0
            assert processes.of_data(keeper.data) == []
            print(f"\nseed {seed}: {breaker.done} {survivors.summary(rows)}")
