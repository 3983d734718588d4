"""A random killer of loaders, sinks and the manager ends with 0 lost, 0 duplicated, 0 stuck.

Candles and trades come over REST and from files, from an exchange that is slow and often wrong.

STREAMFORGE_CHAOS_KILLS: how many signals hit (52 by default; more for a soak). STREAMFORGE_CHAOS_SEED: which schedule.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import ClassVar

import httpx
import pytest

from streamforge_utils.runtime.output.topic_specs import DATA_MAX_BYTES
from tests import backends
from tests.chaos import processes
from tests.chaos.disturbance import TROUBLE, Watcher, check_workflows, disturb, running
from tests.chaos.processes import Job
from tests.chaos.rig import Api, ManagerKeeper, exchange_process
from tests.limits import LIMIT_S

KILLS = int(os.environ.get("STREAMFORGE_CHAOS_KILLS", "52"))
SEED = int(os.environ.get("STREAMFORGE_CHAOS_SEED", "1"))

FREEZES = 3
SILENT_S = 8.0
MEMORY_MB = 350.0
DISK_BYTES = DATA_MAX_BYTES + 8 * 1024 * 1024
"""Of a topic: loaders of files that are killed bring all again."""

SETTINGS = {
    "STREAMFORGE_HEARTBEAT_SECONDS": "0.2",
    "STREAMFORGE_SILENT_SECONDS": f"{SILENT_S:g}",
    "STREAMFORGE_STUCK_SECONDS": "20",
    "STREAMFORGE_START_SECONDS": "60",  # on a busy machine a worker takes long to its first word
    "STREAMFORGE_TOTAL_WEIGHT_PER_MINUTE": "100000",
}


PAUSE_S = (0.25, 0.95)
"""Between two strikes."""

KINDS = {"download": 2, "loader": 5, "sink": 5, "shim": 2, "both": 2, "manager": 5, "terminate": 3, "doze": 1}
"""What may come next, with its weight. download: a loader of files.

