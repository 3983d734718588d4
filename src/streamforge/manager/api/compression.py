"""Compresses the API's answers for who accepts that: those that are whole, text, and long enough to gain by it."""

from __future__ import annotations

import asyncio
import gzip

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streamforge.manager.api.routing import weighted

_LEAST_BYTES = 1024
_BESIDE_BYTES = 128 * 1024
"""From here on it is done in another thread, so that other requests do not wait for it."""
_LEVEL = 1
"""The higher ones take several times as long, and save a fifth at most of the lists that are answered."""


class Compression:
    """Streams pass as they are: a client takes the records of an export sooner than they can be compressed."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        accepted = scope["type"] == "http" and accepts_gzip(Headers(scope=scope).get("accept-encoding", ""))
        await self._app(scope, receive, _Whole(send) if accepted else send)


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether the header names it, and not as what is refused (`gzip;q=0`)."""
    return any(coding == "gzip" and weight > 0 for coding, weight in map(weighted, accept_encoding.split(",")[:50]))


class _Whole:
    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = Headers(raw=message["headers"])
            # A stream does not know its length, and its head goes ahead.
            if "content-length" in headers and "content-encoding" not in headers:
                self._start = message
                return
        if (start := self._start) is not None:
            self._start = None
            body = message.get("body", b"")
            if not message.get("more_body", False) and len(body) >= _LEAST_BYTES:
                beside = len(body) >= _BESIDE_BYTES
                body = await asyncio.to_thread(_packed, body) if beside else _packed(body)
                message = {**message, "body": body}
                changed = MutableHeaders(raw=list(start["headers"]))
                changed.update({"Content-Encoding": "gzip", "Content-Length": str(len(body))})
                changed.add_vary_header("Accept-Encoding")
                start = {**start, "headers": changed.raw}
            await self._send(start)
        await self._send(message)


def _packed(body: bytes) -> bytes:
    return gzip.compress(body, _LEVEL, mtime=0)
