"""The seeded order books of an exchange."""

from __future__ import annotations

from functools import lru_cache

from streamforge.exchange.config import ANY_SYMBOL, ExchangeConfig, SymbolSpec
from streamforge.exchange.seeded_book import SeededBook
from streamforge_utils.model.timeranges import TimeRange


def seeded_book(config: ExchangeConfig, spec: SymbolSpec) -> SeededBook | None:
    """The book of a symbol; None: the exchange is a replay."""
    if config.replay is not None:
        return None
    return _seeded(config.seed, spec, (*config.holes.get(ANY_SYMBOL, ()), *config.holes.get(spec.symbol, ())))


@lru_cache(maxsize=1024)
def _seeded(seed: int, spec: SymbolSpec, holes: tuple[TimeRange, ...]) -> SeededBook:
    return SeededBook(seed, spec, holes)
