"""The symbols of an exchange: which fit a pattern, which one a misspelt name means, and which was listed on a day."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from fnmatch import fnmatchcase

from streamforge.manager.policy import DAY_MS
from streamforge_utils.model.kinds.registry import daily_series, rule_of
from streamforge_utils.model.spelling import closest
from streamforge_utils.ports.exchange import Exchange, SymbolInfo

TRADING = "TRADING"
_WILD = frozenset("*?[")


def fitting(symbols: Sequence[SymbolInfo], pattern: str | None, status: str | None) -> list[SymbolInfo]:
    """The symbols that `pattern` fits (`*USDT`; without a wildcard: that hold it) and that have `status`.

    Case matters in neither.
    """
    wanted = "*" if not pattern else pattern.upper()
    if not _WILD & set(wanted):
        wanted = f"*{wanted}*"
    return [
        one
        for one in symbols
        if fnmatchcase(one.symbol.upper(), wanted) and (status is None or one.status.upper() == status.upper())
    ]


def is_traded(info: SymbolInfo) -> bool:
    """Whether the exchange trades the symbol now; one that it does not is delisted, or about to be listed."""
    return info.status == TRADING


def likely_symbols(symbol: str, listed: Sequence[SymbolInfo]) -> list[str]:
    """The one that was probably meant by `symbol`, or none.

    Of several that are as much like it: one that is traded, in the currency that most are traded in.
    """
    quotes = Counter(one.quote_asset for one in listed)
    ordered = sorted(
        (one for one in listed if one.symbol != symbol),
        key=lambda one: (not is_traded(one), -quotes[one.quote_asset], one.symbol),
    )
    turned = [one.symbol for one in ordered if one.base_asset and one.quote_asset + one.base_asset == symbol]
    return turned[:1] or closest(symbol, [one.symbol for one in ordered])


async def was_listed(exchange: Exchange, symbol: str, day_ms: int, now_ms: int) -> bool:
    """Whether the exchange had the symbol on the day, by its records of days. Raises as the exchange does."""
    series = daily_series(symbol)
    trading = is_traded(await exchange.symbol_info(symbol))
    bounds = await rule_of(series).bounds(exchange, series, now_ms, trading=trading)
    return (
        bounds is not None
        and bounds.first_ms < day_ms + DAY_MS
        and (bounds.last_ms is None or day_ms <= bounds.last_ms)
    )
