"""The parameters of a request, read and refused as Binance does."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

import msgspec

from streamforge.exchange import errors
from streamforge_utils.model.kinds.candles import Interval

LIMIT_DEFAULT, LIMIT_MAX = 500, 1_000
_MICROSECONDS_FROM = 100_000_000_000_000
"""Times from here on are microseconds: as milliseconds they would lie past the year 5138."""

_NUMBER = re.compile(r"[0-9]{1,20}", re.ASCII)
_NUMBER_TEXT = "^[0-9]{1,20}$"
_SYMBOL = re.compile(r"[\w\-.]{1,50}")
_SYMBOL_TEXT = r"^[\w\-._&&[^a-z]]{1,50}$"
_ZONE = re.compile(r"(?P<sign>[+-]?)(?P<hours>[0-9]{1,2})(?::(?P<minutes>[0-5][0-9]))?", re.ASCII)
_KLINES = ("symbol", "interval", "startTime", "endTime", "timeZone", "limit")
_INFO = ("symbol", "symbols", "permissions", "showPermissionSets", "symbolStatus")
STATUSES = ("TRADING", "HALT", "BREAK")


class KlinesQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A request for candles. start_ms, end_ms: of open times, both included. offset_ms: local time ahead of UTC."""

    symbol: str
    interval: Interval
    start_ms: int | None = None
    end_ms: int | None = None
    limit: int = LIMIT_DEFAULT
    offset_ms: int = 0


class InfoQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A request for exchangeInfo. symbols: None for all."""

    symbols: tuple[str, ...] | None = None
    status: str | None = None
    permissions: tuple[str, ...] | None = None
    permission_sets: bool = True


def klines_query(query: Mapping[str, str], symbols: Collection[str]) -> KlinesQuery:
    """Read the parameters of `klines`. Raises ApiError."""
    sent = _read(query, _KLINES)
    symbol = _symbol(sent, symbols)
    if not sent.get("interval"):
        raise errors.missing("interval")
    try:
        interval = Interval(sent["interval"])
    except ValueError:
        raise errors.invalid_interval() from None
    limit = _number(sent, "limit")
    if limit == 0:
        raise errors.invalid_value("limit")
    start, end = _number(sent, "startTime"), _number(sent, "endTime")
    return KlinesQuery(
        symbol=symbol,
        interval=interval,
        start_ms=None if start is None else -(-start // 1000) if start >= _MICROSECONDS_FROM else start,
        end_ms=None if end is None else end // 1000 if end >= _MICROSECONDS_FROM else end,
        limit=LIMIT_DEFAULT if limit is None else min(limit, LIMIT_MAX),
        offset_ms=_zone_ms(sent.get("timeZone", "0")),
    )


def info_query(query: Mapping[str, str], symbols: Collection[str]) -> InfoQuery:
    """Read the parameters of `exchangeInfo`. Raises ApiError."""
    sent = _read(query, _INFO)
    narrowed = "symbol" in sent or "symbols" in sent
    if {"symbol", "symbols"} <= sent.keys() or (narrowed and sent.keys() & {"permissions", "symbolStatus"}):
        raise errors.bad_combination()
    status = sent.get("symbolStatus")
    if status is not None and status not in STATUSES:
        raise errors.invalid_status()
    chosen: tuple[str, ...] | None = None
    if "symbol" in sent:
        chosen = (_symbol(sent, symbols),)
    elif "symbols" in sent:
        chosen = _list(sent["symbols"], "symbols")
        if len(set(chosen)) != len(chosen):
            raise errors.symbol_repeated()
        if not set(chosen) <= set(symbols):
            raise errors.invalid_symbol()
    permissions: tuple[str, ...] | None = None
    if "permissions" in sent:
        text = sent["permissions"]
        permissions = _list(text, "permissions") if text.startswith("[") else (text,)
    return InfoQuery(
        symbols=chosen,
        status=status,
        permissions=permissions,
        permission_sets=sent.get("showPermissionSets", "true").lower() != "false",
    )


def no_query(query: Mapping[str, str]) -> None:
    """Refuse parameters of an endpoint that has none. Raises ApiError."""
    _read(query, ())


def _read(query: Mapping[str, str], known: Collection[str]) -> Mapping[str, str]:
    sent = dict(query)
    # aiohttp hands over a multi-mapping: its length counts a repeated name twice
    if len(sent) != len(query):
        raise errors.repeated()
    read = sum(name in known for name in sent)
    if read != len(sent):
        raise errors.unread(read, len(sent))
    return sent


def _symbol(sent: Mapping[str, str], symbols: Collection[str]) -> str:
    symbol = sent.get("symbol")
    if not symbol:
        raise errors.missing("symbol")
    if _SYMBOL.fullmatch(symbol) is None or re.search("[a-z]", symbol):
        raise errors.illegal("symbol", _SYMBOL_TEXT)
    if symbol not in symbols:
        raise errors.invalid_symbol()
    return symbol


def _number(sent: Mapping[str, str], name: str) -> int | None:
    text = sent.get(name)
    if text is None:
        return None
    if not text:
        raise errors.empty(name)
    if _NUMBER.fullmatch(text) is None:
        raise errors.illegal(name, _NUMBER_TEXT)
    return int(text)


def _zone_ms(text: str) -> int:
    match = _ZONE.fullmatch(text)
    if match is None:
        raise errors.invalid_value("timeZone")
    minutes = int(match["hours"]) * 60 + int(match["minutes"] or 0)
    if match["sign"] == "-":
        minutes = -minutes
    if not -12 * 60 <= minutes <= 14 * 60:
        raise errors.invalid_value("timeZone")
    return minutes * 60_000


def _list(text: str, name: str) -> tuple[str, ...]:
    try:
        return tuple(msgspec.json.decode(text, type=list[str]))
    except msgspec.MsgspecError:
        raise errors.illegal(name, r'^\["[\w\-._&&[^a-z]]{1,50}"(,"[\w\-._&&[^a-z]]{1,50}"){0,}\]$') from None
