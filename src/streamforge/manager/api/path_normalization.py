"""ASGI middleware that answers HEAD as GET without a body and redirects addresses that end in a slash."""

from __future__ import annotations

from urllib.parse import quote

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Addresses:
    """The middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].endswith("/") and scope["path"].strip("/"):
            await _send_on(scope, send)
        elif scope["type"] == "http" and scope["method"] == "HEAD":
            outgoing = _Head(send)
            try:
                await self._app({**scope, "method": "GET"}, receive, outgoing)
            except (_Answered, ClientDisconnect):
                if not outgoing.answered:
                    raise
        else:
            await self._app(scope, receive, send)


async def _send_on(scope: Scope, send: Send) -> None:
    """308 keeps method and body. The place is on this server, as it begins with one slash (two would name a host)."""
    place = "/" + quote(scope["path"].strip("/"), safe="/-._~!$&'()*+,;=:@")
    query = scope["query_string"].decode("latin-1")
    headers = [(b"location", f"{place}{f'?{query}' if query else ''}".encode("latin-1")), (b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 308, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


class _Answered(OSError):
    """All of an answer to HEAD was sent: what makes its body need not go on."""


class _Head:
    def __init__(self, send: Send) -> None:
        self._send = send
        self.answered = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await self._send(message)
            return
        if not self.answered:
            self.answered = True
            await self._send({"type": "http.response.body", "body": b""})
        if message.get("more_body", False):
            raise _Answered
