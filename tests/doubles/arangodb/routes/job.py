"""/_api/job: requests that are answered later (`x-arango-async: store`)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, NamedTuple

from tests.doubles.arangodb.errors import ArangoError
from tests.doubles.arangodb.server import ArangoServer
from tests.doubles.arangodb.wire import Request, Response


class Job(NamedTuple):
    """One stored request."""

    task: asyncio.Task[Response]
    created: float


def start(server: ArangoServer, work: Coroutine[Any, Any, Response]) -> Response:
    """Begin the work and answer at once, with its number."""
    number = str(server.storage.tick())
    task = asyncio.get_running_loop().create_task(work, name=f"arangodb double job {number}")
    server.jobs[number] = Job(task, time.time())
    return Response(202, None, {"X-Arango-Async-Id": number})


def handle(server: ArangoServer, request: Request, rest: list[str]) -> Response:
    method = request.method
    jobs: dict[str, Job] = server.jobs
    if method == "GET":
        if rest[0] in ("done", "pending"):
            wanted = [number for number, job in jobs.items() if job.task.done() == (rest[0] == "done")]
            most = request.query.get("count", "")
            return Response(200, wanted[: int(most)] if most.isdigit() else wanted)
        return Response(200 if _find(jobs, rest[0]).task.done() else 204)
    if not rest:
        raise ArangoError(400)
    if method == "PUT":
        return _fetch_or_cancel(jobs, rest)
    if method == "DELETE":
        return _delete(jobs, request, rest[0])
    raise ArangoError(405)


def _fetch_or_cancel(jobs: dict[str, Job], rest: list[str]) -> Response:
    job = _find(jobs, rest[0])
    if rest[1:] == ["cancel"]:
        job.task.add_done_callback(lambda _: jobs.pop(rest[0], None))
        job.task.cancel()
        return Response(200, {"result": True})
    del jobs[rest[0]]
    response = job.task.result()
    response.headers["X-Arango-Async-Id"] = rest[0]
    return response


def _delete(jobs: dict[str, Job], request: Request, which: str) -> Response:
    if which in ("all", "expired"):
        before = float(request.query.get("stamp", "inf"))
        for number in [n for n, job in jobs.items() if job.task.done() and job.created < before]:
            del jobs[number]
    else:
        _find(jobs, which)
        del jobs[which]
    return Response(200, {"result": True})


def _find(jobs: dict[str, Job], number: str) -> Job:
    if number not in jobs:
        raise ArangoError(404)
    return jobs[number]
