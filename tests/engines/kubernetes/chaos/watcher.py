"""Who looks on all the time: whether pods of two attempts of a step ever run at once."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import combinations

from tests.engines.kubernetes.jobs import Namespace
from tests.engines.kubernetes.rest import ApiError, Object

LOOK_EVERY_S = 0.2


@dataclass
class Run:
    """When a pod's container ran: by its own status, and where it went before that reported its end, as last seen."""

    step: str
    job: str
    name: str
    began: datetime
    ended: datetime


class PodWatcher:
    """runs: of each pod whose container began, by uid. looks: how many there were.

    A pod that never began counts for nothing: a Job controller that is killed may make one too many, and takes it back.
    """

    def __init__(self, namespace: Namespace) -> None:
        self.runs: dict[str, Run] = {}
        self.looks = 0
        self._namespace = namespace

    @property
    def pods_of(self) -> dict[str, set[str]]:
        """The pods that ran, by Job."""
        found: defaultdict[str, set[str]] = defaultdict(set)
        for run in self.runs.values():
            found[run.job].add(run.name)
        return dict(found)

    @property
    def overlaps(self) -> list[str]:
        """Steps of which two pods ran at once: however shortly, as far as seconds can tell."""
        return [
            f"{one.step}: {one.name} {one.began}-{one.ended}, {other.name} {other.began}-{other.ended}"
            for one, other in combinations(self.runs.values(), 2)
            if one.step == other.step and one.began < other.ended and other.began < one.ended
        ]

    async def watch(self) -> None:
        """Until cancelled."""
        while True:
            try:
                pods = await asyncio.to_thread(self._pods)
            except (ApiError, OSError):
                pods = []  # the API server was killed
            for pod in pods:
                self._note(pod)
            self.looks += 1
            await asyncio.sleep(LOOK_EVERY_S)

    def _note(self, pod: Object) -> None:
        state: Object = next((one.get("state", {}) for one in pod["status"].get("containerStatuses") or ()), {})
        told = state.get("terminated") or state.get("running") or {}
        if not told.get("startedAt"):
            return
        labels, began = pod["metadata"]["labels"], datetime.fromisoformat(told["startedAt"])
        # In whole seconds, as Kubernetes tells times.
        now = datetime.now(UTC).replace(microsecond=0)
        ended = datetime.fromisoformat(told["finishedAt"]) if told.get("finishedAt") else max(began, now)
        self.runs[pod["metadata"]["uid"]] = Run(
            step=f"{labels['queue_id']} {labels['streamforge.io/target']}",
            job=labels["batch.kubernetes.io/job-name"],
            name=pod["metadata"]["name"],
            began=began,
            ended=ended,
        )

    def _pods(self) -> list[Object]:
        found: list[Object] = self._namespace.rest.request("GET", f"{self._namespace.path}/pods", limit_s=5)["items"]
        return found
