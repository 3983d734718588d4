"""The last words of a job whose pod is gone: where they are looked for. The real control plane: tests/engines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from streamforge_utils.adapters.kubernetes.api import Api
from streamforge_utils.adapters.kubernetes.conclusion import conclude
from streamforge_utils.adapters.kubernetes.evidence import Evidence
from streamforge_utils.adapters.kubernetes.job_cache import JOB_NAME_LABEL, JOB_UID_LABEL, CachedJob, JobCache
from streamforge_utils.adapters.kubernetes.objects import JobObject, Metadata, PodObject
from streamforge_utils.ports.clock import SystemClock
from streamforge_utils.ports.instrumentation import NullObserver
from streamforge_utils.ports.job_settings import KubernetesSettings
from tests.adapters.kubernetes.scripted import Script, Step, listed, refused, serving

JOB = JobObject(metadata=Metadata(name="job-a", uid="uid-a"))


def ended_pod(message: str) -> PodObject:
    """Deleted, ended with code 1, and its status says this."""
    terminated = {"exitCode": 1, "message": message, "finishedAt": "2024-08-01T00:00:00Z"}
    labels = {JOB_NAME_LABEL: "job-a", JOB_UID_LABEL: "uid-a"}
    return msgspec.convert(
        {
            "metadata": {"name": "p", "uid": "uid-p", "labels": labels, "deletionTimestamp": "2024-08-01T00:00:00Z"},
            "spec": {"nodeName": "node-1"},
            "status": {"phase": "Failed", "containerStatuses": [{"state": {"terminated": terminated}}]},
        },
        PodObject,
    )


def entry_of(pod: PodObject, *, there: bool) -> CachedJob:
    """A job whose Job is gone, and its pod too, unless it is there."""
    cache = JobCache(lambda entry: None, lambda entry, pod: None)
    entry = cache.add(JOB, since=0.0)
    cache.pods.changed(pod)
    if not there:
        cache.pods.removed(pod)
    cache.jobs.removed(JOB)
    return entry


def log(text: str) -> Step:
    """The log of a pod."""

    async def answer(request: web.Request) -> web.StreamResponse:
        assert request.path == "/api/v1/namespaces/stf/pods/p/log"
        return web.Response(text=text)

    return answer


@asynccontextmanager
async def inquiring(folder: Path, *steps: Step) -> AsyncIterator[Evidence]:
    """An evidence that hears these answers, and then of no warnings: about the Job and about the pod."""
    script = Script(*steps, listed(1), listed(1))
    async with serving(script, folder) as kubeconfig:
        api = Api(KubernetesSettings(kubeconfig=str(kubeconfig)), clock=SystemClock(), observer=NullObserver())
        try:
            await api.way()
            yield Evidence(api)
        finally:
            await api.close()
    assert not script.wrong
    assert len(script.asked) == len(steps) + 2


@pytest.mark.parametrize(
    ("there", "steps", "message", "says"),
    [
        (True, [log("all is well\n")], "in short", "it last wrote:\nall is well"),
        (True, [log("")], "", "it wrote nothing"),
        (True, [refused(404)], "in short", "it last wrote:\nin short"),
        (True, [refused(404)], "", "its log could not be read"),
        (False, [], "in short", "it last wrote:\nin short"),
        (False, [], "", "its log could not be read"),
    ],
)
async def test_the_last_words_are_in_the_log_or_else_in_the_status(
    there: bool, steps: list[Step], message: str, says: str, tmp_path: Path
) -> None:
    entry = entry_of(ended_pod(message), there=there)
    async with inquiring(tmp_path, *steps) as evidence:
        job = await conclude(entry, evidence, SystemClock())
    assert job.reason == f"its Job or pod was deleted by somebody else; exit code 1; {says}"


async def test_an_answer_that_is_under_way_as_the_pod_goes_is_waited_for(tmp_path: Path) -> None:
    entry = entry_of(ended_pod(""), there=False)
    answered = asyncio.Event()

    async def read() -> None:
        await answered.wait()
        entry.log = "all is well"

    entry.reading = asyncio.create_task(read())
    async with inquiring(tmp_path) as evidence:
        concluding = asyncio.create_task(conclude(entry, evidence, SystemClock()))
        await asyncio.sleep(0)
        answered.set()
        job = await concluding
    assert job.reason.endswith("it last wrote:\nall is well")
