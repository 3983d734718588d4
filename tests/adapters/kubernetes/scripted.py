"""An API server with scripted answers: the real one, which other tests use, forgets nothing on demand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from streamforge_utils.adapters.kubernetes.api import Api
from streamforge_utils.ports.clock import Clock, SystemClock
from streamforge_utils.ports.instrumentation import NullObserver
from streamforge_utils.ports.job_settings import KubernetesSettings

Json = dict[str, Any]
Answer = web.StreamResponse | Json | Exception
Step = Callable[[web.Request], Awaitable[web.StreamResponse]]


def pod(name: str, version: int, phase: str = "Running") -> Json:
    """A pod, as small as it can be."""
    return {
        "metadata": {"name": name, "uid": f"uid-{name}", "resourceVersion": str(version)},
        "status": {"phase": phase},
    }


def listed(version: int, *items: Json) -> Step:
    """A list of everything."""

    async def answer(request: web.Request) -> web.StreamResponse:
        assert "watch" not in request.query, f"a list was expected: {request.query_string}"
        return web.json_response({"metadata": {"resourceVersion": str(version)}, "items": list(items)})

    return answer


def refused(status: int, reason: str = "", *, retry_after: int | None = None) -> Step:
    """A refusal of all that is asked."""

    async def answer(request: web.Request) -> web.StreamResponse:
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        body = {"kind": "Status", "code": status, "reason": reason, "message": f"refused with {status}"}
        return web.json_response(body, status=status, headers=headers)

    return answer


def watched(since: int, *lines: Json | bytes, then: str = "end") -> Step:
    """A watch that is to begin at `since`. then: `end` it, `cut` it in the middle of a line, or `hang` for ever."""

    async def answer(request: web.Request) -> web.StreamResponse:
        assert request.query.get("watch") == "true", f"a watch was expected: {request.query_string}"
        assert request.query["resourceVersion"] == str(since)
        assert request.query["allowWatchBookmarks"] == "true"
        response = web.StreamResponse()
        await response.prepare(request)
        for line in lines:
            await response.write(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n")
        if then == "cut":
            await response.write(b'{"type": "MODI')
            assert request.transport is not None
            request.transport.abort()
        elif then == "hang":
            await asyncio.Event().wait()
        return response

    return answer


def event(kind: str, thing: Json) -> Json:
    """A line of a watch."""
    return {"type": kind, "object": thing}


class Script:
    """Answers one request after another; what is asked beyond the last step hangs. done: the last one was answered."""

    def __init__(self, *steps: Step) -> None:
        self.steps = list(steps)
        self.asked: list[str] = []
        self.wrong: list[str] = []
        self.done = asyncio.Event()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(f"{request.method} {request.path}")
        if not self.steps:
            self.done.set()
            await asyncio.Event().wait()
        step = self.steps.pop(0)
        try:
            return await step(request)
        except AssertionError as error:
            self.wrong.append(str(error))
            return web.json_response({"code": 400, "message": str(error)}, status=400)


@asynccontextmanager
async def serving(script: Script, folder: Path) -> AsyncIterator[Path]:
    """A server on loopback until the end of the block; the path of a kubeconfig for it."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", script.handle)
    runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    path = folder / "kubeconfig"
    path.write_text(
        json.dumps(
            {
                "current-context": "test",
                "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": "stf"}}],
                "clusters": [{"name": "test", "cluster": {"server": f"http://{host}:{port}"}}],
                "users": [{"name": "test", "user": {"token": "a-token"}}],
            }
        )
    )
    try:
        yield path
    finally:
        await runner.cleanup()


@asynccontextmanager
async def connected(script: Script, folder: Path, *, clock: Clock | None = None) -> AsyncIterator[Api]:
    """An Api on such a server; nothing that it asked was other than scripted."""
    async with serving(script, folder) as kubeconfig:
        settings = KubernetesSettings(kubeconfig=str(kubeconfig))
        api = Api(settings, clock=clock or SystemClock(), observer=NullObserver())
        try:
            await api.endpoint()
            yield api
        finally:
            await api.close()
    assert script.wrong == []
