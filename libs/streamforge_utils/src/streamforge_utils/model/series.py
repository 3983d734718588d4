"""What is loaded: the `type` of a request, and the series that it belongs to."""

from __future__ import annotations

import re
from functools import lru_cache

import msgspec

from streamforge_utils.model.errors import InvalidInput
from streamforge_utils.model.intervals import Interval

SYMBOL_LIMIT = 60
_SHOWN = 80
_ENDING = re.compile(r"(?<![0-9])(?P<count>[0-9]{1,4})[ _-]?(?P<unit>[A-Za-z]{1,7})$", re.ASCII)
_UNITS = {"mo": "M", "min": "m", "minute": "m", "minutes": "m", "hour": "h", "day": "d", "week": "w", "month": "M"}
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
    found = _interval_of(type_name)
    if found is not None:
        return found
    meant = _meant(type_name)
    choices = ", ".join(candles_type(interval) for interval in Interval)
    advice = f"choose one of {choices}" if meant is None else f"did you mean {candles_type(meant)}?"
    raise InvalidInput("type", f"type {type_name[:80]!r} is not known: {advice}")


def candles_type(interval: Interval) -> str:
    """The type that loads candles of `interval`."""
    return f"api_candles_{interval.value}"


def normal_type(type_name: str) -> str:
    """`type_name` in its one spelling (`api_candles_1mo` is `api_candles_1M`). Raises InvalidInput if unknown."""
    return candles_type(candles_interval(type_name))


@lru_cache(maxsize=1024)
def series_of(symbol: str, type_name: str) -> Series:
    """The series that a request belongs to. Raises InvalidInput if the type is unknown."""
    return Series(symbol, "candles", candles_interval(type_name).value)


def is_type(text: str) -> bool:
    """Whether `text` is a type."""
    return _interval_of(text) is not None


def check_series(symbol: str, type_name: str) -> tuple[str, str]:
    """A symbol and a type in their one spelling. Raises InvalidInput, which says so if the two are swapped."""
    if is_type(symbol) and not is_type(type_name):
        raise InvalidInput(
            "type",
            f"type {type_name[:80]!r} is not known and {symbol!r} is a type: the symbol comes first, then the type "
            f"({type_name[:80]} {symbol})",
        )
    return check_symbol(symbol), normal_type(type_name)


def check_symbol(symbol: str) -> str:
    """`symbol`, upper-cased where it is plain letters and digits; other scripts are let through.

    Raises InvalidInput if it is empty, too long, or holds white space, control or reserved characters.
    """
    if not symbol or len(symbol) > SYMBOL_LIMIT:
        raise InvalidInput("symbol", f"symbol {symbol[:80]!r} must have 1 to {SYMBOL_LIMIT} characters")
    bad = sorted({c for c in symbol if not (c.isalnum() or c in "-_.")})
    if bad or not symbol.isprintable() or any(0xD800 <= ord(c) <= 0xDFFF for c in symbol):
        plain = re.sub(r"[^0-9A-Za-z]", "", symbol).upper()
        hint = f": did you mean {plain}?" if symbol.isprintable() and len(plain) > 4 else ""
        raise InvalidInput(
            "symbol", f"symbol {symbol[:80]!r} holds characters that no symbol has ({''.join(bad)[:20]!r}){hint}"
        )
    return symbol.upper() if symbol.isascii() else symbol


def _meant(type_name: str) -> Interval | None:
    """The interval that a text ends in which is no type: `1m`, `klines_1m`, `api_candles_60m` (an hour)."""
    match = _ENDING.search(type_name[-_SHOWN:].strip())
    if match is None:
        return None
    count, unit = int(match["count"]), match["unit"]
    unit = unit if unit in ("m", "M") else _UNITS.get(unit.lower(), unit.lower())
    length = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}.get(unit, 0) * count * 1000
    return next((i for i in Interval if i.value == f"{count}{unit}" or (length and i.step_ms == length)), None)


def _interval_of(type_name: str) -> Interval | None:
    match = _CANDLES.fullmatch(type_name)
    try:
        return None if match is None else Interval.parse(match["interval"])
    except ValueError:
        return None
