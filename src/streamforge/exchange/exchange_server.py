"""The test exchange as an HTTP server: Binance's market-data REST under /api/v3/, an oracle, and controls.

`serve` runs it inside an event loop (tests); `run` serves until the process is ended.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from itertools import islice
from types import TracebackType
from typing import Self

import msgspec
from aiohttp import web

from streamforge.exchange import control, rest
from streamforge.exchange.adjustable_clock import ExchangeClock
from streamforge.exchange.config import ExchangeConfig
from streamforge.exchange.state import ExchangeState

HOST = "127.0.0.1"
_IGNORED_SHOWN = 10


class RunningExchange:
    """A test exchange that listens. url: its base, without a trailing slash. Close it, or use it as a context."""

    def __init__(self, state: ExchangeState, runner: web.AppRunner, port: int) -> None:
        self.state, self.port = state, port
        self.url = f"http://{HOST}:{port}"
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


async def serve(config: ExchangeConfig, clock: ExchangeClock | None = None) -> RunningExchange:
    """Start a test exchange on the loopback address.

    clock: the exchange's time; None starts one at `config.now_ms`.
    Raises InvalidInput for a fault that is not known, PermanentError for a recording that cannot be read, OSError if
    the port is taken.
    """
    state = ExchangeState(config, clock)
    app = web.Application()
    app.add_routes(control.routes(state))
    app.add_routes(rest.routes(state))
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, config.port).start()
    except BaseException:
        await runner.cleanup()
        raise
    return RunningExchange(state, runner, int(runner.addresses[0][1]))


def run(config: ExchangeConfig, *, json_line: bool = False) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code 0.

    Prints one line with the URL once it answers. Raises what `serve` raises.
    """
    import uvloop

    uvloop.run(_serve_until_stopped(config, json_line=json_line))
    return 0


async def _serve_until_stopped(config: ExchangeConfig, *, json_line: bool) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with await serve(config) as exchange:
        symbols, ignored = list(exchange.state.symbols), exchange.state.ignored
        for name, reason in islice(ignored.items(), _IGNORED_SHOWN):
            sys.stderr.write(f"test exchange: ignored {name}: {reason}\n")
        if len(ignored) > _IGNORED_SHOWN:
            sys.stderr.write(f"test exchange: ignored {len(ignored) - _IGNORED_SHOWN} more files\n")
        if json_line:
            line = msgspec.json.encode({"url": exchange.url, "port": exchange.port, "symbols": symbols}).decode()
        else:
            line = f"test exchange: {exchange.url} ({len(symbols)} symbols: {', '.join(symbols[:12])})"
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
        await stopped.wait()
