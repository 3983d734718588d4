"""What is loaded: the `type` of a request, and the series that it belongs to."""

from __future__ import annotations

import re

import msgspec

from streamforge_utils.model.errors import InvalidInput
from streamforge_utils.model.intervals import Interval

SYMBOL_LIMIT = 60
_CANDLES = re.compile(r"api_candles_(?P<interval>[0-9]{1,2}[a-zA-Z]{1,2})", re.ASCII)


class Series(msgspec.Struct, frozen=True, order=True):
    """A series of an exchange's data: coverage belongs to it, whichever workflow stored the data.

    kind: `candles`. interval: of candles only, the exchange's spelling.
    """

    symbol: str
    kind: str
    interval: str = ""

    @property
    def id(self) -> str:
        """One text for one series."""
        return "/".join(part for part in (self.symbol, self.kind, self.interval) if part)


def candles_interval(type_name: str) -> Interval:
    """The interval of a candles type such as `api_candles_1m`. Raises InvalidInput naming the choices."""
    match = _CANDLES.fullmatch(type_name)
    if match is not None:
        try:
            return Interval.parse(match["interval"])
        except ValueError:
            pass
    choices = ", ".join(f"api_candles_{i}" for i in Interval)
    raise InvalidInput("type", f"type {type_name[:80]!r} is not known: choose one of {choices}")


def candles_type(interval: Interval) -> str:
    """The type that loads candles of `interval`."""
    return f"api_candles_{interval.value}"


def normal_type(type_name: str) -> str:
    """`type_name` in its one spelling (`api_candles_1mo` is `api_candles_1M`). Raises InvalidInput if unknown."""
    return candles_type(candles_interval(type_name))


def series_of(symbol: str, type_name: str) -> Series:
    """The series that a request belongs to. Raises InvalidInput if the type is unknown."""
    return Series(symbol, "candles", candles_interval(type_name).value)


def check_symbol(symbol: str) -> str:
    """`symbol`, upper-cased where it is plain letters and digits; other scripts are let through.

    Raises InvalidInput if it is empty, too long, or holds white space, control or reserved characters.
    """
    if not symbol or len(symbol) > SYMBOL_LIMIT:
        raise InvalidInput("symbol", f"symbol {symbol[:80]!r} must have 1 to {SYMBOL_LIMIT} characters")
    bad = sorted({c for c in symbol if not (c.isalnum() or c in "-_.")})
    if bad or not symbol.isprintable() or any(0xD800 <= ord(c) <= 0xDFFF for c in symbol):
        raise InvalidInput("symbol", f"symbol {symbol[:80]!r} holds characters that no symbol has: {''.join(bad)!r}")
    return symbol.upper() if symbol.isascii() else symbol
