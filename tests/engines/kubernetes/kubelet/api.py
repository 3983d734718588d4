"""The API server for the kubelet: many requests at once, watches that survive everything, and the events it records."""

from __future__ import annotations

import asyncio
import logging
import ssl
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from types import TracebackType
from typing import Any

import aiohttp
import msgspec

from tests.engines.kubernetes.kubelet.status import stamp
from tests.engines.kubernetes.rest import ApiError, Object

_CONNECTIONS = 24
_LIMIT_S = 180.0
_WATCH_S = 240
_AGAIN_S = 0.2
_log = logging.getLogger(__name__)

# What a request can fail with when the server, not the request, is to blame.
UNREACHABLE = (aiohttp.ClientError, OSError, TimeoutError)
STRATEGIC = "application/strategic-merge-patch+json"
MERGE = "application/merge-patch+json"
_KEPT = 2000


class Api:
    """Requests to one API server, with a client certificate. To be entered."""

    def __init__(self, host: str, port: int, ca: str, *, pem: str) -> None:
        self._base = f"https://{host}:{port}"
        self._context = ssl.create_default_context(cafile=ca)
        self._context.load_cert_chain(pem)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Api:
        connector = aiohttp.TCPConnector(limit=_CONNECTIONS, ssl=self._context)
        self._session = aiohttp.ClientSession(connector=connector)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._open().close()

    async def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        kind: str = "application/json",
        query: Mapping[str, str] | None = None,
    ) -> Object:
        """The answer, decoded. kind: the body's media type. Raises ApiError, or one of `UNREACHABLE`."""
        data = None if body is None else msgspec.json.encode(body)
        limit = aiohttp.ClientTimeout(total=_LIMIT_S)
        async with self._open().request(
            method, self._base + path, data=data, params=query, headers={"Content-Type": kind}, timeout=limit
        ) as answer:
            told = await answer.read()
            if answer.status >= 300:
                raise ApiError.of(answer.status, told)
            found: Object = msgspec.json.decode(told)
            return found

    async def follow(
        self,
        path: str,
        listed: Callable[[list[Object]], None],
        changed: Callable[[str, Object], None],
        query: Mapping[str, str] | None = None,
    ) -> None:
        """Tell what is there, then every change, for ever. What is there is told again after changes were missed."""
        version: str | None = None
        while True:
            try:
                if version is None:
                    found = await self.request("GET", path, query=query)
                    version = found["metadata"]["resourceVersion"]
                    listed(found["items"])
                async for event in self._watch(path, {**(query or {}), "resourceVersion": version}):
                    thing = event["object"]
                    if event["type"] == "ERROR":
                        raise ApiError(thing.get("code", 0), thing.get("reason", ""), thing.get("message", ""))
                    version = thing["metadata"]["resourceVersion"]
                    if event["type"] != "BOOKMARK":
                        changed(event["type"], thing)
            except ApiError as error:
                _log.info("watching %s: %s", path, error)
                version = None
                await asyncio.sleep(_AGAIN_S)
            except UNREACHABLE as error:
                _log.info("watching %s: %r", path, error)
                await asyncio.sleep(_AGAIN_S)

    async def _watch(self, path: str, query: Mapping[str, str]) -> AsyncIterator[Object]:
        options = {**query, "watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": str(_WATCH_S)}
        # A little over the server's own limit: a connection that is half open does not hang for ever.
        limit = aiohttp.ClientTimeout(total=_WATCH_S + _LIMIT_S, sock_connect=_LIMIT_S)
        async with self._open().get(self._base + path, params=options, timeout=limit) as answer:
            if answer.status != 200:
                raise ApiError.of(answer.status, await answer.read())
            rest = b""
            async for chunk in answer.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    yield msgspec.json.decode(line)

    def _open(self) -> aiohttp.ClientSession:
        assert self._session is not None, "not entered"
        return self._session


class Events:
    """Sends them in the background; when there are too many, the oldest are dropped: no pod waits for them."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._kept = deque[Object](maxlen=_KEPT)
        self._more = asyncio.Event()

    def tell(self, pod: Object, reason: str, message: str, *, warning: bool = False) -> None:
        """Have an event recorded."""
        meta, moment = pod["metadata"], stamp()
        thing = {"kind": "Pod", "apiVersion": "v1", **{name: meta[name] for name in ("namespace", "name", "uid")}}
        self._kept.append(
            {
                "metadata": {"name": f"{meta['name']}.{uuid.uuid4().hex[:16]}", "namespace": meta["namespace"]},
                "involvedObject": thing,
                "reason": reason,
                "message": message,
                "type": "Warning" if warning else "Normal",
                "source": {"component": "kubelet", "host": pod["spec"]["nodeName"]},
                "firstTimestamp": moment,
                "lastTimestamp": moment,
                "count": 1,
            }
        )
        self._more.set()

    async def run(self) -> None:
        """Send them, for ever."""
        while True:
            await self._more.wait()
            self._more.clear()
            while self._kept:
                event = self._kept.popleft()
                path = f"/api/v1/namespaces/{event['metadata']['namespace']}/events"
                try:
                    await self._api.request("POST", path, event)
                except (ApiError, *UNREACHABLE) as error:
                    # A namespace that is going takes none.
                    _log.info("event %s: %s", event["reason"], error)
