"""Binance's REST interface: what all endpoints below /api/v3/ share, and the faults of answer, body and time."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable, Mapping
from email.utils import formatdate
from http import HTTPStatus

import msgspec
from aiohttp import web

from streamforge.exchange.endpoint import Call, Endpoint
from streamforge.exchange.exchange_requests import ApiError
from streamforge.exchange.fault_kind import Fault, Target
from streamforge.exchange.state import ExchangeState

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
_RESTRICTED = (
    b'{\n  "code": 0,\n  "msg": "Service unavailable from a restricted location according to \'b. Eligibility\' in '
    b"https://www.binance.com/en/terms. Please contact customer service if you believe you received this message in "
    b'error."\n}'
)


class Answer(msgspec.Struct, frozen=True):
    """An answer before the faults of its body. headers: added to those that every answer has, or in their place."""

    status: int
    body: bytes
    headers: Mapping[str, str] = {}


class Closed(Exception):
    """The connection is to be closed without (the rest of) an answer."""


class Rest:
    """Answers the requests under /api/v3/."""

    def __init__(self, state: ExchangeState) -> None:
        self._state = state
        self._endpoints = {path: endpoint for endpoint in state.endpoints for path in endpoint.paths}

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One request to a known endpoint: weight, parameters, answer, faults; counted."""
        state = self._state
        endpoint = self._endpoints[request.path.removeprefix("/api/v3/")]
        outcome = "closed"
        try:
            answer = await self._answer(request, endpoint)
            target = Target(endpoint.paths[0], request.query.get("symbol", ""))
            response = await send(request, answer, state.faults.strike("body", target))
            outcome = str(answer.status)
            return response
        except Closed:
            if request.transport is not None:
                request.transport.close()
            return web.Response()  # it can no longer be sent
        finally:
            state.count(request.path, outcome)

    async def unknown(self, request: web.Request) -> web.Response:
        """Any other path."""
        self._state.count("other", "404")
        return web.Response(status=404)

    async def _answer(self, request: web.Request, endpoint: Endpoint) -> Answer:
        state, name = self._state, endpoint.paths[0]
        target = Target(name, request.query.get("symbol", ""))
        now_ms, skew_ms = state.clock.now_ms(), 0
        try:
            state.limiter.spend(endpoint.cost(request.query), now_ms)
            skew_ms = sum(round(fault.number("seconds") * 1000) for fault in state.faults.strike("time", target))
            body = endpoint.answer(
                Call(
                    query=request.query,
                    symbols=state.listed(now_ms),
                    now_ms=now_ms,
                    shown_ms=now_ms + skew_ms,
                    book=state.book,
                    row_faults=state.faults.strike("rows", target),
                    snapshot_faults=state.faults.strike("snapshot", target),
                )
            )
            fault = next(state.faults.strike("answer", target), None)
            answer = Answer(200, body) if fault is None else await self._instead(fault, now_ms)
        except ApiError as error:
            again = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
            answer = Answer(error.status, error.body, again)
        used = str(state.limiter.used(now_ms))
        headers = {
            **_HEADERS,
            "X-StreamForge-Exchange": state.name,
            "x-mbx-uuid": str(uuid.uuid4()),
            "x-mbx-used-weight": used,
            "x-mbx-used-weight-1m": used,
            "Date": formatdate((now_ms + skew_ms) / 1000, usegmt=True),
            **answer.headers,
        }
        return Answer(answer.status, answer.body, headers)

    async def _instead(self, fault: Fault, now_ms: int) -> Answer:
        """The answer of an `answer` fault. Raises ApiError for one that the exchange itself gives."""
        limiter = self._state.limiter
        match fault.name:
            case "stall":
                await asyncio.sleep(fault.number("seconds"))
                raise Closed
            case "429":
                seconds = int(fault.number("retry_after"))
                raise limiter.pause(seconds if seconds >= 0 else None, now_ms)
            case "418":
                raise limiter.ban(int(fault.number("seconds")) * 1000, now_ms)
            case "timeout":
                raise ApiError(-1007, status=504)
            case "451":
                return Answer(451, _RESTRICTED)
        return html_page(fault)


def html_page(fault: Fault) -> Answer:
    """The answer of a fault that comes from something between the client and the exchange."""
    status = {"waf": 403, "garbage": 200, "timeout": 504}.get(fault.name) or int(fault.name)
    title = "Maintenance" if status == 200 else f"{status} {HTTPStatus(status).phrase}"
    page = f"<html>\r\n<head><title>{title}</title></head>\r\n<body><h1>{title}</h1></body>\r\n</html>\r\n"
    return Answer(status, page.encode(), {"Content-Type": "text/html"})


def routes(state: ExchangeState) -> Iterable[web.RouteDef]:
    """The routes of /api/v3/, and 404 for every other path."""
    rest = Rest(state)
    known = [web.get(f"/api/v3/{path}", rest.handle) for endpoint in state.endpoints for path in endpoint.paths]
    return [*known, web.route("*", "/{path:.*}", rest.unknown)]


async def send(request: web.Request, answer: Answer, faults: Iterable[Fault]) -> web.StreamResponse:
    """Send `answer`, changed by `faults` of the stage `body`. Raises Closed once the connection is to be cut."""
    body, pieces, pause_s, cut = answer.body, 0, 0.0, False
    for fault in faults:
        match fault.name:
            case "slow":
                await asyncio.sleep(fault.number("ms") / 1000)
            case "held":
                await fault.over.wait()
            case "truncated":
                body = body[: len(body) // 2]
            case "drip":
                pieces, pause_s = max(int(fault.number("bytes")), 1), fault.number("ms") / 1000
            case "cut":
                cut = True
    if not pieces and not cut:
        return web.Response(status=answer.status, body=body, headers=answer.headers)
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    response.content_length = len(body)
    await response.prepare(request)
    if cut:
        body = body[: len(body) // 2]
    for start in range(0, len(body), pieces or max(len(body), 1)):
        await response.write(body[start : start + (pieces or len(body))])
        if pieces:
            await asyncio.sleep(pause_s)
    if cut:
        raise Closed
    return response
