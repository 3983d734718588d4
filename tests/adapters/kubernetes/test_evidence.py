"""The evidence about a job: its last lines, wherever they are, and the warning that keeps it from its beginning,
however many warnings of others the namespace has. The real control plane: tests/engines."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from streamforge_utils.adapters.kubernetes.evidence import Evidence
from streamforge_utils.adapters.kubernetes.job_cache import JOB_NAME_LABEL, JOB_UID_LABEL, CachedJob, JobCache
from streamforge_utils.adapters.kubernetes.objects import JobObject, Metadata, PodObject
from streamforge_utils.ports.clock import SystemClock
from tests.adapters.kubernetes.scripted import Json, Script, Step, connected, listed, refused

JOB = JobObject(metadata=Metadata(name="job-a", uid="uid-a"))


def ended_entry(message: str, *, there: bool) -> CachedJob:
    """A job whose Job is gone, and its pod too, unless it is there: ended with code 1, and its status has a message."""
    terminated = {"exitCode": 1, "message": message, "finishedAt": "2024-08-01T00:00:00Z"}
    labels = {JOB_NAME_LABEL: "job-a", JOB_UID_LABEL: "uid-a"}
    found = {
        "metadata": {"name": "p", "uid": "uid-p", "labels": labels, "deletionTimestamp": "2024-08-01T00:00:00Z"},
        "spec": {"nodeName": "node-1"},
        "status": {"phase": "Failed", "containerStatuses": [{"state": {"terminated": terminated}}]},
    }
    pod = msgspec.convert(found, PodObject)
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


async def reason(entry: CachedJob, folder: Path, *steps: Step) -> str:
    """Why it ended, after these answers and then no warnings: about the Job and about the pod."""
    script = Script(*steps, listed(1), listed(1))
    async with connected(script, folder) as api:
        job = await Evidence(api, SystemClock()).conclude(entry)
    assert len(script.asked) == len(steps) + 2
    return job.reason


@pytest.mark.parametrize(
    ("there", "steps", "message", "shown"),
    [
        (True, [log("all is well\n")], "in short", "it last wrote:\nall is well"),
        (True, [log("")], "", "it wrote nothing"),
        (True, [refused(404)], "in short", "it last wrote:\nin short"),
        (True, [refused(404)], "", "its log could not be read"),
        (False, [], "in short", "it last wrote:\nin short"),
        (False, [], "", "its log could not be read"),
    ],
)
async def test_the_last_lines_are_in_the_log_or_else_in_the_status(
    there: bool, steps: list[Step], message: str, shown: str, tmp_path: Path
) -> None:
    found = await reason(ended_entry(message, there=there), tmp_path, *steps)
    assert found == f"its Job or pod was deleted by somebody else; exit code 1; {shown}"


async def test_an_answer_that_is_awaited_as_the_pod_goes_is_waited_for(tmp_path: Path) -> None:
    entry = ended_entry("", there=False)
    answered = asyncio.Event()

    async def read() -> None:
        await answered.wait()
        entry.log = "all is well"

    entry.reading = asyncio.create_task(read())
    concluding = asyncio.create_task(reason(entry, tmp_path))
    await asyncio.sleep(0)
    answered.set()
    assert (await concluding).endswith("it last wrote:\nall is well")


async def tail(entry: CachedJob, folder: Path, *steps: Step) -> str | None:
    """The end of its log, after these answers."""
    script = Script(*steps)
    async with connected(script, folder) as api:
        found = await Evidence(api, SystemClock()).tail(entry, entry.pods.values())
    assert len(script.asked) == len(steps)
    return found


def long_log(text: str) -> Step:
    """As much of a log as was asked for."""

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(text=text.ljust(int(request.query["limitBytes"]), "x"))

    return answer


async def test_the_end_of_its_log_is_asked_of_its_pod_with_fewer_lines_where_they_are_long(tmp_path: Path) -> None:
    entry = ended_entry("in short", there=True)
    assert await tail(entry, tmp_path, log("one\ntwo")) == "one\ntwo"
    assert await tail(entry, tmp_path, long_log("one\n"), log("two\n")) == "two\n"
    assert await tail(entry, tmp_path, long_log("one\n"), long_log("two\n")) == "two\n", "the last line is not whole"
    assert await tail(entry, tmp_path, refused(404)) == "in short"
    gone = ended_entry("", there=False)
    assert await tail(gone, tmp_path) is None
    gone.log = "read before\n"
    assert await tail(gone, tmp_path) == "read before\n"


async def test_the_end_of_the_log_of_a_pod_that_leaves_is_remembered(tmp_path: Path) -> None:
    entry = ended_entry("", there=True)
    script = Script(log("words\n"), listed(1), listed(1))
    async with connected(script, tmp_path) as api:
        evidence = Evidence(api, SystemClock())
        await evidence.conclude(entry)
        assert await evidence.tail(entry, []) == "words\n"


# What keeps it from its beginning


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


async def holdups(folder: Path, jobs: list[str], pods: list[str], *steps: Step) -> dict[str, str]:
    """What was found, by uid."""
    script = Script(*steps)
    async with connected(script, folder) as api:
        found = await Evidence(api, SystemClock()).holdups(jobs, pods)
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
