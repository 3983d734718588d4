"""A small server that answers as Binance does, or as a test tells it to, on a clock of the test's."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from email.utils import formatdate
from typing import NamedTuple

import msgspec
from aiohttp import web

from streamforge_utils.adapters.binance import BinanceExchange, Retries, Transport
from streamforge_utils.model.kinds.candles import Interval
from streamforge_utils.model.secret import Secret
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.clock import Clock
from streamforge_utils.ports.exchange import Identity
from tests.doubles.candles import candles_of
from tests.doubles.clock import FakeClock
from tests.doubles.observer import RecordingObserver
from tests.limits import LIMIT_S

Row = list[int | str]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
SYMBOL = "BTCUSDT"
NOW = 1_722_513_630_000  # 2024-08-01T12:00:30Z: half a minute is left
START = NOW - 30_000 - 60 * 60_000
SPAN = TimeRange(START, START + 3 * 60_000)
OPENS = [START, START + 60_000, START + 120_000]


def row(open_time: int, close_time: int | None = None, **changes: int | str) -> Row:
    """A row of a `klines` answer; changes: by name, e.g. `high="1.5"`."""
    fields: dict[str, int | str] = {
        "open_time": open_time,
        "open": "100.10000000",
        "high": "101.00000000",
        "low": "99.00000000",
        "close": "100.50000000",
        "volume": "12.34500000",
        "close_time": close_time if close_time is not None else open_time + 59_999,
        "quote_volume": "1234.50000000",
        "trades": 42,
        "taker_base": "6.00000000",
        "taker_quote": "600.00000000",
        "ignored": "0",
    }
    return list((fields | changes).values())


def rows(start_ms: int, number: int, interval: Interval = Interval.M1) -> list[Row]:
    """`number` rows in a row from `start_ms`."""
    found = []
    for _ in range(number):
        found.append(row(start_ms, interval.close_time(start_ms), trades=start_ms // 60_000 % 1000))
        start_ms = interval.rule.next(start_ms)
    return found


class ScriptedExchange:
    """series: the rows of each (symbol, interval). script: answers for `path` instead of the real ones, in order.

    skew_ms: what `serverTime` is off. date_skew_ms: what the `Date` header is off; None sends none. asked: every
    request. used_weight: what the header says; None counts honestly. name: as it calls itself, where no answer of the
    script says otherwise; None: not at all.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.series: dict[tuple[str, str], list[Row]] = {}
        self.script: dict[str, deque[Handler]] = {}
        self.asked: list[web.Request] = []
        self.skew_ms = 0
        self.date_skew_ms: int | None = 0
        self.used_weight: int | None = None
        self.name: str | None = None
        self.weight_limit = 6000
        self._counted = (0, 0)

    def expect(self, path: str, *handlers: Handler) -> None:
        self.script.setdefault(path, deque()).extend(handlers)

    def paths(self) -> list[str]:
        return [request.path.rpartition("/")[2] for request in self.asked]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        name = request.path.rpartition("/")[2]
        response = await self._answer(name, request)
        now_ms = self.clock.now_ms()
        minute, used = self._counted
        used = (used if minute == now_ms // 60_000 else 0) + {"klines": 2, "exchangeInfo": 20}.get(name, 1)
        self._counted = (now_ms // 60_000, used)
        if not response.prepared:
            response.headers["x-mbx-used-weight-1m"] = str(used if self.used_weight is None else self.used_weight)
            date = "" if self.date_skew_ms is None else formatdate((now_ms + self.date_skew_ms) // 1000, usegmt=True)
            response.headers.setdefault("Date", date)
            if self.name is not None:
                response.headers.setdefault("X-StreamForge-Exchange", self.name)
        return response

    async def _answer(self, name: str, request: web.Request) -> web.StreamResponse:
        waiting = self.script.get(name)
        if waiting:
            return await waiting.popleft()(request)
        if name == "time":
            return answer({"serverTime": self.clock.now_ms() + self.skew_ms})
        if name == "exchangeInfo":
            return self._info(request.query.get("symbol"))
        return self._klines(request.query)

    def _info(self, symbol: str | None) -> web.Response:
        known = sorted({s for s, _ in self.series}, reverse=True)  # in an order that promises nothing, as Binance's
        if symbol is not None and symbol not in known:
            return error(400, -1121, "Invalid symbol.")
        listed = [
            {"symbol": one, "status": "TRADING", "baseAsset": one[:3], "quoteAsset": one[3:], "filters": []}
            for one in (known if symbol is None else [symbol])
        ]
        limits = [
            {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": 61000},
            {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": self.weight_limit},
        ]
        return answer({"timezone": "UTC", "rateLimits": limits, "symbols": listed})

    def _klines(self, query: Mapping[str, str]) -> web.Response:
        found = self.series.get((query["symbol"], query["interval"]))
        if found is None:
            return error(400, -1121, "Invalid symbol.")
        start, end = int(query.get("startTime", "0")), int(query.get("endTime", 10**15))
        limit = int(query.get("limit", "500"))
        inside = [r for r in found if start <= int(r[0]) <= min(end, self.clock.now_ms())]
        return answer(inside[:limit] if "startTime" in query else inside[-limit:])


def answer(body: object, status: int = 200, **headers: str) -> web.Response:
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return web.Response(body=raw, status=status, headers={"Content-Type": "application/json"} | named)


def error(status: int, code: int, text: str, **headers: str) -> web.Response:
    return answer({"code": code, "msg": text}, status, **headers)


def always(response: Callable[[], web.StreamResponse]) -> Handler:
    """A handler that makes the same answer for any request."""

    async def handler(_: web.Request) -> web.StreamResponse:
        return response()

    return handler


def html(status: int) -> Handler:
    return always(lambda: web.Response(status=status, text="<html>oops</html>", content_type="text/html"))


@asynccontextmanager
async def serving(exchange: ScriptedExchange) -> AsyncIterator[str]:
    """Serve on a free port of the loopback address; yields the base URL."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", exchange.handle)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.2)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


class Bench(NamedTuple):
    """A client, the server it asks, the clock of both unless a test wants two, and what the client reported."""

    client: BinanceExchange
    server: ScriptedExchange
    clock: FakeClock
    url: str
    observer: RecordingObserver


@asynccontextmanager
async def bench(
    now_ms: int,
    *,
    weight_limit: int = 3000,
    api_key: str | None = None,
    retries: Retries | None = None,
    before: tuple[str, ...] = (),
    local_ms: int | None = None,
    identity: Identity | None = None,
) -> AsyncIterator[Bench]:
    """before: base URLs that are tried first. local_ms: the client's wall clock, if it is not the server's.

    identity: which exchange must answer; by default any.
    """
    server_clock = FakeClock(now_ms)
    clock = server_clock if local_ms is None else FakeClock(local_ms)
    server = ScriptedExchange(server_clock)
    observer = RecordingObserver()
    async with serving(server) as url:
        transport = Transport(
            (*before, url),
            weight_limit=weight_limit,
            clock=clock,
            observer=observer,
            api_key=None if api_key is None else Secret(api_key),
            retries=retries or Retries(timeout_s=LIMIT_S),
            jitter=lambda: 0.5,
            identity=identity,
        )
        client = BinanceExchange(transport)
        try:
            yield Bench(client, server, clock, url, observer)
        finally:
            await client.close()


def listed(made: Bench) -> None:
    """Let the server have an hour of minutes."""
    made.server.series[SYMBOL, "1m"] = rows(START, 61)


async def opens(made: Bench) -> list[int]:
    """When the candles of `SPAN` open, as the client gives them."""
    return [c.open_time for c in await candles_of(made.client, SYMBOL, Interval.M1, SPAN)]
