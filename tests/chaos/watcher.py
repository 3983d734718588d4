"""Those who look on all the time: whether two attempts of a step ever live at once, and whether the API answers."""

from __future__ import annotations

import asyncio
from collections import defaultdict

import httpx

from tests.chaos import processes
from tests.chaos.rig import ANSWER_WITHIN_S, ManagerKeeper

LOOK_EVERY_S = 0.05


class Watcher:
    """overlaps: steps of which two attempts (or two processes of one) were seen alive at once. looks: how many."""

    def __init__(self, keeper: ManagerKeeper) -> None:
        self.overlaps: list[str] = []
        self.unanswered: list[str] = []
        self.answered = 0
        self.looks = 0
        self.slowest_s = 0.0
        self._keeper = keeper
        self._gone: set[str] = set()

    async def watch_processes(self) -> None:
        """Until cancelled."""
        while True:
            by_step = defaultdict(list)
            for job in processes.live_jobs(self._keeper.data, self._gone):
                if job.worker is not None:
                    by_step[(job.queue_id, job.target)].append(job)
            for step, jobs in by_step.items():
                if len(jobs) > 1:
                    self.overlaps.append(f"{step}: {jobs}")
            self.looks += 1
            await asyncio.sleep(LOOK_EVERY_S)

    async def watch_api(self, client: httpx.AsyncClient) -> None:
        """Until cancelled: a manager that is up, and was not killed meanwhile, answers in time."""
        loop = asyncio.get_running_loop()
        while True:
            generation, url = self._keeper.generation, self._keeper.url
            if url is not None:
                for path in ("/healthz", "/queues?limit=20"):
                    asked = loop.time()
                    trouble = await _trouble(client, url + path)
                    still_up = self._keeper.url == url and self._keeper.generation == generation
                    if trouble is None:
                        self.answered += 1
                        self.slowest_s = max(self.slowest_s, loop.time() - asked)
                    elif still_up:
                        self.unanswered.append(f"{path} after {loop.time() - asked:.1f} s: {trouble}")
            await asyncio.sleep(0.1)


async def _trouble(client: httpx.AsyncClient, url: str) -> str | None:
    try:
        answer = await client.get(url, timeout=ANSWER_WITHIN_S)
    except httpx.TransportError as error:
        return repr(error)
    return None if answer.status_code == 200 else f"{answer.status_code} {answer.text[:300]}"
