"""The test exchange as an HTTP server: Binance's REST under /api/v3/, its streams and archive, an oracle, and controls.

`serve` runs it inside an event loop (tests); `run` serves until the process is ended. It listens on loopback only.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Iterable
from itertools import islice
from types import TracebackType
from typing import Annotated, Literal, Self

import msgspec
from aiohttp import web

from streamforge.exchange import archive_host, book_oracle, certificates, rest, stream_host
from streamforge.exchange.config import ExchangeConfig
from streamforge.exchange.endpoint import RowsEndpoint
from streamforge.exchange.exchange_requests import ApiError
from streamforge.exchange.recordings import load_recordings
from streamforge.exchange.state import ExchangeClock, ExchangeState, Load
from streamforge.exchange.stream_host import StreamHost
from streamforge_utils.model.errors import InvalidInput

HOST = "127.0.0.1"
_IGNORED_SHOWN = 10


class RunningExchange:
    """A test exchange that listens. url: its base, without a trailing slash. Close it, or use it as a context.

    tls_url: the same with TLS; None: it has none. ca: the file of what to trust then.
    """

    def __init__(self, state: ExchangeState, runner: web.AppRunner) -> None:
        self.state = state
        self.port, *tls_ports = (int(address[1]) for address in runner.addresses)
        self.url = f"http://{HOST}:{self.port}"
        self.tls_url = f"https://{HOST}:{tls_ports[0]}" if tls_ports else None
        self.ca = None if state.config.tls is None else state.config.tls / certificates.AUTHORITY
        self._runner = runner

    async def close(self) -> None:
        """Stop listening and end what is being answered, within half a second."""
        await self._runner.cleanup()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


async def serve(
    config: ExchangeConfig, clock: ExchangeClock | None = None, load: Load = load_recordings
) -> RunningExchange:
    """Start a test exchange on the loopback address.

    clock: the exchange's time; None starts one at `config.now_ms`. load: as `ExchangeState` takes it.
    Raises InvalidInput for a fault that is not known, PermanentError for a recording that cannot be read and for TLS
    that cannot be had, OSError if the port is taken.
    """
    context = None if config.tls is None else certificates.server_context(config.tls, HOST)
    state = ExchangeState(config, clock, load)
    app = web.Application()
    streams = StreamHost(state)
    app.add_routes(control_routes(state, streams))
    app.add_routes(stream_host.routes(streams, app))
    app.add_routes(archive_host.routes(state, app))
    app.add_routes(rest.routes(state))
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, config.port).start()
        if context is not None:
            await web.TCPSite(runner, HOST, 0, ssl_context=context).start()
    except BaseException:
        await runner.cleanup()
        raise
    return RunningExchange(state, runner)


def run(config: ExchangeConfig, *, json_line: bool = False, load: Load = load_recordings) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code 0.

    Prints one line with the URL once it answers. load: as `serve` takes it, whose errors it raises.
    """
    import uvloop

    uvloop.run(_serve_until_stopped(config, json_line=json_line, load=load))
    return 0


async def _serve_until_stopped(config: ExchangeConfig, *, json_line: bool, load: Load) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with await serve(config, load=load) as exchange:
        symbols, ignored = list(exchange.state.symbols), exchange.state.ignored
        for name, reason in islice(ignored.items(), _IGNORED_SHOWN):
            sys.stderr.write(f"test exchange: ignored {name}: {reason}\n")
        if len(ignored) > _IGNORED_SHOWN:
            sys.stderr.write(f"test exchange: ignored {len(ignored) - _IGNORED_SHOWN} more files\n")
        if json_line:
            told: dict[str, object] = {"url": exchange.url, "port": exchange.port, "symbols": symbols}
            if exchange.tls_url is not None:
                told |= {"tls_url": exchange.tls_url, "ca": str(exchange.ca)}
            line = msgspec.json.encode(told).decode()
        else:
            tls = "" if exchange.tls_url is None else f", with TLS {exchange.tls_url}, trust {exchange.ca}"
            line = f"test exchange: {exchange.url}{tls} ({len(symbols)} symbols: {', '.join(symbols[:12])})"
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
        await stopped.wait()


class _FaultRequest(msgspec.Struct, forbid_unknown_fields=True):
    fault: str


class _ClockRequest(msgspec.Struct, forbid_unknown_fields=True):
    now_ms: int | None = None
    advance_ms: int = 0
    speed: Annotated[float, msgspec.Meta(ge=0, le=1e6)] | None = None
    paced: bool = False


class _SymbolRequest(msgspec.Struct, forbid_unknown_fields=True):
    symbol: str
    status: Literal["TRADING", "HALT", "BREAK", "CANCEL_ONLY"]


