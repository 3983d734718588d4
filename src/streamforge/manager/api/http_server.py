"""Serving the API inside a running event loop, without touching the process's signals."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Generator
from contextlib import contextmanager

import h11
import uvicorn
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from streamforge.manager.api.guard import HEADERS, busy
from streamforge.manager.api.problems import ProblemError
from streamforge.manager.api.routing import Limits
from streamforge.manager.api.tokens import Tokens, check_binding
from streamforge_utils.model.errors import ConfigError

log = logging.getLogger(__name__)

_BACKLOG = 256
_KEEP_ALIVE_S = 30
CONNECTIONS_A_REQUEST = 4
"""Connections held, for each request that may be served at once."""


class Server:
    """A server that accepts requests until it is closed."""

    def __init__(self, server: uvicorn.Server, task: asyncio.Task[None], url: str, closing: asyncio.Event) -> None:
        self._server = server
        self._closing = closing
        self._task = task
        self.url = url
        """`http://127.0.0.1:8080`, with the real port."""

    async def wait(self) -> None:
        """Return when the server has ended; raises what ended it."""
        await asyncio.shield(self._task)

    async def close(self) -> None:
        """Accept nothing more, end the event streams, give other requests a while; on return all is released."""
        self._closing.set()
        self._server.should_exit = True
        await asyncio.wait({self._task})
        if not self._task.cancelled() and (error := self._task.exception()) is not None:
            log.warning("the server ended with %s: %s", type(error).__name__, error)


class _Uvicorn(uvicorn.Server):
    """Leaves the process's signals alone. running: set once it accepts requests."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.running = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.running.set()


class LimitedProtocol(H11Protocol):
    """Limits the time in which a request's head arrives, and answers what is no request with a problem document.

    For neither has uvicorn a setting or a hook, so that this builds on a class that it does not document.
    """

    limits = Limits()
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait_for_head(self.limits.header_timeout_s)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._wait_for_head(self.limits.header_timeout_s + self.timeout_keep_alive)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        super().connection_lost(exc)

    def _wait_for_head(self, seconds: float) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(seconds, self._end_if_idle)

    def _end_if_idle(self) -> None:
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.response_complete:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        problem = ProblemError(
            400,
            "bad-request",
            "this is no HTTP/1.1 request: its first line or its headers cannot be read, or are larger than "
            f"{self.limits.header_bytes} bytes",
            next_step="send a well-formed and smaller request",
            headers={"Connection": "close"},
        )
        response = problem.response("/", HEADERS)
        head = h11.Response(status_code=400, headers=response.raw_headers, reason=b"Bad Request")
        for part in (head, h11.Data(data=bytes(response.body)), h11.EndOfMessage()):
            self.transport.write(self.conn.send(part))
        self.transport.close()


async def serve(
    app: FastAPI,
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    tokens: Tokens | None = None,
    limits: Limits | None = None,
    grace_s: float = 5.0,
) -> Server:
    """Serve `app`; on return it accepts requests. No signal handler is installed, no access log written.

    port: 0 takes any free one. tokens: those that `app` was made with. grace_s: how long `close` waits for requests.
    Raises ConfigError: the port is taken or not allowed, the host is not of this machine, or it is reachable from
    other machines and there are no tokens.
    """
    check_binding(host, tokens)
    limits = limits or Limits()
    listener = await _listen(host, port)
    address = listener.getsockname()
    most = CONNECTIONS_A_REQUEST * limits.requests

    async def bounded(scope: Scope, receive: Receive, send: Send) -> None:
        # As uvicorn's own limit_concurrency, but for the form of the answer.
        if len(server.server_state.connections) <= most:
            await app(scope, receive, send)
            return
        problem = busy(f"the server holds {most} connections, its limit", limits)
        problem.headers["Connection"] = "close"
        await problem.response(scope["path"], HEADERS)(scope, receive, send)

    config = uvicorn.Config(
        bounded,
        http=type("Protocol", (LimitedProtocol,), {"limits": limits}),
        ws="none",
        lifespan="off",
        loop="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, round(grace_s)),
        h11_max_incomplete_event_size=limits.header_bytes,
    )
    server = _Uvicorn(config)
    task = asyncio.create_task(server.serve([listener]), name="http-api")
    running = asyncio.create_task(server.running.wait())
    await asyncio.wait({task, running}, return_when=asyncio.FIRST_COMPLETED)
    if not running.done():
        running.cancel()
        listener.close()
        await task
        raise ConfigError(f"the server on {host}:{port} did not start: see the log before this line")
    shown = f"[{address[0]}]" if ":" in address[0] else address[0]
    return Server(server, task, f"http://{shown}:{address[1]}", app.state.context.followers.closing)


async def _listen(host: str, port: int) -> socket.socket:
    if not 0 <= port <= 65_535:
        raise ConfigError(f"port {port} is no port: choose one from 0 (any free one) to 65535")
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        # A name may have addresses of both families: IPv4 goes first, as for who connects to 127.0.0.1.
        family, _, _, _, address = min(found, key=lambda one: one[0] is not socket.AF_INET)
        both = family is socket.AF_INET6 and host == "::" and socket.has_dualstack_ipv6()
        listener = socket.create_server(address[:2], family=family, backlog=_BACKLOG, dualstack_ipv6=both)
    except OSError as error:
        raise ConfigError(_cannot_listen(host, port, error)) from error
    listener.setblocking(False)
    # For each connection that it accepts, too: else a body waits until its head is acknowledged, some 40 ms.
    # asyncio sets it where a socket names its protocol, which this one does not.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _cannot_listen(host: str, port: int, error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return (
                f"port {port} on {host} is in use: stop what listens there (perhaps another manager), or choose "
                "another port (0 takes any free one)"
            )
        case errno.EACCES:
            return f"port {port} on {host} needs more rights than this process has: choose one from 1024 on"
        case socket.EAI_NONAME | socket.EAI_AGAIN:
            return f"host {host!r} is not known: try 127.0.0.1"
        case errno.EADDRNOTAVAIL:
            return f"host {host!r} is no address of this machine: try 127.0.0.1"
        case _:
            return f"cannot listen on {host}:{port}: {error.strerror or error}"
