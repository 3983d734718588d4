"""What the API server asks a kubelet: the logs of a container. HTTPS, and for the API server's certificate only."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress

from aiohttp import web

from tests.engines.kubernetes.kubelet.container import Container, read_log
from tests.engines.kubernetes.kubelet.plan import Plan
from tests.engines.kubernetes.kubelet.runner import PodRunner

Find = Callable[[str, str], PodRunner | None]
_FOLLOW_S = 0.1
_KNOWN = {"follow", "limitBytes", "previous", "stream", "tailLines"}


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
        if run < 0:
            told = f'previous terminated container "{found.name}" in pod "{names["pod"]}" not found'
            raise web.HTTPBadRequest(text=told)
        if not found.log_path(run).exists() and not found.idle:
            raise web.HTTPBadRequest(text=f'container "{found.name}" in pod "{names["pod"]}" is waiting to start')
        if unknown := request.query.keys() - _KNOWN:
            raise web.HTTPBadRequest(text=f"this kubelet does not know {', '.join(sorted(unknown))}")
        return await self._send(request, found, run)

    async def _send(self, request: web.Request, container: Container, run: int) -> web.StreamResponse:
        query, path = request.query, container.log_path(run)
        answer = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await answer.prepare(request)
        # Asked before the look, so that what came last is seen.
        over = query.get("follow") != "true" or container.run is None
        text = read_log(path)
        offset = len(text)
        if "tailLines" in query:
            text = read_log(path, tail=int(query["tailLines"]))
        with suppress(ConnectionError):
            await answer.write(text[: int(query.get("limitBytes", len(text)))])
            while not over:
                await asyncio.sleep(_FOLLOW_S)
                over = container.run is None
                text = read_log(path, offset=offset)
                offset += len(text)
                await answer.write(text)
            await answer.write_eof()
        return answer
