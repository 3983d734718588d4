"""Requests and answers as the double sees them, and the HTTP server between them and the clients."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from aiohttp import web
from multidict import CIMultiDict

from tests.doubles.arangodb.values import decode, encode

_MAX_BODY = 1 << 30
_USUAL = (
    ("X-Arango-Queue-Time-Seconds", "0.000000"),
    ("Strict-Transport-Security", "max-age=31536000 ; includeSubDomains"),
    ("Expires", "0"),
    ("Pragma", "no-cache"),
    ("Cache-Control", "no-cache, no-store, must-revalidate, pre-check=0, post-check=0, max-age=0, s-maxage=0"),
    ("Content-Security-Policy", "frame-ancestors 'self'; form-action 'self';"),
    ("X-Content-Type-Options", "nosniff"),
    ("Server", "ArangoDB"),
)


@dataclass(slots=True)
class Request:
    """One request; header names are in lower case. segments: the decoded parts of the path after `/_db/<name>`."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    database: str = "_system"
    segments: list[str] = field(default_factory=list)

    def json(self) -> Any:
        """The body's value, None for an empty body; error 600 where it is no JSON."""
        return decode(self.body) if self.body else None

    def flag(self, name: str, default: bool = False) -> bool:
        """A yes or no of the query string; clients say 1 and 0, documents true and false."""
        value = self.query.get(name)
        return default if value is None else value.lower() in ("true", "1", "yes", "y", "on")


@dataclass(slots=True)
class Response:
    """body: a value (sent as JSON), bytes (sent as they are) or None for nothing. delay: seconds before it is sent."""

    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    kind: str = "application/json; charset=utf-8"


class Cut(Exception):
    """Instead of an answer: the connection is closed."""


Answering = Callable[[Request], Awaitable[Response]]


def application(answer: Answering) -> web.Application:
    """What serves `answer` over HTTP."""

    async def serve(got: web.Request) -> web.Response:
        path = got.raw_path.partition("?")[0]
        headers = {name.lower(): value for name, value in got.headers.items()}
        segments = [unquote(part) for part in path.split("/")[1:]]
        request = Request(got.method, path, dict(got.query), headers, await got.read(), segments=segments)
        try:
            response = await answer(request)
        except Cut:
            assert got.transport is not None
            got.transport.abort()
            return web.Response()
        return _sent(response, got.method)

    app = web.Application(client_max_size=_MAX_BODY)
    app.router.add_route("*", "/{path:.*}", serve)
    return app


def _sent(response: Response, method: str) -> web.Response:
    body = response.body
    if type(body) is not bytes:
        body = b"" if body is None else encode(body)
    headers = CIMultiDict(_USUAL)
    for name, value in response.headers.items():
        for line in value.split("\n"):
            headers.add(name, line)
    headers["Content-Type"] = response.kind if body or method == "HEAD" else "text/plain; charset=utf-8"
    return web.Response(status=response.status, body=body, headers=headers)
