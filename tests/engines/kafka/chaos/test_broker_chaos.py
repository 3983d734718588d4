"""The broker is killed, its network reset, stalled and cut, its disk full, in the middle of workflows.

Nothing confirmed is lost, nothing is stuck, and `finished` is true: what is stored is the exchange's own series.

STREAMFORGE_CHAOS_SEEDS: which schedules (1,2 by default). STREAMFORGE_CHAOS_BREAKS: how many rounds of breaks each of
them has (1; more for a soak).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import httpx
import pytest

from tests import backends
from tests.chaos import processes
from tests.chaos.disturbance import BREAKING, ROUNDS, SEEDS, Watcher, check_workflows, disturb, running
from tests.chaos.rig import Api, ManagerKeeper, exchange_process
from tests.engines.kafka.broker import Broker
from tests.engines.kafka.disk import SmallDisk
from tests.engines.proxy import Proxy

BREAKS = ("kill", "reset", "stall", "cut", "reset", "stall", "full")
DISK_MB = 256
END_WITHIN_S = 180.0


PAUSE_S = (0.5, 2.5)
"""Between two breaks."""

STALL_S = (1.0, 8.0)
CUT_S = (0.5, 6.0)
REST_S = (0.0, 4.0)
"""How long the broker stays away after it was killed."""

ENDS_WITHIN_S = 60.0
"""So soon a broker whose disk is full is gone."""


class Breaker:
    """Does every break of `breaks`, in an order and with times of the seed. done: what was done, for a person.

    Each break is over before the next begins; after `run` broker, network and disk are whole.
    """

    def __init__(self, broker: Broker, proxy: Proxy, disk: SmallDisk, seed: int, breaks: Sequence[str]) -> None:
        self.done: list[str] = []
        self._broker = broker
        self._proxy = proxy
        self._disk = disk
        self._random = random.Random(f"breaker {seed}")
        self._breaks = self._random.sample(list(breaks), len(breaks))

    async def run(self) -> None:
        """Break. Raises what kept the broker from coming back."""
        for kind in self._breaks:
            await asyncio.sleep(self._random.uniform(*PAUSE_S))
            match kind:
                case "kill":
                    await self._kill()
                case "reset":
                    self.done.append(f"reset {await asyncio.to_thread(self._proxy.reset)} connections")
                case "stall":
                    await self._stall()
                case "cut":
                    await self._cut()
                case "full":
                    await self._fill()
                case _:
                    raise AssertionError(f"nobody knows how to break with {kind}")

    async def _kill(self) -> None:
        rest_s = self._random.uniform(*REST_S)
        self.done.append(f"killed, away for {rest_s:.1f} s and its start")
        await asyncio.to_thread(self._broker.kill)
        await asyncio.sleep(rest_s)
        await asyncio.to_thread(self._broker.start)

    async def _stall(self) -> None:
        stall_s = self._random.uniform(*STALL_S)
        self.done.append(f"stalled for {stall_s:.1f} s")
        await asyncio.to_thread(self._proxy.stall)
        try:
            await asyncio.sleep(stall_s)
        finally:
            await asyncio.to_thread(self._proxy.heal)

    async def _cut(self) -> None:
        cut_s = self._random.uniform(*CUT_S)
        connections = await asyncio.to_thread(self._proxy.cut)
        self.done.append(f"cut {connections} connections for {cut_s:.1f} s")
        try:
            await asyncio.sleep(cut_s)
        finally:
            await asyncio.to_thread(self._proxy.heal)

    async def _fill(self) -> None:
        """No byte is free, until the broker has ended itself; then there is space again."""
        self.done.append("disk full")
        await asyncio.to_thread(self._disk.fill)
        try:
            await asyncio.to_thread(self._broker.wait, ENDS_WITHIN_S)
        finally:
            await asyncio.to_thread(self._disk.empty)
        await asyncio.to_thread(self._broker.start)


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
    with broker.proxy() as found, backends.on_bus(broker.environment(proxied=True)):
        yield found


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=60) as client:
        yield client


@pytest.mark.long
@pytest.mark.timeout(1800 + 180 * ROUNDS)
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
