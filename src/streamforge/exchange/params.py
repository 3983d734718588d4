"""The parameters of a request, read and refused as Binance does."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from streamforge.exchange.exchange_errors import ApiError
from streamforge.exchange.windows import Window

LIMIT_DEFAULT, LIMIT_MAX = 500, 1_000

_NUMBER = re.compile(r"[0-9]{1,20}", re.ASCII)
_SYMBOL = re.compile(r"[\w\-.]{1,50}")

Sent = Mapping[str, str]
"""The parameters of a request: each known to its endpoint, each sent once."""


def read(query: Mapping[str, str], known: Collection[str]) -> Sent:
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
    limit = _number(sent, "limit")
    if limit == 0:
        raise ApiError(-1130, "limit")
    return Window(
        start_ms=_number(sent, "startTime"),
        end_ms=_number(sent, "endTime"),
        from_id=_number(sent, "fromId"),
        limit=LIMIT_DEFAULT if limit is None else min(limit, LIMIT_MAX),
    )


def _number(sent: Sent, name: str) -> int | None:
    text = sent.get(name)
    if text is None:
        return None
    if not text:
        raise ApiError(-1105, name)
    if _NUMBER.fullmatch(text) is None:
        raise ApiError(-1100, name, "^[0-9]{1,20}$")
    return int(text)
