"""What the API server asks a kubelet: the logs of a container. HTTPS, and for the API server's certificate only."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from aiohttp import web

from tests.engines.kubernetes.kubelet.container import Container
from tests.engines.kubernetes.kubelet.logs import Wanted
from tests.engines.kubernetes.kubelet.plan import Plan
from tests.engines.kubernetes.kubelet.runner import PodRunner

Find = Callable[[str, str], PodRunner | None]
_FOLLOW_S = 0.1


class Server:
    """Serves logs. find: a pod by namespace and name."""

    def __init__(self, plan: Plan, find: Find) -> None:
        self._plan = plan
        self._find = find
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self._plan.ca)
        context.load_cert_chain(self._plan.serving)
        context.verify_mode = ssl.CERT_REQUIRED
        application = web.Application()
        application.router.add_get("/containerLogs/{namespace}/{pod}/{container}", self._logs)
        application.router.add_get("/healthz", _healthy)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._plan.host, self._plan.port, ssl_context=context).start()

    async def close(self) -> None:
        """End."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        names = request.match_info
        pod = self._find(names["namespace"], names["pod"])
        found = next((one for one in pod.containers if one.name == names["container"]), None) if pod else None
        if pod is None or found is None:
            raise web.HTTPNotFound(text=f"{names['pod']}: there is no container {names['container']} on this node")
        run = found.status.restarts - (request.query.get("previous") == "true")
        path = found.log_path(run)
        if run < 0 or (not path.exists() and not found.idle):
            told = f'container "{found.name}" in pod "{names["pod"]}" is waiting to start'
            if run < 0:
                told = f'previous terminated container "{found.name}" in pod "{names["pod"]}" not found'
            raise web.HTTPBadRequest(text=told)
        try:
            wanted = Wanted.of(request.query)
        except ValueError as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        follow = request.query.get("follow") == "true"
        return await self._send(request, found, path, wanted, follow)

    async def _send(
        self, request: web.Request, container: Container, path: Path, wanted: Wanted, follow: bool
    ) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await answer.prepare(request)
        offset = 0
        with suppress(ConnectionError):
            while True:
                # Asked before the look, so that what came last is seen.
                over = not follow or container.run is None
                lines, offset = _lines(path, offset)
                await answer.write(wanted.of_lines(lines))
                if over:
                    break
                wanted = Wanted(stamps=wanted.stamps)
                await asyncio.sleep(_FOLLOW_S)
            await answer.write_eof()
        return answer


async def _healthy(request: web.Request) -> web.Response:
    return web.Response(text="ok")


def _lines(path: Path, offset: int) -> tuple[list[bytes], int]:
    """Whole lines from `offset` on, and where the next begin."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            found = [line for line in file if line.endswith(b"\n")]
    except OSError:
        return [], offset
    return found, offset + sum(map(len, found))
