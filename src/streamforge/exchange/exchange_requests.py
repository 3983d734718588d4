"""Requests for market data: their parameters, and the answers with which Binance refuses one."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

import msgspec

from streamforge.exchange.windows import Window

LIMIT_DEFAULT, LIMIT_MAX = 500, 1_000

_NUMBER = re.compile(r"[0-9]{1,20}", re.ASCII)
_SYMBOL = re.compile(r"[\w\-.]{1,50}")

Sent = Mapping[str, str]
"""The parameters of a request: each known to its endpoint, each sent once."""

_UPDATES = "Please use WebSocket Streams for live updates to avoid"
_TEXTS = {
    -1001: "Internal error; unable to process your request. Please try again. The stored order book of {} at {} is not "
    "verified ({}).",
    -1003: "Too much request weight used; current limit is {} request weight per 1 MINUTE. "
    f"{_UPDATES} polling the API.",
    -1007: "Timeout waiting for response from backend server. Send status unknown; execution status unknown.",
    -1100: "Illegal characters found in parameter '{}'; legal range is '{}'.",
    -1101: "Duplicate values for a parameter detected.",
    -1102: "Mandatory parameter '{}' was not sent, was empty/null, or malformed.",
    -1104: "Not all sent parameters were read; read '{}' parameter(s) but was sent '{}'.",
    -1105: "Parameter '{}' was empty.",
    -1120: "Invalid interval.",
    -1121: "Invalid symbol.",
    -1130: "Data sent for parameter '{}' is not valid.",
}


class ApiError(Exception):
    """A refusal. code: that of the body. details: the values that its text names. status: HTTP.

    retry_after: seconds, as the header names them; None: no header. text: instead of the code's usual one.
    """

    def __init__(
        self, code: int, *details: object, status: int = 400, retry_after: int | None = None, text: str = ""
    ) -> None:
        super().__init__(text or _TEXTS[code].format(*details))
        self.code, self.status, self.retry_after = code, status, retry_after

    @property
    def body(self) -> bytes:
        return msgspec.json.encode({"code": self.code, "msg": str(self)})


def banned(until_ms: int, retry_after: int) -> ApiError:
    """The refusal of a client that is banned until then."""
    text = f"Way too much request weight used; IP banned until {until_ms}. {_UPDATES} bans."
    return ApiError(-1003, status=418, retry_after=retry_after, text=text)


def read_parameters(query: Mapping[str, str], known: Collection[str]) -> Sent:
    """The parameters of `query`. Raises ApiError: one is sent twice, or is not among `known`."""
    sent = dict(query)
    # aiohttp hands over a multi-mapping: its length counts a repeated name twice
    if len(sent) != len(query):
        raise ApiError(-1101)
    understood = sum(name in known for name in sent)
    if understood != len(sent):
        raise ApiError(-1104, understood, len(sent))
    return sent


def symbol_of(sent: Sent, symbols: Collection[str]) -> str:
    """The parameter `symbol`. Raises ApiError."""
    symbol = sent.get("symbol")
    if not symbol:
        raise ApiError(-1102, "symbol")
    if _SYMBOL.fullmatch(symbol) is None or re.search("[a-z]", symbol):
        raise ApiError(-1100, "symbol", r"^[\w\-._&&[^a-z]]{1,50}$")
    if symbol not in symbols:
        raise ApiError(-1121)
    return symbol


def window_of(sent: Sent) -> Window:
    """The parameters `startTime`, `endTime`, `fromId` and `limit`. Raises ApiError."""
    return Window(
        start_ms=number_of(sent, "startTime"),
        end_ms=number_of(sent, "endTime"),
        from_id=number_of(sent, "fromId"),
        limit=limit_of(sent, LIMIT_DEFAULT, LIMIT_MAX),
    )


def limit_of(sent: Sent, default: int, most: int) -> int:
    """The parameter `limit`; `most` where it is above. Raises ApiError."""
    limit = number_of(sent, "limit")
    if limit == 0:
        raise ApiError(-1130, "limit")
    return default if limit is None else min(limit, most)


def number_of(sent: Sent, name: str) -> int | None:
    """A parameter that is a number; None: it was not sent. Raises ApiError."""
    text = sent.get(name)
    if text is None:
        return None
    if not text:
        raise ApiError(-1105, name)
    if _NUMBER.fullmatch(text) is None:
        raise ApiError(-1100, name, "^[0-9]{1,20}$")
    return int(text)