class _ShutdownRequest(msgspec.Struct, forbid_unknown_fields=True):
    notice_s: Annotated[float, msgspec.Meta(ge=0, le=1e6)] = 0.0


def control_routes(state: ExchangeState, streams: StreamHost) -> Iterable[web.RouteDef]:
    """The routes that Binance does not have: the oracle, and the controls of faults, clock and counters.

    GET /oracle/ENDPOINT?symbol&startTime&endTime (half-open, ms), for klines also interval: what a client must end up
    with, without a limit. GET /oracle/depth: an order book, see `book_oracle`.
    GET /control/stats, DELETE /control/stats: what was counted; forget it.
    GET, POST {"fault": "NAME:key=value"}, DELETE /control/faults.
    GET /control/log: the last strikes of faults, the newest last.
    POST {"now_ms": N, "advance_ms": N, "speed": X, "paced": true} /control/clock: set it, move it, let it run at
    another speed (0: it stands still), or as fast as clients of the streams read. Each is optional.
    POST {"symbol": S, "status": "TRADING"|"HALT"|"BREAK"|"CANCEL_ONLY"} /control/symbols: a BREAK is for good.
    POST {"notice_s": X} /control/shutdown: the streams announce a shutdown, and end so much later.
    """

    def oracle_of(endpoint: RowsEndpoint) -> web.RouteDef:
        async def oracle(request: web.Request) -> web.StreamResponse:
            now_ms = state.clock.now_ms()
            try:
                parts = endpoint.oracle(request.query, state.symbols, now_ms)
            except ApiError as error:
                return web.Response(status=error.status, body=error.body, content_type="application/json")
            answer = web.StreamResponse(headers={"Content-Type": "application/json"})
            await answer.prepare(request)
            separator = b"["
            for part in parts:
                await answer.write(separator + b",".join(part))
                separator = b","
            await answer.write(b"]" if separator == b"," else b"[]")
            return answer

        return web.get(f"/oracle/{endpoint.paths[0]}", oracle)

    async def stats(_: web.Request) -> web.Response:
        return _json(state.counts())

    async def forget(_: web.Request) -> web.Response:
        state.reset_counts()
        return _json(state.counts())

    async def faults(_: web.Request) -> web.Response:
        return _json({"faults": [{"fault": one.text, "struck": one.struck} for one in state.faults.active]})

    async def log(_: web.Request) -> web.Response:
        return _json({"strikes": list(state.faults.strikes)})

    async def add_fault(request: web.Request) -> web.Response:
        try:
            state.faults.add(msgspec.json.decode(await request.read(), type=_FaultRequest).fault)
        except (msgspec.MsgspecError, InvalidInput) as error:
            return _json({"error": str(error)}, 400)
        return await faults(request)

    async def drop_faults(request: web.Request) -> web.Response:
        state.faults.clear()
        return await faults(request)

    async def set_clock(request: web.Request) -> web.Response:
        try:
            asked = msgspec.json.decode(await request.read(), type=_ClockRequest)
        except msgspec.MsgspecError as error:
            return _json({"error": str(error)}, 400)
        clock = state.clock
        if asked.speed is not None or asked.paced:
            state.paced = asked.paced
            clock.run(0.0 if asked.paced else asked.speed or 0.0)
        if asked.now_ms is not None:
            clock.set(asked.now_ms)
        clock.advance(asked.advance_ms)
        streams.pace()
        return _json({"now_ms": clock.now_ms(), "speed": clock.speed})

    async def set_status(request: web.Request) -> web.Response:
        try:
            asked = msgspec.json.decode(await request.read(), type=_SymbolRequest)
            streams.set_status(asked.symbol, asked.status)
        except (msgspec.MsgspecError, InvalidInput) as error:
            return _json({"error": str(error)}, 400)
        return _json(state.symbols[asked.symbol])

    async def shut_down(request: web.Request) -> web.Response:
        try:
            asked = msgspec.json.decode(await request.read() or b"{}", type=_ShutdownRequest)
        except msgspec.MsgspecError as error:
            return _json({"error": str(error)}, 400)
        streams.shut_down(round(asked.notice_s * 1000))
        return _json({"open": state.streams.open})

    return [
        book_oracle.route(state),
        *(oracle_of(endpoint) for endpoint in state.endpoints if isinstance(endpoint, RowsEndpoint)),
        web.get("/control/stats", stats),
        web.delete("/control/stats", forget),
        web.get("/control/faults", faults),
        web.get("/control/log", log),
        web.post("/control/faults", add_fault),
        web.delete("/control/faults", drop_faults),
        web.post("/control/clock", set_clock),
        web.post("/control/shutdown", shut_down),
        web.post("/control/symbols", set_status),
    ]


def _json(body: object, status: int = 200) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(body), content_type="application/json")
