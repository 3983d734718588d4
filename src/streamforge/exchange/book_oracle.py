"""GET /oracle/depth: the order book as it is after an update, with all its levels."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from aiohttp import web

from streamforge.exchange.exchange_requests import ApiError, limit_of, number_of, read_parameters, symbol_of
from streamforge.exchange.state import ExchangeState

_ALL = 1 << 30


def route(state: ExchangeState) -> web.RouteDef:
    """GET /oracle/depth?symbol, with u (an update id) or time (unix ms; else now), and limit (levels a side).

    Answers {"lastUpdateId", "T", "bids", "asks"}; T is when the update happened. An update that has not happened yet,
    and one of which nothing is known, are refused with -1130.
    """

    async def oracle(request: web.Request) -> web.Response:
        try:
            body, status = _answer(state, request.query), 200
        except ApiError as error:
            body, status = error.body, error.status
        return web.Response(status=status, body=body, content_type="application/json")

    return web.get("/oracle/depth", oracle)


def _answer(state: ExchangeState, query: Mapping[str, str]) -> bytes:
    sent = read_parameters(query, ("symbol", "u", "time", "limit"))
    now_ms = state.clock.now_ms()
    symbols = state.listed(now_ms)
    book = state.book(symbols[symbol_of(sent, symbols)])
    update_id, time_ms = number_of(sent, "u"), number_of(sent, "time")
    if book is None:
        raise ApiError(-1121)
    latest = book.update_at(now_ms if time_ms is None else min(time_ms, now_ms))
    found = book.state(latest if update_id is None else update_id, limit_of(sent, _ALL, _ALL))
    if found is None or found.time_ms > now_ms:
        raise ApiError(-1130, "u" if time_ms is None else "time")
    book_json = {"lastUpdateId": found.update_id, "T": found.time_ms, "bids": found.bids, "asks": found.asks}
    return msgspec.json.encode(book_json)
