"""The random killer: which process gets which signal when, drawn from a seed."""

from __future__ import annotations

import asyncio
import random
import signal
from collections import Counter
from collections.abc import Callable

from tests.chaos import processes
from tests.chaos.processes import Job
from tests.chaos.rig import ManagerKeeper

PAUSE_S = (0.25, 0.95)
"""Between two strikes."""

KINDS = {"loader": 5, "sink": 5, "shim": 2, "both": 2, "manager": 5, "terminate": 3, "doze": 1}
"""What may come next, with its weight. doze: stopped for less than the limit of silence, then it goes on."""

DOZE_S = (0.3, 1.5)
REST_S = (0.1, 1.2)
"""How long the manager stays down."""

_NOBODY_S = 0.1


class Killer:
    """Strikes until `kills` SIGKILLs and SIGTERMs have hit a live process.

    freezes: how many workers are stopped and never woken, each of another workflow. absence_s: how long the manager
    stays away once, longer than the limit of silence.
    """

    def __init__(self, keeper: ManagerKeeper, seed: int, *, kills: int, freezes: int, absence_s: float) -> None:
        self.hits: Counter[str] = Counter()
        self.frozen: list[Job] = []
        self.struck: list[str] = []
        self._keeper = keeper
        self._random = random.Random(seed)
        self._kills = kills
        self._absence_s: float | None = absence_s
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
                await asyncio.sleep(self._random.uniform(*PAUSE_S))
                if self._restarting is not None and self._restarting.done():
                    await self._restarting
                kind = self._next_kind()
                if await self._strike(kind):
                    self.hits[kind] += 1
                else:
                    await asyncio.sleep(_NOBODY_S)
            if self._restarting is not None:
                await self._restarting
            if self._waking:
                await asyncio.gather(*self._waking)
        finally:
            tasks = [*self._waking, *([self._restarting] if self._restarting is not None else [])]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _next_kind(self) -> str:
        if len(self.frozen) < len(self._freeze_at) and self.killed >= self._freeze_at[len(self.frozen)]:
            return "freeze"
        if self._absence_s is not None and self.killed >= self._absent_at:
            return "manager"
        return self._random.choices(list(KINDS), weights=list(KINDS.values()))[0]

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
