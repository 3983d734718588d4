"""The ASGI middleware before every route: limits, authentication, and the check of where a request comes from.

Outermost is `Guard`, which limits requests and answers every failure with a problem document; then `Authentication`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, MutableMapping
from typing import Any
from urllib.parse import quote, urlsplit

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streamforge.manager.actor import ANONYMOUS, LOOPBACK, acting
from streamforge.manager.api.error_answers import problem_of
from streamforge.manager.api.problems import ProblemError
from streamforge.manager.api.routing import Limits
from streamforge.manager.api.tokens import Access, Tokens, is_loopback
from streamforge.manager.api.ui_files import is_ui

log = logging.getLogger(__name__)

OPEN_PATHS = frozenset({"/healthz", "/readyz"})
"""Served to anybody, also when the server is busy."""

_UNAUTHENTICATED = "streamforge.unauthenticated"
"""Set in the scope of such a request."""
_ROLE = "streamforge.role"

SAFE_METHODS = frozenset({"GET", "HEAD"})


def role_needed(method: str, path: str) -> Access | None:
    """The role that a request needs; None: anybody. What is not known to be harmless needs an operator."""
    if (path in OPEN_PATHS or is_ui(path)) and method in SAFE_METHODS:
        return None
    return Access.READER if method in SAFE_METHODS else Access.OPERATOR


def is_unauthenticated(scope: MutableMapping[str, Any]) -> bool:
    """Whether the request is served without authentication, and its sender may read nothing else."""
    return _UNAUTHENTICATED in scope


def role_of(scope: MutableMapping[str, Any]) -> Access:
    """The role of the request's token; without tokens everybody here is an operator."""
    role: Access = scope.get(_ROLE, Access.OPERATOR)
    return role


class Guard:
    """Limits how many requests are served at once, their bodies and their time; every failure becomes a problem."""

    def __init__(self, app: ASGIApp, *, limits: Limits) -> None:
        self._app = app
        self._limits = limits
        self._serving = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        outgoing = _Outgoing(send, self._limits.send_timeout_s)
        counted = scope["path"] not in OPEN_PATHS
        if counted:
            self._serving += 1
        try:
            if counted and self._serving > self._limits.requests:
                raise busy(f"the server answers {self._limits.requests} requests at once, its limit", self._limits)
            incoming = _Incoming(scope, receive, self._limits)
            await self._app(scope, incoming, outgoing)
        except Exception as error:
            problem = problem_of(error)  # logs what is unexpected
            if not outgoing.started:
                await problem.response(scope["path"])(scope, receive, outgoing)
            # Otherwise returning without an end makes the server cut the connection: the client sees a broken answer.
        finally:
            if counted:
                self._serving -= 1


class Authentication:
    """Checks the token; without tokens it accepts requests from this machine that no foreign web page has sent.

    No page of another site gets an answer to a GET, unless a person goes from there to the UI.
    """

    def __init__(self, app: ASGIApp, *, tokens: Tokens | None) -> None:
        self._app = app
        self._tokens = tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        name = ANONYMOUS
        if scope["type"] == "http":
            _check_site(scope)
            try:
                if self._tokens is None:
                    _check_local(scope)
                    name = LOOPBACK
                else:
                    name = _check_token(scope, self._tokens)
            except ProblemError:
                if role_needed(scope["method"], scope["path"]) is not None or (
                    self._tokens is None and is_ui(scope["path"])
                ):
                    raise
                scope[_UNAUTHENTICATED] = True
        with acting(name):
            await self._app(scope, receive, send)


class _Outgoing:
    def __init__(self, send: Send, timeout_s: float) -> None:
        self._send = send
        self._timeout_s = timeout_s
        self.started = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            own = {name.lower() for name, _ in message["headers"]}
            more = (header for header in HEADERS if header[0] not in own)
            message = {**message, "headers": [*message["headers"], *more]}
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._send(message)
        except TimeoutError as error:
            raise ProblemError(
                408, "request-timeout", f"the client took nothing for {self._timeout_s:g} s", next_step="read faster"
            ) from error


