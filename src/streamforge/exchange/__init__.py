"""The test exchange: Binance's REST format and streams, with faults on request."""
