"""Where an exchange's streams are, and whose certificates are trusted there."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from streamforge_utils.model.errors import ConfigError
from streamforge_utils.model.secret import shown_address

BINANCE_STREAMS = {
    "testnet.binance.vision": "wss://stream.testnet.binance.vision",
    "demo-api.binance.com": "wss://demo-stream.binance.com",
    "api.binance.us": "wss://stream.binance.us:9443",
}
MARKET_DATA_STREAMS = "wss://data-stream.binance.vision"
"""Of Binance itself."""

_SCHEMES = {"http": "ws", "https": "wss"}
_ENDPOINTS = ("/ws", "/stream")


class StreamAddress(msgspec.Struct, frozen=True, kw_only=True):
    """The way to the streams. url: of the combined form. ca_path: a PEM file of the CAs that may have signed the
    server's certificate; None: those of the system.
    """

    url: str
    ca_path: Path | None = None

    @property
    def shown(self) -> str:
        """The server as messages name it."""
        return shown_address(self.url)

    def tls(self) -> ssl.SSLContext | None:
        """How the server's certificate is checked; None without TLS. Raises ConfigError for a file of no use."""
        if not self.url.startswith("wss:"):
            return None
        try:
            return ssl.create_default_context(cafile=self.ca_path)
        except OSError as error:
            wrong = "holds no PEM certificate" if isinstance(error, ssl.SSLError) else f"cannot be read ({error})"
            raise ConfigError(
                f"STREAMFORGE_STREAM_CA_PATH: the file {self.ca_path} {wrong}: "
                "name the PEM file of the CA that signed the server's certificate"
            ) from error


def stream_address(given: str, exchange_urls: Sequence[str], ca_path: Path | None = None) -> StreamAddress:
    """The streams at `given`, with or without `/ws` or `/stream` at its end; empty: those of the exchange.

    Raises ConfigError.
    """
    url = (given or next(iter(exchange_urls), "")).strip().rstrip("/")
    try:
        url = url if given else _of_exchange(url)
        parts = urlsplit(url)
        usable = parts.scheme in _SCHEMES.values() and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    else:
        usable = usable and not (parts.query or parts.fragment or "@" in parts.netloc)
    if not usable:
        raise ConfigError(
            f"STREAMFORGE_STREAM_URL: {shown_address(url)} is not like wss://host[:port][/ws], without a user, a query "
            "and a fragment"
        )
    for endpoint in _ENDPOINTS:
        url = url.removesuffix(endpoint)
    return StreamAddress(url=f"{url}/stream", ca_path=ca_path)


def _of_exchange(url: str) -> str:
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    if host in BINANCE_STREAMS:
        return BINANCE_STREAMS[host]
    if f".{host}".endswith((".binance.com", ".binance.vision")):
        return MARKET_DATA_STREAMS
    return parts._replace(scheme=_SCHEMES.get(parts.scheme, parts.scheme)).geturl()
