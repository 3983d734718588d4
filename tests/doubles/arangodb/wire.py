"""HTTP/1.1 as ArangoDB speaks it, on asyncio alone: small, quick, and able to cut a connection where it likes."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, unquote

from tests.doubles.arangodb.errors import ArangoError
from tests.doubles.arangodb.values import decode, encode

MAX_BODY = 1 << 30
_MAX_HEAD = 1 << 20
_USUAL = (
    b"X-Arango-Queue-Time-Seconds: 0.000000\r\n"
    b"Strict-Transport-Security: max-age=31536000 ; includeSubDomains\r\n"
    b"Expires: 0\r\nPragma: no-cache\r\n"
    b"Cache-Control: no-cache, no-store, must-revalidate, pre-check=0, post-check=0, max-age=0, s-maxage=0\r\n"
    b"Content-Security-Policy: frame-ancestors 'self'; form-action 'self';\r\n"
    b"X-Content-Type-Options: nosniff\r\n"
)
_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}


@dataclass(slots=True)
class Request:
    """One request, with its head read; header names are in lower case."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    database: str = "_system"
    segments: list[str] = field(default_factory=list)
    """The decoded parts of the path after `/_db/<name>`."""
    user: str = "root"

    def json(self) -> Any:
        """The body's value, None for an empty body; error 600 where it is no JSON."""
        return decode(self.body) if self.body else None

    def flag(self, name: str, default: bool = False) -> bool:
        """A yes or no of the query string; clients say 1 and 0, documents true and false."""
        value = self.query.get(name)
        if value is None:
            return default
        return value.lower() in ("true", "1", "yes", "y", "on")


@dataclass(slots=True)
class Response:
    """body: a value (sent as JSON), bytes (sent as they are) or None for nothing. delay: seconds before it is sent."""

    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    kind: str = "application/json; charset=utf-8"


@dataclass(slots=True)
class Cut:
    """Instead of an answer: the connection is closed."""


Answering = Callable[[Request], Awaitable[Response | Cut]]


class Connection(asyncio.Protocol):
    """One client's connection: requests are answered one after the other."""

    def __init__(self, answer: Answering, connections: set[Connection]) -> None:
        self._answer = answer
        self._connections = connections
        self._buffer = bytearray()
        self._wanted = 0
        self._queue: asyncio.Queue[Request | None] = asyncio.Queue(64)
        self._transport: Any = None
        self._writable = asyncio.Event()
        self._writable.set()
        self.task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._connections.add(self)
        self.task = asyncio.get_running_loop().create_task(self._serve(), name="arangodb double connection")

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        self._writable.set()
        if self.task:
            self.task.cancel()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def close(self) -> None:
        if self._transport:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= self._wanted and self._buffer:
            try:
                request = self._next()
            except ArangoError as error:
                self._send(Response(error.status, error.answer()), "GET", keep=False)
                self._transport.close()
                return
            if request is None:
                return
            if self._queue.full():
                self._transport.abort()
                return
            self._queue.put_nowait(request)

    def _next(self) -> Request | None:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > _MAX_HEAD:
                raise ArangoError(400, "header too large", status=431)
            return None
        lines = self._buffer[:end].decode("latin-1").split("\r\n")
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        if "transfer-encoding" in headers:
            raise ArangoError(501, "Transfer-Encoding is not supported: send a Content-Length")
        length = int(headers.get("content-length", "0") or 0)
        if length > MAX_BODY:
            raise ArangoError(413, "request body too large", status=413)
        if len(self._buffer) < end + 4 + length:
            self._wanted = end + 4 + length
            if headers.get("expect") == "100-continue":
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            return None
        body = bytes(self._buffer[end + 4 : end + 4 + length])
        del self._buffer[: end + 4 + length]
        self._wanted = 0
        method, target, *_ = [*lines[0].split(" "), ""]
        path, _, query = target.partition("?")
        parsed = dict(parse_qsl(query, keep_blank_values=True)) if query else {}
        encoding = headers.get("content-encoding", "")
        try:
            if encoding == "gzip":
                body = gzip.decompress(body)
            elif encoding == "deflate":
                body = zlib.decompress(body)
        except (OSError, zlib.error) as error:
            raise ArangoError(400, f"cannot decompress the body: {error}") from error
        return Request(method, path, parsed, headers, body, segments=[unquote(part) for part in path.split("/")[1:]])

    async def _serve(self) -> None:
        while True:
            request = await self._queue.get()
            if request is None:
                return
            response = await self._answer(request)
            if isinstance(response, Cut):
                self._transport.abort()
                return
            keep = request.headers.get("connection", "").lower() != "close"
            await self._writable.wait()
            self._send(response, request.method, keep=keep)
            if not keep:
                self._transport.close()
                return

    def _send(self, response: Response, method: str, *, keep: bool) -> None:
        body = response.body
        if body is None:
            body = b""
        elif type(body) is not bytes:
            body = encode(body)
        head = bytearray(b"HTTP/1.1 %d %s\r\n" % (response.status, _REASONS.get(response.status, b"Unknown")))
        head += _USUAL
        for name, value in response.headers.items():
            for line in value.split("\n"):
                head += f"{name}: {line}\r\n".encode("latin-1")
        head += b"Server: ArangoDB\r\nConnection: %s\r\n" % (b"Keep-Alive" if keep else b"Close")
        head += (
            f"Content-Type: {response.kind if body or method == 'HEAD' else 'text/plain; charset=utf-8'}\r\n".encode()
        )
        if response.status not in (204, 304):
            head += b"Content-Length: %d\r\n" % len(body)
        head += b"\r\n"
        if method != "HEAD" and response.status not in (204, 304):
            head += body
        self._transport.write(bytes(head))
