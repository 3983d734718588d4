"""The test exchange: Binance's REST, WebSocket and archive formats, with faults on request."""
