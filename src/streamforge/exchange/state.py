"""Everything that one running test exchange knows, apart from HTTP."""

from __future__ import annotations

from collections import Counter
from urllib.parse import quote

from streamforge.exchange.adjustable_clock import ExchangeClock
from streamforge.exchange.config import ExchangeConfig, SymbolSpec
from streamforge.exchange.endpoint import Endpoint, RowsEndpoint
from streamforge.exchange.endpoints import endpoint_classes
from streamforge.exchange.faults import Faults
from streamforge.exchange.limits import Limiter
from streamforge.exchange.recordings import load_recordings


class ExchangeState:
    """Endpoints, symbols, clock, limiter, faults and counters of one exchange.

    name: two exchanges of the same name never differ about what a record holds. ignored: the files of a replay that
    are not served, each with the reason.
    """

    def __init__(self, config: ExchangeConfig, clock: ExchangeClock | None = None) -> None:
        self.config = config
        self.clock = clock if clock is not None else ExchangeClock(config.now_ms)
        self.endpoints: list[Endpoint] = [made(config) for made in endpoint_classes()]
        self.symbols: dict[str, SymbolSpec] = {spec.symbol: spec for spec in config.symbols}
        self.ignored: dict[str, str] = {}
        if config.replay is not None:
            rows = [endpoint for endpoint in self.endpoints if isinstance(endpoint, RowsEndpoint)]
            self.symbols, self.ignored = load_recordings(config.replay, rows)
        self.name = _name(config)
        self.faults = Faults(config.faults, [endpoint.paths[0] for endpoint in self.endpoints])
        self.reset_counts()

    def reset_counts(self) -> None:
        """Forget what was counted, bans and spent weight included."""
        self.limiter = Limiter(self.config.weight_limit)
        self._requests: dict[str, Counter[str]] = {}

    def count(self, path: str, status: str) -> None:
        """One answer (or `closed`: a connection that ended without a whole one)."""
        self._requests.setdefault(path, Counter())[status] += 1

    def listed(self, now_ms: int) -> dict[str, SymbolSpec]:
        """The symbols that the exchange knows at `now_ms`."""
        return {name: spec for name, spec in self.symbols.items() if spec.listed_ms <= now_ms}

    def counts(self) -> dict[str, object]:
        """For `GET /control/stats`."""
        limiter = self.limiter
        return {
            "now_ms": self.clock.now_ms(),
            "requests": self._requests,
            "weight_limit": limiter.limit,
            "max_weight_in_a_minute": limiter.max_used,
            "bans": limiter.bans,
            "refused_while_banned": limiter.refused_while_banned,
            "pauses": limiter.pauses,
            "asked_in_pause": limiter.asked_in_pause,
        }


def _name(config: ExchangeConfig) -> str:
    if config.replay is None:
        return f"test exchange, seed {config.seed}"
    return f"test exchange, recordings of {quote(config.replay.resolve().name, safe=' ._-')}"