class _Incoming:
    def __init__(self, scope: Scope, receive: Receive, limits: Limits) -> None:
        self._receive = receive
        self._limits = limits
        self._left = limits.body_bytes
        self._complete = False
        self._deadline = asyncio.get_running_loop().time() + limits.body_timeout_s
        head = len(scope.get("raw_path") or b"") + len(scope["query_string"])
        head += sum(len(name) + len(value) + 4 for name, value in scope["headers"])
        if head > limits.header_bytes:
            raise ProblemError(
                431,
                "header-fields-too-large",
                f"the request's address and headers are larger than {limits.header_bytes} bytes",
                next_step="send less of them",
                headers={"Connection": "close"},
            )
        length = _header(scope, b"content-length")
        if length is not None and length.isdigit() and (len(length) > 18 or int(length) > limits.body_bytes):
            raise self._too_large()

    async def __call__(self) -> Message:
        if self._complete:  # what follows the body is the news that the client has gone
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError as error:
            raise ProblemError(
                408,
                "request-timeout",
                f"the request's body did not arrive within {self._limits.body_timeout_s:g} s",
                next_step="send the whole body at once",
                headers={"Connection": "close"},
            ) from error
        if message["type"] == "http.request":
            self._left -= len(message.get("body", b""))
            if self._left < 0:
                raise self._too_large()
            self._complete = not message.get("more_body", False)
        return message

    def _too_large(self) -> ProblemError:
        return ProblemError(
            413,
            "content-too-large",
            f"the request's body is larger than {self._limits.body_bytes} bytes",
            next_step="send a smaller body",
            headers={"Connection": "close"},
        )


HEADERS: list[tuple[bytes, bytes]] = [
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
]
"""Sent with every answer that has no such header of its own."""


def busy(detail: str, limits: Limits) -> ProblemError:
    """More is asked at once than is served."""
    return ProblemError(
        503,
        "busy",
        detail,
        next_step="send the same request again after Retry-After",
        retry_after=limits.retry_after_s,
    )


def _check_site(scope: Scope) -> None:
    if scope["path"] in OPEN_PATHS or scope["method"] not in SAFE_METHODS:
        return
    if _header(scope, b"sec-fetch-site") != "cross-site":
        return
    goes_there = (_header(scope, b"sec-fetch-mode"), _header(scope, b"sec-fetch-dest")) == ("navigate", "document")
    if not (goes_there and is_ui(scope["path"])):
        raise ProblemError(
            403,
            "forbidden",
            "the request comes from a web page of another site, which may only lead to the web UI",
            next_step="ask from the command line or a program, or open /ui",
        )


def _check_token(scope: Scope, tokens: Tokens) -> str:
    """The token's name."""
    needed = role_needed(scope["method"], scope["path"]) or Access.READER
    given = _header(scope, b"authorization") or ""
    scheme, _, token = given.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise _unauthorized("the request carries no bearer token", 'Bearer realm="streamforge"')
    holder = tokens.holder_of(token.strip())
    if holder is None:
        raise _unauthorized("the bearer token is not known", 'Bearer realm="streamforge", error="invalid_token"')
    role, name = holder
    if not role.may(needed):
        raise ProblemError(
            403,
            "forbidden",
            f"the token's role is {role}; {scope['method'][:20]} needs {needed}",
            next_step=f"use a token with the role {needed}",
        )
    scope[_ROLE] = role
    return name


def _unauthorized(detail: str, challenge: str) -> ProblemError:
    return ProblemError(
        401,
        "unauthorized",
        detail,
        next_step="send the header Authorization: Bearer TOKEN, with a token that this server knows",
        headers={"WWW-Authenticate": challenge},
    )


def _check_local(scope: Scope) -> None:
    host = _header(scope, b"host") or ""
    if not is_loopback(_without_port(host)):
        raise ProblemError(
            403,
            "forbidden",
            f"Host {host[:80]!r} is not this machine, and a server without tokens serves this machine only",
            next_step="ask for http://127.0.0.1:PORT or http://localhost:PORT, or configure tokens",
        )
    if scope["method"] in SAFE_METHODS:
        return
    origin, site = _header(scope, b"origin"), _header(scope, b"sec-fetch-site")
    foreign = origin is not None and not _same_origin(origin, host)
    if foreign or site in ("cross-site", "same-site"):
        raise ProblemError(
            403,
            "forbidden",
            f"Origin {(origin or site or '')[:80]!r} is another web page, which may not change anything here",
            next_step="send the request from the command line or a program, or configure tokens",
        )


def _same_origin(origin: str, host: str) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower()


def _without_port(host: str) -> str:
    if host.startswith("["):
        address, bracket, _ = host[1:].partition("]")
        return address if bracket else host
    return host.rpartition(":")[0] if host.count(":") == 1 else host


def _header(scope: Scope, name: bytes) -> str | None:
    headers: Iterable[tuple[bytes, bytes]] = scope["headers"]
    return next((value.decode("latin-1") for key, value in headers if key == name), None)


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
