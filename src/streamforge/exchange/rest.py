"""Binance's market-data REST: what is common to all endpoints below /api/v3/."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from email.utils import formatdate

from aiohttp import web

from streamforge.exchange import errors, wire
from streamforge.exchange.config import WEIGHT_LIMIT
from streamforge.exchange.endpoint import Call, Endpoint
from streamforge.exchange.errors import ApiError
from streamforge.exchange.faults import Fault
from streamforge.exchange.limits import Refusal
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
        self._endpoints = {path: endpoint for endpoint in state.endpoints for path in endpoint.paths}

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One request to a known endpoint: weight, parameters, answer, faults; counted."""
        state = self._state
        endpoint = self._endpoints[request.path.rpartition("/")[2]]
        outcome = "closed"
        with state.stats.flying():
            try:
                answer = await self._answer(request, endpoint)
                response = await wire.send(request, answer, state.faults.strike("body", endpoint.paths[0]))
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

    async def _answer(self, request: web.Request, endpoint: Endpoint) -> wire.Answer:
        state, name = self._state, endpoint.paths[0]
        client = _client(request)
        now_ms = state.clock.now_ms()
        headers = {**_HEADERS, "X-StreamForge-Exchange": state.name, "x-mbx-uuid": str(uuid.uuid4())}
        try:
            used = state.limiter.spend(client, endpoint.cost(request.query), now_ms)
        except Refusal as refusal:
            headers |= {"Retry-After": str(refusal.retry_after), "Date": _date(now_ms)}
            headers |= _weight(state.limiter.used(client, now_ms))
            return wire.Answer(refusal.error.status, refusal.error.body, headers)
        headers |= _weight(used)
        skew_ms = sum(round(fault.number("seconds") * 1000) for fault in state.faults.strike("time", name))
        headers["Date"] = _date(now_ms + skew_ms)
        try:
            unit = request.headers.get("X-MBX-TIME-UNIT", "MILLISECOND")
            if unit not in _UNITS:
                raise errors.invalid_value("X-MBX-TIME-UNIT")
            body = endpoint.answer(
                Call(
                    query=request.query,
                    symbols=state.listed(now_ms),
                    now_ms=now_ms,
                    shown_ms=now_ms + skew_ms,
                    microseconds=_UNITS[unit],
                    row_faults=state.faults.strike("rows", name),
                )
            )
        except ApiError as error:
            return wire.Answer(error.status, error.body, headers)
        fault = next(state.faults.strike("answer", name), None)
        return wire.Answer(200, body, headers) if fault is None else await self._instead(fault, client, now_ms, headers)

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
    known = [web.get(f"/api/v3/{path}", rest.handle) for endpoint in state.endpoints for path in endpoint.paths]
    return [*known, web.route("*", "/{path:.*}", rest.unknown)]


def _client(request: web.Request) -> str:
    return request.headers.get("X-Forwarded-For", "").partition(",")[0].strip() or request.remote or "unknown"


def _weight(used: int) -> dict[str, str]:
    return {"x-mbx-used-weight": str(used), "x-mbx-used-weight-1m": str(used)}


def _date(now_ms: int) -> str:
    return formatdate(now_ms / 1000, usegmt=True)
