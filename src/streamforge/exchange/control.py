"""Routes that Binance does not have: the oracle, and the controls of faults, clock and counters. Loopback only."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from aiohttp import web

from streamforge.exchange.endpoint import RowsEndpoint
from streamforge.exchange.exchange_errors import ApiError
from streamforge.exchange.state import ExchangeState
from streamforge_utils.model.errors import InvalidInput


class _FaultRequest(msgspec.Struct, forbid_unknown_fields=True):
    fault: str


class _ClockRequest(msgspec.Struct, forbid_unknown_fields=True):
    now_ms: int


def routes(state: ExchangeState) -> Iterable[web.RouteDef]:
    """The routes of oracle and controls.

    GET /oracle/ENDPOINT?symbol&startTime&endTime (half-open, ms), for klines also interval: what a client must end up
    with, without a limit.
    GET /control/stats, DELETE /control/stats: what was counted; forget it.
    GET, POST {"fault": "NAME:key=value"}, DELETE /control/faults.
    POST {"now_ms": N} /control/clock.
    """

    def oracle_of(endpoint: RowsEndpoint) -> web.RouteDef:
        async def oracle(request: web.Request) -> web.StreamResponse:
            now_ms = state.clock.now_ms()
            try:
                parts = endpoint.oracle(request.query, state.listed(now_ms), now_ms)
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

    async def add_fault(request: web.Request) -> web.Response:
        try:
            state.faults.add(msgspec.json.decode(await request.read(), type=_FaultRequest).fault)
        except (msgspec.MsgspecError, InvalidInput) as error:
            return _json({"error": str(error)}, 400)
        return await faults(request)

    async def drop_faults(request: web.Request) -> web.Response:
        state.faults.active = []
        return await faults(request)

    async def set_clock(request: web.Request) -> web.Response:
        try:
            state.clock.set(msgspec.json.decode(await request.read(), type=_ClockRequest).now_ms)
        except msgspec.MsgspecError as error:
            return _json({"error": str(error)}, 400)
        return _json({"now_ms": state.clock.now_ms()})

    return [
        *(oracle_of(endpoint) for endpoint in state.endpoints if isinstance(endpoint, RowsEndpoint)),
        web.get("/control/stats", stats),
        web.delete("/control/stats", forget),
        web.get("/control/faults", faults),
        web.post("/control/faults", add_fault),
        web.delete("/control/faults", drop_faults),
        web.post("/control/clock", set_clock),
    ]


def _json(body: object, status: int = 200) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(body), content_type="application/json")
