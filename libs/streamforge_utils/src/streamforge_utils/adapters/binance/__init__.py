"""The exchange port on Binance's REST interface for market data."""

from streamforge_utils.adapters.binance.binance_exchange import BinanceExchange
from streamforge_utils.adapters.binance.binance_rules import DEFAULT_BASE_URL
from streamforge_utils.adapters.binance.transport import Retries, Transport

__all__ = ["DEFAULT_BASE_URL", "BinanceExchange", "Retries", "Transport"]
