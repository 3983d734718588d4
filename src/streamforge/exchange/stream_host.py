"""The exchange's streams at /ws and /stream: who may connect, and what concerns all connections."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from itertools import count

from aiohttp import web

from streamforge.exchange.endpoint import RowsEndpoint
from streamforge.exchange.state import ExchangeState
from streamforge.exchange.stream_connection import Ending, How, StreamConnection
from streamforge.exchange.stream_feed import Agenda, StreamFeed
from streamforge.exchange.stream_protocol import STREAMS_LIMIT
from streamforge.exchange.stream_strikes import StreamStrikes

_CONNECTS_MS, _NEVER = 300_000, float("inf")
_STEP_MS = 1_000
"""How far a paced clock moves beyond what is due next."""
_CLOSE_S = 5.0
"""How long a client may take to answer a close frame."""


class StreamHost:
    """Takes connections and keeps those that are open."""

    def __init__(self, state: ExchangeState) -> None:
        self._state = state
        rows = [endpoint for endpoint in state.endpoints if isinstance(endpoint, RowsEndpoint)]
        recorded = None if state.recordings is None else state.recordings.streams
        self._feed = StreamFeed(state.config, rows, state.symbols, recorded)
        self._open: set[StreamConnection] = set()
        self._strikes = StreamStrikes(state.faults, self._open)
        self._attempts: dict[str, deque[int]] = {}
        self._numbers = count(1)
        state.clock.watch(self._wake)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One connection, from its request to its end."""
        state = self._state
        if not self._may_connect(request.remote or ""):
            state.streams.refused += 1
            return web.Response(status=429, text="Too many connection attempts.")
        names = _names(request)
        unit = request.query.get("timeUnit", "MILLISECOND").upper()
        if len(set(names)) > STREAMS_LIMIT or unit not in ("MILLISECOND", "MICROSECOND"):
            state.streams.refused += 1
            return web.Response(status=400, text=f"At most {STREAMS_LIMIT} streams, in MILLISECOND or MICROSECOND.")
        status = self._strikes.refused(names) if state.faults.active else None
        if status is not None:
            state.streams.refused += 1
            return web.Response(status=status, text="Refused by a fault.")
        ws = web.WebSocketResponse(autoping=False, timeout=_CLOSE_S)
        await ws.prepare(request)
        number = next(self._numbers)
        agenda = Agenda(self._feed, number)
        connection = StreamConnection(number, request, ws, agenda, state, self._strikes, self.pace)
        connection.combined, connection.micro = request.path.startswith("/stream"), unit == "MICROSECOND"
        connection.agenda.subscribe(names, connection.position_ms)
        self._open.add(connection)
        state.streams.connects += 1
        state.streams.open += 1
        try:
            await connection.run()
        finally:
            self._open.discard(connection)
            state.streams.open -= 1
        return ws

    def shut_down(self, notice_ms: int) -> None:
        """Announce to every client that the server shuts down, and end its connection so much later."""
        for connection in self._open:
            connection.shut_down(self._state.clock.now_ms(), notice_ms)

    def set_status(self, symbol: str, status: str) -> None:
        """Change the status of a symbol, see `ExchangeState`. Raises InvalidInput."""
        self._state.set_status(symbol, status)
        self._feed.forget()
        for connection in self._open:
            connection.restart()

    def end_all(self, ending: Ending) -> None:
        """End every connection."""
        for connection in list(self._open):
            connection.end(ending)

    def pace(self) -> None:
        """Where the clock is paced, move it on once all that is due has been taken."""
        if self._state.paced:
            asyncio.get_running_loop().call_soon(self._move_on)

    def _move_on(self) -> None:
        state, clock = self._state, self._state.clock
        if not state.paced or not all(connection.idle for connection in self._open):
            return
        next_ms = min((connection.agenda.next_ms for connection in self._open), default=_NEVER)
        end_ms = _NEVER if state.recordings is None else state.recordings.end_ms
        if clock.now_ms() >= end_ms:
            state.paced = False
            clock.run(1.0)
        elif next_ms < _NEVER:
            clock.set(int(min(max(next_ms, clock.now_ms()) + _STEP_MS, end_ms)))

    def _may_connect(self, address: str) -> bool:
        """Whether `address` may make one more connection; counts the attempt."""
        limit, now_ms = self._state.config.connect_limit, self._state.clock.now_ms()
        attempts = self._attempts.setdefault(address, deque())
        while attempts and not now_ms - _CONNECTS_MS < attempts[0] <= now_ms:
            attempts.popleft()
        attempts.append(now_ms)
        return limit is None or len(attempts) <= limit

    def _wake(self) -> None:
        """The clock was moved."""
        for connection in list(self._open):
            connection.wake()


def _names(request: web.Request) -> list[str]:
    """The streams that the address of a connection names."""
    text = request.query.get("streams", "") if request.path.startswith("/stream") else request.match_info["streams"]
    return [name for name in text.split("/") if name]


def routes(host: StreamHost, app: web.Application) -> Iterable[web.RouteDef]:
    """The routes of the streams. Connections are reset when `app` shuts down."""

    async def reset(_: web.Application) -> None:
        host.end_all(Ending("exchange ended", How.RESET))
        await asyncio.sleep(0)

    app.on_shutdown.append(reset)
    return [
        web.get("/ws{streams:(/.*)?}", host.handle),
        web.get("/stream", host.handle),
        web.get("/stream/", host.handle),
    ]
