"""Baskets are made once, also where the answer is lost or another launcher asks for their members."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from streamforge_utils.adapters.kubernetes.job_launcher import KubernetesLauncher
from streamforge_utils.adapters.kubernetes.job_records import JOB_KIND
from streamforge_utils.adapters.kubernetes.manifest import Template
from streamforge_utils.model.errors import ConfigError, RetryableError
from streamforge_utils.ports.job_settings import KubernetesSettings
from streamforge_utils.ports.launcher import JobSpec
from tests.adapters.kubernetes.scripted import Script, listed, refused, serving
from tests.doubles.memorystore import MemoryStore


class Cluster(Script):
    """Keeps the Jobs that are made. answering: the status with which it answers who makes one; made: their names."""

    def __init__(self) -> None:
        super().__init__()
        self.answering = 201
        self.takes = True
        self.jobs: dict[str, dict[str, Any]] = {}
        self.made: list[str] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if "watch" in request.query:
            await asyncio.Event().wait()
        name = request.path.rpartition("/")[2]
        if request.method == "POST":
            return await self._make(request)
        if request.method == "DELETE" and self.jobs.pop(name, None) is not None:
            return web.json_response({})
        if name == "jobs":
            return await listed(9, *self.jobs.values())(request)
        if name == "pods":
            return await listed(9)(request)
        return web.json_response(self.jobs[name]) if name in self.jobs else await refused(404, "NotFound")(request)

    async def _make(self, request: web.Request) -> web.StreamResponse:
        job = json.loads(await request.text())
        name = job["metadata"]["name"]
        if self.takes:
            if name in self.jobs:
                return await refused(409, "AlreadyExists")(request)
            self.made.append(name)
            job["metadata"] |= {"uid": f"uid-{name}", "resourceVersion": "5"}
            self.jobs[name] = job
        if self.answering != 201:
            return await refused(self.answering)(request)
        return web.json_response(job, status=201)


@asynccontextmanager
async def launching(cluster: Cluster, store: MemoryStore, folder: Path) -> AsyncIterator[KubernetesLauncher]:
    async with serving(cluster, folder) as kubeconfig:
        settings = KubernetesSettings(kubeconfig=str(kubeconfig))
        launcher = KubernetesLauncher(Template(settings=settings, instance="sf-test"), store)
        launcher._api._patience_s = 0.0
        try:
            yield launcher
        finally:
            await launcher.close()


def specs(*names: str) -> list[JobSpec]:
    return [
        JobSpec(
            name=name, target="loader-ws-trades", queue_id=f"wf-{name}", attempt=1, environment={"SYMBOL": name.upper()}
        )
        for name in names
    ]


async def baskets(launcher: KubernetesLauncher) -> dict[str, str]:
    return {job.name: job.basket for job in await launcher.jobs()}


async def test_one_whose_answer_was_lost_is_found_though_its_members_come_again_in_other_company(
    tmp_path: Path,
) -> None:
    cluster = Cluster()
    async with launching(cluster, MemoryStore(), tmp_path) as launcher:
        cluster.answering = 503
        with pytest.raises(RetryableError):
            await launcher.start_together(specs("a", "b", "c"))
        cluster.answering = 201
        await launcher.start(specs("b")[0])
        await launcher.start_together(specs("a", "d", "e"))
        (first, second) = cluster.made
        assert await baskets(launcher) == {"a": first, "b": first, "c": first, "d": second, "e": second}


async def test_one_that_was_not_made_is_made_again_with_whoever_comes(tmp_path: Path) -> None:
    cluster = Cluster()
    async with launching(cluster, MemoryStore(), tmp_path) as launcher:
        cluster.answering, cluster.takes = 503, False
        with pytest.raises(RetryableError):
            await launcher.start_together(specs("a", "b", "c"))
        cluster.answering, cluster.takes = 201, True
        await launcher.start_together(specs("a", "b"))
        await launcher.start_together(specs("c"))
        assert await baskets(launcher) == {"a": cluster.made[0], "b": cluster.made[0], "c": ""}
        assert cluster.made[1:] == ["c"]


async def test_one_that_another_launcher_has_made_and_not_stored_is_found_with_all_its_members(tmp_path: Path) -> None:
    cluster, store = Cluster(), MemoryStore()
    async with launching(cluster, MemoryStore(), tmp_path) as first:
        await first.start_together(specs("a", "b"))
    async with launching(cluster, store, tmp_path) as second:
        assert await baskets(second) == dict.fromkeys("ab", cluster.made[0])
        await second.start_together(specs("a", "b"))
        await second.note_end("a", 0)
    async with launching(cluster, store, tmp_path) as third:
        assert [(job.name, job.exit_code) for job in await third.jobs()] == [("a", 0), ("b", None)]
        await third.forget("a")
    async with launching(cluster, store, tmp_path) as fourth:
        assert await baskets(fourth) == {"b": cluster.made[0]}
    assert len(cluster.made) == 1


async def test_with_the_last_member_that_is_forgotten_goes_the_job_though_its_pod_was_not_seen_to_end(
    tmp_path: Path,
) -> None:
    cluster, store = Cluster(), MemoryStore()
    async with launching(cluster, store, tmp_path) as launcher:
        await launcher.start_together(specs("a", "b"))
        for name in ("a", "b"):
            await launcher.note_end(name, 0)
        await launcher.forget("a")
        assert list(cluster.jobs) == cluster.made
        await launcher.forget("b")
        await launcher.forget("b")
        assert (cluster.jobs, await launcher.jobs()) == ({}, [])
        # Nothing finds out afterwards how it ended, and stores it.
        await asyncio.gather(*(task for task in asyncio.all_tasks() if task.get_name().startswith("settle")))
    assert await store.find(JOB_KIND, after=None, limit=10) == []


async def test_a_member_of_another_workflow_is_refused(tmp_path: Path) -> None:
    cluster = Cluster()
    async with launching(cluster, MemoryStore(), tmp_path) as launcher:
        await launcher.start_together(specs("a", "b"))
        other = JobSpec(name="a", target="loader-ws-trades", queue_id="wf-other", attempt=1)
        with pytest.raises(ConfigError, match=r"job a is there already and belongs to workflow 'wf-a'"):
            await launcher.start(other)
