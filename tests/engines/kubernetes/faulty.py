"""An API server whose answers a test can spoil: a proxy that ends TLS in front of the real one.

A fault is about requests, not about bytes: one verb of one resource is refused with a status, or a watch is told that
its place is forgotten. It knows who asks by bearer token only, so clients use a ServiceAccount.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import ssl
import threading
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar

import aiohttp
from aiohttp import web

from tests.engines.kubernetes.cluster import Cluster
from tests.engines.kubernetes.parts import HOST

T = TypeVar("T")
_LIMIT_S = 60.0
_HOP_BY_HOP = {"connection", "content-length", "host", "transfer-encoding"}
_REASONS = {
    403: "Forbidden",
    409: "Conflict",
    410: "Expired",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
}


@dataclass
class _Fault:
    status: int
    message: str
    times_left: float


class FaultyServer:
    """`url` passes on to the cluster's API server, until `refuse` names what not.

    counts: the requests by verb and resource, as `create jobs`, and those refused as `create jobs 429`. A watch is
    `watch jobs`.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="faulty API server", daemon=True)
        self._runner: web.AppRunner | None = None
        self._session: aiohttp.ClientSession | None = None
        self._refused: dict[str, _Fault] = {}
        self._watches: set[asyncio.Queue[bytes | None]] = set()
        self.counts: Counter[str] = Counter()
        self.url = ""

    @property
    def watches(self) -> int:
        """How many watches are open."""
        return len(self._watches)

    def refuse(self, what: str, status: int, message: str = "a fault of the test", times: float = math.inf) -> None:
        """Answer so many requests with this status from now on. what: a pattern of `create jobs` and the like."""
        self._refused = {**self._refused, what: _Fault(status, message, times)}

    def heal(self) -> None:
        """Refuse nothing any more."""
        self._refused = {}

    def forget_places(self) -> int:
        """Tell every open watch that its place is forgotten (410); how many there were."""
        failure = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}
        return self._say(json.dumps({"type": "ERROR", "object": failure}).encode() + b"\n")

    def cut_watches(self) -> int:
        """Break off every open watch; how many there were."""
        return self._say(None)

    def __enter__(self) -> FaultyServer:
        self._thread.start()
        self._do(self._open())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_LIMIT_S)
        self._loop.close()

    # In the thread of the loop

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_LIMIT_S)

    def _say(self, line: bytes | None) -> int:
        async def say() -> int:
            watches = list(self._watches)
            for watch in watches:
                watch.put_nowait(line)
            return len(watches)

        return self._do(say())

    async def _open(self) -> None:
        self._session = aiohttp.ClientSession(
            self._cluster.server,
            connector=aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=str(self._cluster.pki.ca)), limit=0),
            timeout=aiohttp.ClientTimeout(sock_connect=_LIMIT_S),
            auto_decompress=False,
        )
        application = web.Application(client_max_size=16 * 1024 * 1024)
        application.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(application, shutdown_timeout=1.0)
        await self._runner.setup()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(str(self._cluster.pki.api_server))
        site = web.TCPSite(self._runner, HOST, 0, ssl_context=context)
        await site.start()
        self.url = f"https://{HOST}:{self._runner.addresses[0][1]}"

    async def _close(self) -> None:
        for watch in self._watches:
            watch.put_nowait(None)
        if self._runner is not None:
            await self._runner.cleanup()
        # Before the requests are cancelled: the connection of a cancelled one waits for the server to end TLS.
        if self._session is not None:
            await self._session.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        # What was broken off just now is gone after the loop's next rounds, of which it has none once it is stopped.
        for _ in range(3):
            await asyncio.sleep(0)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        what = _what(request)
        self.counts[what] += 1
        for pattern, fault in self._refused.items():
            if fault.times_left > 0 and re.fullmatch(pattern, what):
                fault.times_left -= 1
                status = fault.status
                self.counts[f"{what} {status}"] += 1
                body = {"kind": "Status", "code": status, "reason": _REASONS[status], "message": fault.message}
                headers = {"Retry-After": "1"} if status == 429 else {}
                return web.json_response(body, status=status, headers=headers)
        assert self._session is not None
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP}
        body_sent = await request.read()
        try:
            async with self._session.request(request.method, request.rel_url, headers=headers, data=body_sent) as found:
                try:
                    kept = {name: value for name, value in found.headers.items() if name.lower() not in _HOP_BY_HOP}
                    if what.startswith("watch ") and found.status == 200:
                        return await self._watch(request, found, kept)
                    return web.Response(status=found.status, headers=kept, body=await found.read())
                finally:
                    # An answer not read to its end: closing TLS would wait for the server, longer than the loop lives.
                    if found.connection is not None and found.connection.transport is not None:
                        found.connection.transport.abort()
        except aiohttp.ClientError as error:  # the real one is away: so is this one
            _abort(request)
            raise web.HTTPBadGateway(text=str(error)) from error

    async def _watch(
        self, request: web.Request, found: aiohttp.ClientResponse, headers: dict[str, str]
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        said: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._watches.add(said)
        hearing = asyncio.create_task(said.get())
        try:
            while True:
                # A line at a time, so that what is said here does not come into the middle of one.
                reading = asyncio.create_task(found.content.readuntil(b"\n"))
                await asyncio.wait({reading, hearing}, return_when=asyncio.FIRST_COMPLETED)
                if hearing.done():
                    reading.cancel()
                    await asyncio.gather(reading, return_exceptions=True)
                    line = hearing.result()
                    if line is None:
                        _abort(request)
                    else:
                        await response.write(line)
                    return response
                line = reading.result()
                if not line:
                    return response
                await response.write(line)
        except (aiohttp.ClientError, ConnectionError, ValueError):
            return response
        finally:
            self._watches.discard(said)
            hearing.cancel()


def _what(request: web.Request) -> str:
    """The verb and the resource that a request is about, as RBAC calls them."""
    parts = request.path.strip("/").split("/")
    if "namespaces" not in parts:
        return f"{request.method.lower()} {request.path}"
    rest = parts[parts.index("namespaces") + 2 :]
    resource = "/".join(rest[:1] + rest[2:3]) or "namespaces"
    named = len(rest) > 1
    if request.method == "GET":
        verb = "get" if named else "watch" if request.query.get("watch") == "true" else "list"
    else:
        verb = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}[request.method]
    return f"{verb} {resource}"


def _abort(request: web.Request) -> None:
    if request.transport is not None:  # else the other side has left already
        request.transport.abort()
