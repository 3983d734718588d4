from __future__ import annotations

import pytest

from streamforge_utils.adapters.binance.streams.stream_address import stream_address
from streamforge_utils.model.errors import ConfigError


@pytest.mark.parametrize(
    ("given", "exchange", "url"),
    [
        ("wss://stream.binance.com:9443/ws", "https://data-api.binance.vision", "wss://stream.binance.com:9443/stream"),
        ("wss://stream.binance.com:443/stream/", "", "wss://stream.binance.com:443/stream"),
        (" ws://127.0.0.1:8000 ", "", "ws://127.0.0.1:8000/stream"),
        ("wss://host/below/ws", "", "wss://host/below/stream"),
        ("ws://[::1]:8000", "", "ws://[::1]:8000/stream"),
        ("", "https://data-api.binance.vision", "wss://data-stream.binance.vision/stream"),
        ("", "https://api1.binance.com", "wss://data-stream.binance.vision/stream"),
        ("", "https://testnet.binance.vision", "wss://stream.testnet.binance.vision/stream"),
        ("", "https://demo-api.binance.com", "wss://demo-stream.binance.com/stream"),
        ("", "http://127.0.0.1:8000", "ws://127.0.0.1:8000/stream"),
        ("", "https://exchange.test/", "wss://exchange.test/stream"),
    ],
)
def test_the_combined_form_of_what_is_given_or_of_the_exchange(given: str, exchange: str, url: str) -> None:
    assert stream_address(given, (exchange,)).url == url


@pytest.mark.parametrize(
    "given",
    [
        *("https://stream.binance.com", "stream.binance.com:9443", "wss://", "wss://host:0", "wss://host:http"),
        *("wss://me:hush-hush@host", "wss://host/stream?streams=hush-hush", "wss://host/ws?timeUnit=MICROSECOND#x"),
    ],
)
def test_what_is_no_address_of_streams_is_refused_and_no_secret_repeated(given: str) -> None:
    with pytest.raises(ConfigError, match="STREAMFORGE_STREAM_URL") as refused:
        stream_address(given, ("http://127.0.0.1",))
    assert "hush-hush" not in str(refused.value)