doze: stopped for less than the limit of silence, then it goes on."""

DOZE_S = (0.3, 1.5)
REST_S = (0.1, 1.2)
"""How long the manager stays down."""

_NOBODY_S, _PATIENCE = 0.1, 50
"""So often it is tried again where nobody is there to be struck: else the manager alone is, while workers are few."""


class Killer:
    """Strikes until `kills` SIGKILLs and SIGTERMs have hit a live process.

    freezes: how many workers are stopped and never woken, each of another workflow. absence_s: how long the manager
    stays away once, longer than the limit of silence; None: never. kinds: what may come next, with its weight.
    pause_s: between strikes, of up to `most_at_once` at the same moment.
    """

    kinds: Mapping[str, int] = KINDS
    pause_s: ClassVar[tuple[float, float]] = PAUSE_S
    most_at_once: ClassVar[int] = 1

    def __init__(self, keeper: ManagerKeeper, seed: int, *, kills: int, freezes: int, absence_s: float | None) -> None:
        self.hits: Counter[str] = Counter()
        self.frozen: list[Job] = []
        self.struck: list[str] = []
        self._keeper = keeper
        self._random = random.Random(seed)
        self._kills = kills
        self._absence_s = absence_s
        self._absent_at = kills * 2 // 3
        self._freeze_at = [round(kills * (2 * n + 1) / (3 * freezes)) for n in range(freezes)]
        self._restarting: asyncio.Task[None] | None = None
        self._waking: set[asyncio.Task[None]] = set()

    @property
    def killed(self) -> int:
        """Signals that end a process and hit a live one."""
        return sum(count for kind, count in self.hits.items() if kind not in ("doze", "freeze"))

    async def run(self) -> None:
        """Strike, and leave a manager that runs. Raises what went wrong with its restarts."""
        try:
            while self.killed < self._kills:
                await asyncio.sleep(self._random.uniform(*self.pause_s))
                if self._restarting is not None and self._restarting.done():
                    await self._restarting
                for _ in range(self._random.randint(1, self.most_at_once)):
                    await self._hit(self._next_kind())
            if self._restarting is not None:
                await self._restarting
            if self._waking:
                await asyncio.gather(*self._waking)
        finally:
            tasks = [*self._waking, *([self._restarting] if self._restarting is not None else [])]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _hit(self, kind: str) -> None:
        for _ in range(_PATIENCE):
            if await self._strike(kind):
                self.hits[kind] += 1
                return
            await asyncio.sleep(_NOBODY_S)

    def _next_kind(self) -> str:
        if len(self.frozen) < len(self._freeze_at) and self.killed >= self._freeze_at[len(self.frozen)]:
            return "freeze"
        if self._absence_s is not None and self.killed >= self._absent_at:
            return "manager"
        if "download" in self.kinds and self.killed >= self._kills // 3 and not self.hits["download"]:
            return "download"
        return self._draw()

    def _draw(self) -> str:
        return self._random.choices(list(self.kinds), weights=list(self.kinds.values()))[0]

    async def _strike(self, kind: str) -> bool:
        if kind == "manager":
            return await self._kill_manager()
        job = self._choose(kind)
        if job is None:
            return False
        hit = self._send(kind, job)
        if hit:
            self.struck.append(f"{kind} {job.name}")
        return hit

    def _choose(self, kind: str) -> Job | None:
        asleep = {job.name for job in self.frozen}
        fits: Callable[[Job], bool] = {
            "loader": lambda job: job.worker is not None and job.target.startswith("loader"),
            "download": lambda job: job.worker is not None and job.target == "loader-producer",
            "sink": lambda job: job.worker is not None and job.target.startswith("arango"),
            "shim": lambda job: job.shim is not None,
            "both": lambda job: job.worker is not None and job.shim is not None,
            "freeze": lambda job: job.worker is not None and job.queue_id not in {j.queue_id for j in self.frozen},
        }.get(kind, lambda job: job.worker is not None)
        jobs = [job for job in processes.live_jobs(self._keeper.data) if fits(job) and job.name not in asleep]
        return self._random.choice(jobs) if jobs else None

    def _send(self, kind: str, job: Job) -> bool:
        data = self._keeper.data
        worker, shim = job.worker or -1, job.shim or -1
        match kind:
            case "shim":
                return processes.kill(shim, data, signal.SIGKILL)
            case "both":
                first = processes.kill(shim, data, signal.SIGKILL)
                return processes.kill(worker, data, signal.SIGKILL) or first
            case "terminate":
                return processes.kill(worker, data, signal.SIGTERM)
            case "freeze":
                if hit := processes.kill(worker, data, signal.SIGSTOP):
                    self.frozen.append(job)
                return hit
            case "doze":
                if hit := processes.kill(worker, data, signal.SIGSTOP):
                    self._waking.add(asyncio.create_task(self._wake(worker, self._random.uniform(*DOZE_S))))
                return hit
            case _:
                return processes.kill(worker, data, signal.SIGKILL)

    async def _wake(self, worker: int, after_s: float) -> None:
        await asyncio.sleep(after_s)
        processes.kill(worker, self._keeper.data, signal.SIGCONT)

    async def _kill_manager(self) -> bool:
        # It may be killed while it still starts.
        if not await self._keeper.kill():
            return False
        if self._restarting is not None:
            await self._restarting
        rest_s = self._random.uniform(*REST_S)
        if self._absence_s is not None and self.killed >= self._absent_at:
            rest_s, self._absence_s = self._absence_s, None
        self.struck.append(f"manager for {rest_s:.2f} s")
        self._restarting = asyncio.create_task(self._restart(rest_s))
        return True

    async def _restart(self, rest_s: float) -> None:
        await asyncio.sleep(rest_s)
        await self._keeper.up()


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=LIMIT_S) as client:
        yield client


@pytest.mark.timeout(1800 + 6 * KILLS)
async def test_nothing_is_lost_duplicated_or_stuck(tmp_path: Path, client: httpx.AsyncClient) -> None:
    await survive(tmp_path, client, kills=KILLS, freezes=FREEZES, absence_s=SILENT_S + 2)


async def survive(
    tmp_path: Path, client: httpx.AsyncClient, *, kills: int, freezes: int, absence_s: float | None
) -> None:
    """Let a `Killer` strike while the manager is busy; then nothing is lost, there twice or stuck."""
    data = tmp_path / "data"
    faults = (word for fault in TROUBLE for word in ("--fault", f"{fault},seed={SEED}"))
    async with exchange_process("--seed", "7", *faults) as exchange:
        urls = {"STREAMFORGE_EXCHANGE_URL": exchange, "STREAMFORGE_ARCHIVE_URL": exchange}
        keeper = ManagerKeeper(data, tmp_path / "manager.log", SETTINGS | urls)
        killer = Killer(keeper, SEED, kills=kills, freezes=freezes, absence_s=absence_s)
        api, watcher = Api(keeper, client), Watcher(keeper)
        repeat = f"repeat it with STREAMFORGE_CHAOS_SEED={SEED} STREAMFORGE_CHAOS_KILLS={kills}"
        async with running(keeper, lambda: (repeat, f"struck: {killer.struck}")):
            survivors = await disturb(
                api,
                client,
                exchange,
                killer.run(),
                seed=SEED,
                archive=True,
                watching=[watcher.watch_processes(), watcher.watch_api(client)],
                within_s=LIMIT_S,
            )
            rows = await check_workflows(keeper, api, client, exchange, survivors.workflows)
            assert watcher.overlaps == []
            assert watcher.unanswered == []
            assert killer.killed >= kills
            assert killer.hits["download"]
            assert keeper.process is not None
            memory = processes.peak_memory_mb(keeper.process.pid)
            assert memory < MEMORY_MB
            check_disk(keeper.data)
            assert await keeper.down() == 0
            assert processes.of_data(keeper.data) == []
            print(
                f"\nseed {SEED}: {killer.killed} kills {dict(killer.hits)} {survivors.summary(rows)}; "
                f"{watcher.looks} looks, {watcher.answered} answers, the slowest {watcher.slowest_s:.2f} s; "
                f"manager {memory:.0f} MB"
            )


def check_disk(data: Path) -> None:
    """Nothing piles up: neither logs nor what killed processes leave behind."""
    if not backends.bus_embedded():
        assert not (data / "bus").exists()
        return
    for topic in (data / "bus" / "topics").iterdir():
        size = sum(path.stat().st_size for path in topic.iterdir())
        assert size < DISK_BYTES, f"{topic.name}: {size} bytes"
