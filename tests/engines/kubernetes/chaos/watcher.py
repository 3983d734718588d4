"""A watcher of pods, which notes whether pods of two attempts of a step ever run at once."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import combinations

from tests.engines.kubernetes.jobs import Namespace
from tests.engines.kubernetes.rest import ApiError, Object

LOOK_EVERY_S = 0.2


@dataclass
class Run:
    """When a pod's container ran: by its own status, and where it went before that reported its end, as last seen.

    taken_back: the pod was being deleted while its container ran.
    """

    step: str
    job: str
    name: str
    began: datetime
    ended: datetime
    taken_back: bool

    def overlaps(self, other: Run) -> bool:
        """Whether both ran at once; Kubernetes tells times in whole seconds."""
        return self.began < other.ended and other.began < self.ended


class PodWatcher:
    """runs: of each pod whose container began, by uid. looks: how many there were.

    A pod that never began counts for nothing. A Job controller that is killed right after it made a pod may make a
    second one, also if one is all that the Job asks for, and deletes one as soon as it sees both.
    """

    def __init__(self, namespace: Namespace) -> None:
        self.runs: dict[str, Run] = {}
        self.looks = 0
        self._namespace = namespace

    @property
    def doubled(self) -> dict[str, set[str]]:
        """The pods that ran, of Jobs of which more than one did."""
        found: defaultdict[str, set[str]] = defaultdict(set)
        for run in self.runs.values():
            found[run.job].add(run.name)
        return {job: pods for job, pods in found.items() if len(pods) > 1}

    @property
    def jobs(self) -> set[str]:
        """Those of which a pod ran."""
        return {run.job for run in self.runs.values()}

    @property
    def repeated(self) -> list[str]:
        """Pairs of pods of one Job that ran one after the other, or both to their end."""
        return [
            _of_two(one, other)
            for one, other in self._pairs()
            if one.job == other.job and not ((one.taken_back or other.taken_back) and one.overlaps(other))
        ]

    @property
    def overlaps(self) -> list[str]:
        """Steps of which pods of two attempts ran at once."""
        return [_of_two(one, other) for one, other in self._pairs() if one.job != other.job and one.overlaps(other)]

    def _pairs(self) -> Iterator[tuple[Run, Run]]:
        for one, other in combinations(self.runs.values(), 2):
            if one.step == other.step:
                yield one, other

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
        uid = pod["metadata"]["uid"]
        before = self.runs.get(uid)
        deleted = "running" in state and "deletionTimestamp" in pod["metadata"]
        self.runs[uid] = Run(
            step=f"{labels['queue_id']} {labels['streamforge.io/target']}",
            job=labels["batch.kubernetes.io/job-name"],
            name=pod["metadata"]["name"],
            began=began,
            ended=ended,
            taken_back=deleted or (before is not None and before.taken_back),
        )

    def _pods(self) -> list[Object]:
        found: list[Object] = self._namespace.rest.request("GET", f"{self._namespace.path}/pods", limit_s=30)["items"]
        return found


def _of_two(one: Run, other: Run) -> str:
    return f"{one.step}: {one.name} {one.began}-{one.ended}, {other.name} {other.began}-{other.ended}"
