"""A launcher that was closed does nothing any more: no timer of it opens another connection."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from streamforge_utils.adapters.kubernetes import job_launcher
from streamforge_utils.adapters.kubernetes.job_launcher import KubernetesLauncher
from streamforge_utils.adapters.kubernetes.job_records import JOB_KIND, JobRecord
from streamforge_utils.adapters.kubernetes.manifest import Template
from streamforge_utils.ports.job_settings import KubernetesSettings
from tests.adapters.kubernetes.scripted import Script, listed, serving
from tests.doubles.memorystore import MemoryStore
from tests.limits import LIMIT_S

JOB = {
    "metadata": {"name": "job-a", "uid": "uid-a", "resourceVersion": "5"},
    "status": {"conditions": [{"type": "Complete", "status": "True"}]},
}


class Cluster(Script):
    """One Job that is complete, and no pods; whether it has any is never answered. settling: that was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.settling = asyncio.Event()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(f"{request.method} {request.path}")
        if "uid-a" in request.query.get("labelSelector", ""):
            self.settling.set()
            await asyncio.Event().wait()
        if "watch" in request.query:
            await asyncio.Event().wait()
        return await listed(9, *([JOB] if request.path.endswith("/jobs") else []))(request)


async def test_what_was_to_be_looked_at_again_is_not_after_the_close(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_launcher, "_ASK_AGAIN_S", 0.0)
    store, cluster = MemoryStore(), Cluster()
    record = JobRecord(name="job-a", uid="uid-a", target="t", queue_id="q", attempt=1, started_ms=1)
    await store.put(JOB_KIND, "job-a", msgspec.json.encode(record), expected=None)
    async with serving(cluster, tmp_path) as kubeconfig:
        launcher = KubernetesLauncher(
            Template(settings=KubernetesSettings(kubeconfig=str(kubeconfig)), instance="sf-test"), store
        )
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
