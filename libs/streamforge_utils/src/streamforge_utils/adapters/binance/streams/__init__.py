"""The stream port on Binance's WebSocket streams (public market data). Importing it costs a tenth of a second."""
