"""Who looks on all the time: whether pods of two attempts of a step ever run at once."""

from __future__ import annotations

import asyncio
from collections import defaultdict

from tests.engines.kubernetes.jobs import Namespace
from tests.engines.kubernetes.rest import ApiError, Object

LOOK_EVERY_S = 0.2


class PodWatcher:
    """overlaps: steps of which two pods were seen running at once. attempts: the pods seen, by Job. looks: how many."""

    def __init__(self, namespace: Namespace) -> None:
        self.overlaps: set[str] = set()
        self.pods_of: defaultdict[str, set[str]] = defaultdict(set)
        self.looks = 0
        self._namespace = namespace

    async def watch(self) -> None:
        """Until cancelled."""
        while True:
            try:
                pods = await asyncio.to_thread(self._pods)
            except (ApiError, OSError):
                pods = []  # the API server was killed
            running = defaultdict(set)
            for pod in pods:
                labels = pod["metadata"]["labels"]
                self.pods_of[labels["batch.kubernetes.io/job-name"]].add(pod["metadata"]["uid"])
                if pod["status"].get("phase") == "Running":
                    step = f"{labels['queue_id']} {labels['streamforge.io/target']}"
                    running[step].add(pod["metadata"]["name"])
            self.overlaps |= {f"{step}: {sorted(names)}" for step, names in running.items() if len(names) > 1}
            self.looks += 1
            await asyncio.sleep(LOOK_EVERY_S)

    def _pods(self) -> list[Object]:
        found: list[Object] = self._namespace.rest.request("GET", f"{self._namespace.path}/pods", limit_s=5)["items"]
        return found
