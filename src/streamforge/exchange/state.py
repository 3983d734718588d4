"""Everything that one running test exchange knows, apart from HTTP."""

from __future__ import annotations

from urllib.parse import quote

import msgspec

from streamforge.exchange.clock import ExchangeClock
from streamforge.exchange.config import ExchangeConfig, SymbolSpec
from streamforge.exchange.faults import Faults
from streamforge.exchange.limits import Limiter
from streamforge.exchange.replay import ReplaySource
from streamforge.exchange.source import SeededSource, Source
from streamforge.exchange.stats import Stats
from streamforge_utils.model.kinds.candles import Interval
from streamforge_utils.model.timeranges import TimeRange


class ExchangeState:
    """Source, clock, limiter, faults and counters of one exchange.

    name: two exchanges of the same name never differ about what a candle holds.
    """

    def __init__(self, config: ExchangeConfig, clock: ExchangeClock | None = None) -> None:
        self.config = config
        self.clock = clock if clock is not None else ExchangeClock(config.now_ms)
        self.source: Source = SeededSource(config) if config.replay is None else ReplaySource(config.replay)
        self.name = _name(config)
        self.ignored = self.source.ignored if isinstance(self.source, ReplaySource) else {}
        self.faults = Faults(config.faults)
        self.reset_counts()

    def reset_counts(self) -> None:
        """Forget what was counted, bans and spent weight included."""
        config = self.config
        self.limiter = Limiter(config.weight_limit, config.ban_after, config.ban_ms, config.ban_limit_ms)
        self.stats = Stats()

    def listed(self, now_ms: int) -> dict[str, SymbolSpec]:
        """The symbols that the exchange knows at `now_ms`."""
        return {name: spec for name, spec in self.source.symbols.items() if spec.listed_ms <= now_ms}

    def oracle(self, symbol: str, interval: Interval, span: TimeRange) -> list[list[int | str]]:
        """What a client must end up with for `span`: each closed candle once, ascending, as rows of the API (ms)."""
        rows = (row for part in self.source.closed(symbol, interval, span, self.clock.now_ms()) for row in part)
        return msgspec.json.decode(b"[" + b",".join(rows) + b"]", type=list[list[int | str]])

    def counts(self) -> dict[str, object]:
        """For `GET /control/stats`."""
        limiter, stats = self.limiter, self.stats
        return {
            "now_ms": self.clock.now_ms(),
            "requests": stats.requests,
            "in_flight": stats.in_flight,
            "max_in_flight": stats.max_in_flight,
            "weight_limit": limiter.limit,
            "max_weight_in_a_minute": limiter.max_used,
            "minutes": limiter.windows(),
            "bans": limiter.bans,
            "refused_while_banned": limiter.refused_while_banned,
            "pauses": limiter.pauses,
            "asked_in_pause": limiter.asked_in_pause,
            "faults": self.faults.struck,
        }


def _name(config: ExchangeConfig) -> str:
    if config.replay is None:
        return f"test exchange, seed {config.seed}"
    return f"test exchange, recordings of {quote(config.replay.resolve().name, safe=' ._-')}"
