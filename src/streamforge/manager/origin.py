"""Which exchange data come from.

Coverage belongs to a series, not to an exchange: mixed, what the test exchange made up would pass for Binance's. So a
store holds the data of one exchange (`persistence/installation.py`); the command line also keeps a note in the folder.
"""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

import msgspec

from streamforge_utils.model.secret import shown_address

BINANCE, TEST = "binance", "test"
_BINANCE_HOSTS = (".binance.com", ".binance.vision")
"""Binance.US is another exchange, with other prices."""

_MADE_UP = ("testnet", "demo")
"""How the hosts of Binance's own test exchanges begin; their prices are made up."""


class Origin(msgspec.Struct, frozen=True):
    """Where a manager loads from. choice: what names it to `--exchange`; None: nothing has to."""

    exchange: str
    choice: str | None = None


def origin_of(choice: str | None, urls: tuple[str, ...] | None) -> str:
    """Which exchange the data will come from: `binance`, `test`, or a host. What runs on this machine is `test`."""
    if choice == TEST:
        return TEST
    host = (urlsplit(urls[0]).hostname or "") if urls else ""
    if not host or (host.endswith(_BINANCE_HOSTS) and not host.startswith(_MADE_UP)):
        return BINANCE
    return TEST if host in ("localhost", "::1") or host.startswith("127.") else host


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """The exchange that the manager loads from."""

    exchange: Annotated[
        str, msgspec.Meta(description="`binance`, `test` (any on the manager's own machine), or a host.")
    ] = BINANCE
    urls: Annotated[
        tuple[str, ...],
        msgspec.Meta(description="Scheme, host and port of each.", examples=[["https://api.binance.com"]]),
    ] = ()
    built_in: Annotated[
        bool, msgspec.Meta(description="Whether it is a test exchange that runs as long as the manager.")
    ] = False


def source_of(urls: tuple[str, ...], *, built_in: bool = False) -> Source:
    """The exchange at `urls`, as others see it."""
    shown = tuple(map(shown_address, urls))
    return Source(exchange=TEST if built_in else origin_of(None, urls), urls=shown, built_in=built_in)


def is_asked_for(source: Source, choice: str | None, urls: tuple[str, ...] | None) -> bool:
    """Whether `source` is the exchange that `--exchange` (choice) or the settings (urls) ask for.

    Binance has many hosts; of any other exchange one address at least must be the same.
    """
    if choice == TEST:
        return source.built_in
    asked = origin_of(choice, urls)
    if asked != source.exchange:
        return False
    return asked == BINANCE or (not source.built_in and not _hosts(urls or ()).isdisjoint(_hosts(source.urls)))


def _hosts(urls: tuple[str, ...]) -> set[tuple[str, int]]:
    """Host and port of each, by which two spellings of an address are one."""
    found = set()
    for url in urls:
        parts = urlsplit(url)
        host = parts.hostname or ""
        local = host in ("localhost", "::1") or host.startswith("127.")
        found.add(("localhost" if local else host, parts.port or (443 if parts.scheme == "https" else 80)))
    return found


def shown_choice(choice: str) -> str:
    """What names an exchange to `--exchange`, as it may be shown."""
    return ",".join(map(shown_address, choice.split(","))) if "://" in choice else choice


def called(origin: str) -> str:
    """The exchange in a sentence."""
    return {BINANCE: "Binance", TEST: "the test exchange"}.get(origin, origin)
