"""The test exchange as the benchmarks need it: without limits, and listed long enough ago for ten years of candles."""

from __future__ import annotations

import sys

from streamforge.exchange.config import ExchangeConfig, SymbolSpec
from streamforge.exchange.exchange_server import run

SYMBOL = "BTCUSDT"
LISTED_MS = 1_356_998_400_000
"""2013-01-01"""


def config(symbols: int = 1, trades_a_minute: int = 32, speed: float = 1.0) -> ExchangeConfig:
    """An exchange of so many symbols, `SYMBOL` the first of them. trades_a_minute: of each, on the average.

    speed: of its clock.
    """
    bases = ["BTC", *(f"B{number:03d}" for number in range(1, symbols))]
    specs = (
        SymbolSpec(
            symbol=f"{base}USDT",
            base=base,
            quote="USDT",
            listed_ms=LISTED_MS,
            price=42_000.0,
            trades_a_minute=trades_a_minute,
        )
        for base in bases
    )
    return ExchangeConfig(weight_limit=None, symbols=tuple(specs), speed=speed)


if __name__ == "__main__":
    number, trades, fast = sys.argv[1:]
    sys.exit(run(config(int(number), int(trades), float(fast)), json_line=True))
