"""The server is killed and restarted with its data, and fails in every way it can, in the middle of workflows.

Nothing stored is lost, nothing is there twice, nothing is stuck, and `finished` is true: what is stored is the
exchange's own series.

An odd seed is told on 3.12, an even one on 3.11, where statements compare versions.

STREAMFORGE_CHAOS_SEEDS: which schedules (1,2 by default). STREAMFORGE_CHAOS_BREAKS: how many rounds each of them has.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import backends
from tests.arango import servers
from tests.chaos import processes
from tests.chaos.disturbance import BREAKING, ROUNDS, SEEDS, Watcher, check_workflows, disturb, running
from tests.chaos.rig import Api, ManagerKeeper, exchange_process
from tests.doubles import arangoprocess
from tests.doubles.arangoprocess import ArangoProcess

PAUSE_S = (0.3, 1.5)
"""Between two breaks."""

LASTS_S = (0.5, 3.0)
REST_S = (0.0, 3.0)
"""How long the server stays away after it was killed."""

FAULTS: dict[str, dict[str, Any]] = {
    "queue-full": {"kind": "queue-full", "share": 0.5},
    "maintenance": {"kind": "maintenance"},
    "leader": {"kind": "leader-resigned", "share": 0.4},
    "cut-before": {"kind": "cut-before", "share": 0.3},
    "cut-after": {"kind": "cut-after", "share": 0.3},
    "failed-after": {"kind": "error-after", "number": 1457, "share": 0.3},
    "conflict": {"kind": "conflict", "share": 0.4, "method": "POST|PATCH"},
    "element": {"kind": "element", "number": 1200, "share": 0.01},
    "slow": {"kind": "slow", "seconds": 0.2},
}
KILLS = 3


class Breaker:
    """Does every fault of `FAULTS` and kills the server `KILLS` times, in an order and with times of the seed.

    done: what was done, for a person. After `run` the server is whole.
    """

    def __init__(self, double: ArangoProcess, seed: int, *, rounds: int = 1) -> None:
        self.done: list[str] = []
        self._double = double
        self._random = random.Random(f"breaker {seed}")
        kinds = [*FAULTS, *["kill"] * KILLS] * rounds
        self._breaks: Sequence[str] = self._random.sample(kinds, len(kinds))

    async def run(self) -> None:
        """Break. Raises what kept the server from coming back."""
        for number, kind in enumerate(self._breaks):
            await asyncio.sleep(self._random.uniform(*PAUSE_S))
            if kind == "kill":
                await self._kill()
                continue
            lasts_s = self._random.uniform(*LASTS_S)
            await asyncio.to_thread(self._double.fail, **{**FAULTS[kind], "seed": number})
            await asyncio.sleep(lasts_s)
            hits = await asyncio.to_thread(self._double.hits, FAULTS[kind]["kind"])
            await asyncio.to_thread(self._double.behave)
            self.done.append(f"{kind} for {lasts_s:.1f} s, {hits} hits so far")

    async def _kill(self) -> None:
        rest_s = self._random.uniform(*REST_S)
        await asyncio.to_thread(self._double.kill)
        await asyncio.sleep(rest_s)
        await asyncio.to_thread(self._double.start)
        self.done.append(f"killed, away for {rest_s:.1f} s and its start")


END_WITHIN_S = 120.0


@pytest.fixture
def double(seed: int, tmp_path: Path) -> Iterator[ArangoProcess]:
    """A double that may be broken; managers and workers know no other store."""
    version = "3.12.10" if seed % 2 else "3.11.14"
    with (
        arangoprocess.running(tmp_path / "double", version=version) as found,
        backends.on_store(servers.databases(found)),
    ):
        yield found


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=20) as client:
        yield client


@pytest.mark.timeout(1800 + 120 * ROUNDS)
@pytest.mark.parametrize("seed", SEEDS)
async def test_a_broken_server_costs_nothing(
    seed: int, double: ArangoProcess, tmp_path: Path, client: httpx.AsyncClient
) -> None:
    breaker = Breaker(double, seed, rounds=ROUNDS)
    async with exchange_process("--seed", "7", "--fault", "slow:ms=300,path=klines") as exchange:
        settings = {**BREAKING, "STREAMFORGE_EXCHANGE_URL": exchange}
        keeper = ManagerKeeper(tmp_path / "data", tmp_path / "manager.log", settings)
        api, watcher = Api(keeper, client), Watcher(keeper)
        repeat = f"repeat it with STREAMFORGE_CHAOS_SEEDS={seed} STREAMFORGE_CHAOS_BREAKS={ROUNDS}"
        async with running(keeper, lambda: (repeat, f"done: {breaker.done}")):
            survivors = await disturb(
                api,
                client,
                exchange,
                breaker.run(),
                seed=seed,
                at_once=2,
                watching=[watcher.watch_processes()],
                within_s=END_WITHIN_S,
            )
            rows = await check_workflows(keeper, api, client, exchange, survivors.workflows)
            assert watcher.overlaps == []
            assert not (keeper.data / "store").exists(), "something lies in the embedded store"
            assert await keeper.down() == 0
            assert processes.of_data(keeper.data) == []
            print(f"\nseed {seed}: {breaker.done} {survivors.summary(rows)}")
