"""/_api/job: requests that are answered later (`x-arango-async: store`)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

from tests.doubles.arangodb.errors import ArangoError
from tests.doubles.arangodb.server import ArangoServer
from tests.doubles.arangodb.wire import Request, Response


class Job:
    """One stored request: its task, and when it was done."""

    def __init__(self, number: str, task: asyncio.Task[Response]) -> None:
        self.number = number
        self.task = task
        self.created = time.time()


def start(server: ArangoServer, request: Request, kept: bool, work: Coroutine[Any, Any, Response]) -> Response:
    """Begin the work and answer at once; with its number where its result is to be kept."""
    number = str(server.storage.tick())
    task = asyncio.get_running_loop().create_task(work, name=f"arangodb double job {number}")
    server.jobs[number] = Job(number, task)
    if not kept:
        task.add_done_callback(lambda _: server.jobs.pop(number, None))
    return Response(202, None, {"X-Arango-Async-Id": number} if kept else {})


def handle(server: ArangoServer, request: Request, rest: list[str]) -> Response:
    method = request.method
    jobs: dict[str, Job] = server.jobs
    if method == "GET":
        if len(rest) != 1:
            raise ArangoError(400)
        if rest[0] in ("done", "pending"):
            return Response(200, [number for number, job in jobs.items() if job.task.done() == (rest[0] == "done")])
        return Response(200 if _find(jobs, rest[0]).task.done() else 204)
    if method == "PUT":
        return _fetch_or_cancel(jobs, rest)
    if method == "DELETE":
        return _delete(jobs, request, rest)
    raise ArangoError(405)


def _fetch_or_cancel(jobs: dict[str, Job], rest: list[str]) -> Response:
    if len(rest) == 2 and rest[1] == "cancel":
        job = _find(jobs, rest[0])
        job.task.add_done_callback(lambda _: jobs.pop(rest[0], None))
        job.task.cancel()
        return Response(200, {"result": True})
    if len(rest) != 1:
        raise ArangoError(400)
    job = _find(jobs, rest[0])
    if not job.task.done():
        return Response(204)
    del jobs[rest[0]]
    response = job.task.result()
    response.headers["X-Arango-Async-Id"] = rest[0]
    return response


def _delete(jobs: dict[str, Job], request: Request, rest: list[str]) -> Response:
    if len(rest) != 1:
        raise ArangoError(400)
    if rest[0] == "all":
        for number, job in list(jobs.items()):
            if job.task.done():
                del jobs[number]
    elif rest[0] == "expired":
        try:
            stamp = float(request.query["stamp"])
        except (KeyError, ValueError) as error:
            raise ArangoError(400) from error
        for number, job in list(jobs.items()):
            if job.task.done() and job.created < stamp:
                del jobs[number]
    else:
        _find(jobs, rest[0])
        del jobs[rest[0]]
    return Response(200, {"result": True})


def _find(jobs: dict[str, Job], number: str) -> Job:
    job = jobs.get(number)
    if job is None:
        raise ArangoError(404)
    return job
