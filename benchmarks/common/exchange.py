"""The test exchange as the benchmarks need it: without limits, and listed long enough ago for ten years of candles."""

from __future__ import annotations

import sys

from streamforge.exchange.config import ExchangeConfig, SymbolSpec
from streamforge.exchange.exchange_server import run

SYMBOL = "BTCUSDT"
LISTED_MS = 1_356_998_400_000
"""2013-01-01"""

CONFIG = ExchangeConfig(
    weight_limit=None,
    symbols=(SymbolSpec(symbol=SYMBOL, base="BTC", quote="USDT", listed_ms=LISTED_MS, price=42_000.0),),
)

if __name__ == "__main__":
    sys.exit(run(CONFIG, json_line=True))
