"""Answers as they go over the wire, whole or harmed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from http import HTTPStatus

import msgspec
from aiohttp import web

from streamforge.exchange.faults import Fault

RESTRICTED = (
    b'{\n  "code": 0,\n  "msg": "Service unavailable from a restricted location according to \'b. Eligibility\' in '
    b"https://www.binance.com/en/terms. Please contact customer service if you believe you received this message in "
    b'error."\n}'
)


class Answer(msgspec.Struct, frozen=True):
    """A whole answer."""

    status: int
    body: bytes
    headers: dict[str, str]


class Closed(Exception):
    """The connection is to be closed without (the rest of) an answer."""


def html(status: int) -> bytes:
    """A page as a proxy or firewall writes it."""
    title = "Maintenance" if status == 200 else f"{status} {HTTPStatus(status).phrase}"
    return f"<html>\r\n<head><title>{title}</title></head>\r\n<body><h1>{title}</h1></body>\r\n</html>\r\n".encode()


def close(request: web.Request) -> web.StreamResponse:
    """Close the connection after what was already written; what is returned can no longer be sent."""
    if request.transport is not None:
        request.transport.close()
    return web.Response()


async def stall(seconds: float) -> None:
    """Say nothing for `seconds`, then close the connection. Raises Closed."""
    await asyncio.sleep(seconds)
    raise Closed


async def send(request: web.Request, answer: Answer, faults: Iterable[Fault]) -> web.StreamResponse:
    """Send `answer`, harmed by `faults` of the stage `body`. Raises Closed once it has cut the connection."""
    body, pieces, pause, cut = answer.body, 0, 0.0, False
    for fault in faults:
        match fault.name:
            case "slow":
                await asyncio.sleep(fault.number("ms") / 1000)
            case "truncated":
                body = body[: len(body) // 2]
            case "drip":
                pieces, pause = max(int(fault.number("bytes")), 1), fault.number("ms") / 1000
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
            await asyncio.sleep(pause)
    if cut:
        raise Closed
    return response
