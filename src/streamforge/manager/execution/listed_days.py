"""Whether a symbol was listed on a day."""

from __future__ import annotations

from streamforge.manager.catalogue.symbols import is_traded
from streamforge.manager.policy import DAY_MS
from streamforge_utils.model.kinds.registry import daily_series, rule_of
from streamforge_utils.ports.exchange import Exchange


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
