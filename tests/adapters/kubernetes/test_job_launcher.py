"""What is left of a Job whose pod has ended before it was stopped; a launcher that was closed does nothing any more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from streamforge_utils.adapters.kubernetes import job_launcher
from streamforge_utils.adapters.kubernetes.job_cache import JOB_NAME_LABEL, JOB_UID_LABEL
from streamforge_utils.adapters.kubernetes.job_launcher import KubernetesLauncher
from streamforge_utils.adapters.kubernetes.job_records import JOB_KIND, JobRecord
from streamforge_utils.adapters.kubernetes.manifest import Template
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.ports.job_settings import KubernetesSettings
from streamforge_utils.ports.launcher import Job, JobState
from streamforge_utils.ports.store import State
from tests.adapters.kubernetes.scripted import Script, listed, serving
from tests.doubles.memorystore import MemoryStore
from tests.limits import LIMIT_S

replace = msgspec.structs.replace

METADATA = {"name": "job-a", "uid": "uid-a", "resourceVersion": "5"}
COMPLETE = {"conditions": [{"type": "Complete", "status": "True"}]}
POD = {
    "metadata": {
        "name": "job-a-x",
        "uid": "uid-x",
        "resourceVersion": "6",
        "labels": {JOB_NAME_LABEL: "job-a", JOB_UID_LABEL: "uid-a"},
    },
    "status": {"phase": "Succeeded", "containerStatuses": [{"state": {"terminated": {"exitCode": 0}}}]},
}


class Cluster(Script):
    """One Job of this status, and these pods. silent: whether there are others is never answered.

    settling: that was asked. graces: with which pods were deleted.
    """

    def __init__(self, status: dict[str, Any], *pods: dict[str, Any], silent: bool = False) -> None:
        super().__init__()
        self.settling = asyncio.Event()
        self.graces: list[int] = []
        self._silent = silent
        self._things = {"jobs": [{"metadata": METADATA, "status": status}], "pods": list(pods)}

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(f"{request.method} {request.path}")
        if self._silent and "uid-a" in request.query.get("labelSelector", ""):
            self.settling.set()
            await asyncio.Event().wait()
        if request.method == "DELETE" and "/pods/" in request.path:
            self.graces.append((await request.json())["gracePeriodSeconds"])
        if "watch" in request.query:
            await asyncio.Event().wait()
        return await listed(9, *self._things.get(request.path.rpartition("/")[2], []))(request)


class SlowStore(MemoryStore):
    """Writes wait for `gate`. writing: one does."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.writing = asyncio.Event(), asyncio.Event()

    async def put(
        self, kind: str, id: str, body: bytes, *, expected: str | None, labels: Any = None, created_ms: int = 0
    ) -> State:
        self.writing.set()
        await self.gate.wait()
        return await super().put(kind, id, body, expected=expected, labels=labels, created_ms=created_ms)


@asynccontextmanager
async def launching(
    cluster: Script, store: MemoryStore, folder: Path, *members: str
) -> AsyncIterator[KubernetesLauncher]:
    """A launcher on the cluster that knows of the Job, with these members."""
    record = JobRecord(name="job-a", uid="uid-a", target="t", queue_id="q", attempt=1, started_ms=1)
    record = replace(record, members=tuple(replace(record, name=one, basket="job-a") for one in members))
    await MemoryStore.put(store, JOB_KIND, "job-a", msgspec.json.encode(record), expected=None)
    async with serving(cluster, folder) as kubeconfig:
        settings = KubernetesSettings(kubeconfig=str(kubeconfig))
        launcher = KubernetesLauncher(Template(settings=settings, instance="sf-test"), store)
        try:
            yield launcher
        finally:
            await launcher.close()


async def test_what_was_to_be_looked_at_again_is_not_after_the_close(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_launcher, "_ASK_AGAIN_S", 0.0)
    cluster = Cluster(COMPLETE, silent=True)
    async with launching(cluster, MemoryStore(), tmp_path) as launcher:
        others = asyncio.all_tasks()
        async with asyncio.timeout(LIMIT_S):
            await launcher.jobs()
            await cluster.settling.wait()
        await launcher.close()
        asked = len(cluster.asked)
        for _ in range(100):
            await asyncio.sleep(0)
        left = {task.get_name() for task in asyncio.all_tasks() - others if "job-a" in task.get_name()}
        assert left == set()
        assert len(cluster.asked) == asked


async def ended(launcher: KubernetesLauncher) -> Job:
    while True:
        (job,) = await launcher.jobs()
        if job.state is JobState.ENDED:
            return job
        await asyncio.sleep(0)


async def test_a_job_whose_pod_has_ended_stays_though_it_is_stopped_before_its_end_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_launcher, "GONE_WITHIN_S", -1.0)  # as if so much time had passed: it tries once
    cluster, store = Cluster({}, POD), SlowStore()
    async with launching(cluster, store, tmp_path) as launcher, asyncio.timeout(LIMIT_S):
        (job,) = await launcher.jobs()
        await store.writing.wait()
        assert job.state is JobState.RUNNING, "what is not stored is not told"
        with pytest.raises(RetryableError, match="job-a has ended, but how is not stored yet"):
            await launcher.stop("job-a", grace_s=1)
        store.gate.set()
        found = await ended(launcher)
        assert (found.exit_code, found.reason) == (0, "")
    assert not [one for one in cluster.asked if one.startswith("DELETE")]


LIVING = {**POD, "spec": {"terminationGracePeriodSeconds": 90}, "status": {"phase": "Running"}}
WAITING = {**LIVING, "status": {"phase": "Pending"}}


@pytest.mark.parametrize(
    ("pod", "asked", "ended", "grace_s"),
    [
        (LIVING, ["a"], [], 90),
        (LIVING, ["a"], ["b"], 90),
        (LIVING, ["a"], ["b", "c"], 3),
        (LIVING, ["a", "b", "c"], [], 3),
        (LIVING, ["a", "b"], ["c"], 3),
        (WAITING, ["a"], [], 3),
    ],
)
async def test_while_others_go_on_the_pod_of_one_that_does_not_end_has_its_own_grace(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pod: dict[str, Any],
    asked: list[str],
    ended: list[str],
    grace_s: int,
) -> None:
    monkeypatch.setattr(job_launcher, "MEMBER_GRACE_S", 0.0)
    monkeypatch.setattr(job_launcher, "GONE_WITHIN_S", -1000.0)  # as if so much time had passed: it tries once
    cluster = Cluster({}, pod)
    async with launching(cluster, MemoryStore(), tmp_path, "a", "b", "c") as launcher, asyncio.timeout(LIMIT_S):
        for name in ended:
            await launcher.note_end(name, 0)
        stops = [launcher.stop(name, grace_s=2.5) for name in asked]
        assert {type(one) for one in await asyncio.gather(*stops, return_exceptions=True)} == {RetryableError}
        assert cluster.graces == [grace_s] * len(asked)
