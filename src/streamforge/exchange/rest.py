"""Binance's market-data REST: klines, uiKlines, exchangeInfo, time, ping."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from email.utils import formatdate

import msgspec
from aiohttp import web

from streamforge.exchange import errors, wire
from streamforge.exchange.config import WEIGHT_LIMIT
from streamforge.exchange.errors import ApiError
from streamforge.exchange.faults import Fault
from streamforge.exchange.info import exchange_info
from streamforge.exchange.limits import WEIGHTS, Refusal
from streamforge.exchange.params import info_query, klines_query, no_query
from streamforge.exchange.rowfaults import Page, spoil
from streamforge.exchange.source import in_microseconds
from streamforge.exchange.state import ExchangeState

_UNITS = {"MILLISECOND": False, "millisecond": False, "MICROSECOND": True, "microsecond": True}
_HEADERS = {
    "Content-Type": "application/json;charset=UTF-8",
    "Server": "nginx",
    "Strict-Transport-Security": "max-age=31536000; includeSubdomains",
    "X-Frame-Options": "SAMEORIGIN",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache, no-store, must-revalidate",
    "Pragma": "no-cache",
    "Expires": "0",
}
_OTHER_PATH = "other"
_NOT_FOUND = b"<html><head><title>404 Not Found</title></head><body><h1>404 Not Found</h1></body></html>"


class Rest:
    """Answers the requests under /api/v3/."""

    def __init__(self, state: ExchangeState) -> None:
        self._state = state

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One request to a known endpoint: weight, parameters, answer, faults; counted."""
        state, name = self._state, request.path.rpartition("/")[2]
        endpoint = "klines" if name == "uiKlines" else name
        outcome = "closed"
        with state.stats.flying():
            try:
                answer = await self._answer(request, name, endpoint)
                response = await wire.send(request, answer, state.faults.strike("body", endpoint))
                outcome = str(answer.status)
                return response
            except wire.Closed:
                return wire.close(request)
            finally:
                state.stats.count(request.path, outcome)

    async def unknown(self, request: web.Request) -> web.Response:
        """Any other path."""
        self._state.stats.count(_OTHER_PATH, "404")
        if "text/html" in request.headers.get("Accept", ""):
            return web.Response(status=404, body=_NOT_FOUND, content_type="text/html")
        return web.Response(status=404)

    async def _answer(self, request: web.Request, name: str, endpoint: str) -> wire.Answer:
        state = self._state
        client = _client(request)
        now_ms = state.clock.now_ms()
        headers = {**_HEADERS, "X-StreamForge-Exchange": state.name, "x-mbx-uuid": str(uuid.uuid4())}
        try:
            used = state.limiter.spend(client, WEIGHTS[name], now_ms)
        except Refusal as refusal:
            headers |= {"Retry-After": str(refusal.retry_after), "Date": _date(now_ms)}
            headers |= _weight(state.limiter.used(client, now_ms))
            return wire.Answer(refusal.error.status, refusal.error.body, headers)
        headers |= _weight(used)
        skew_ms = sum(round(fault.number("seconds") * 1000) for fault in state.faults.strike("time", endpoint))
        headers["Date"] = _date(now_ms + skew_ms)
        try:
            body = self._body(request, endpoint, now_ms, now_ms + skew_ms)
        except ApiError as error:
            return wire.Answer(error.status, error.body, headers)
        fault = next(state.faults.strike("answer", endpoint), None)
        return wire.Answer(200, body, headers) if fault is None else await self._instead(fault, client, now_ms, headers)

    def _body(self, request: web.Request, endpoint: str, now_ms: int, told_ms: int) -> bytes:
        state = self._state
        micro = _UNITS.get(request.headers.get("X-MBX-TIME-UNIT", "MILLISECOND"))
        if micro is None:
            raise errors.invalid_value("X-MBX-TIME-UNIT")
        told = told_ms * 1000 if micro else told_ms
        if endpoint == "klines":
            query = klines_query(request.query, state.listed(now_ms))
            rows = state.source.page(query, now_ms, open_candle=state.config.open_candle)
            for fault in state.faults.strike("rows", endpoint):
                rows = spoil(fault, Page(query, state.source, now_ms, rows))
            return b"[" + b",".join(map(in_microseconds, rows) if micro else rows) + b"]"
        if endpoint == "exchangeInfo":
            listed = state.listed(now_ms)
            asked = info_query(request.query, listed)
            return msgspec.json.encode(exchange_info(listed.values(), asked, now_ms, told, state.limiter.limit))
        no_query(request.query)
        return msgspec.json.encode({"serverTime": told}) if endpoint == "time" else b"{}"

    async def _instead(self, fault: Fault, client: str, now_ms: int, headers: dict[str, str]) -> wire.Answer:
        """The answer of an `answer` fault."""
        state = self._state
        match fault.name:
            case "stall":
                await wire.stall(fault.number("seconds"))
            case "429":
                seconds = int(fault.number("retry_after"))
                error = errors.too_much_weight(state.limiter.limit or WEIGHT_LIMIT)
                state.limiter.pause(client, now_ms, seconds * 1000 if seconds >= 0 else None)
                return wire.Answer(429, error.body, headers | ({"Retry-After": str(seconds)} if seconds >= 0 else {}))
            case "418":
                seconds = int(fault.number("seconds"))
                ban = state.limiter.ban(client, now_ms, seconds * 1000)
                return wire.Answer(418, errors.banned(ban.until_ms).body, headers | {"Retry-After": str(seconds)})
            case "timeout":
                error = errors.backend_timeout()
                return wire.Answer(error.status, error.body, headers)
            case "451":
                return wire.Answer(451, wire.RESTRICTED, headers)
        status = {"waf": 403, "garbage": 200}.get(fault.name) or int(fault.name)
        return wire.Answer(status, wire.html(status), headers | {"Content-Type": "text/html"})


def routes(state: ExchangeState) -> Iterable[web.RouteDef]:
    """The routes of /api/v3/, and 404 for every other path."""
    rest = Rest(state)
    known = [web.get(f"/api/v3/{name}", rest.handle) for name in WEIGHTS]
    return [*known, web.route("*", "/{path:.*}", rest.unknown)]


def _client(request: web.Request) -> str:
    return request.headers.get("X-Forwarded-For", "").partition(",")[0].strip() or request.remote or "unknown"


def _weight(used: int) -> dict[str, str]:
    return {"x-mbx-used-weight": str(used), "x-mbx-used-weight-1m": str(used)}


def _date(now_ms: int) -> str:
    return formatdate(now_ms / 1000, usegmt=True)
