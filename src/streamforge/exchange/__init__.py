"""The test exchange: Binance's REST format, with faults on request."""
