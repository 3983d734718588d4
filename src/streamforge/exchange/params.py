"""The parameters of a request, read and refused as Binance does."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

import msgspec

from streamforge.exchange import errors
from streamforge.exchange.windows import Window

LIMIT_DEFAULT, LIMIT_MAX = 500, 1_000
_MICROSECONDS_FROM = 100_000_000_000_000
"""Times from here on are microseconds: as milliseconds they would lie past the year 5138."""

_NUMBER = re.compile(r"[0-9]{1,20}", re.ASCII)
_NUMBER_TEXT = "^[0-9]{1,20}$"
_SYMBOL = re.compile(r"[\w\-.]{1,50}")
_SYMBOL_TEXT = r"^[\w\-._&&[^a-z]]{1,50}$"

Sent = Mapping[str, str]
"""The parameters of a request: each known to its endpoint, each sent once."""


def read(query: Mapping[str, str], known: Collection[str]) -> Sent:
    """The parameters of `query`. Raises ApiError: one is sent twice, or is not among `known`."""
    sent = dict(query)
    # aiohttp hands over a multi-mapping: its length counts a repeated name twice
    if len(sent) != len(query):
        raise errors.repeated()
    understood = sum(name in known for name in sent)
    if understood != len(sent):
        raise errors.unread(understood, len(sent))
    return sent


def symbol_of(sent: Sent, symbols: Collection[str]) -> str:
    """The parameter `symbol`. Raises ApiError."""
    symbol = sent.get("symbol")
    if not symbol:
        raise errors.missing("symbol")
    if _SYMBOL.fullmatch(symbol) is None or re.search("[a-z]", symbol):
        raise errors.illegal("symbol", _SYMBOL_TEXT)
    if symbol not in symbols:
        raise errors.invalid_symbol()
    return symbol


def window_of(sent: Sent) -> Window:
    """The parameters `startTime`, `endTime`, `fromId` and `limit`. Raises ApiError."""
    limit = _number(sent, "limit")
    if limit == 0:
        raise errors.invalid_value("limit")
    start, end = _number(sent, "startTime"), _number(sent, "endTime")
    return Window(
        start_ms=None if start is None else -(-start // 1000) if start >= _MICROSECONDS_FROM else start,
        end_ms=None if end is None else end // 1000 if end >= _MICROSECONDS_FROM else end,
        from_id=_number(sent, "fromId"),
        limit=LIMIT_DEFAULT if limit is None else min(limit, LIMIT_MAX),
    )


def names_of(text: str, parameter: str) -> tuple[str, ...]:
    """A JSON array of names. Raises ApiError."""
    try:
        return tuple(msgspec.json.decode(text, type=list[str]))
    except msgspec.MsgspecError:
        raise errors.illegal(parameter, r'^\["[\w\-._&&[^a-z]]{1,50}"(,"[\w\-._&&[^a-z]]{1,50}"){0,}\]$') from None


def _number(sent: Sent, name: str) -> int | None:
    text = sent.get(name)
    if text is None:
        return None
    if not text:
        raise errors.empty(name)
    if _NUMBER.fullmatch(text) is None:
        raise errors.illegal(name, _NUMBER_TEXT)
    return int(text)
