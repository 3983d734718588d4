"""Which exchange data come from, and whether two names mean the same one."""

from __future__ import annotations

import pytest

from streamforge.manager.origin import BINANCE, Source, is_asked_for, origin_of, shown_choice, source_of

BINANCE_URL = "https://data-api.binance.vision"


@pytest.mark.parametrize(
    ("source", "choice", "urls", "same"),
    [
        (source_of(("https://api.binance.com", BINANCE_URL)), "binance", None, True),
        (source_of(("https://api.binance.com",)), None, ("https://api3.binance.com",), True),
        (source_of(("https://api.binance.us",)), "binance", None, False),
        (source_of(("http://127.0.0.1:9",), built_in=True), "test", None, True),
        (source_of(("http://127.0.0.1:9",), built_in=True), "http://127.0.0.1:9", ("http://127.0.0.1:9",), False),
        (source_of(("http://127.0.0.1:9",)), "test", None, False),
        (source_of(("http://127.0.0.1:9",)), None, ("http://localhost:9/",), True),
        (source_of(("http://127.0.0.1:9",)), None, ("http://127.0.0.1:10",), False),
        (source_of(("https://mirror.example.org",)), None, ("https://mirror.example.org:443/",), True),
        (source_of(("https://mirror.example.org",)), None, ("https://other.example.org",), False),
    ],
)
def test_two_spellings_of_an_exchange_are_one(
    source: Source, choice: str | None, urls: tuple[str, ...] | None, same: bool
) -> None:
    assert is_asked_for(source, choice, urls) is same


def test_what_is_told_of_an_exchange_is_scheme_host_and_port_alone() -> None:
    urls = ("https://joe:secret@mirror.example.org/secret?key=secret#secret", "http://127.0.0.1:9/secret")
    shown = ("https://mirror.example.org", "http://127.0.0.1:9")
    assert source_of(urls).urls == shown
    assert is_asked_for(source_of(urls), None, urls[:1])
    assert shown_choice(",".join(urls)) == ",".join(shown)
    for name in ("binance", "test", "mirror.example.org"):
        assert shown_choice(name) == name


@pytest.mark.parametrize(
    ("choice", "urls", "origin"),
    [
        ("test", None, "test"),
        (None, None, "binance"),
        ("binance", None, "binance"),
        (None, ("https://api4.binance.com",), "binance"),
        (None, ("https://data-api.binance.vision",), "binance"),
        (None, ("http://127.0.0.1:4000",), "test"),
        (None, ("http://localhost:4000",), "test"),
        (None, ("https://mirror.example.org",), "mirror.example.org"),
        (None, ("https://notbinance.com",), "notbinance.com"),
        (None, ("https://binance.com.example.org",), "binance.com.example.org"),
        (None, ("https://api.binance.us",), "api.binance.us"),
        (None, ("https://testnet.binance.vision",), "testnet.binance.vision"),
        (None, ("https://testnet.binance.vision/api", "https://api.binance.com"), "testnet.binance.vision"),
        (None, ("https://demo-api.binance.com",), "demo-api.binance.com"),
    ],
)
def test_the_origin_of_data_follows_from_the_exchange(
    choice: str | None, urls: tuple[str, ...] | None, origin: str
) -> None:
    assert origin_of(choice, urls) == origin
    if choice is None and urls is not None:
        assert source_of(urls).exchange == origin
        assert is_asked_for(source_of(urls), BINANCE, None) is (origin == BINANCE)
        assert is_asked_for(source_of((BINANCE_URL,)), None, urls) is (origin == BINANCE)
