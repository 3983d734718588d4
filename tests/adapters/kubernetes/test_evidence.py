"""What keeps jobs from beginning is found however many warnings of others the namespace has."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from streamforge_utils.adapters.kubernetes.api import Api
from streamforge_utils.adapters.kubernetes.evidence import Evidence
from streamforge_utils.ports.clock import SystemClock
from streamforge_utils.ports.instrumentation import NullObserver
from streamforge_utils.ports.job_settings import KubernetesSettings
from tests.adapters.kubernetes.scripted import Json, Script, Step, refused, serving


def warning(uid: str, message: str, minute: int = 0) -> Json:
    at = f"2024-08-01T00:{minute:02}:00Z"
    return {"type": "Warning", "message": message, "involvedObject": {"uid": uid}, "lastTimestamp": at}


def page(selector: str, *items: Json, begins: str = "", goes_on: str = "") -> Step:
    """A page of events. begins: the place that it is asked from; goes_on: where the next one begins."""

    async def answer(request: web.Request) -> web.StreamResponse:
        assert request.query["fieldSelector"] == f"type=Warning,{selector}"
        assert request.query.get("continue", "") == begins
        return web.json_response({"metadata": {"continue": goes_on}, "items": list(items)})

    return answer


JOBS = "involvedObject.kind=Job,reason=FailedCreate"
MOUNTS = "involvedObject.kind=Pod,reason=FailedMount"
ATTACHES = "involvedObject.kind=Pod,reason=FailedAttachVolume"


@asynccontextmanager
async def inquiring(folder: Path, *steps: Step) -> AsyncIterator[tuple[Evidence, Script]]:
    script = Script(*steps)
    async with serving(script, folder) as kubeconfig:
        api = Api(KubernetesSettings(kubeconfig=str(kubeconfig)), clock=SystemClock(), observer=NullObserver())
        try:
            await api.way()
            yield Evidence(api), script
        finally:
            await api.close()
    assert not script.wrong


async def holdups(folder: Path, jobs: list[str], pods: list[str], *steps: Step) -> dict[str, str]:
    """What was found, by uid."""
    async with inquiring(folder, *steps) as (evidence, script):
        found = await evidence.holdups(jobs, pods)
        assert len(script.asked) == len(steps)
    return {event.involved_object.uid: event.message for event in found}


async def test_a_job_behind_many_warnings_of_others_is_told_of(tmp_path: Path) -> None:
    others = [warning(f"other-{number}", "exceeded quota") for number in range(500)]
    found = await holdups(
        tmp_path,
        ["mine"],
        [],
        page(JOBS, *others, goes_on="there"),
        page(JOBS, warning("mine", "violates PodSecurity"), begins="there"),
    )
    assert found == {"mine": "violates PodSecurity"}


async def test_the_latest_warning_counts_and_volumes_are_asked_for_only_where_there_are_pods(tmp_path: Path) -> None:
    found = await holdups(
        tmp_path,
        ["job"],
        ["pod"],
        page(JOBS, warning("job", "new", 2), warning("job", "old", 1)),
        page(MOUNTS, warning("pod", "no secret", 1)),
        page(ATTACHES, warning("pod", "no disk", 2)),
    )
    assert found == {"job": "new", "pod": "no disk"}


async def test_what_was_found_before_a_refusal_is_kept(tmp_path: Path) -> None:
    first = page(JOBS, warning("mine", "exceeded quota"), goes_on="there")
    assert await holdups(tmp_path, ["mine"], [], first, refused(410)) == {"mine": "exceeded quota"}
